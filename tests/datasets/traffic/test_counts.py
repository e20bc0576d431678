from collections.abc import Callable

import numpy as np
import pytest

from skyclone.datasets.errors import RecordError
from skyclone.datasets.traffic.counts import Counts, counts_of, figures_of_rows
from skyclone.datasets.traffic.record import Table


def test_rows_are_counted_by_episode_and_kind(make_table: Callable[..., Table]) -> None:
    table = {name: column[:6] for name, column in make_table(range(1)).items()}
    table["episode"] = np.array([7, 7, 7, 9, 9, 9], np.int32)
    table["conflicts"] = np.array([0, 2, 1, 0, 0, 1], np.int8)
    table["aircraft"] = np.array([0, 4, 5, 0, 1, 3], np.int16)
    counts = counts_of(table, range(7, 10))
    assert counts == Counts(aircraft=6, free=(1, 0, 2), in_conflict=(2, 0, 1))
    assert counts.kinds.tolist() == [[1, 2], [0, 0], [2, 1]]
    assert counts.are_of(3, 6)
    assert not counts.are_of(3, 7)
    assert not counts.are_of(2, 6)
    assert not Counts(6, (6, 0, 0), (0,)).are_of(3, 6)


@pytest.mark.parametrize("counts", [(-1, (), ()), (1, (1.0,), (0,)), (1, (0,), (True,)), (1, (2**31,), (0,))])
def test_counts_are_whole_numbers(counts: tuple) -> None:
    with pytest.raises(RecordError, match="expected counts of rows, whole numbers from 0 on, got"):
        Counts(*counts)


def test_figures_that_the_rows_decide(make_table: Callable[..., Table]) -> None:
    table = {name: column[:5] for name, column in make_table(range(1)).items()}
    table["episode"] = np.array([0, 0, 0, 1, 1], np.int32)
    table["conflicts"] = np.array([0, 2, 1, 0, 0], np.int8)
    table["outcome"] = np.array([0, 1, 2, 1, 3], np.int8)
    figures = {
        "episodes": 2,
        "flight_s": 2.5,
        "rows_in_conflict": 2,
        "waypoint": 2,
        "left_sector": 1,
        "time_limit": 1,
    }
    assert figures_of_rows(table, {"step_s": 0.5}) == figures
    del figures["flight_s"]
    assert figures_of_rows(table, {}) == figures
