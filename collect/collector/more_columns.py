"""The columns that only datasets of worlds with a fleet or with wind have."""

from collections.abc import Sequence

import numpy as np

from ...datasets.traffic.record import Table, columns_of
from ..airspace.world_config import WorldConfig
from ..scenarios.start import start_of


def more_columns(config: WorldConfig, seed: int, episodes: Sequence[int], table: Table) -> Table:
    """Return them for the rows of a table; none where its world has neither.

    Args:
        config: The world.
        seed: Seed of the run.
        episodes: The numbers of the episodes in the table, rising.
        table: Its rows.
    """
    names = {column.name for column in columns_of(config.to_json())} - set(table)
    if not names:
        return {}
    start = start_of(config, seed, episodes)
    place = np.searchsorted(np.asarray(episodes), table["episode"])
    made: Table = {}
    if "kind" in names and start.traffic.kind is not None:
        made["kind"] = start.traffic.kind.numpy()[place, table["aircraft"]].astype(np.int8)
    if "wind_east_mps" in names and start.winds_mps is not None:
        winds = start.winds_mps.numpy()[place, table["step"]]
        made["wind_east_mps"], made["wind_north_mps"] = winds[:, 0].copy(), winds[:, 1].copy()
    return made
