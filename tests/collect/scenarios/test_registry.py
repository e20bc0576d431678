import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from skyclone.collect import scenarios
from skyclone.collect.airspace.sector import along_perimeter, contains
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.scenarios.generated import most_points
from skyclone.collect.scenarios.registry import LAYOUT_STREAM, NOISE_STREAM, generator_of, lay_out
from skyclone.collect.scenarios.start import stack
from skyclone.datasets.errors import ConfigurationError

NAMES = ("circle", "crossing", "random-n", "sector")


def gaps(positions):
    """Distances between all pairs, (n (n - 1) / 2,)."""
    apart = np.hypot(*(positions[:, None] - positions[None]).transpose(2, 0, 1))
    return apart[np.triu_indices(len(positions), 1)]


def same(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("corners_m", "position_m", "waypoint_m")
    )


def test_no_more_points_fit_than_groemer_says():
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert most_points(square, 1.0) == 4  # its corners: 2/sqrt(3) + 2 + 1 = 4.15
    assert most_points(square, 0.5) == 9  # they, and those in the middles: 4.62 + 4 + 1 = 9.62
    assert most_points(square, 0.0) == np.inf


# --- each scenario ---


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63), episode=st.integers(0, 2**31 - 1))
def test_sector(seed, episode):
    layout = lay_out(WorldConfig(), seed, episode)
    assert layout.position_m.shape == layout.waypoint_m.shape == (20, 2)
    assert contains(layout.corners_m, layout.position_m).all()
    assert gaps(layout.position_m).min() >= 125
    np.testing.assert_allclose(np.hypot(*layout.corners_m.T), 935)
    edge = along_perimeter(layout.corners_m, np.linspace(0, 1, 4000, endpoint=False))
    assert np.hypot(*(layout.waypoint_m[:, None] - edge).transpose(2, 0, 1)).min(axis=1).max() < 1


def test_sector_covers_its_polygon_evenly():
    # a quarter of the positions lies in each quadrant of a large sample
    position = np.concatenate([lay_out(WorldConfig(), 1, episode).position_m for episode in range(200)])
    quadrant = (position[:, 0] > 0) * 2 + (position[:, 1] > 0)
    assert np.bincount(quadrant, minlength=4) / len(position) == pytest.approx([0.25] * 4, abs=0.03)


def test_circle_by_hand():
    layout = lay_out(WorldConfig(scenario="circle:jitter_m=0", aircraft=4), 3, 0)
    np.testing.assert_allclose(np.hypot(*layout.position_m.T), 885)  # 50 m inside the sector's circle
    np.testing.assert_allclose(layout.waypoint_m, -layout.position_m)
    np.testing.assert_allclose(layout.position_m[2], -layout.position_m[0], atol=1e-9)
    assert layout.position_m[0] @ layout.position_m[1] == pytest.approx(0, abs=1e-6)


def test_circle_jitter_makes_episodes_differ():
    config = WorldConfig(scenario="circle", aircraft=8)
    ideal = lay_out(WorldConfig(scenario="circle:jitter_m=0", aircraft=8), 3, 5)
    jittered = lay_out(config, 3, 5)
    assert np.abs(jittered.position_m - ideal.position_m).max() <= 10
    assert not same(jittered, lay_out(config, 3, 6))


@pytest.mark.parametrize("angle_deg", [90, 45, 170])
def test_crossing_is_two_streams_at_an_angle(angle_deg):
    config = WorldConfig(scenario=f"crossing:angle_deg={angle_deg}", aircraft=9)
    layout = lay_out(config, 2, 4)
    way = layout.waypoint_m - layout.position_m
    way /= np.hypot(*way.T)[:, None]
    np.testing.assert_allclose(way[:5], np.tile(way[0], (5, 1)), atol=1e-9)
    np.testing.assert_allclose(way[5:], np.tile(way[5], (4, 1)), atol=1e-9)
    assert np.degrees(np.arccos(way[0] @ way[5])) == pytest.approx(angle_deg, abs=1e-6)
    np.testing.assert_allclose(np.hypot(*layout.waypoint_m.T), 935)
    assert gaps(layout.position_m).min() >= 125


@pytest.mark.parametrize(("name", "aircraft"), [("sector", 5000), ("random-n", 5000), ("crossing", 500)])
def test_many_aircraft_fit_at_the_reference_density(name, aircraft):
    here, scale = WorldConfig(), aircraft / 20
    radius_m, area_m2 = here.sector_radius_m * scale**0.5, here.sector_area_m2 * scale
    config = WorldConfig(scenario=name, aircraft=aircraft, sector_radius_m=radius_m, sector_area_m2=area_m2)
    positions = lay_out(config, 0, 0).position_m
    distance, _ = cKDTree(positions).query(positions, k=2)
    assert distance[:, 1].min() >= 125


def test_random_n_draws_every_number():
    config = WorldConfig(scenario="random-n:low=3", aircraft=6)
    counts = [len(lay_out(config, 0, episode).position_m) for episode in range(80)]
    assert set(counts) == {3, 4, 5, 6}
    crowd = WorldConfig(scenario="random-n:low=50", aircraft=4)
    assert {len(lay_out(crowd, 0, episode).position_m) for episode in range(5)} == {4}


@pytest.mark.parametrize("name", NAMES)
def test_one_aircraft(name):
    layout = lay_out(WorldConfig(scenario=name, aircraft=1), 0, 0)
    assert layout.position_m.shape == (1, 2)
    assert np.isfinite(layout.waypoint_m).all()


# --- randomness ---


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_is_a_function_of_seed_and_episode(name):
    config = WorldConfig(scenario=name, aircraft=8)
    layout = lay_out(config, 7, 3)
    for other in (0, 1, 2):
        lay_out(config, 7, other)  # what was laid out in between does not matter
    assert same(layout, lay_out(config, 7, 3))
    assert not same(layout, lay_out(config, 7, 4))
    assert not same(layout, lay_out(config, 8, 3))


def test_no_global_random_state_is_used_or_touched():
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    layouts = [lay_out(WorldConfig(scenario=name), 0, 0) for name in NAMES]
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    torch.manual_seed(2)
    assert all(same(layout, lay_out(WorldConfig(scenario=name), 0, 0)) for layout, name in zip(layouts, NAMES))


def test_streams_are_independent():
    draws = {
        (seed, episode, stream): generator_of(seed, episode, stream).uniform()
        for seed in (0, 1)
        for episode in (0, 1)
        for stream in (LAYOUT_STREAM, NOISE_STREAM)
    }
    assert len(set(draws.values())) == 8
    assert generator_of(0, 1, NOISE_STREAM).uniform() == draws[0, 1, NOISE_STREAM]


# --- batches ---


def test_stack_by_hand():
    layout = scenarios.Layout(
        np.array([[9.0, 0], [0, 9], [-9, 0]]), np.array([[0.0, 0], [1, 1]]), np.array([[0.0, 5], [4, 5]])
    )
    start = stack([layout], WorldConfig(aircraft=3, cruise_mps=7), corners=5)
    traffic, corners = start.traffic, start.corners_m
    assert traffic.is_flying.tolist() == [[True, True, False]]  # the third does not exist
    assert traffic.track_rad[0, :2].tolist() == pytest.approx([0, np.arctan2(3, 4)])
    assert traffic.speed_mps[0, :2].tolist() == [7, 7]
    assert traffic.waypoint_north_m[0, :2].tolist() == [5, 5]
    assert corners.tolist() == [[[9, 0], [0, 9], [-9, 0], [-9, 0], [-9, 0]]]
    assert {tensor.dtype for tensor in (traffic.east_m, traffic.track_rad, corners)} == {torch.float32}


# --- errors ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sectr", r"unknown scenario 'sectr'\. There are: arrivals, circle, converging, crossing, hover"),
        ("mine.scn", r"unknown scenario 'mine.scn'\. A BlueSky file is given with .*, 'file:mine.scn'\."),
        ("sector:low=3", r"scenario 'sector' has no parameter 'low'\. It has: none"),
        ("random-n:lo=3", r"scenario 'random-n' has no parameter 'lo'\. It has: low"),
        (
            "random-n:low=few",
            r"scenario 'random-n': expected a number for low, got 'few'\. Example: random-n",
        ),
    ],
)
def test_unknown_names(text, message):
    with pytest.raises(ConfigurationError, match=message):
        scenarios.check(text)
    with pytest.raises(ConfigurationError, match=message):
        lay_out(WorldConfig(scenario=text), 0, 0)


@pytest.mark.parametrize(
    ("name", "aircraft", "separation_m", "message"),
    [
        ("sector", 30, 500, r"could not place 30 aircraft 500 m apart in the sector \(at most \d+ fit\)\. Ask"),
        ("sector", 16, 500, r"could not place 16 aircraft 500 m apart in the sector \(placed \d+\)\. Ask"),
        ("circle", 100, 125, r"scenario 'circle': 100 aircraft on a circle of 885 m would start within 100 m"),
        ("crossing", 30, 500, r"scenario 'crossing': could not place 30 aircraft 500 m apart"),
    ],
)
def test_too_many_aircraft(name, aircraft, separation_m, message):
    with pytest.raises(ConfigurationError, match=message):
        lay_out(WorldConfig(scenario=name, aircraft=aircraft, start_separation_m=separation_m), 0, 0)


def test_a_registered_scenario_can_be_flown(monkeypatch):
    monkeypatch.setattr(scenarios.registry, "_SCENARIOS", dict(scenarios.registry._SCENARIOS))

    @scenarios.register("row")
    def row(generator, config, spacing_m=200.0):
        east = spacing_m * np.arange(config.aircraft)
        position = np.stack((east, np.zeros_like(east)), axis=-1)
        corners = 9e3 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
        return scenarios.Layout(corners, position, position + 5)

    assert "row" in scenarios.names()
    layout = lay_out(WorldConfig(scenario="row:spacing_m=300", aircraft=3), 0, 0)
    assert layout.position_m[:, 0].tolist() == [0, 300, 600]
