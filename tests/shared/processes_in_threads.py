"""Processes that are threads of this one: what they add up is the same, and nothing has to be started."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from skyclone.train.runs.processes import Processes

Result = TypeVar("Result")
LONGEST_S = 60


class _Thread(Processes):
    """One of them.

    Args:
        rank: Its number.
        barrier: Where all of them wait for each other.
        brought: What each brings.
    """

    def __init__(self, rank: int, barrier: threading.Barrier, brought: list[Tensor]) -> None:
        super().__init__(rank, barrier.parties)
        self._barrier, self._brought = barrier, brought

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of what all bring, as many numbers from each."""
        self._brought[self.rank] = tensor.clone()
        self._barrier.wait(LONGEST_S)
        assert len({each.shape for each in self._brought}) == 1, "one of them is somewhere else"
        total = torch.stack(self._brought).sum(0)
        self._barrier.wait(LONGEST_S)
        return total


def in_threads(count: int, work: Callable[[Processes], Result]) -> list[Result]:
    """Let so many processes do some work together; return what each returns."""
    barrier, brought = threading.Barrier(count), [torch.empty(0)] * count

    def alone(rank: int) -> Result:
        try:
            return work(_Thread(rank, barrier, brought))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(alone, range(count)))
