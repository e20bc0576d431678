from collections.abc import Callable

import numpy as np

from skyclone.datasets.files.piloted import is_piloted, piloted
from skyclone.datasets.traffic.record import Table, check_table


def test_rows_without_a_waypoint_are_of_aircraft_that_hover(make_table: Callable[..., Table]) -> None:
    table = make_table(range(2), hovering=(1, 3))
    check_table(table)
    assert np.array_equal(is_piloted(table), np.isin(table["aircraft"], (0, 2)))
    flown = piloted(table)
    assert set(flown["aircraft"]) == {0, 2}
    assert np.array_equal(flown["reward"], table["reward"][is_piloted(table)])


def test_where_nobody_hovers_nothing_is_copied(make_table: Callable[..., Table]) -> None:
    table = make_table(range(2))
    assert piloted(table) is table
    assert is_piloted(table).all()
