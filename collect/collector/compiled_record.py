"""Recording what the kernels fly: their rows as a table, and counts of what happened in them."""

from collections.abc import Mapping, Sequence
from math import fsum

import numpy as np

from ...datasets.traffic.record import COLUMNS, OUTCOMES, Table
from ..airspace.world_config import WorldConfig
from ..flying.compiled import fly_chunks
from ..flying.encounters import Encounters, encounters_of
from ..kernels.flight import Flown
from ..teachers.rules import Rules


def record_compiled(
    config: WorldConfig, seed: int, episodes: Sequence[int], rules: Rules, noise: float = 0.0
) -> tuple[Table, dict[str, float]]:
    """Fly episodes by the kernels and record them; see `labelling.record`."""
    tables, counts = [], []
    for chunk, flown in fly_chunks(config, rules, seed, episodes, noise):
        tables.append(_table_of(flown, np.asarray(chunk, np.int32)))
        counts.append(encounters_of(flown, config))
    table = {column.name: np.concatenate([each[column.name] for each in tables]) for column in COLUMNS}
    sums = {name: fsum(np.concatenate([getattr(each, name) for each in counts])) for name in Encounters._fields}
    return table, figures_of(table, config, sums)


def figures_of(table: Table, config: WorldConfig, safety: Mapping[str, float]) -> dict[str, float]:
    """Return the counts of a recorded batch, which add up.

    Args:
        table: Its rows.
        config: The world.
        safety: Counts of conflicts and losses of separation.
    """
    ends = np.bincount(table["outcome"], minlength=len(OUTCOMES))
    return {
        "episodes": float(len(np.unique(table["episode"]))),
        "flight_s": len(table["step"]) * config.step_s,
        "rows_in_conflict": float(np.count_nonzero(table["conflicts"])),
        **safety,
        **{name: float(ends[number]) for number, name in enumerate(OUTCOMES) if number},
    }


def _table_of(flown: Flown, episodes: np.ndarray) -> Table:
    """Return the rows as columns, with the episodes' own numbers."""
    rows = flown.rows[: flown.row_count]
    table = {column.name: np.ascontiguousarray(rows[column.name]) for column in COLUMNS}
    table["episode"] = episodes[table["episode"]]
    return table
