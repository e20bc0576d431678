"""Recording what the kernels fly: their rows as a table, and counts of what happened in them."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...datasets.files.piloted import piloted
from ...datasets.traffic.counts import figures_of_rows
from ...datasets.traffic.record import COLUMNS, Table
from ..airspace.world_config import WorldConfig
from ..flying.compiled import encountered, fly_chunks
from ..flying.encounters import sums_of
from ..kernels.flight import Flown
from ..teachers.rules import Rules


def record_compiled(
    config: WorldConfig, seed: int, episodes: Sequence[int], rules: Rules, noise: float = 0.0
) -> tuple[Table, dict[str, float]]:
    """Fly episodes by the kernels and record them; see `labelling.record`."""
    tables, counts = [], []
    for chunk, flown in fly_chunks(config, rules, seed, episodes, noise):
        tables.append(_table_of(flown, np.asarray(chunk, np.int32)))
        counts.append(encountered(flown, config))
    table = {column.name: np.concatenate([each[column.name] for each in tables]) for column in COLUMNS}
    return table, figures_of(table, config, sums_of(counts))


def figures_of(table: Table, config: WorldConfig, safety: Mapping[str, float]) -> dict[str, float]:
    """Return the counts of a recorded batch, which add up.

    Args:
        table: Its rows.
        config: The world.
        safety: Counts of conflicts and losses of separation.
    """
    return {**figures_of_rows(piloted(table), config.to_json()), **safety}


def _table_of(flown: Flown, episodes: np.ndarray) -> Table:
    """Return the rows as columns, with the episodes' own numbers."""
    rows = flown.rows[: flown.row_count]
    table = {column.name: np.ascontiguousarray(rows[column.name]) for column in COLUMNS}
    table["episode"] = episodes[table["episode"]]
    return table
