"""How well a network imitates, on episodes it never saw.

Notation: M rows, K intruders, H heads.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...datasets.loading.loader import Batch
from ...datasets.traffic.observation import Observation
from ..networks import Network
from ..networks.attention import attention_sharpness

_SUMS = (
    "rows",
    "error",
    "error_conflict",
    "conflicts",
    "sharp",
    "attending",
    "uniform",
    "several",
    "turn",
    "speed",
    "squares",
)  # over rows


@dataclass(frozen=True)
class HeldOut:
    """Figures over held-out rows; None where there are no such rows.

    Attributes:
        mse: Mean squared error per action component, over all rows.
        mse_conflict: The same over rows whose teacher acts on a conflict.
        mse_free: The same over all other rows.
        sharpness: Mean over heads and rows with two or more intruders of the largest attention weight; None
            also of a network without attention.
        uniform_sharpness: What it would be if every head looked at all intruders alike; None only if no row has
            two intruders, so it distinguishes a network without attention from rows without intruders.
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

    @property
    def lacks_attention(self) -> bool:
        """Whether there was something to attend to, and the network has no attention."""
        return self.sharpness is None and self.uniform_sharpness is not None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)


@torch.no_grad()
def measure(
    network: Network,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    add_up: Callable[[Tensor], Tensor] | None = None,
) -> HeldOut:
    """Measure a network on all rows of some batches, without changing it.

    Args:
        network: Where it is, its input goes.
        batches: At least one row altogether; some may be empty.
        device: Where the network is.
        add_up: Adds a tensor up over the processes that measure a part of the rows each.
    """
    totals = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
    for batch in batches:
        if len(batch.action):
            totals += _sums(network, on_device(batch, device))
    totals = totals if add_up is None else add_up(totals)
    sums = dict(zip(_SUMS, totals.tolist()))
    rows = sums["rows"]
    free, error_free = rows - sums["conflicts"], sums["error"] - sums["error_conflict"]
    means = (sums["turn"] / rows, sums["speed"] / rows)
    return HeldOut(
        mse=sums["error"] / rows,
        mse_conflict=_ratio(sums["error_conflict"], sums["conflicts"]),
        mse_free=_ratio(error_free, free),
        sharpness=_ratio(sums["sharp"], sums["attending"]),
        uniform_sharpness=_ratio(sums["uniform"], sums["several"]),
        spread=(sums["squares"] / rows - means[0] ** 2 - means[1] ** 2) / 2,
        rows=int(rows),
    )


def _sums(network: Network, batch: Batch) -> Tensor:
    """Return the `_SUMS` over one batch, (11,) float64; nothing is fetched from the device."""
    observation, action, in_conflict = batch
    predicted, attention = network(observation, with_attention=True)  # (M, 2), (M, H, K)
    error = (predicted - action).square().mean(1).double()  # (M,)
    present = observation.is_present.sum(1)  # (M,)
    several = present >= 2
    sharp, attending = attention_sharpness(attention, observation.is_present)
    labels = action.double()
    sums = {
        "rows": error.new_full((), len(action)),
        "error": error.sum(),
        "error_conflict": (error * in_conflict).sum(),
        "conflicts": in_conflict.sum(dtype=torch.float64),
        "sharp": sharp,
        "attending": attending,
        "uniform": (several / present.clamp_min(1).double()).sum(),
        "several": several.sum(dtype=torch.float64),
        "turn": labels[:, 0].sum(),
        "speed": labels[:, 1].sum(),
        "squares": labels.square().sum(),
    }
    return torch.stack([sums[name] for name in _SUMS])


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
