"""The loader: shuffled batches of observations and labels, from memory or streamed from disk.

The order is a function of (seed, epoch) alone, so it is the same for any number of workers, and the
number of batches already used is all that is needed to continue.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import DatasetError
from ..traffic.observation import Observation, observe
from ..traffic.view import View, scale_of
from .mixture import Mixture, draw, times
from .snapshots import Rows, Snapshots
from .source import Source
from .streaming import BUFFER_SHARDS, Schedule, Stream, deal
from .tracks import Perceive, PerceivedRows


class Batch(NamedTuple):
    """What a network trains on, M rows.

    Attributes:
        observation: (M, 7), (M, K, F), (M, K).
        action: (M, 2) float32, the teacher's turn and speed change in action units: the label.
        in_conflict: (M,) bool, True where the teacher acts on a conflict in the stored state.
    """

    observation: Observation
    action: Tensor
    in_conflict: Tensor


def assemble(rows: Rows | PerceivedRows, view: View) -> Batch:
    """Compute the batch of some rows.

    Args:
        rows: What was picked from snapshots.
        view: What is observed.
    """
    own, pairs = rows.seen()
    return Batch(observe(own, pairs, view), rows.own[:, 2:], rows.in_conflict)


class Loader:
    """Iterates over the batches of one epoch; unless weighted or mixed, each row comes once.

    Args:
        source: The rows, in memory or as a stream.
        view: What is observed.
        batch_size: M; the last batch of an epoch may be smaller.
        seed: With the epoch it fixes the order.
        shuffle: Uniformly over all rows, or over a stream's buffer; False keeps their order.
        drop_last: Leave out a last batch that is smaller.
        start_batch: How many batches of the first epoch iterated over are already used.
        workers: Processes that compute batches ahead; 0 computes them here.
        conflict_weight: How often a row in conflict comes for each time a free one does: 2.5 is twice each, and
            half of them, drawn anew in each epoch without replacement, a third time; `inf` is only those rows.
        mix: Share of each dataset in an epoch, in any unit; None: each row of each counts the same.
        device: Where observations are computed; None: where the snapshots are. Of a source elsewhere only the
            picked rows go there.
        part: (r, n): of each batch only the r-th of n equal parts, which may be empty; the order and the number of
            batches do not depend on it.

    Raises:
        DatasetError: A size, weight or share makes no sense, or no batch comes about.
    """

    def __init__(
        self,
        source: Snapshots | Stream,
        view: View | None = None,
        batch_size: int = 1024,
        seed: int = 0,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        start_batch: int = 0,
        workers: int = 0,
        conflict_weight: float = 1.0,
        mix: Sequence[float] | None = None,
        device: torch.device | str | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size < 1:
            raise DatasetError(f"expected a batch size of 1 or more, got {batch_size}")
        self.mixture = Mixture(conflict_weight, None if mix is None else tuple(mix))
        if not shuffle and not self.mixture.is_plain:
            raise DatasetError(
                "expected shuffle with a conflict weight or a mix: rows that are drawn have no order"
            )
        self.source = source
        self.view = view or View()
        self.batch_size = batch_size
        kind = _Order if isinstance(source, Snapshots) else _Flow
        self._order = kind(source, self.mixture, batch_size, seed, shuffle, drop_last, start_batch, part)
        if drop_last and self.rows < batch_size:
            raise DatasetError(f"expected at least one batch of {batch_size} rows, got {self.rows} rows")
        self._loader: DataLoader[Batch] = DataLoader(
            _Batches(source if isinstance(source, Snapshots) else None, self.view, device),
            sampler=self._order,
            batch_size=None,
            num_workers=workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else an iteration draws from the global one
        )

    @classmethod
    def of(
        cls,
        datasets: Sequence[Source],
        split: str = "all",
        heldout: float = 0.1,
        view: View | str = "seed",
        *,
        stream: bool = False,
        buffer_shards: int = BUFFER_SHARDS,
        perceive: Perceive | None = None,
        **options: Any,
    ) -> "Loader":
        """Return a loader over datasets, read into memory now or streamed.

        Args:
            datasets: One or several.
            split: `all`, `train` or `heldout`.
            heldout: Fraction of the episodes held out.
            view: What is observed, as a `View`, or its text: then lengths and speeds are in units of the world's.
            stream: Keep in memory but some shards, and shuffle among those.
            buffer_shards: How many.
            perceive: What aircraft know; None if that is all.
            **options: Those of `Loader`.
        """
        source: Snapshots | Stream
        if stream:
            source = Stream.of(datasets, split, heldout, buffer_shards, perceive)
        else:
            source = Snapshots.of(datasets, split, heldout, perceive)
        if isinstance(view, str):
            view = View.parse(view, scale_of(datasets[0].manifest.world) if datasets else None)
        return cls(source, view, **options)

    @property
    def rows(self) -> int:
        """Number of rows of an epoch."""
        return int(self._order.drawn.sum())

    def rows_in(self, batch: int) -> int:
        """Return how many rows that batch of an epoch has, all its parts together."""
        return min(self.batch_size, self.rows - batch * self.batch_size)

    def importance(self, batch: Batch) -> Tensor:
        """Return what multiplies the loss of a batch's rows so that the conflict weight cancels out.

        Rows in conflict have 1 / conflict_weight times that of free ones; the mean over an epoch is 1.

        Returns:
            (M,) float32.

        Raises:
            DatasetError: Only rows in conflict come.
        """
        free, conflict = self.mixture.importance(self._order.drawn).tolist()
        return torch.where(batch.in_conflict, conflict, free)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch that is iterated over next, and how many of its batches are already used."""
        self._order.epoch, self._order.start_batch = epoch, start_batch

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return self._order.batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the epoch set, from its start batch on."""
        yield from self._loader


class _Order(Sampler[Any]):
    """Yields the rows (M,) of each batch of an epoch, of snapshots in memory."""

    def __init__(
        self,
        source: Any,
        mixture: Mixture,
        batch_size: int,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        start_batch: int,
        part: tuple[int, int],
    ) -> None:
        self.source, self.mixture = source, mixture
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self._part = part
        self.drawn = self._count()  # (2,) rows of an epoch: free, in conflict
        rows = int(self.drawn.sum())
        self.batches = rows // batch_size if drop_last else -(-rows // batch_size)
        self.epoch, self.start_batch = 0, start_batch

    def __len__(self) -> int:
        return max(self.batches - self.start_batch, 0)

    def __iter__(self) -> Iterator[Any]:
        order = self._permutation().to(self.source.device)
        for batch in range(self.start_batch, self.batches):
            yield self._own(order[batch * self.batch_size : (batch + 1) * self.batch_size])

    def _own(self, rows: Any) -> Any:
        """Return this process's part of a batch's rows, of a tensor or an array (M, ...)."""
        number, parts = self._part
        return rows[len(rows) * number // parts : len(rows) * (number + 1) // parts]

    def _count(self) -> np.ndarray:
        """Return how many rows of each kind an epoch has, (2,) int64."""
        self._in_conflict = self.source.in_conflict.cpu()
        in_conflict = torch.split(self._in_conflict, self.source.sizes)
        conflicts = np.array([int(part.sum()) for part in in_conflict])
        counts = np.stack((np.array(self.source.sizes) - conflicts, conflicts), 1)  # (D, 2)
        self._repetitions = self.mixture.repetitions(counts)
        return times(counts, self._repetitions).sum(0)

    def _permutation(self) -> Tensor:
        """Return all rows of the epoch in order, (R,) int32."""
        if not self.shuffle:
            return torch.arange(len(self.source), dtype=torch.int32)
        sequence = np.random.SeedSequence((self.seed, self.epoch))
        if self.mixture.is_plain:
            state = sequence.generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(state) & (2**63 - 1))
            return torch.randperm(len(self.source), generator=generator, dtype=torch.int32)
        random, begin, parts = np.random.default_rng(sequence), 0, []
        for size, repetitions in zip(self.source.sizes, self._repetitions):
            in_conflict = self._in_conflict[begin : begin + size].numpy()
            parts.append(draw(in_conflict, repetitions, random) + np.int32(begin))
            begin += size
        order = np.concatenate(parts)
        random.shuffle(order)
        return torch.from_numpy(order)


class _Flow(_Order):
    """Yields the picked rows of each batch of an epoch, of a stream, as arrays: so they cross to a worker fast."""

    def __iter__(self) -> Iterator[Any]:
        batches = deal(self.source, self._schedule(self.epoch), self.batch_size, self.start_batch)
        for rows in islice(batches, len(self)):
            yield type(rows), [self._own(column.numpy()) for column in rows]

    def _count(self) -> np.ndarray:
        """Return how many rows of each kind an epoch has, (2,) int64."""
        return self._schedule(0).drawn.sum(0)

    def _schedule(self, epoch: int) -> Schedule:
        """Return what is dealt when in an epoch."""
        return Schedule(self.source, self.mixture, self.seed, epoch, self.shuffle)


class _Batches(Dataset[Batch]):
    """Maps the rows of a batch, picked or not, to the batch."""

    def __init__(self, store: Snapshots | None, view: View, device: torch.device | str | None) -> None:
        self.store, self.view, self.device = store, view, device

    def __getitem__(self, rows: Any) -> Batch:
        if self.store is not None:
            picked = self.store.pick(rows)
        else:
            kind, columns = rows
            picked = kind(*map(torch.from_numpy, columns))
        return assemble(picked if self.device is None else picked.to(self.device), self.view)


def _as_it_is(batch: Any) -> Any:
    """Return the batch: it needs no collating, and a lambda could not go to a worker."""
    return batch
