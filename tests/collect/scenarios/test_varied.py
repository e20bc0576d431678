"""Scenarios beyond the reference one: what each promises, over seeds and numbers of aircraft."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect import scenarios
from skyclone.collect.airspace.sector import contains
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.scenarios import mixture
from skyclone.datasets.errors import ConfigurationError

SEEDS = st.integers(0, 2**20)
COUNTS = st.integers(2, 40)


def layout(text: str, aircraft: int, seed: int, **changes: float) -> scenarios.Layout:
    return scenarios.lay_out(WorldConfig(scenario=text, aircraft=aircraft, **changes), seed, 0)


def gaps_m(points: np.ndarray) -> np.ndarray:
    """Distances of each point to all others; infinite to itself."""
    gap = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    return gap + np.diag(np.full(len(points), np.inf))


@given(seed=SEEDS, aircraft=COUNTS)
@settings(max_examples=30, deadline=None)
def test_pads_lie_a_little_more_than_a_zone_apart(seed: int, aircraft: int):
    made = layout("pads:spacing=1.02", aircraft, seed)
    assert len(made.position_m) == aircraft
    nearest = gaps_m(made.position_m).min(axis=1)
    assert nearest.min() >= 102 - 1e-6
    assert np.median(nearest) <= 153 + 1e-6  # rows of one pad, where no more fit, are farther from the next
    assert contains(made.corners_m, made.position_m).all()
    assert set(made.speed_mps) in ({0.0}, {9.0})


def test_pads_take_off_at_rest_in_about_every_other_episode():
    world = WorldConfig(scenario="pads", aircraft=3)
    speeds = [scenarios.lay_out(world, 0, episode).speed_mps[0] for episode in range(60)]
    assert 15 <= sum(speed == 0 for speed in speeds) <= 45


@given(seed=SEEDS, aircraft=COUNTS)
@settings(max_examples=30, deadline=None)
def test_inside_begins_some_pairs_inside_the_zone(seed: int, aircraft: int):
    made = layout("inside:pairs=1", aircraft, seed)
    first, second = made.position_m[:2]
    assert 10 - 1e-6 <= np.hypot(*(first - second)) <= 100
    assert contains(made.corners_m, made.position_m).all()
    for pairs, expected in (("", max(1, aircraft // 8)),):
        begun = layout(f"inside{pairs}", aircraft, seed).position_m
        lost = sum(np.hypot(*(begun[2 * k] - begun[2 * k + 1])) < 100 for k in range(aircraft // 2))
        assert lost == expected


@given(seed=SEEDS, aircraft=COUNTS, group=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_shared_waypoints_are_those_of_a_group(seed: int, aircraft: int, group: int):
    made = layout(f"shared:group={group}", aircraft, seed)
    places = [tuple(row) for row in made.waypoint_m.tolist()]
    assert len(set(places)) == -(-aircraft // group)
    assert all(places[number] == places[number - number % group] for number in range(aircraft))


@given(seed=SEEDS, aircraft=COUNTS, group=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_converging_aircraft_are_about_equally_far_from_their_waypoint(seed: int, aircraft: int, group: int):
    made = layout(f"converging:group={group}", aircraft, seed)
    assert contains(made.corners_m, np.concatenate((made.position_m, made.waypoint_m))).all()
    assert gaps_m(made.position_m).min(initial=np.inf) >= 125
    distance = np.hypot(*(made.position_m - made.waypoint_m).T)
    assert distance.min() >= 0.97 * 150
    places = np.unique(made.waypoint_m, axis=0)
    assert len(places) >= -(-aircraft // group)
    for place in places:
        of_group = distance[(made.waypoint_m == place).all(axis=1)]
        assert len(of_group) <= group
        assert of_group.max() <= 1.07 * of_group.min()


@given(seed=SEEDS, aircraft=COUNTS, share=st.floats(0, 0.9))
@settings(max_examples=30, deadline=None)
def test_hovering_aircraft_leave_waypoints_free(seed: int, aircraft: int, share: float):
    made = layout(f"hover:share={share}", aircraft, seed)
    assert made.hovers is not None
    assert 1 <= made.hovers.sum() <= aircraft - 1
    assert abs(made.hovers.sum() - share * aircraft) <= 1
    hovering, waypoints = made.position_m[made.hovers], made.waypoint_m[~made.hovers]
    assert np.hypot(*(hovering[:, None] - waypoints[None]).transpose(2, 0, 1)).min() >= 150
    assert gaps_m(made.position_m).min() >= 125
    np.testing.assert_array_equal(made.waypoint_m[made.hovers], hovering)


@given(seed=SEEDS, aircraft=COUNTS, pads=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_arrivals_enter_in_time_to_cross_the_sector(seed: int, aircraft: int, pads: int):
    made = layout(f"arrivals:pads={pads}", aircraft, seed)
    assert made.waits
    assert made.entry_s is not None
    assert 1 <= len(made.position_m) <= aircraft
    crossing_s = 2 * 935 / 9
    assert made.entry_s.min() >= 0
    assert made.entry_s.max() <= max(300 - 1.4 * crossing_s, 75)
    here = made.position_m[made.entry_s == 0]
    assert gaps_m(here).min(initial=np.inf) >= 125 - 1e-6
    later = made.entry_s > 0
    if pads:
        assert len({tuple(row) for row in made.position_m[later].tolist()}) <= pads
        assert set(made.speed_mps[later]) <= {0.0}
    else:
        assert set(made.speed_mps) <= {9.0}


def test_arrivals_come_at_their_rate():
    """A Poisson process given its count: in a share p of the time a binomial number, of mean n p."""
    config = WorldConfig(scenario="arrivals:rate_per_h=240", aircraft=400, max_steps=3600)
    counts = []
    for episode in range(40):
        entry_s = scenarios.lay_out(config, 1, episode).entry_s
        counts.append(np.count_nonzero((entry_s > 600) & (entry_s < 2400)))
    assert np.mean(counts) == pytest.approx(120, abs=4 * np.sqrt(120 / 40))
    share = 1800 / (3600 - 0.4 * 2 * 935 / 9)
    assert 0.4 < np.var(counts) / (120 * (1 - share)) < 2.0


def test_a_mixture_draws_by_its_shares():
    text = "mix:circle=3:hover=1"
    config = WorldConfig(scenario=text, aircraft=6)
    made = [scenarios.lay_out(config, 0, episode) for episode in range(400)]
    hovering = sum(each.hovers is not None for each in made)
    assert hovering == pytest.approx(100, abs=4 * np.sqrt(400 * 0.25 * 0.75))
    assert len(made[0].corners_m) in (36, *range(3, 36))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mix", "expected scenarios and their shares"),
        ("mix:sectr=1", "unknown scenario in 'mix' 'sectr'"),
        ("mix:mix=1", "unknown scenario in 'mix' 'mix'"),
        ("mix:sector", "expected each scenario once, with a share above 0, got 'sector'"),
        ("mix:sector=0", "got 'sector=0'"),
        ("mix:sector=nan", "got 'sector=nan'"),
        ("mix:sector=1:sector=2", "got 'sector=2'"),
        ("pads:spacing=0", "expected a spacing above 0"),
        ("inside:pairs=9", "expected 1 to 3 pairs, got 9"),
        ("shared:group=0", "expected a group of 1 or more"),
        ("converging:group=0", "expected a group of 1 or more"),
        ("hover:share=1", "expected a share of 0 to below 1"),
        ("arrivals:rate_per_h=-1", "of 0 or more"),
    ],
)
def test_senseless_scenarios(text: str, message: str):
    with pytest.raises(ConfigurationError, match=message):
        layout(text, 6, 0)


def test_too_many_for_the_sector_say_so():
    for text in ("pads", "inside", "shared", "converging", "hover"):
        with pytest.raises(ConfigurationError, match="Ask for fewer aircraft"):
            layout(text, 400, 0)


def test_one_of_keeps_to_the_shares():
    generator = np.random.default_rng(0)
    drawn = [mixture.one_of(generator, {"a": 1.0, "b": 3.0}) for _ in range(2000)]
    assert drawn.count("a") == pytest.approx(500, abs=80)
