"""Snapshots: whole datasets in memory, compact enough for a hundred million rows in 4 GB.

A snapshot is the traffic of one episode at one step. A row is one aircraft in one snapshot that somebody flies,
with the teacher's action. States lie in the order of the traffic record, so a snapshot is a run of states: nothing
is stored for aircraft that do not fly. Aircraft that hover have states, because others see them, and no rows.
Observations are computed from snapshots when a batch is asked for. Where aircraft do not know all, tracks take the
place of states (`tracks.py`).

Notation: R rows, S >= R states, N aircraft at the most, M rows of a batch.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import DatasetError
from ..files.manifest import Manifest
from ..files.piloted import is_piloted
from ..provenance import origins_of
from ..traffic.counts import most_aircraft
from ..traffic.pairs import Pairs, pairs_of_rows
from ..traffic.record import Table
from ..traffic.state import Traffic
from .source import Source
from .tracks import Known, Perceive, PerceivedRows, Tracks, TrackStore, ageing_of, most_estimates

STATES = ("east_m", "north_m", "track_rad", "speed_mps")
OWN = ("waypoint_east_m", "waypoint_north_m", "teacher_turn", "teacher_speed")
MOST_AIRCRAFT = 2**15  # aircraft are int16
SPLITS = ("all", "train", "heldout")


class Rows(NamedTuple):
    """Some rows, each with the snapshot it is in, copied out: all that their observations need.

    Attributes:
        states: (M, N, 4) float32, the `STATES` of the snapshot's aircraft, the flying ones first.
        flying: (M,) int16, how many of them fly; what follows means nothing.
        ownship: (M,) int32, which of them the row is.
        own: (M, 4) float32, the `OWN` of the row.
        in_conflict: (M,) bool, True where the teacher acts on a conflict.
    """

    states: Tensor
    flying: Tensor
    ownship: Tensor
    own: Tensor
    in_conflict: Tensor

    def to(self, device: torch.device | str) -> "Rows":
        """Return the same rows on a device."""
        return Rows(*(column.to(device, non_blocking=True) for column in self))

    def traffic(self) -> tuple[Traffic, Tensor]:
        """Return the snapshots, and which aircraft of it each row is.

        Returns:
            Traffic (M, N), the flying ones first, in the order of their numbers; each snapshot has the
            waypoint of its row's aircraft for all, because no aircraft sees the waypoints of others. And the
            ownships (M,) int64.
        """
        aircraft = self.states.shape[1]
        east, north, track, speed = self.states.permute(2, 0, 1).contiguous().unbind(0)  # (M, N) each
        waypoint = self.own[:, :2].unsqueeze(-1).expand(-1, -1, aircraft)
        is_flying = torch.arange(aircraft, device=self.flying.device) < self.flying.unsqueeze(-1)
        traffic = Traffic(east, north, track, speed, waypoint[:, 0], waypoint[:, 1], is_flying)
        return traffic, self.ownship.long()

    def seen(self) -> tuple[Traffic, Pairs]:
        """Return the ownships (M,) and their pairs (M, N)."""
        return pairs_of_rows(*self.traffic())


@dataclass(frozen=True)
class Snapshots:
    """Traffic and labels of one or several datasets.

    Attributes:
        states: (S + N - 1, 4) float32, the `STATES` of each aircraft; the last N - 1 are padding. Where there are
            tracks, none.
        own: (R, 4) float32, the `OWN` of each row.
        first: (R,) int32, the first state of the snapshot a row is in.
        count: (R,) int16, how many states are in that snapshot.
        in_conflict: (R,) bool, True where the teacher acts on a conflict.
        aircraft: N.
        sizes: Rows of each dataset, which lie one behind the other.
        place: (R,) int32, which state is the row's own; None where nobody hovers, so that it is the row's number.
        tracks: What is known of the states; None where that is all.
    """

    states: Tensor
    own: Tensor
    first: Tensor
    count: Tensor
    in_conflict: Tensor
    aircraft: int
    sizes: tuple[int, ...]
    place: Tensor | None = None
    tracks: Tracks | None = None

    def __len__(self) -> int:
        """Return the number of rows R."""
        return len(self.first)

    @property
    def action(self) -> Tensor:
        """The teacher's turn and speed change, (R, 2) float32."""
        return self.own[:, 2:]

    @property
    def bytes(self) -> int:
        """Size in memory."""
        own = sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))
        return own + (self.tracks.bytes if self.tracks else 0)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.own.device

    def to(self, device: torch.device | str) -> "Snapshots":
        """Return the same snapshots on a device; these themselves if they are there."""
        if self.device == torch.device(device):
            return self
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor | Tracks)
        }
        return replace(self, **moved)

    def pick(self, rows: Tensor) -> Rows | PerceivedRows:
        """Copy some rows and the snapshots they are in, or what is known of these.

        Args:
            rows: (M,) int64 or int32, in any order, on the device of the snapshots.
        """
        first = self.first.index_select(0, rows)
        state = rows.int() if self.place is None else self.place.index_select(0, rows)
        own, in_conflict = self.own.index_select(0, rows), self.in_conflict.index_select(0, rows)
        if self.tracks is not None:
            return PerceivedRows(*self.tracks.pick(rows, first, state), own, in_conflict)
        # Every N states on end, as a view: one copy for each snapshot, whatever its number of aircraft.
        width = len(STATES) * self.aircraft
        states = len(self.states) - self.aircraft + 1
        windows = self.states.as_strided((states, width), (len(STATES), 1))  # (S, N * 4)
        return Rows(
            windows.index_select(0, first).view(len(rows), self.aircraft, len(STATES)),
            self.count.index_select(0, rows),
            state - first,
            own,
            in_conflict,
        )

    def traffic(self, rows: Tensor) -> tuple[Traffic, Tensor]:
        """Return the snapshots (M, N) some rows (M,) are in, and which aircraft of it each row is (M,)."""
        picked = self.pick(rows)
        assert isinstance(picked, Rows), "tracks hold no snapshots"
        return picked.traffic()

    @classmethod
    def of(
        cls,
        datasets: Source | Sequence[Source],
        split: str = "all",
        heldout: float = 0.1,
        perceive: Perceive | None = None,
    ) -> "Snapshots":
        """Read datasets into memory, one behind the other.

        Args:
            datasets: One or several; N is the largest number of aircraft in any of them.
            split: `all`, `train` or `heldout`: whole episodes, chosen by hash, so that an episode stays on its side
                in every dataset with the same seed, and in what was selected from it or merged.
            heldout: Fraction of the episodes that is held out.
            perceive: What aircraft know; None if that is all.

        Raises:
            DatasetError: A shard is damaged, no episode falls into the split, or what is known cannot be told.
        """
        check_split(split)
        several = list(datasets) if isinstance(datasets, Sequence) else [datasets]
        most_rows = sum(dataset.rows for dataset in several)
        aircraft = max(aircraft_of(dataset) for dataset in several)
        ageing, room = ageing_of(several, perceive), None
        if ageing is not None:
            estimates = sum(most_estimates(each.rows, each.episodes, aircraft, ageing) for each in several)
            room = TrackStore(ageing, most_rows, most_rows, estimates, aircraft)
        store, end, sizes = Store(most_rows, MOST_AIRCRAFT, tracks=room), Place(0, 0), []
        for dataset in several:
            begin = end.row
            for table in dataset.tables():
                chosen = choose(table, dataset.manifest, split, heldout)
                aircraft = max(aircraft, most_aircraft(chosen))
                known = perceive(chosen, dataset.manifest) if perceive else None
                end = store.put(chosen, end, known)
            sizes.append(end.row - begin)
        if not end.row:
            raise empty_split(several, split, heldout)
        return store.snapshots(end, aircraft, tuple(sizes))


def check_split(split: str) -> None:
    """Raise unless there is such a split."""
    if split not in SPLITS:
        raise DatasetError(f"unknown split '{split}'. There are: {', '.join(SPLITS)}.")


def empty_split(datasets: Sequence[Source], split: str, heldout: float) -> DatasetError:
    """Return the error that no episode of the datasets is in a split."""
    episodes = sum(dataset.episodes for dataset in datasets)
    return DatasetError(
        f"no episode is in the split '{split}' ({episodes} episodes, {heldout:.0%} held out by hash). "
        "Collect more episodes."
    )


def aircraft_of(dataset: Source) -> int:
    """Return how many aircraft the world of a dataset has, 0 if it does not say."""
    aircraft = dataset.manifest.world.get("aircraft", 0)
    return min(aircraft, MOST_AIRCRAFT) if isinstance(aircraft, int) else 0


def is_heldout(seed: int, episode: int, fraction: float) -> bool:
    """Return whether an episode is held out: a stable function of its arguments."""
    digest = hashlib.sha256(f"{seed}:{episode}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2.0**64


def is_chosen(episodes: range, manifest: Manifest, split: str, heldout: float) -> np.ndarray:
    """Return which episodes of a dataset are in a split, (E,) bool: by the numbers they were flown under."""
    if split == "all":
        return np.ones(len(episodes), bool)
    origins = origins_of(episodes, manifest.seed, manifest.parts)
    return np.array([is_heldout(*origin, heldout) == (split == "heldout") for origin in origins], bool)


def choose(table: Table, manifest: Manifest, split: str, heldout: float) -> Table:
    """Return the rows of the episodes in a split: whole episodes, by hash."""
    if split == "all":
        return table
    first, last = table["episode"][[0, -1]].tolist() if len(table["episode"]) else (0, -1)
    rows = is_chosen(range(first, last + 1), manifest, split, heldout)[table["episode"] - np.int32(first)]
    return {name: column[rows] for name, column in table.items()}


class Place(NamedTuple):
    """A place in a store: which row, and which state, apart only where aircraft hover; and which estimate."""

    row: int
    state: int
    estimate: int = 0


class Store:
    """Memory for rows and states, reserved at once and all zero; what is not used costs nothing.

    Args:
        rows: How many rows it takes.
        aircraft: The largest N it will be read with.
        states: How many states it takes; by default as many as rows.
        tracks: Takes what is known of them, instead of them.
    """

    def __init__(
        self, rows: int, aircraft: int, states: int | None = None, tracks: TrackStore | None = None
    ) -> None:
        self.tracks = tracks
        self.states = _zeros(((rows if states is None else states) + aircraft - 1, len(STATES)), np.float32)
        self._place: Tensor | None = None
        self.own = _zeros((rows, len(OWN)), np.float32)
        self.first, self.count = _zeros((rows,), np.int32), _zeros((rows,), np.int16)
        self.in_conflict = _zeros((rows,), np.bool_)

    def put(self, table: Table, at: Place, known: Known | None = None) -> Place:
        """Write a sorted table, and what is known in it, from a place on; return the place behind it."""
        states = len(table["episode"])
        if not states:
            return at
        is_new = np.ones(states, bool)
        is_new[1:] = (np.diff(table["episode"]) != 0) | (np.diff(table["step"]) != 0)
        starts = np.flatnonzero(is_new)
        counts = np.diff(starts, append=states)
        is_row = is_piloted(table)
        which: slice | np.ndarray = slice(None) if is_row.all() else is_row
        rows = int(is_row.sum())
        here = slice(at.row, at.row + rows)
        self.first.numpy()[here] = np.repeat(starts + at.state, counts)[which]
        self.count.numpy()[here] = np.repeat(counts, counts)[which]
        for number, name in enumerate(OWN):
            self.own.numpy()[here, number] = table[name][which]
        end = at.estimate
        if self.tracks is not None and known is not None:
            end = self.tracks.put(known, which, *at)
            if known.action is not None:
                self.own.numpy()[here, 2:] = known.action[which]
        else:
            for number, name in enumerate(STATES):
                self.states.numpy()[at.state : at.state + states, number] = table[name]
        self.in_conflict.numpy()[here] = (table["conflicts"] > 0)[which]
        if self._place is not None or at.row != at.state or rows != states:
            self._places().numpy()[here] = at.state + np.flatnonzero(is_row)
        return Place(at.row + rows, at.state + states, end)

    def _places(self) -> Tensor:
        """Return the state of each row, (R,) int32: at first each row's own number."""
        if self._place is None:
            self._place = torch.arange(len(self.first), dtype=torch.int32)
        return self._place

    def snapshots(self, end: Place, aircraft: int, sizes: tuple[int, ...]) -> Snapshots:
        """Return what is before a place, sharing the memory."""
        columns = {name: getattr(self, name)[: end.row] for name in ("own", "first", "count", "in_conflict")}
        place = None if self._place is None else self._place[: end.row]
        states = self.states[: 0 if self.tracks else end.state + aircraft - 1]
        tracks = self.tracks and self.tracks.tracks(*end)
        return Snapshots(
            states=states, aircraft=aircraft, sizes=sizes, place=place, tracks=tracks or None, **columns
        )


def _zeros(shape: tuple[int, ...], dtype: type) -> Tensor:
    """Return zeros that cost memory only once they are written (numpy's do, torch's do not)."""
    return torch.from_numpy(np.zeros(shape, dtype))
