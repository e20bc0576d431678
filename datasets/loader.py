"""The loader: shuffled batches of observations and labels from snapshots in memory.

The order is a function of (seed, epoch) alone, so it is the same for any number of workers, and the
number of batches already used is all that has to be known to go on.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .errors import DatasetError
from .observation import Observation, View, observe
from .snapshots import Snapshots
from .traffic import pairs_of_rows

if TYPE_CHECKING:
    from . import dataset


class Batch(NamedTuple):
    """What a network trains on, M rows.

    Attributes:
        observation: (M, 7), (M, K, F), (M, K).
        action: (M, 2) float32, the teacher's turn and speed change in action units: the label.
        in_conflict: (M,) bool, True where the teacher acts on a conflict.
    """

    observation: Observation
    action: Tensor
    in_conflict: Tensor


def assemble(store: Snapshots, rows: Tensor, view: View) -> Batch:
    """Compute the batch of these rows.

    Args:
        store: Where they lie.
        rows: (M,) int64 or int32, in any order.
        view: What is observed.
    """
    own, pairs = pairs_of_rows(*store.traffic(rows))
    return Batch(
        observe(own, pairs, view),
        store.action.index_select(0, rows),
        store.in_conflict.index_select(0, rows),
    )


class Loader:
    """Iterates over the batches of one epoch; each row comes once.

    Args:
        store: The rows.
        view: What is observed.
        batch_size: M; the last batch of an epoch may be smaller.
        seed: With the epoch it fixes the order.
        shuffle: Uniformly over all rows; False keeps their order.
        drop_last: Leave out a last batch that is smaller.
        start_batch: How many batches of the first epoch iterated over are already used.
        workers: Processes that compute batches ahead; 0 computes them here.

    Raises:
        DatasetError: The batch size is not positive, or no batch comes about.
    """

    def __init__(
        self,
        store: Snapshots,
        view: View | None = None,
        batch_size: int = 1024,
        seed: int = 0,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        start_batch: int = 0,
        workers: int = 0,
    ) -> None:
        if batch_size < 1:
            raise DatasetError(f"expected a batch size of 1 or more, got {batch_size}")
        if drop_last and len(store) < batch_size:
            raise DatasetError(f"expected at least one batch of {batch_size} rows, got {len(store)} rows")
        self.store = store
        self.view = view or View()
        self.batch_size = batch_size
        self._order = _Order(len(store), batch_size, seed, shuffle, drop_last, start_batch)
        self._loader: DataLoader[Batch] = DataLoader(
            _Batches(store, self.view),
            sampler=self._order,
            batch_size=None,
            num_workers=workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else an iteration draws from the global one
        )

    @classmethod
    def of(
        cls,
        datasets: "Sequence[dataset.Dataset]",
        split: str = "all",
        heldout: float = 0.1,
        view: View | str = "seed",
        **options: Any,
    ) -> "Loader":
        """Read datasets into memory and return a loader over them.

        Args:
            datasets: One or several.
            split: `all`, `train` or `heldout`.
            heldout: Fraction of the episodes held out.
            view: What is observed, as a `View` or its text.
            **options: Those of `Loader`.
        """
        store = Snapshots.of(datasets, split, heldout)
        return cls(store, View.parse(view) if isinstance(view, str) else view, **options)

    @property
    def rows(self) -> int:
        """Number of rows of an epoch."""
        return len(self.store)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch that is iterated over next, and how many of its batches are already used."""
        self._order.epoch, self._order.start_batch = epoch, start_batch

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return self._order.batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the epoch set, from its start batch on."""
        yield from self._loader


class _Order(Sampler[Tensor]):
    """Yields the rows (M,) of each batch of an epoch."""

    def __init__(
        self, rows: int, batch_size: int, seed: int, shuffle: bool, drop_last: bool, start_batch: int
    ) -> None:
        self.rows, self.batch_size, self.seed, self.shuffle = rows, batch_size, seed, shuffle
        self.batches = rows // batch_size if drop_last else -(-rows // batch_size)
        self.epoch, self.start_batch = 0, start_batch

    def __len__(self) -> int:
        return max(self.batches - self.start_batch, 0)

    def __iter__(self) -> Iterator[Tensor]:
        order = self._permutation()
        for batch in range(self.start_batch, self.batches):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _permutation(self) -> Tensor:
        """Return all rows in the order of the epoch, (R,) int32."""
        if not self.shuffle:
            return torch.arange(self.rows, dtype=torch.int32)
        state = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state) & (2**63 - 1))
        return torch.randperm(self.rows, generator=generator, dtype=torch.int32)


class _Batches(Dataset[Batch]):
    """Maps the rows of a batch to the batch."""

    def __init__(self, store: Snapshots, view: View) -> None:
        self.store, self.view = store, view

    def __getitem__(self, rows: Tensor) -> Batch:
        return assemble(self.store, rows, self.view)


def _as_it_is(batch: Any) -> Any:
    """Return the batch: it needs no collating, and a lambda could not go to a worker."""
    return batch
