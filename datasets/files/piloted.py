"""Whose rows are flown: those of hovering aircraft are in the record to be seen, not to be learned from."""

import numpy as np

from ..traffic.record import Table


def is_piloted(table: Table) -> np.ndarray:
    """Return which rows somebody flies, (R,) bool: all but those of hovering aircraft, which have no waypoint."""
    return ~np.isnan(table["waypoint_east_m"])


def piloted(table: Table) -> Table:
    """Return the rows that somebody flies; the table itself where nobody hovers."""
    rows = is_piloted(table)
    return table if rows.all() else {name: column[rows] for name, column in table.items()}
