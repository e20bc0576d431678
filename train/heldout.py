"""How well a network imitates, on episodes it never saw.

Notation: M rows, K intruders, H heads.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..datasets.loader import Batch
from ..datasets.observation import Observation
from .networks import Network
from .networks.attention import attention_sharpness


@dataclass(frozen=True)
class HeldOut:
    """Figures over held-out rows; None where there are no such rows.

    Attributes:
        mse: Mean squared error per action component, over all rows.
        mse_conflict: The same over rows whose teacher acts on a conflict.
        mse_free: The same over all other rows.
        sharpness: Mean over heads and rows with two or more intruders of the largest attention weight.
        uniform_sharpness: What it would be if every head looked at all intruders alike.
        spread: Variance of the labels: the error of the best constant action.
        rows: Number of rows.
    """

    mse: float
    mse_conflict: float | None
    mse_free: float | None
    sharpness: float | None
    uniform_sharpness: float | None
    spread: float
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)


@torch.no_grad()
def measure(network: Network, batches: Iterable[Batch], device: torch.device | str = "cpu") -> HeldOut:
    """Measure a network on all rows of some batches (at least one row), without changing it."""
    totals: dict[str, Tensor] = {}
    for batch in batches:
        for name, value in _sums(network, on_device(batch, device)).items():
            totals[name] = totals[name] + value if name in totals else value
    sums = {name: float(value) for name, value in totals.items()}
    rows = sums["rows"]
    free, error_free = rows - sums["conflicts"], sums["error"] - sums["error_conflict"]
    means = (sums["turn"] / rows, sums["speed"] / rows)
    return HeldOut(
        mse=sums["error"] / rows,
        mse_conflict=_ratio(sums["error_conflict"], sums["conflicts"]),
        mse_free=_ratio(error_free, free),
        sharpness=_ratio(sums["sharp"], sums["attending"]),
        uniform_sharpness=_ratio(sums["uniform"], sums["attending"]),
        spread=(sums["squares"] / rows - means[0] ** 2 - means[1] ** 2) / 2,
        rows=int(rows),
    )


def _sums(network: Network, batch: Batch) -> dict[str, Tensor]:
    """Return the sums over one batch, each a 0-dimensional float64."""
    observation, action, in_conflict = batch
    predicted, attention = network(observation, with_attention=True)  # (M, 2), (M, H, K)
    error = (predicted - action).square().mean(1).double()  # (M,)
    present = observation.is_present.sum(1)  # (M,)
    sharp, attending = attention_sharpness(attention, observation.is_present)
    labels = action.double()
    return {
        "rows": torch.tensor(float(len(action)), dtype=torch.float64, device=action.device),
        "error": error.sum(),
        "error_conflict": error[in_conflict].sum(),
        "conflicts": in_conflict.sum(dtype=torch.float64),
        "sharp": sharp,
        "attending": attending,
        "uniform": present[present >= 2].double().reciprocal().sum(),
        "turn": labels[:, 0].sum(),
        "speed": labels[:, 1].sum(),
        "squares": labels.square().sum(),
    }


def _ratio(part: float, whole: float) -> float | None:
    """Return part / whole, None if there is nothing to divide by."""
    return part / whole if whole else None


def on_device(batch: Batch, device: torch.device | str) -> Batch:
    """Return the batch on a device; the same one if it is there."""
    return Batch(
        Observation(*(tensor.to(device) for tensor in batch.observation)),
        batch.action.to(device),
        batch.in_conflict.to(device),
    )
