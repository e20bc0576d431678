"""Snapshots: whole datasets in memory, compact enough for a hundred million rows in 4 GB.

A snapshot is the traffic of one episode at one step. A row is one flying aircraft in one snapshot, with the
teacher's action. Observations are computed from snapshots when a batch is asked for.

Notation: S snapshots, N aircraft, R rows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import DatasetError
from .record import Table

if TYPE_CHECKING:
    from .dataset import Dataset

STATES = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")
SPLITS = ("all", "train", "heldout")


@dataclass(frozen=True)
class Snapshots:
    """Traffic and labels of one or several datasets.

    Attributes:
        states: (S, 6, N) float32, the `STATES`; zero where nobody flies.
        is_flying: (S, N) bool.
        snapshot: (R,) int32, the snapshot of each row.
        aircraft: (R,) int16, the ownship of each row.
        action: (R, 2) float32, the teacher's turn and speed change.
        in_conflict: (R,) bool, True where the teacher acts on a conflict.
    """

    states: Tensor
    is_flying: Tensor
    snapshot: Tensor
    aircraft: Tensor
    action: Tensor
    in_conflict: Tensor

    def __len__(self) -> int:
        """Return the number of rows R."""
        return len(self.snapshot)

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return sum(tensor.numel() * tensor.element_size() for tensor in vars(self).values())

    @classmethod
    def of(cls, datasets: "Dataset | Sequence[Dataset]", split: str = "all", heldout: float = 0.1) -> "Snapshots":
        """Read datasets into memory, one behind the other.

        Args:
            datasets: One or several; with different numbers of aircraft the missing ones do not fly.
            split: `all`, `train` or `heldout`: whole episodes, chosen by hash, so that an episode stays on
                its side in every dataset with the same seed.
            heldout: Fraction of the episodes that is held out.

        Raises:
            DatasetError: A shard is damaged, or no episode falls into the split.
        """
        if split not in SPLITS:
            raise DatasetError(f"unknown split '{split}'. There are: {', '.join(SPLITS)}.")
        several = list(datasets) if isinstance(datasets, Sequence) else [datasets]
        parts = []
        for dataset in several:
            for table in dataset.tables():
                chosen = _choose(table, dataset.manifest.seed, split, heldout)
                if len(chosen["episode"]):
                    parts.append(_pack(chosen))
        if not parts:
            episodes = sum(dataset.episodes for dataset in several)
            raise DatasetError(
                f"no episode is in the split '{split}' ({episodes} episodes, {heldout:.0%} held out by hash). "
                "Collect more episodes."
            )
        return _join(parts)


def is_heldout(seed: int, episode: int, fraction: float) -> bool:
    """Return whether an episode is held out: a stable function of its arguments."""
    digest = hashlib.sha256(f"{seed}:{episode}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2.0**64


def _choose(table: Table, seed: int, split: str, heldout: float) -> Table:
    """Return the rows of the episodes in a split."""
    if split == "all":
        return table
    episodes, place = np.unique(table["episode"], return_inverse=True)
    chosen = np.array([is_heldout(seed, int(e), heldout) == (split == "heldout") for e in episodes], bool)
    rows = chosen[place]
    return {name: column[rows] for name, column in table.items()}


def _pack(table: Table) -> Snapshots:
    """Turn a sorted table with at least one row into snapshots."""
    aircraft = table["aircraft"]
    is_new = np.ones(len(aircraft), bool)
    is_new[1:] = (np.diff(table["episode"]) != 0) | (np.diff(table["step"]) != 0)
    snapshot = np.cumsum(is_new, dtype=np.int32) - 1
    shape = (int(snapshot[-1]) + 1, int(aircraft.max()) + 1)
    states = np.zeros((shape[0], len(STATES), shape[1]), np.float32)
    is_flying = np.zeros(shape, bool)
    is_flying[snapshot, aircraft] = True
    for number, name in enumerate(STATES):
        states[:, number][is_flying] = table[name]  # rows are sorted as is_flying is laid out
    action = np.stack((table["teacher_turn"], table["teacher_speed"]), axis=-1)
    arrays = (states, is_flying, snapshot, aircraft.astype(np.int16), action, table["conflicts"] > 0)
    return Snapshots(*(torch.from_numpy(array) for array in arrays))


def _join(parts: list[Snapshots]) -> Snapshots:
    """Lay snapshots behind one another, padded to the largest number of aircraft, in one copy."""
    count, aircraft = sum(len(part.states) for part in parts), max(part.states.shape[2] for part in parts)
    states = torch.zeros((count, len(STATES), aircraft))
    is_flying = torch.zeros((count, aircraft), dtype=torch.bool)
    snapshot = torch.empty(sum(len(part) for part in parts), dtype=torch.int32)
    first = row = 0
    for part in parts:
        last, width = first + len(part.states), part.states.shape[2]
        states[first:last, :, :width] = part.states
        is_flying[first:last, :width] = part.is_flying
        torch.add(part.snapshot, first, out=snapshot[row : row + len(part)])
        first, row = last, row + len(part)
    rest = (torch.cat([getattr(part, name) for part in parts]) for name in ("aircraft", "action", "in_conflict"))
    return Snapshots(states, is_flying, snapshot, *rest)
