"""A trained network that flies: observation in, action out.

Notation: B episodes, N aircraft, M rows, K intruders, F features per intruder, H heads.
"""

from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..collect.airspace.neighbours import complete_for
from ..datasets import notebook
from ..datasets.errors import ObservationError
from ..datasets.traffic.envelope import Envelope
from ..datasets.traffic.observation import Observation, observe
from ..datasets.traffic.pairs import Pairs
from ..datasets.traffic.state import Traffic
from ..datasets.traffic.view import View
from . import checkpoint
from .networks import Network
from .tensor_file import weights_hash

Array = Tensor | np.ndarray


class Policy:
    """A network with the observation it was trained on; its actions are clamped to [-1, 1].

    It is a pilot itself: `policy(traffic, pairs)` is `policy.pilot(traffic, pairs)`.

    Attributes:
        network: The network, in evaluation mode.
        view: The observation it sees.
        meta: Where it comes from; see `checkpoint.META_KEYS`.
    """

    def __init__(self, network: Network, view: View, meta: dict[str, Any] | None = None) -> None:
        self.network = network.eval()
        self.view = view
        self.meta = meta or {}

    @property
    def fingerprint(self) -> str:
        """First 16 digits of the hash of its weights: the same name may later mean others."""
        return weights_hash(self.network.state_dict())[:16]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the network, its observation, and where it comes from."""
        spec, world = self.network.spec, self.meta.get("world") or {}
        weights = sum(weight.numel() for weight in self.network.parameters())
        names = ("scenario", "aircraft", "protected_zone_m", "lookahead_s")
        facts = {
            "network": ":".join([spec["name"], *(f"{key}={value}" for key, value in spec["parameters"].items())]),
            "weights": f"{weights:,}, fingerprint {self.fingerprint}",
            "observation": self.view,
            "stage": self.meta.get("stage"),
            "teacher": self.meta.get("teacher"),
            "parent": (self.meta.get("parent") or {}).get("path"),
            "learned in": ", ".join(f"{name} {world[name]}" for name in names if name in world),
            "datasets": ", ".join(str(each.get("path")) for each in self.meta.get("datasets") or ()),
        }
        return notebook.table("Policy", [(key, value) for key, value in facts.items() if value])

    def act(self, observation: Observation | Array, mask: Array | None = None) -> Any:
        """Return the actions (..., 2): turn and speed change, in [-1, 1].

        Args:
            observation: An `Observation` (ownship (..., 7), intruders (..., K, F), mask (..., K)), or
                its flat form (..., 7 + K * F). Tensors or NumPy arrays, any leading dimensions.
            mask: For the flat form, (..., K) True for real intruders; None if all of them are real.

        Returns:
            A tensor for tensors, a NumPy array for NumPy arrays.

        Raises:
            ObservationError: The numbers of features are not those of the view it was trained on.
        """
        rows, leading, is_numpy = self._rows(observation, mask)
        with torch.no_grad():
            action = self.network(rows).clamp_(-1.0, 1.0)  # (M, 2)
        action = action.reshape(*leading, action.shape[1])
        return action.numpy() if is_numpy else action

    def attention(self, observation: Observation | Array, mask: Array | None = None) -> Any:
        """Return the attention (..., H, K), H = 0 if the network has none; arguments as for `act`."""
        rows, leading, is_numpy = self._rows(observation, mask)
        with torch.no_grad():
            _, attention = self.network(rows, with_attention=True)  # (M, H, K)
        attention = attention.reshape(*leading, *attention.shape[1:])
        return attention.numpy() if is_numpy else attention

    def pilot(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        """Return the actions (B, N, 2) of all aircraft; 0 for those that nobody flies.

        Only flying aircraft are observed, all of them in one batch.
        """
        return self._fly(traffic, self.observe(traffic, pairs))

    __call__ = pilot

    @cached_property
    def envelope(self) -> Envelope | None:
        """What it saw in training; None if its checkpoint does not say.

        Raises:
            ObservationError: What it says is no envelope.
        """
        data = self.meta.get("envelope")
        return None if data is None else Envelope.from_json(data)

    def judged(self, traffic: Traffic, pairs: Pairs) -> tuple[Tensor, Tensor | None]:
        """Return the actions of `pilot`, and whose observation lies outside the envelope, (B, N) bool; or None."""
        observation = self.observe(traffic, pairs)
        if self.envelope is None:
            return self._fly(traffic, observation), None
        is_outside = torch.zeros_like(traffic.is_flying)
        is_outside[traffic.is_piloted] = self.envelope.is_outside(observation)
        return self._fly(traffic, observation), is_outside

    def observe(self, traffic: Traffic, pairs: Pairs) -> Observation:
        """Observe from all M aircraft that are flown."""
        flying = traffic.is_piloted  # (B, N)
        own = traffic.map(lambda tensor: tensor[flying])  # (M,)
        around = complete_for(pairs, traffic, self.view).map(lambda tensor: tensor[flying])  # (M, N) or (M, J)
        return observe(own, around, self.view)

    def _fly(self, traffic: Traffic, observation: Observation) -> Tensor:
        """Return the actions (B, N, 2) for an observation of M rows."""
        flying = traffic.is_piloted
        action = torch.zeros((*flying.shape, 2), dtype=traffic.east_m.dtype, device=flying.device)
        action[flying] = self.act(observation).to(action.dtype)
        return action

    def _rows(
        self, observation: Observation | Array, mask: Array | None
    ) -> tuple[Observation, tuple[int, ...], bool]:
        """Return the observation with one leading dimension, the leading dimensions it had, and whether NumPy."""
        if isinstance(observation, tuple):
            parts = Observation(*observation)
        else:
            parts = self._unflatten(observation, mask)
        is_numpy = isinstance(parts.ownship, np.ndarray)
        ownship, intruders, is_present = (torch.as_tensor(part) for part in parts)
        self._check(ownship, intruders, is_present)
        weights = next(self.network.parameters())
        if ownship.device != weights.device:
            self.network.to(ownship.device)
        leading, count = tuple(ownship.shape[:-1]), intruders.shape[-2]
        rows = prod(leading)
        flat = Observation(
            ownship.to(weights.dtype).reshape(rows, self.view.ownship_features),
            intruders.to(weights.dtype).reshape(rows, count, self.view.intruder_features),
            is_present.to(torch.bool).reshape(rows, count),
        )
        return flat, leading, is_numpy

    def _unflatten(self, flat: Array, mask: Array | None) -> Observation:
        """Split (..., 7 + K * F) into an observation."""
        own, features = self.view.ownship_features, self.view.intruder_features
        count, rest = divmod(flat.shape[-1] - own, features)
        if rest or count < 0:
            raise ObservationError(
                f"expected {own} features of the ownship and {features} per intruder, as in the observation "
                f"'{self.view}' this policy was trained on, got {flat.shape[-1]} numbers"
            )
        if mask is None:
            mask = (
                np.ones((*flat.shape[:-1], count), bool)
                if isinstance(flat, np.ndarray)
                else flat.new_ones((*flat.shape[:-1], count), dtype=torch.bool)
            )
        intruders = flat[..., own:].reshape((*flat.shape[:-1], count, features))
        return Observation(flat[..., :own], intruders, mask)  # type: ignore[arg-type]

    def _check(self, ownship: Tensor, intruders: Tensor, is_present: Tensor) -> None:
        """Raise unless the shapes fit together and to the view."""
        own, features = self.view.ownship_features, self.view.intruder_features
        leading, count = tuple(ownship.shape[:-1]), intruders.shape[-2]
        shapes = tuple(tuple(part.shape) for part in (ownship, intruders, is_present))
        if shapes != ((*leading, own), (*leading, count, features), (*leading, count)):
            raise ObservationError(
                f"expected ownship (..., {own}), intruders (..., K, {features}) and mask (..., K) as in the "
                f"observation '{self.view}' this policy was trained on, got {', '.join(map(str, shapes))}"
            )


def load_policy(run: str | Path, which: str = "best", device: str | torch.device = "cpu") -> Policy:
    """Load a trained policy.

    Args:
        run: A run's folder, a `.safetensors` file, or `pretrained:NAME`.
        which: `best` or `last`, for a folder.
        device: Where the network is.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    loaded = checkpoint.load(run, which)
    loaded.network.to(device)
    return Policy(loaded.network, loaded.view, loaded.meta)


def load_pilot(run: str) -> Policy:
    """Load a trained policy as a pilot; a function at the top of a module, so that workers can be sent it."""
    return load_policy(run)


class _Limited(torch.autograd.Function):
    """Clamp to [-1, 1]; outside, gradients pass that lead back in, so that no action is lost for good."""

    @staticmethod
    def forward(ctx: Any, action: Tensor) -> Tensor:
        ctx.save_for_backward(action)
        return action.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (action,) = ctx.saved_tensors
        leads_out = ((action > 1) & (grads[0] < 0)) | ((action < -1) & (grads[0] > 0))  # descent goes against it
        return grads[0].masked_fill(leads_out, 0.0)


def limit(action: Tensor) -> Tensor:
    """Return the action within [-1, 1]; beyond it, its gradient is kept only where descent leads back in."""
    limited: Tensor = _Limited.apply(action)
    return limited
