"""Lists of numbers as people write them: `0-99,120` is 101 numbers, each of which comes once, ascending."""

import re
from itertools import pairwise

import numpy as np

from .errors import DatasetError

_PART = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")
_MOST = 2**31 - 1


def _ranges_of(text: str) -> list[tuple[int, int]]:
    """Return the first and the last number of each part of a list."""
    found = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= _MOST:
            raise DatasetError(f"expected numbers such as 0-99,120, got {part[:40]!r}.")
        found.append((first, last))
    ranges = sorted(found)
    for (_, last), (first, _) in pairwise(ranges):
        if first <= last:
            raise DatasetError(f"expected each number once in {text[:40]!r}, got {first} again.")
    return ranges


def count_of(text: str) -> int:
    """Return how many numbers there are in a list.

    Raises:
        DatasetError: It is no list, or holds a number twice.
    """
    return sum(last - first + 1 for first, last in _ranges_of(text))


def numbers_of(text: str, below: int) -> np.ndarray:
    """Return the numbers of a list, (n,) int64, ascending.

    Args:
        text: The list.
        below: All have to be below this.

    Raises:
        DatasetError: It is no list, holds a number twice, or one that is too large.
    """
    ranges = _ranges_of(text)
    if ranges[-1][1] >= below:
        raise DatasetError(f"expected numbers from 0 to {below - 1}, got {ranges[-1][1]} in {text[:40]!r}.")
    return np.concatenate([np.arange(first, last + 1) for first, last in ranges])


def text_of(numbers: np.ndarray) -> str:
    """Return ascending numbers (n,) as a list."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
    ends = [*(starts[1:] - 1), len(numbers) - 1]
    pairs = [(int(numbers[start]), int(numbers[end])) for start, end in zip(starts, ends)]
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in pairs)
