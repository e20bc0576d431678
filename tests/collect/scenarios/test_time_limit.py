"""How long an episode of a scenario file is, in closed form."""

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.scenarios.layout import Layout
from skyclone.collect.scenarios.time_limit import MOST_STEPS, steps_of, time_along

SQUARE = 2000.0 * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


@pytest.mark.parametrize(
    ("wind_mps", "expected_s"),
    [
        ((0, 0), 700 / 10),
        ((0, -6), 300 / 4 + 400 / 8),  # against it, then across: sqrt(10^2 - 6^2)
        ((6, 0), 300 / 8 + 400 / 16),
        ((-10, 0), np.inf),
        ((0, -12), np.inf),
    ],
)
def test_legs_north_and_east(wind_mps: tuple[float, float], expected_s: float) -> None:
    legs = np.array([[0.0, 300], [0, 0], [400, 0]])
    assert time_along(legs, 10.0, np.array(wind_mps, float)) == pytest.approx(expected_s)


def test_the_last_one_to_enter_and_the_wind_count() -> None:
    layout = Layout(SQUARE, np.zeros((2, 2)), np.array([[0.0, 900], [0, 900]]), entry_s=np.array([0.0, 50]))
    assert steps_of(layout, WorldConfig()) == 50 + 300 + 1
    assert steps_of(layout, WorldConfig(step_s=2.0)) == 175 + 1
    assert steps_of(layout, WorldConfig(wind_north_mps=-8.0)) == 50 + 1350 + 1
    assert steps_of(layout, WorldConfig(wind_north_mps=-9.0)) == 50 + 300 + 1  # nobody gets there
    assert steps_of(layout, WorldConfig(wind_north_mps=-8.999)) == MOST_STEPS + 1
