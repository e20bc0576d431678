import math

import pytest

from skyclone.evaluate.metrics.formulas import METRICS
from skyclone.evaluate.metrics.numerals import number, with_interval, with_unit
from skyclone.train.runs.confidence_intervals import Estimate


@pytest.mark.parametrize(
    ("value", "digits", "is_signed", "text"),
    [(1.25, 1, False, "1.2"), (-0.001, 2, False, "0.00"), (-0.001, 2, True, "0.00"), (3, 0, True, "+3"),
     (math.nan, 2, False, "-")],
)  # fmt: skip
def test_numbers(value, digits, is_signed, text):
    assert number(value, digits, is_signed) == text


@pytest.mark.parametrize(
    ("name", "estimate", "texts"),
    [
        ("los_events", (13.384, 12.41, 14.39), ("13.4", "[12.4, 14.4]")),
        ("los_events", (0.05, 0.025, 0.095), ("0.05", "[0.03, 0.10]")),
        ("ipr", (0.99891, 0.99751, 0.99969), ("99.89", "[99.75, 99.97]")),
        ("waypoint_rate", (1.0, 1.0, 1.0), ("100.00", "[100.00, 100.00]")),
        ("extra_distance", (-1e-8, -2e-8, 1e-8), ("0.00", "[0.00, 0.00]")),
        ("severity", (math.nan, math.nan, math.nan), ("-", "")),
        ("severity", (0.105, math.nan, math.nan), ("10.50", "")),
    ],
)
def test_as_many_digits_as_the_interval_supports(name, estimate, texts):
    assert with_interval(Estimate(*estimate), METRICS[name]) == texts


def test_units():
    assert with_unit(Estimate(0.027, 0.021, 0.032), METRICS["extra_distance"]) == "2.7 %"
    assert with_unit(Estimate(9.12, 9.08, 9.15), METRICS["mean_speed_mps"]) == "9.12 m/s"
    assert with_interval(Estimate(0.004, 0.001, 0.007), METRICS["extra_distance"], True)[0] == "+0.4"
