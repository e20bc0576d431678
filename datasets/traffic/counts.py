"""What the rows of a table count up to: how many there are of each episode, and what came of the flights."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import RecordError
from .record import OUTCOMES, Table


@dataclass(frozen=True)
class Counts:
    """The rows of some episodes, one number an episode.

    Attributes:
        aircraft: How many aircraft fly in them: the highest number and one.
        free: Rows in which the teacher acts on no conflict.
        in_conflict: Rows in which it acts on one.
    """

    aircraft: int
    free: tuple[int, ...]
    in_conflict: tuple[int, ...]

    def __post_init__(self) -> None:
        for each in (self.aircraft, *self.free, *self.in_conflict):
            if type(each) is not int or not 0 <= each < 2**31:
                raise RecordError(f"expected counts of rows, whole numbers from 0 on, got {each!r}")

    @property
    def kinds(self) -> np.ndarray:
        """The rows of each episode, (E, 2) int64: free, in conflict."""
        return np.array((self.free, self.in_conflict), np.int64).T

    def are_of(self, episodes: int, rows: int) -> bool:
        """Return whether they are the counts of so many episodes and rows."""
        return (
            len(self.free) == len(self.in_conflict) == episodes and sum(self.free) + sum(self.in_conflict) == rows
        )


def counts_of(table: Table, episodes: range) -> Counts:
    """Count the rows of each episode.

    Args:
        table: Rows of these episodes alone.
        episodes: E numbers, rising by one.
    """
    place, in_conflict = table["episode"] - np.int32(episodes.start), table["conflicts"] > 0
    every = np.bincount(place, minlength=len(episodes))
    conflicting = np.bincount(place[in_conflict], minlength=len(episodes))
    return Counts(most_aircraft(table), tuple((every - conflicting).tolist()), tuple(conflicting.tolist()))


def most_aircraft(table: Table) -> int:
    """Return how many aircraft a network must be ready for to see all rows of a table."""
    return int(table["aircraft"].max()) + 1 if len(table["aircraft"]) else 0


def figures_of_rows(table: Table, world: Mapping[str, object]) -> dict[str, float]:
    """Return the figures of a dataset that its rows decide; the others are counts of pairs of aircraft.

    Args:
        table: Rows of whole episodes.
        world: The world's parameters; `flight_s` is left out where they do not say how long a step is.
    """
    ends = np.bincount(table["outcome"], minlength=len(OUTCOMES))
    step_s = world.get("step_s")
    return {
        "episodes": float(len(np.unique(table["episode"]))),
        **({"flight_s": len(table["step"]) * step_s} if isinstance(step_s, int | float) else {}),
        "rows_in_conflict": float(np.count_nonzero(table["conflicts"])),
        **{name: float(ends[number]) for number, name in enumerate(OUTCOMES) if number},
    }
