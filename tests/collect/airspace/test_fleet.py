"""Types of aircraft, fleets of them, and wind: by hand, and by kernels and torch alike."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from skyclone.collect import scenarios, teachers
from skyclone.collect.airspace.aircraft_types import TYPES, members_of
from skyclone.collect.airspace.distances import distance_flown
from skyclone.collect.airspace.dynamics import advance, through_air
from skyclone.collect.airspace.fleet import fastest_mps, limits_of, types_of, zone_scales_of
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying import compiled, figures
from skyclone.collect.flying.flight import TeacherPilot, advise
from skyclone.collect.flying.watching import watch
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.layout import Layout
from skyclone.collect.scenarios.wind import winds_of
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import COLUMNS
from skyclone.datasets.traffic.state import Traffic

BOX = 3000.0 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
MIXED = {"fleet": "m600=0.5,wing(protected_zone_m=150)=0.5", "sector_radius_m": 3000.0, "sector_area_m2": 2.5e7}


def test_a_fleet_by_hand():
    first, second = members_of("M600=3, wing(cruise_mps=25;protected_zone_m=150)=1")
    assert (first.name, first.share, first.type) == ("m600", 3.0, TYPES["m600"])
    assert (second.type.cruise_mps, second.type.protected_zone_m, second.type.min_speed_mps) == (25.0, 150.0, 16.0)
    assert members_of("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m600", "expected TYPE=SHARE with a share above 0, got 'm600'"),
        ("m600=0", "with a share above 0, got 'm600=0'"),
        ("m600=nan", "got 'm600=nan'"),
        ("m600=1,m600=2", "expected each type once, got m600 again"),
        ("zeppelin=1", "unknown aircraft type 'zeppelin'. There are: m600"),
        ("wing(cruise=3)=1", "aircraft type 'wing' has no parameter 'cruise'"),
        ("wing(cruise_mps=90)=1", "expected min_speed_mps <= cruise_mps <= max_speed_mps"),
        ("wing(cruise_mps=-1)=1", "cruise_mps"),
        ("wing(=1", "expected TYPE=SHARE"),
    ],
)
def test_senseless_fleets(text: str, message: str):
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(").replace(".", r"\.")):
        WorldConfig(fleet=text)


def test_a_world_without_a_fleet_has_one_type_its_own():
    config = WorldConfig(cruise_mps=7.0, max_speed_mps=11.0)
    (own,) = types_of(config)
    assert (own.cruise_mps, own.max_speed_mps, own.acceleration_mps2) == (7.0, 11.0, 3.5)
    assert zone_scales_of(config) == (1.0,)
    traffic = World(config, 0, [0]).traffic
    assert traffic.kind is None
    assert limits_of(config, traffic).cruise_mps == 7.0
    assert fastest_mps(WorldConfig(**MIXED)) == 40.0


def test_types_are_drawn_by_their_shares():
    config = WorldConfig(aircraft=40, **{**MIXED, "fleet": "m600=3,wing=1"})
    kinds = [kind for episode in range(50) for kind in scenarios.lay_out(config, 0, episode).kinds]
    assert kinds.count("wing") == pytest.approx(500, abs=4 * math.sqrt(2000 * 0.25 * 0.75))
    same = scenarios.lay_out(WorldConfig(aircraft=40, **{**MIXED, "fleet": ""}), 0, 3)
    np.testing.assert_array_equal(scenarios.lay_out(config, 0, 3).position_m, same.position_m)


def test_each_flies_within_the_limits_of_its_type():
    """Full ahead: after 20 s each is at the highest speed of its type; from 9 and 28 m/s at 1.7 m/s a step."""
    layout = Layout(
        BOX, np.array([[0.0, 0.0], [900.0, 0.0]]), np.array([[0.0, 9e3], [900.0, 9e3]]), kinds=("M600", "wing")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "lay_out", lambda *_: layout)
        world = World(WorldConfig(aircraft=2, **MIXED), 0, [0])
    assert world.traffic.speed_mps.tolist() == [[9.0, 28.0]]
    for _ in range(20):
        world.step(torch.ones(1, 2, 2) * torch.tensor([0.0, 1.0]))
    assert world.traffic.speed_mps.tolist() == [[18.0, 40.0]]
    for _ in range(30):
        world.step(-torch.ones(1, 2, 2) * torch.tensor([0.0, 1.0]))
    assert world.traffic.speed_mps.tolist() == [[0.0, 16.0]]


def test_the_zone_of_a_pair_is_the_larger_one(traffic_of):
    """Side by side, 120 m apart: no loss of separation between two of 100 m, one where either has 150 m."""
    config = WorldConfig(aircraft=3, **MIXED)
    traffic = traffic_of([(0, 0, 0, 9), (120, 0, 0, 9), (240, 0, 0, 9)])
    traffic.zone_scale = torch.tensor([[1.0, 1.0, 1.5]])
    pairs = pairs_of(traffic)
    lost = pairs.has_lost(100.0)[0]
    assert lost.tolist() == [[False, False, False], [False, False, True], [False, True, False]]
    conflicts = advise(teachers.make("mvp", config, margin=1.0), config, traffic, pairs).conflicts
    assert sorted(zip(conflicts.ownship.tolist(), conflicts.intruder.tolist())) == [(1, 2), (2, 1)]
    assert conflicts.zone_m(100.0).tolist() == [150.0, 150.0]


def test_mvp_pushes_out_of_the_larger_zone(traffic_of):
    """As if the whole world had that zone."""
    small, large = WorldConfig(aircraft=2), WorldConfig(aircraft=2, protected_zone_m=150.0)
    traffic = traffic_of([(0, 0, 0, 9), (40, 300, 180, 9)])
    expected = teachers.make("mvp", large).velocity(traffic)
    traffic.zone_scale = torch.tensor([[1.5, 1.0]])
    for found, wanted in zip(teachers.make("mvp", small).velocity(traffic), expected):
        torch.testing.assert_close(found, wanted)


def test_in_wind_an_aircraft_drifts(traffic_of):
    """Heading north at 9 m/s, wind 3 m/s towards east: 30 m east and 90 m north in 10 s."""
    config = WorldConfig(aircraft=1)
    traffic = traffic_of([(0, 0, math.degrees(math.atan2(3, 9)), math.hypot(3, 9))], dtype=torch.float64)
    wind = (torch.full_like(traffic.east_m, 3.0), torch.zeros_like(traffic.east_m))
    traffic.wind_east_mps, traffic.wind_north_mps = wind
    for _ in range(10):
        traffic = advance(traffic, torch.zeros(1, 1, 2), config, wind)
    assert traffic.east_m.item() == pytest.approx(30)
    assert traffic.north_m.item() == pytest.approx(90)
    airspeed, heading = through_air(traffic)
    assert (airspeed.item(), heading.item()) == pytest.approx((9.0, 0.0), abs=1e-9)


def test_limits_are_those_through_the_air(traffic_of):
    """With a tailwind of 5 m/s an M600 is no faster than 18 m/s through the air, 23 m/s over ground."""
    config = WorldConfig(aircraft=1)
    traffic = traffic_of([(0, 0, 0, 14)], dtype=torch.float64)
    wind = (torch.zeros_like(traffic.east_m), torch.full_like(traffic.east_m, 5.0))
    traffic.wind_east_mps, traffic.wind_north_mps = wind
    for _ in range(15):
        traffic = advance(traffic, torch.tensor([[[0.0, 1.0]]]), config, wind)
    assert traffic.speed_mps.item() == pytest.approx(23.0)


def test_teachers_hold_the_line_to_the_waypoint_in_wind():
    """The wind triangle: 9 m/s through the air, 4 m/s across: sqrt(81 - 16) over ground, on the line."""
    config = WorldConfig(aircraft=1, wind_east_mps=4.0)
    layout = Layout(BOX, np.zeros((1, 2)), np.array([[0.0, 900.0]]), track_rad=np.array([-math.asin(4 / 9)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "lay_out", lambda *_: layout)
        flown = compiled.fly_compiled(config, teachers.make("none", config).rules(), 0, [0])
        world = World(config, 0, [0])
    rows = flown.rows[: flown.row_count]
    assert np.abs(rows["east_m"]).max() < 1e-3
    np.testing.assert_allclose(rows["speed_mps"], math.sqrt(65), rtol=1e-6)
    assert len(rows) == math.ceil((900 - 18.52) / math.sqrt(65))
    pilot = TeacherPilot(teachers.make("none", config), config)
    for row in rows[:20]:
        assert world.traffic.north_m.item() == pytest.approx(row["north_m"], abs=1e-3)
        world.step(pilot(world.traffic, world.pairs))


def test_gusts_have_their_deviation_and_their_memory():
    config = WorldConfig(aircraft=1, gust_mps=2.0, gust_s=20.0, wind_north_mps=1.0, max_steps=2000)
    layouts = [scenarios.lay_out(config, 0, episode) for episode in range(40)]
    winds = winds_of(config, layouts, 0, range(40))
    assert winds.shape == (40, 2001, 2)
    assert winds[..., 0].mean() == pytest.approx(0.0, abs=0.2)
    assert winds[..., 1].mean() == pytest.approx(1.0, abs=0.2)
    assert winds.std(axis=(0, 1)) == pytest.approx((2.0, 2.0), abs=0.1)
    gusts = winds - (0.0, 1.0)
    for lag, expected in ((1, math.exp(-1 / 20)), (20, math.exp(-1))):
        found = (gusts[:, lag:] * gusts[:, :-lag]).mean() / (gusts * gusts).mean()
        assert found == pytest.approx(expected, abs=0.05)
    alone = winds_of(config, layouts[7:8], 0, [7])
    np.testing.assert_array_equal(alone[0], winds[7])
    assert winds_of(WorldConfig(aircraft=1), layouts[:1], 0, [0]) is None


@pytest.mark.parametrize("text", ["none", "mvp", "rvo"])
@pytest.mark.parametrize(
    "changes",
    [
        MIXED,
        {"wind_east_mps": 3.0, "wind_north_mps": -2.0},
        {"gust_mps": 1.5, "scenario": "hover"},
        {**MIXED, "gust_mps": 1.0, "scenario": "mix:sector=1:hover=1:arrivals=1"},
    ],
)
def test_kernels_and_torch_fly_the_same(changes: dict, text: str):
    """For a few steps before chaos sets in; without resolution to the end."""
    config = WorldConfig(aircraft=12, max_steps=200 if text == "none" else 10, **changes)
    teacher = teachers.parse(text, config)
    made = figures._figures_of(compiled.fly_compiled(config, teacher.rules(), 3, range(6)), config)
    flown = figures._fly_in_torch(TeacherPilot(teacher, config), config, 3, range(6), "cpu", None)
    for name in ("aircraft", "steps", "at_waypoint", "left_sector", "time_limit", "los_events"):
        np.testing.assert_array_equal(getattr(made, name), getattr(flown, name), err_msg=name)
    for name in ("flown_m", "progress_m", "straight_m", "progress_s", "straight_s", "effort", "depth"):
        np.testing.assert_allclose(getattr(made, name), getattr(flown, name), rtol=1e-3, atol=0.1, err_msg=name)


def test_many_of_a_fleet_by_cells_and_by_all_pairs():
    """Above `FEW` the kernels look in cells, whose size follows the largest zone."""
    config = WorldConfig(aircraft=60, max_steps=12, gust_mps=1.0, **MIXED)
    rules = teachers.parse("mvp", config).rules()
    by_cells = compiled.fly_compiled(config, rules, 0, range(2))
    by_pairs = compiled.fly_compiled(config, rules, 0, range(2), few=10**6)
    for column in COLUMNS:
        cells, pairs = (each.rows[: each.row_count][column.name] for each in (by_cells, by_pairs))
        np.testing.assert_array_equal(cells, pairs, err_msg=column.name)
    assert by_cells.seen_count == by_pairs.seen_count > 0


@pytest.mark.parametrize(("miss_m", "nmac"), [(20.0, 0), (14.0, 1)])
def test_a_near_mid_air_collision_is_in_metres_whatever_the_zone(miss_m: float, nmac: int):
    """Head-on, past each other at 20 m and at 14 m: both inside the zone of 150 m, one below 15.24 m."""
    config = WorldConfig(aircraft=2, max_steps=60, **MIXED)
    starts = np.array([[0.0, -300.0], [miss_m, 300.0]])
    layout = Layout(BOX, starts, starts * [1.0, -9.0], speed_mps=np.full(2, 16.0), kinds=("wing", "wing"))
    teacher = teachers.make("none", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "lay_out", lambda *_: layout)
        made = figures._figures_of(compiled.fly_compiled(config, teacher.rules(), 0, [0]), config)
        flown = figures._fly_in_torch(TeacherPilot(teacher, config), config, 0, [0], "cpu", None)
    for each in (made, flown):
        assert (each.los_events[0], each.nmac_events[0]) == (1, nmac)
        assert each.depth[0] == pytest.approx(1 - each.least_m[0] / 150, abs=1e-3)


def test_those_that_take_off_in_wind_point_to_their_waypoints():
    """At rest in the air the heading says nothing; kernels and torch agree on where they set off to."""
    config = WorldConfig(aircraft=12, scenario="pads", wind_east_mps=4.0, gust_mps=1.0, max_steps=12)
    episodes = [each for each in range(12) if scenarios.lay_out(config, 3, each).speed_mps[0] == 0][:4]
    teacher = teachers.make("none", config)
    flown = compiled.fly_compiled(config, teacher.rules(), 3, episodes)
    rows, world = flown.rows[: flown.row_count], World(config, 3, episodes)
    _, heading = through_air(world.traffic)
    torch.testing.assert_close(heading, world.traffic.bearing_rad)
    pilot = TeacherPilot(teacher, config)
    for step in range(12):
        here = rows[rows["step"] == step]
        place = here["episode"].astype(int), here["aircraft"].astype(int)
        np.testing.assert_allclose(world.traffic.east_m.numpy()[place], here["east_m"], atol=0.05)
        np.testing.assert_allclose(world.traffic.north_m.numpy()[place], here["north_m"], atol=0.05)
        world.step(pilot(world.traffic, world.pairs))


def test_a_windless_episode_is_the_same_beside_a_windy_one():
    """The distance flown too: in wind it is the chord, and in a turn that is shorter."""
    layouts = [Layout(BOX, np.zeros((1, 2)), np.array([[0.0, 900.0]]), track_rad=np.array([2.0]))] * 2
    layouts[1] = replace(layouts[1], wind_mps=(3.0, 0.0))
    config = WorldConfig(aircraft=1)
    teacher = teachers.make("none", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "lay_out", lambda config, seed, episode: layouts[episode])
        for fly in (
            lambda episodes: figures._figures_of(
                compiled.fly_compiled(config, teacher.rules(), 0, episodes), config
            ),
            lambda episodes: figures._fly_in_torch(TeacherPilot(teacher, config), config, 0, episodes, "cpu", None),
        ):
            alone, beside = fly([0]), fly([0, 1])
            assert beside.flown_m[0] == pytest.approx(alone.flown_m[0], abs=1e-3)
            assert beside.flown_m[1] != pytest.approx(alone.flown_m[0], abs=1.0)


def test_gradients_are_finite_in_wind():
    """Also of those that do not move: who has ended, and who hovers at rest in the air."""
    config = WorldConfig(aircraft=2, wind_east_mps=2.0)
    speed, place = torch.tensor([[9.0, 2.0]], requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    zero, is_flying = torch.zeros(1, 2), torch.tensor([[False, True]])
    traffic = Traffic(place, place, torch.full((1, 2), math.pi / 2), speed, zero, zero + 90, is_flying)
    wind = (torch.full((1, 2), 2.0), zero)
    traffic = replace(traffic, wind_east_mps=wind[0], wind_north_mps=wind[1])
    action = torch.zeros(1, 2, 2, requires_grad=True)
    after = advance(traffic, action, config, wind)
    (distance_flown(traffic, after, config).sum() + after.track_rad.sum() + after.speed_mps.sum()).backward()
    for each in (action, speed, place):
        assert torch.isfinite(each.grad).all()


def test_films_have_the_types_and_the_wind_that_were_flown():
    config = WorldConfig(aircraft=6, max_steps=8, **MIXED, wind_east_mps=3.0, gust_mps=1.0)
    pilot = TeacherPilot(teachers.make("mvp", config), config)
    world = World(config, 2, range(2))
    for moment in watch(pilot, config, 2, range(2)):
        for name in ("kind", "zone_scale", "wind_east_mps", "wind_north_mps"):
            found, expected = getattr(moment.traffic, name), getattr(world.traffic, name)
            torch.testing.assert_close(found.to(expected.dtype), expected, msg=name)
        torch.testing.assert_close(moment.pairs.scale.float(), world.pairs.scale)
        world.step(moment.action.float())
