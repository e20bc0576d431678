import inspect
import math
import re

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.evaluate.metrics.formulas import METRICS, PERCENTILES, Basis, compute, nearest_percentiles
from skyclone.train.runs.confidence_intervals import estimate, resample

CONFIG = WorldConfig(aircraft=4)

# Two scenarios of four aircraft, made up so that every metric can be worked out on paper.
MADE_UP = {
    "aircraft": [4, 4],
    "conflicts": [8, 2],
    "conflicts_merged": [4, 1],
    "los_events": [1, 1],
    "los_merged": [1, 0],
    "conflict_steps": [30, 10],
    "los_steps": [5, 1],
    "depth": [0.25, 0],
    "least_m": [75, 105],
    "steps": [200, 160],
    "flight_s": [200, 160],
    "flown_m": [1900, 1340],
    "progress_m": [1810, 1400],
    "straight_m": [1700, 1300],
    "at_waypoint": [3, 4],
    "left_sector": [1, 0],
    "time_limit": [0, 0],
    "effort": [20, 16],
    "stalled": [1, 1],
    "no_fly_steps": [6, 0],
    "nmac_events": [1, 0],
    "first_los_s": [20, 150],
    "track_age_s": [30, 10],
    "track_steps": [20, 30],
}
ON_PAPER = {
    "los_events": 1.0,
    "los_merged": 0.5,
    "conflicts": 5.0,
    "conflicts_merged": 2.5,
    "ipr": (10 - 2) / 10,
    "ipr_merged": (5 - 1) / 5,
    "los_per_flight_hour": 2 / (360 / 3600),
    "nmac_events": 0.5,
    "risk_ratio": 2 / 8,
    "time_to_first_los_s": 170 / 2,
    "severity": 0.25,
    "min_separation_m": 90.0,
    "time_in_los_s": 3.0,
    "time_in_conflict_s": 20.0,
    "dep": 10 / 4 - 1,
    "dep_merged": 5 / 4 - 1,
    "extra_distance": (90 - 60) / 3000,
    "extra_time": (360 - 3210 / 9) / (3000 / 9),
    "waypoint_rate": 7 / 8,
    "left_sector_rate": 1 / 8,
    "stalled_rate": 2 / 8,
    "time_in_no_fly_s": 3.0,
    "mean_speed_mps": 3240 / 360,
    "age_of_information_s": 40 / 50,
    "action_effort": 0.1,
}


@pytest.mark.parametrize("name", list(METRICS))
def test_on_paper(figures_of, name):
    unresolved = figures_of(2, conflicts=[3, 1], conflicts_merged=[3, 1], los_events=[5, 3])
    ratio = METRICS[name].ratio(Basis(figures_of(2, **MADE_UP), unresolved, CONFIG))
    assert estimate(ratio, resample(2, 100, 0)).value == pytest.approx(ON_PAPER[name])


def test_every_metric_is_worked_out_and_explained():
    assert set(METRICS) == set(ON_PAPER)
    wanted = "los_events conflicts ipr los_per_flight_hour extra_distance waypoint_rate mean_speed_mps"
    assert set(METRICS) >= set(wanted.split())
    for metric in METRICS.values():
        explanation = inspect.getdoc(metric.ratio) or ""
        assert "\n\n" in explanation, metric.name  # what it is, then the formula
        assert metric.meaning.endswith(".")
        assert metric.better in ("less", "more", "")


def test_nothing_to_divide_by_is_no_figure(figures_of):
    nothing = figures_of(
        3, aircraft=1, steps=10, flight_s=10, flown_m=90, progress_m=90, straight_m=90, least_m=np.inf
    )
    ratios = compute(Basis(nothing, nothing, CONFIG))
    estimates = {name: estimate(ratio, resample(3, 100, 0)) for name, ratio in ratios.items()}
    for name in ("ipr", "ipr_merged", "dep", "dep_merged", "severity", "min_separation_m"):
        assert all(map(math.isnan, estimates[name])), name
        assert set(estimates[name].to_json().values()) == {None}
    assert estimates["los_events"].value == 0
    assert estimates["mean_speed_mps"].value == 9


def test_a_flight_that_did_not_arrive_counts_with_what_it_still_had_to_fly(figures_of):
    # 100 m of straight line; flown 60 m, of which 50 m towards the waypoint: 60 + 50 left = 110 m of path.
    figures = figures_of(1, aircraft=1, flown_m=60, progress_m=50, straight_m=100)
    ratio = METRICS["extra_distance"].ratio(Basis(figures, figures, CONFIG))
    assert estimate(ratio, resample(1, 100, 0)).value == pytest.approx(0.10)


def test_percentiles_of_the_smallest_distances_by_hand():
    # 0, 10, ..., 100 m and one aircraft that was always alone: p % of those who had company came nearer than p m.
    distances = np.append(np.arange(0.0, 101.0, 10.0), np.inf).reshape(4, 3)
    assert nearest_percentiles(distances) == {str(p): pytest.approx(p) for p in PERCENTILES}
    assert nearest_percentiles(np.array([[120.0, 90.0]]))["50"] == 105.0
    assert set(nearest_percentiles(np.full((2, 1), np.inf)).values()) == {None}


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_says_where_it_comes_from(name):
    explanation = inspect.getdoc(METRICS[name].ratio)
    assert re.search(r"(19|20)\d\d\b|ICAO Doc \d+|Own definition|[Aa]s\s(for\s)?`\w+`", explanation)
