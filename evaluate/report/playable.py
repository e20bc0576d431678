"""What a page needs to decide by itself: a policy's weights, a teacher's numbers.

Its `assets/networks.js` and `assets/mvp.js` are the same functions as `train/networks` and
`collect/teachers/mvp.py`, held against them in `tests/evaluate/report/test_playable.py`.
"""

import base64
from typing import Any, NamedTuple

from ...collect.teachers.registry import Teacher
from ...collect.teachers.rules import MVP, STRAIGHT
from ...train.policy import Policy

PLAYED = (
    "thresholds", "pairwise", "attention-additive", "attention-dot", "attention-context", "transformer",
)  # fmt: skip
"""The networks that the page can run: those with attention."""
MOST_WEIGHTS = 100_000
"""Of a network in the page, which takes 5.3 bytes for each: what ships has 40,000."""


class Rule(NamedTuple):
    """A teacher that flies straight to its waypoint, or resolves by MVP.

    Attributes:
        zone_m: R times its margin; 0 for one that resolves nothing.
        lookahead_s: Its look-ahead time.
    """

    zone_m: float
    lookahead_s: float


class Network(NamedTuple):
    """A network with the observation it sees.

    Attributes:
        name: Of `PLAYED`.
        parameters: Its parameters.
        view: The observation, as `View.to_json` writes it.
        shapes: Of each tensor, by name, in their order.
        weights: base64 of all of them, float32, little-endian.
    """

    name: str
    parameters: dict[str, Any]
    view: dict[str, Any]
    shapes: dict[str, list[int]]
    weights: str

    @property
    def nbytes(self) -> int:
        """Bytes of the weights, before base64."""
        return 3 * len(self.weights) // 4


def network_of(policy: Policy | None) -> Network | None:
    """Return a policy's network for the page; None if there is none, or it cannot be run there."""
    if policy is None or policy.network.name not in PLAYED:
        return None
    network = policy.network
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    if sum(tensor.numel() for tensor in tensors.values()) > MOST_WEIGHTS:
        return None
    arrays = {name: tensor.detach().cpu().numpy().astype("<f4") for name, tensor in tensors.items()}
    weights = base64.b64encode(b"".join(array.tobytes() for array in arrays.values())).decode()
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    return Network(network.name, network.settings.to_json(), policy.view.to_json(), shapes, weights)


def rule_of(teacher: Teacher | None) -> Rule | None:
    """Return a teacher's numbers for the page; None if it decides by another rule."""
    rules = teacher.rules() if teacher is not None and hasattr(teacher, "rules") else None
    if rules is None or rules.kind not in (MVP, STRAIGHT):
        return None
    return Rule(rules.zone_m if rules.kind == MVP else 0.0, rules.lookahead_s)
