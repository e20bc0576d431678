import json
from dataclasses import replace
from math import nan

import numpy as np
import pytest

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot
from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.rare.rates import Rates, check, estimate_rates, render
from skyclone.train.runs.confidence_intervals import Estimate

NOT_REACHED = Estimate(0.0, nan, nan)
MADE_UP = Rates(
    Estimate(1e-5, 5e-6, 2e-5), NOT_REACHED, 50, 0, [105.0, 100.0, 15.24], 200, 20, 10, 3e7, 60.0, 2e10, nan
)


@pytest.mark.parametrize(
    ("aircraft", "teacher"),
    [(6, "none"), pytest.param(12, "mvp", marks=pytest.mark.slow)],
)
def test_agrees_with_plain_monte_carlo(aircraft, teacher):
    """LoS per flight hour by splitting and by 1,500 scenarios, within four standard errors of both."""
    world = WorldConfig(aircraft=aircraft, gust_mps=2.0, nmac_m=95.0)
    pilot = TeacherPilot(teachers.parse(teacher, world), world)
    rates = estimate_rates(pilot, world, 20, 1)
    figures = fly_scenarios(pilot, world, 9, range(1500))
    hours = figures.flight_s.mean() / 3600
    plain, error = figures.los_events.mean() / hours, figures.los_events.std() / np.sqrt(1500) / hours
    value, low, high = rates.los_per_h
    assert abs(value - plain) < 4 * np.hypot((high - low) / 4.5, error)  # t of nine degrees of freedom: 2.26
    assert rates.aircraft_steps > 10 * 20 * figures.steps.mean() * 0.9


@pytest.mark.parametrize("surveillance", ["perfect", "remote-id"])
def test_the_same_seed_gives_the_same_rates(surveillance):
    world = WorldConfig(aircraft=4, surveillance=surveillance, max_steps=40)
    pilot = TeacherPilot(teachers.make("none", world), world)
    one, other, third = (estimate_rates(pilot, world, 8, seed, replications=2) for seed in (1, 1, 2))
    assert one.los_per_h == other.los_per_h
    assert one.levels_m != third.levels_m
    assert one.levels_m[-1] == world.nmac_m
    assert world.protected_zone_m in one.levels_m


def test_json():
    data = json.loads(json.dumps(MADE_UP.to_json(), allow_nan=False))
    assert data["los_per_h"] == {"value": 1e-5, "low": 5e-6, "high": 2e-5}
    assert data["nmac_per_h"] == {"value": 0.0, "low": None, "high": None}
    assert data["nmac_monte_carlo_steps"] is None
    assert data["levels_m"] == [105.0, 100.0, 15.24]


def test_the_table():
    lines = render({"mvp": MADE_UP}).splitlines()
    assert lines[1].split("  ")[0] == "mvp"
    for part in ("1e-05 [5e-06, 2e-05]", "not reached", "3e+07", "2e+10 / -"):
        assert part in lines[1]
    assert " ?" not in lines[1]
    doubtful = render({"mvp": replace(MADE_UP, los_families=3)})
    assert "1e-05 [5e-06, 2e-05] ?" in doubtful
    assert "fewer than 20 families" in doubtful
    assert "10 replications of 200 trajectories a level, 20 times as many at the first." in render({"mvp": MADE_UP})
    assert "trajectories a level.\n" in render({"mvp": replace(MADE_UP, first=1)})


def test_too_few_trajectories():
    with pytest.raises(
        ConfigurationError, match="expected 20 trajectories or more in a replication, got --scenarios 5"
    ):
        check(WorldConfig(), 5)
