"""Snapshots: whole datasets in memory, compact enough for a hundred million rows in 4 GB.

A snapshot is the traffic of one episode at one step. A row is one flying aircraft in one snapshot, with the
teacher's action. Rows lie in the order of the traffic record, so a snapshot is a run of rows: nothing is
stored for aircraft that do not fly. Observations are computed from snapshots when a batch is asked for.

Notation: R rows, N aircraft at the most, M rows of a batch.
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
from .traffic import Traffic

if TYPE_CHECKING:
    from .dataset import Dataset

STATES = ("east_m", "north_m", "track_rad", "speed_mps")
MOST_AIRCRAFT = 2**15  # aircraft are int16
SPLITS = ("all", "train", "heldout")


@dataclass(frozen=True)
class Snapshots:
    """Traffic and labels of one or several datasets.

    Attributes:
        states: (R + N - 1, 4) float32, the `STATES` of each row; the last N - 1 are padding.
        waypoint: (R, 2) float32, east and north of the row's waypoint.
        first: (R,) int32, the first row of the snapshot a row is in.
        count: (R,) int16, how many rows are in that snapshot.
        action: (R, 2) float32, the teacher's turn and speed change.
        in_conflict: (R,) bool, True where the teacher acts on a conflict.
        aircraft: N.
    """

    states: Tensor
    waypoint: Tensor
    first: Tensor
    count: Tensor
    action: Tensor
    in_conflict: Tensor
    aircraft: int

    def __len__(self) -> int:
        """Return the number of rows R."""
        return len(self.first)

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def traffic(self, rows: Tensor) -> tuple[Traffic, Tensor]:
        """Return the snapshots some rows are in, and which aircraft of it each row is.

        Args:
            rows: (M,) int64 or int32.

        Returns:
            Traffic (M, N), the flying ones first, in the order of their numbers; each snapshot has the
            waypoint of its row's aircraft for all, since nobody sees the waypoints of others. And the
            ownships (M,) int64.
        """
        first = self.first.index_select(0, rows)
        # Every N rows on end, as a view: one copy for each snapshot, whatever its number of aircraft.
        width = len(STATES) * self.aircraft
        windows = self.states.as_strided((len(self), width), (len(STATES), 1))  # (R, N * 4)
        states = windows.index_select(0, first).view(len(rows), self.aircraft, len(STATES))
        east, north, track, speed = states.permute(2, 0, 1).contiguous().unbind(0)  # (M, N) each
        waypoint = self.waypoint.index_select(0, rows).unsqueeze(-1).expand(-1, -1, self.aircraft)
        is_flying = torch.arange(self.aircraft, device=first.device) < self.count.index_select(0, rows).unsqueeze(
            -1
        )
        traffic = Traffic(east, north, track, speed, waypoint[:, 0], waypoint[:, 1], is_flying)
        return traffic, rows.long() - first

    @classmethod
    def of(cls, datasets: "Dataset | Sequence[Dataset]", split: str = "all", heldout: float = 0.1) -> "Snapshots":
        """Read datasets into memory, one behind the other.

        Args:
            datasets: One or several; N is the largest number of aircraft in any of them.
            split: `all`, `train` or `heldout`: whole episodes, chosen by hash, so that an episode stays on
                its side in every dataset with the same seed.
            heldout: Fraction of the episodes that is held out.

        Raises:
            DatasetError: A shard is damaged, or no episode falls into the split.
        """
        if split not in SPLITS:
            raise DatasetError(f"unknown split '{split}'. There are: {', '.join(SPLITS)}.")
        several = list(datasets) if isinstance(datasets, Sequence) else [datasets]
        store = _Store(sum(dataset.rows for dataset in several))
        for dataset in several:
            for table in dataset.tables():
                store.add(_choose(table, dataset.manifest.seed, split, heldout))
        if not store.rows:
            episodes = sum(dataset.episodes for dataset in several)
            raise DatasetError(
                f"no episode is in the split '{split}' ({episodes} episodes, {heldout:.0%} held out by hash). "
                "Collect more episodes."
            )
        aircraft = max([store.aircraft, *(_aircraft(dataset) for dataset in several)])
        return store.finish(aircraft)


def _aircraft(dataset: "Dataset") -> int:
    """Return how many aircraft the world of a dataset has, 0 if it does not say."""
    aircraft = dataset.manifest.world.get("aircraft", 0)
    return min(aircraft, MOST_AIRCRAFT) if isinstance(aircraft, int) else 0


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


class _Store:
    """Rows being read, into memory reserved for all of them at once; what is not used costs nothing."""

    def __init__(self, most_rows: int) -> None:
        self.rows = self.aircraft = 0
        self.states = torch.empty((most_rows + MOST_AIRCRAFT, len(STATES)))
        self.waypoint, self.action = torch.empty((2, most_rows, 2)).unbind(0)
        self.first = torch.empty(most_rows, dtype=torch.int32)
        self.count = torch.empty(most_rows, dtype=torch.int16)
        self.in_conflict = torch.empty(most_rows, dtype=torch.bool)

    def add(self, table: Table) -> None:
        """Add the rows of a sorted table."""
        rows = len(table["episode"])
        if not rows:
            return
        here = slice(self.rows, self.rows + rows)
        is_new = np.ones(rows, bool)
        is_new[1:] = (np.diff(table["episode"]) != 0) | (np.diff(table["step"]) != 0)
        starts = np.flatnonzero(is_new)
        counts = np.diff(starts, append=rows)
        self.first.numpy()[here] = np.repeat(starts + self.rows, counts)
        self.count.numpy()[here] = np.repeat(counts, counts)
        for target, names in (
            (self.states, STATES),
            (self.waypoint, ("waypoint_east_m", "waypoint_north_m")),
            (self.action, ("teacher_turn", "teacher_speed")),
        ):
            for number, name in enumerate(names):
                target.numpy()[here, number] = table[name]
        self.in_conflict.numpy()[here] = table["conflicts"] > 0
        self.rows, self.aircraft = here.stop, max(self.aircraft, int(table["aircraft"].max()) + 1)

    def finish(self, aircraft: int) -> Snapshots:
        """Return what was read."""
        padded = self.rows + aircraft - 1
        self.states[self.rows : padded] = 0.0
        names = ("waypoint", "first", "count", "action", "in_conflict")
        columns = {name: getattr(self, name)[: self.rows] for name in names}
        return Snapshots(states=self.states[:padded], aircraft=aircraft, **columns)
