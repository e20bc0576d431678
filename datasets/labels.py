"""What the labels of a dataset look like: histograms in text, in conflict and free."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from .dataset import Dataset
from .errors import DatasetError
from .files.piloted import piloted
from .traffic.record import Table

LABELS = ("teacher_turn", "teacher_speed")
EDGES = np.linspace(-1.0, 1.0, 12)  # eleven bins, one of them around 0
_MOST_ROWS = 1_000_000
_BAR = 24


@dataclass
class Survey:
    """Counts over the rows that were read.

    Attributes:
        rows: How many somebody flies; only these are counted.
        hovering: How many are of hovering aircraft.
        rows_by_conflicts: How many rows have 0, 1, 2, 3 or more conflicts.
        counts: (2, 2, 11) int64: label, in conflict (0 no, 1 yes), bin of `EDGES`.
        unreadable: Names of the shards that could not be read.
    """

    rows: int = 0
    hovering: int = 0
    rows_by_conflicts: np.ndarray = field(default_factory=lambda: np.zeros(4, np.int64))
    counts: np.ndarray = field(default_factory=lambda: np.zeros((2, 2, len(EDGES) - 1), np.int64))
    unreadable: list[str] = field(default_factory=list)

    def add(self, table: Table) -> None:
        """Count the rows of a table."""
        every, table = len(table["episode"]), piloted(table)
        self.rows += len(table["episode"])
        self.hovering += every - len(table["episode"])
        self.rows_by_conflicts += np.bincount(np.clip(table["conflicts"], 0, 3), minlength=4)
        in_conflict = table["conflicts"] > 0
        for number, name in enumerate(LABELS):
            for group, rows in enumerate((~in_conflict, in_conflict)):
                self.counts[number, group] += np.histogram(table[name][rows], EDGES)[0]


def survey(dataset: Dataset, most_rows: int = _MOST_ROWS) -> Survey:
    """Count the labels of a dataset, of a large one in shards spread over all of it.

    Args:
        dataset: Complete or not; shards that cannot be read are named in the result.
        most_rows: At most about this many rows are read, but at least one shard.
    """
    found = Survey()
    shards = dataset.shards
    every = max(1, -(-dataset.rows // max(most_rows, 1)))
    for index in shards[:: min(every, max(len(shards), 1))]:
        try:
            found.add(dataset.table(index))
        except DatasetError:
            found.unreadable.append(dataset.manifest.shard_name(index))
    return found


def text(found: Survey, rows: int) -> str:
    """Return the survey for people.

    Args:
        found: What was counted.
        rows: Of the whole dataset.
    """
    lines = []
    if found.unreadable:
        lines += [f"Not readable: {', '.join(found.unreadable)}. Ask `skyclone datasets verify` what is wrong.", ""]
    if not found.rows:
        return "\n".join([*lines, "No rows to count labels of."])
    read = found.rows + found.hovering
    part = "all rows" if read == rows else f"{read:,} of {rows:,} rows, in shards spread over all"
    if found.hovering:
        part += f"; {found.hovering:,} of hovering aircraft not counted"
    shares = zip(("0", "1", "2", "3 or more"), found.rows_by_conflicts / found.rows, strict=True)
    lines.append(f"Labels and conflicts ({part})")
    lines.append("conflicts of a row   " + ", ".join(f"{count}: {share:.2%}" for count, share in shares))
    for name, (free, conflicting) in zip(LABELS, found.counts, strict=True):
        lines += ["", f"{name:<18} {'free of conflict':<{_BAR + 9}} in conflict"]
        for low, high, *bars in zip(EDGES, EDGES[1:], _bars(free), _bars(conflicting), strict=False):
            lines.append(f"{low:+5.2f} to {high:+.2f}     {bars[0]:<{_BAR + 9}} {bars[1]}".rstrip())
    return "\n".join(lines)


def _bars(counts: np.ndarray) -> Iterable[str]:
    """Yield a bar for each count, its share behind it; the longest bar is `_BAR` wide."""
    total, most = max(int(counts.sum()), 1), max(int(counts.max()), 1)
    for count in counts.tolist():
        yield f"{'#' * round(_BAR * count / most)} {count / total:.1%}".lstrip()
