import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.datasets.errors import DatasetError
from skyclone.datasets.loading.mixture import Mixture, draw, times


def test_a_conflict_weight_repeats_rows_in_conflict() -> None:
    counts = np.array([[90, 10], [0, 4]])
    assert Mixture(3.0).repetitions(counts).tolist() == [[1, 3], [1, 3]]
    assert Mixture(math.inf).repetitions(counts).tolist() == [[0, 1], [0, 1]]
    assert Mixture().is_plain
    assert not Mixture(2.0).is_plain


def test_a_mix_gives_each_dataset_its_share_of_an_epoch_of_the_same_size() -> None:
    counts = np.array([[90, 10], [20, 20]])
    drawn = times(counts, Mixture(2.0, (1, 3)).repetitions(counts))
    assert drawn.tolist() == [[35, 8], [43, 85]]  # 1 : 3 of 90 + 2 * 10 + 20 + 2 * 20, rounded by kind
    assert Mixture(1.0, (1, 3)).repetitions(counts)[1, 0] == Mixture(1.0, (1, 3)).repetitions(counts)[1, 1]


def test_rows_come_equally_often_but_for_one() -> None:
    in_conflict = np.array([False, True] * 50)
    rows = draw(in_conflict, np.array([0.5, 2.25]), np.random.default_rng(0))
    often = np.bincount(rows, minlength=100)
    assert sorted(often[~in_conflict]) == [0] * 25 + [1] * 25
    assert sorted(often[in_conflict]) == [2] * 37 + [3] * 13  # 112.5 rounded up
    assert rows.dtype == np.int32
    other = draw(in_conflict, np.array([0.5, 2.25]), np.random.default_rng(1))
    assert not np.array_equal(np.sort(rows), np.sort(other))  # another epoch chooses others


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0, 9), st.floats(0, 9), st.integers(0, 9))
def test_as_many_are_drawn_as_announced(free: int, conflict: int, one: float, other: float, seed: int) -> None:
    in_conflict = np.repeat([False, True], [free, conflict])
    repetitions = np.array([one, other])
    rows = draw(in_conflict, repetitions, np.random.default_rng(seed))
    found = np.bincount(in_conflict[rows].astype(int), minlength=2)
    assert found.tolist() == times(np.array([free, conflict]), repetitions).tolist()
    often = np.bincount(rows, minlength=len(in_conflict))
    for kind in (often[:free], often[free:]):
        assert not len(kind) or kind.max() - kind.min() <= 1


def test_importance_cancels_the_weight_out() -> None:
    counts = np.array([[900, 100]])
    mixture = Mixture(4.0)
    drawn = times(counts, mixture.repetitions(counts)).sum(0)
    importance = mixture.importance(drawn)
    loss = np.array([0.01, 0.38])
    assert drawn @ importance == pytest.approx(drawn.sum())  # 1 on average
    assert (drawn * importance) @ loss / drawn.sum() == pytest.approx(counts[0] @ loss / 1000)
    assert Mixture().importance(counts[0]).tolist() == [1, 1]


def test_what_makes_no_sense_is_refused() -> None:
    counts = np.array([[5, 0], [5, 1]])
    for weight in (0.0, -1.0, math.nan):
        with pytest.raises(DatasetError, match="expected a conflict weight above 0, got"):
            Mixture(weight)
    with pytest.raises(DatasetError, match="expected a mix of shares above 0"):
        Mixture(1.0, (1, 0))
    with pytest.raises(DatasetError, match="expected a mix of 2 shares, one for each dataset, got 3"):
        Mixture(1.0, (1, 1, 1)).repetitions(counts)
    with pytest.raises(DatasetError, match="from every dataset of the mix, got none from number 1"):
        Mixture(math.inf, (1, 1)).repetitions(counts)
    with pytest.raises(DatasetError, match="expected rows in conflict, got none"):
        Mixture(math.inf).repetitions(counts[:1])
    with pytest.raises(DatasetError, match="rows in conflict alone cannot represent all rows"):
        Mixture(math.inf).importance(np.array([0, 5]))
