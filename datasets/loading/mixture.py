"""The mixture: how often each kind of row comes in an epoch.

A kind is (dataset, in conflict or not). Its repetition says how often each of its rows comes: 1 is once each;
2.5 is twice each, and half of them, drawn without replacement, a third time; 0.5 is half of them. So an epoch's
size and its share of every kind are exact, and only which rows come once more is drawn.

Notation: D datasets; axis "kind" of length 2 is (free, in conflict).
"""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import DatasetError


@dataclass(frozen=True)
class Mixture:
    """What an epoch is mixed of.

    Attributes:
        conflict_weight: How often a row in conflict comes for each time a free one does; `inf`: only rows in
            conflict come.
        mix: Share of each dataset in an epoch, in any unit; None: each row of each counts the same.
    """

    conflict_weight: float = 1.0
    mix: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.conflict_weight > 0:
            raise DatasetError(f"expected a conflict weight above 0, got {self.conflict_weight}")
        if self.mix is not None:
            object.__setattr__(self, "mix", tuple(float(share) for share in self.mix))
            if not all(0 < share < math.inf for share in self.mix):
                raise DatasetError(
                    f"expected a mix of shares above 0, got {self.mix}. Leave out what has no share."
                )

    @property
    def is_plain(self) -> bool:
        """Whether each row comes once."""
        return self.conflict_weight == 1.0 and self.mix is None

    def repetitions(self, counts: np.ndarray) -> np.ndarray:
        """Return how often a row of each kind comes.

        Without a mix that is 1 for free rows and the conflict weight for rows in conflict. A mix keeps the
        epoch's size and the conflict weight within each dataset, and scales the datasets.

        Args:
            counts: (D, 2) how many rows there are of each kind.

        Returns:
            (D, 2) float64.

        Raises:
            DatasetError: The mix has another length, or a dataset has no row to draw.
        """
        weight = self.conflict_weight
        kinds = np.array([0.0, 1.0] if math.isinf(weight) else [1.0, weight])
        weighted = counts @ kinds  # (D,) rows drawn without a mix
        if self.mix is None:
            if not weighted.any():
                raise DatasetError("expected rows in conflict, got none. Lower the conflict weight.")
            return np.tile(kinds, (len(counts), 1))
        if len(self.mix) != len(counts):
            raise DatasetError(f"expected a mix of {len(counts)} shares, one for each dataset, got {len(self.mix)}")
        if not weighted.all():
            number = int(np.argmin(weighted)) + 1
            raise DatasetError(
                f"expected rows to draw from every dataset of the mix, got none from number {number}"
            )
        wanted = weighted.sum() * np.array(self.mix) / sum(self.mix)  # (D,) rows
        return np.outer(wanted / weighted, kinds)

    def importance(self, drawn: np.ndarray) -> np.ndarray:
        """Return what multiplies a row's loss so that the conflict weight cancels out; 1 on average.

        Args:
            drawn: (2,) how many rows of each kind come in an epoch.

        Returns:
            (2,) float64, in proportion 1 to 1 / weight.

        Raises:
            DatasetError: Only rows in conflict are drawn: nothing represents the free ones.
        """
        if math.isinf(self.conflict_weight):
            raise DatasetError(
                "expected a finite conflict weight: rows in conflict alone cannot represent all rows"
            )
        kinds = np.array([1.0, 1.0 / self.conflict_weight])
        return kinds * (drawn.sum() / (drawn @ kinds))


def times(rows: np.ndarray | int, repetition: np.ndarray | float) -> np.ndarray:
    """Return how many of `rows` rows are drawn, rounded half up, int64."""
    return np.floor(np.asarray(rows) * repetition + 0.5).astype(np.int64)


def draw(in_conflict: np.ndarray, repetitions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw rows, each as often as its kind asks for; not yet shuffled.

    Args:
        in_conflict: (R,) bool.
        repetitions: (2,) for free rows and rows in conflict.
        random: Decides which rows come once more than others of their kind.

    Returns:
        (sum of `times`,) int32 rows.
    """
    parts = []
    for kind, repetition in enumerate(repetitions):
        rows = np.flatnonzero(in_conflict == bool(kind)).astype(np.int32)
        whole, wanted = math.floor(repetition), int(times(len(rows), repetition))
        parts.append(np.tile(rows, whole))
        parts.append(random.permutation(rows)[: wanted - whole * len(rows)])
    return np.concatenate(parts)
