import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.datasets.errors import DatasetError
from skyclone.datasets.numbers import count_of, numbers_of, text_of


def test_worked_out_by_hand() -> None:
    assert numbers_of("120,0-3", 121).tolist() == [0, 1, 2, 3, 120]
    assert count_of("0-99,120") == 101
    assert text_of(np.array([0, 1, 2, 5, 7, 8])) == "0-2,5,7-8"


@given(st.sets(st.integers(0, 300), min_size=1))
def test_there_and_back(numbers: set[int]) -> None:
    text = text_of(np.array(sorted(numbers)))
    assert numbers_of(text, 301).tolist() == sorted(numbers)
    assert count_of(text) == len(numbers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected numbers such as 0-99,120, got ''"),
        ("5-3", "got '5-3'"),
        ("1,,2", "got ''"),
        ("-1", "got '-1'"),
        ("0-4,4", "each number once in '0-4,4', got 4 again"),
        ("0-10", "numbers from 0 to 9, got 10 in '0-10'"),
        ("9999999999", "got '9999999999'"),
    ],
)
def test_what_is_no_list_is_an_error(text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        numbers_of(text, 10)
