"""Streaming: datasets larger than memory, read shard by shard and mixed through a buffer of some shards.

An epoch is a circle. The shards of each dataset are placed around it in an order drawn from (seed, epoch). The
rows of a shard, shuffled, are dealt out evenly over the stretch of `span` shards that begins at its place. So at
any place just `span` shards are dealt from, also at the seam, where shards that reach over it are read twice.
The circle is cut into slots; the rows dealt in a slot are shuffled together, and batches are cut from what comes.
With a span of all shards, every batch is drawn from all rows.

All of this follows from (seed, epoch) and the number of rows of each shard, so an epoch can be entered at any
batch, and one reader feeds any number of workers.

Notation: D datasets, P shards with rows in the split, T slots, R rows of an epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import DatasetError
from ..files.piloted import is_piloted
from ..traffic.counts import most_aircraft
from ..traffic.record import Table
from .mixture import Mixture, draw, times
from .snapshots import Place, Rows, Store, aircraft_of, check_split, choose, empty_split, is_chosen
from .source import Source
from .tracks import Known, Perceive, PerceivedRows, TrackStore, ageing_of, most_estimates

BUFFER_SHARDS = 16
_ORDER, _DRAW, _SLOT = range(3)  # what a random generator is for


@dataclass(frozen=True)
class Stream:
    """Datasets that are read while they are used.

    Attributes:
        datasets: Where the rows are.
        split: Which of them are wanted.
        heldout: Fraction of the episodes held out.
        buffer_shards: How many shards are in memory at once, all datasets together; one more of each at times,
            and at least one of each.
        shards: (P, 2) int64, dataset and number of each shard with rows in the split.
        counts: (P, 2) int64, its rows in the split: free, in conflict.
        hovering: (P,) int64, how many states of hovering aircraft it has beside them, at most.
        aircraft: N.
        perceive: What aircraft know; None if that is all.
    """

    datasets: tuple[Source, ...]
    split: str
    heldout: float
    buffer_shards: int
    shards: np.ndarray
    counts: np.ndarray
    hovering: np.ndarray
    aircraft: int
    perceive: Perceive | None = None

    @classmethod
    def of(
        cls,
        datasets: Source | Sequence[Source],
        split: str = "all",
        heldout: float = 0.1,
        buffer_shards: int = BUFFER_SHARDS,
        perceive: Perceive | None = None,
    ) -> "Stream":
        """Count the rows, by what each shard says of itself; shards of before 2026-11-26 are read and counted.

        So damage of a shard's rows is found when they are read, unless its size shows it.

        Args:
            datasets: One or several.
            split: `all`, `train` or `heldout`, as for `Snapshots.of`.
            heldout: Fraction of the episodes held out.
            buffer_shards: How many shards may be in memory at once.
            perceive: What aircraft know; None if that is all. It is asked whenever a shard is read.

        Raises:
            DatasetError: A shard is missing or cut, no episode falls into the split, or the buffer holds nothing.
        """
        check_split(split)
        if buffer_shards < 1:
            raise DatasetError(f"expected a buffer of 1 shard or more, got {buffer_shards}")
        several = tuple(datasets) if isinstance(datasets, Sequence) else (datasets,)
        aircraft = max(aircraft_of(dataset) for dataset in several)
        shards, counts, hovering = [], [], []
        for number, dataset in enumerate(several):
            for shard in dataset.shards:
                counted, episodes = dataset.counts(shard), dataset.manifest.shard_episodes(shard)
                entry = dataset.manifest.entry(shard)
                kinds = counted.kinds[is_chosen(episodes, dataset.manifest, split, heldout)].sum(0)
                aircraft = max(aircraft, counted.aircraft)
                if kinds.any():
                    shards.append((number, shard))
                    counts.append(kinds)
                    hovering.append((entry.rows if entry else 0) - int(counted.kinds.sum()))
        if not shards:
            raise empty_split(several, split, heldout)
        pieces, kinds, beside = (np.array(column, np.int64) for column in (shards, counts, hovering))
        ageing_of(several, perceive)  # so that an error comes at once
        return cls(several, split, heldout, buffer_shards, pieces, kinds, beside, aircraft, perceive)

    def __len__(self) -> int:
        """Return the number of rows in the split."""
        return int(self.counts.sum())

    def kinds(self) -> np.ndarray:
        """Return the rows of each dataset, (D, 2) int64: free, in conflict."""
        kinds = np.zeros((len(self.datasets), 2), np.int64)
        np.add.at(kinds, self.shards[:, 0], self.counts)
        return kinds

    def table(self, piece: int) -> Table:
        """Read a shard, checked as always, and return its rows in the split, those of hovering aircraft too.

        Raises:
            DatasetError: It is damaged, or has other rows than when they were counted.
        """
        number, shard = self.shards[piece].tolist()
        dataset = self.datasets[number]
        table = choose(dataset.table(shard), dataset.manifest, self.split, self.heldout)
        expected, found = self.counts[piece].sum(), int(is_piloted(table).sum())
        if found != expected or most_aircraft(table) > self.aircraft:
            name = dataset.manifest.shard_name(shard)
            raise DatasetError(
                f"shard {name}: expected {expected} rows in '{self.split}', as were counted at first, got "
                f"{found}. Open the dataset again."
            )
        return table

    def known(self, piece: int, table: Table) -> Known | None:
        """Return what is known in a shard's table; None if that is all."""
        manifest = self.datasets[self.shards[piece, 0]].manifest
        return self.perceive(table, manifest) if self.perceive else None


class Schedule:
    """What is dealt when in one epoch.

    Args:
        stream: The shards.
        mixture: How often each kind of row comes.
        seed: With the epoch it fixes everything.
        epoch: From 0.
        shuffle: False deals the rows in the order of the datasets.
    """

    def __init__(self, stream: Stream, mixture: Mixture, seed: int, epoch: int, shuffle: bool) -> None:
        self.key, self.shuffle = (seed, epoch), shuffle
        self.repetitions = mixture.repetitions(stream.kinds())[stream.shards[:, 0]]  # (P, 2)
        self.drawn = times(stream.counts, self.repetitions)  # (P, 2)
        self._rows = self.drawn.sum(1)  # (P,)
        owner = stream.shards[:, 0]
        if not shuffle:
            owner = np.zeros_like(owner)
        sizes = np.bincount(owner)
        self.slots = int(sizes.max())
        spans = spans_of(stream.buffer_shards, sizes, np.bincount(owner, self._rows)) if shuffle else sizes // sizes
        self.most_held = int((spans + 2).sum())  # a slot may begin and end within a shard
        # The circle's length is T * size of the dataset, so that slots and shards begin at whole numbers.
        self._circle = self.slots * sizes[owner]
        self._stretch = self.slots * spans[owner]
        self._slot = sizes[owner]
        self._start = np.empty_like(owner)
        for number, size in enumerate(sizes):
            order = self.random(_ORDER, number).permutation(size) if shuffle else np.arange(size)
            self._start[owner == number] = order * self.slots

    @property
    def rows(self) -> int:
        """R."""
        return int(self._rows.sum())

    def random(self, *purpose: int) -> np.random.Generator:
        """Return the generator for one purpose in this epoch."""
        return np.random.default_rng(np.random.SeedSequence((*self.key, *purpose)))

    def dealt(self, slot: int) -> np.ndarray:
        """Return how many rows of each shard are dealt before a slot begins, (P,) int64."""
        now = slot * self._slot
        after_seam = np.clip(self._circle - self._start, 0, self._stretch)  # dealt up to the seam
        here = np.clip(now - self._start, 0, self._stretch)
        over = np.clip(now - self._start + self._circle, 0, self._stretch) - after_seam
        return self._rows * (here + over) // self._stretch

    def slot_of(self, row: int) -> tuple[int, int]:
        """Return the slot the epoch's row number `row` is dealt in, and its place in it."""
        low, high = 0, self.slots
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.dealt(middle).sum() <= row else (low, middle)
        return low, row - int(self.dealt(low).sum())


def spans_of(buffer_shards: int, sizes: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Divide the buffer among datasets by what is drawn of them; no more than each has, at least 1, (D,) int64."""
    spans = np.clip(np.floor(buffer_shards * drawn / drawn.sum() + 0.5).astype(np.int64), 1, sizes)
    for number in np.argsort(spans - sizes, kind="stable"):  # what some cannot use goes to those that lack most
        spans[number] = min(sizes[number], spans[number] + max(buffer_shards - spans.sum(), 0))
    return spans


class Buffer:
    """The shards that are dealt from, in memory reserved once.

    Args:
        stream: Where the rows are.
        schedule: Which of them are drawn, and in which slot.
    """

    def __init__(self, stream: Stream, schedule: Schedule) -> None:
        self._stream, self._schedule = stream, schedule
        rows, ageing = stream.counts.sum(1), ageing_of(stream.datasets, stream.perceive)
        states = int((rows + stream.hovering).max())
        episodes = max(dataset.manifest.episodes_per_shard for dataset in stream.datasets)
        estimates = most_estimates(states, episodes, stream.aircraft, ageing)
        self._room = Place(int(rows.max()), states, estimates)
        cells = min(schedule.most_held, len(stream.shards))
        self._end = Place(*(cells * each for each in self._room))
        if self._end.state >= 2**31:
            raise DatasetError(
                f"expected a buffer of less than {2**31} rows, got {self._end.state}. Buffer fewer shards."
            )
        tracks = TrackStore(ageing, *self._end, stream.aircraft) if ageing else None
        self._store = Store(self._end.row, stream.aircraft, self._end.state, tracks)
        self._snapshots = self._store.snapshots(self._end, stream.aircraft, (self._end.row,))
        self._free = list(range(cells))[::-1]
        self._cells: dict[int, int] = {}  # piece: cell
        self._drawn: dict[int, np.ndarray] = {}  # piece: its rows in the buffer, in the order they are dealt

    def rows(self, slot: int) -> np.ndarray:
        """Return the rows dealt in a slot, int32; shards that lack are read, and those done with let go."""
        begin, end = self._schedule.dealt(slot), self._schedule.dealt(slot + 1)
        pieces = np.flatnonzero(end > begin).tolist()
        for piece in set(self._cells) - set(pieces):
            self._free.append(self._cells.pop(piece))
            del self._drawn[piece]
        for piece in pieces:
            if piece not in self._cells:
                self._read(piece)
        parts = [self._drawn[piece][begin[piece] : end[piece]] for piece in pieces]
        rows = np.concatenate(parts)
        if self._schedule.shuffle:
            self._schedule.random(_SLOT, slot).shuffle(rows)
        return rows

    def pick(self, rows: np.ndarray) -> Rows | PerceivedRows:
        """Copy rows out."""
        return self._snapshots.pick(torch.from_numpy(rows))

    def _read(self, piece: int) -> None:
        """Read a shard into a free cell and draw from it."""
        cell = self._free.pop()
        at = Place(*(cell * each for each in self._room))
        table = self._stream.table(piece)
        rows = self._store.put(table, at, self._stream.known(piece, table)).row - at.row
        if self._snapshots.place is None:
            self._snapshots = self._store.snapshots(self._end, self._stream.aircraft, (self._end.row,))
        drawn = np.arange(rows, dtype=np.int32)
        if self._schedule.shuffle:
            random = self._schedule.random(_DRAW, *self._stream.shards[piece].tolist())
            in_conflict = self._store.in_conflict.numpy()[at.row : at.row + rows]
            drawn = draw(in_conflict, self._schedule.repetitions[piece], random)
            random.shuffle(drawn)
        self._cells[piece], self._drawn[piece] = cell, drawn + np.int32(at.row)


def deal(stream: Stream, schedule: Schedule, batch_size: int, start_batch: int) -> Iterator[Rows | PerceivedRows]:
    """Yield an epoch's batches from one on; the last may be smaller.

    Raises:
        DatasetError: A shard was damaged since it was counted.
    """
    if start_batch * batch_size >= schedule.rows:
        return
    buffer = Buffer(stream, schedule)
    first, skip = schedule.slot_of(start_batch * batch_size)
    parts: list[Rows | PerceivedRows] = []
    lacking = batch_size
    for slot in range(first, schedule.slots):
        rows = buffer.rows(slot)[skip if slot == first else 0 :]
        while len(rows):
            part, rows = rows[:lacking], rows[lacking:]
            parts.append(buffer.pick(part))
            lacking -= len(part)
            if not lacking:
                yield _joined(parts)
                parts, lacking = [], batch_size
    if parts:
        yield _joined(parts)


def _joined(parts: list[Rows | PerceivedRows]) -> Rows | PerceivedRows:
    """Return several lots of rows as one."""
    return parts[0] if len(parts) == 1 else type(parts[0])(*(torch.cat(column) for column in zip(*parts)))
