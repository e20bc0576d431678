"""How well a network imitates in the states that a pilot visits, episode by episode.

The held-out figures of a clone are on the teacher's flights. In flight it meets its own states: the error there
is what DAgger is about (Ross, Gordon, Bagnell 2011). It is kept per episode, so that two networks can be
compared in pairs: on the same states, or on those that each visits itself in the same scenarios.

Notation: E episodes, R rows.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...datasets.dataset import Dataset
from ...datasets.files.piloted import piloted
from ...datasets.loading.loader import Loader
from ...datasets.loading.snapshots import Snapshots
from ...datasets.loading.tracks import Perceive
from ...datasets.traffic.view import View
from ..networks import Network
from ..runs.confidence_intervals import Estimate, normal_interval

_BATCH = 4096


class Visited(NamedTuple):
    """Sums over the rows of each episode, each (E,) float64.

    Attributes:
        rows: How many rows there are.
        error: Sum of the squared error, mean of the two action components.
        conflicts: How many rows are in conflict.
        error_conflict: Sum of the squared error over those.
    """

    rows: Tensor
    error: Tensor
    conflicts: Tensor
    error_conflict: Tensor

    def figures(self) -> dict[str, float | None]:
        """Return the mean squared error over all rows, those in conflict and the others; None without such rows."""
        rows, error, conflicts, error_conflict = (float(column.sum()) for column in self)
        parts = {
            "mse": (error, rows),
            "mse_conflict": (error_conflict, conflicts),
            "mse_free": (error - error_conflict, rows - conflicts),
        }
        return {name: part / whole if whole else None for name, (part, whole) in parts.items()}


@torch.no_grad()
def visit(network: Network, dataset: Dataset, view: View, perceive: Perceive | None = None) -> Visited:
    """Measure a network on all rows of a dataset that somebody flies.

    Args:
        network: On the CPU.
        dataset: All of it.
        view: What the network observes.
        perceive: What aircraft know; None if that is all.
    """
    errors, in_conflict = [], []
    for batch in Loader(Snapshots.of(dataset, perceive=perceive), view, _BATCH, shuffle=False):
        errors.append((network(batch.observation) - batch.action).square().mean(1).double())
        in_conflict.append(batch.in_conflict)
    error, conflict = torch.cat(errors), torch.cat(in_conflict).double()  # (R,)
    numbers = np.concatenate([piloted(table)["episode"] for table in dataset.tables()])
    episodes, place = np.unique(numbers, return_inverse=True)
    slots = torch.from_numpy(place)

    def total(values: Tensor) -> Tensor:
        return torch.zeros(len(episodes), dtype=torch.float64).index_add_(0, slots, values)

    return Visited(total(torch.ones_like(error)), total(error), total(conflict), total(error * conflict))


def conflict_difference(one: Visited, other: Visited) -> Estimate:
    """Return the error in conflict of `one` minus that of `other`, and its 95 % interval, paired by episode.

    Each error is a ratio of sums, r = sum(e) / sum(n); what episode i moves it by is (e_i - r n_i) / mean(n), and
    the interval is -+ 1.96 standard errors of the mean of the differences between the two (delta method).
    """
    gap = _moved_by(one) - _moved_by(other)  # (E,)
    return normal_interval(gap.numpy(), _ratio(one) - _ratio(other))


def _ratio(visited: Visited) -> float:
    """Return the error in conflict; 0 without conflicts."""
    return float(visited.error_conflict.sum() / visited.conflicts.sum().clamp_min(1.0))


def _moved_by(visited: Visited) -> Tensor:
    """Return what each episode moves the error in conflict by, (E,)."""
    mean = visited.conflicts.mean().clamp_min(1e-12)
    return (visited.error_conflict - _ratio(visited) * visited.conflicts) / mean
