"""A policy at work on aircraft in degrees: on its scale it flies as in its own world, beyond it nobody."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skyclone.collect.airspace.dynamics import through_air
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.scenarios.registry import lay_out
from skyclone.collect.scenarios.start import stack
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.datasets.traffic.pairs import Pairs, pairs_of
from skyclone.datasets.traffic.state import Traffic
from skyclone.evaluate.deployment.deployment import AirTraffic, Deployment, require
from skyclone.train.policy import load_policy

EARTH_M = 6_371_000.0
PLACES = [(0.0, 0.0), (52.0, 4.37), (-37.8, 179.999)]


@pytest.fixture(scope="module", params=["seed", "ego:intruders=4"])
def run(
    request: pytest.FixtureRequest, make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "clone", view=request.param)


def air_of(east: list[float], north: list[float], place: tuple[float, float] = (52.0, 4.37)) -> AirTraffic:
    """M600s at 9 m/s and told 18 m/s, heading north-east, each with a waypoint 500 m north of it, at a place."""
    latitude = place[0] + np.degrees(np.array(north) / EARTH_M)
    longitude = place[1] + np.degrees(np.array(east) / EARTH_M / math.cos(math.radians(place[0])))
    longitude = (longitude + 180) % 360 - 180

    def all_of(value: float) -> np.ndarray:
        return np.full(len(east), value)

    return AirTraffic(
        latitude, longitude, all_of(45.0), all_of(9.0), all_of(45.0), all_of(9.0),
        all_of(30.0), all_of(0.0), all_of(18.0),
        latitude + math.degrees(500 / EARTH_M), longitude,
        all_of(100.0), all_of(300.0), all_of(-18.0), all_of(18.0), *np.ones((2, len(east)), bool),
        tuple(f"D{number}" for number in range(len(east))),
    )  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_flies_as_in_its_own_world_anywhere_on_earth(run: Path, place: tuple[float, float]) -> None:
    config = WorldConfig(aircraft=6, sector_radius_m=500.0, sector_area_m2=4e5)
    traffic = stack([lay_out(config, 0, 0)], config).traffic
    policy = load_policy(run)
    action = policy.pilot(traffic, pairs_of(traffic))[0].double().numpy()  # (N, 2)

    east, north, track, speed, goal_east, goal_north = (
        getattr(traffic, name)[0].double().numpy() for name in list(vars(traffic))[:6]
    )
    at, goal = (air_of(list(e), list(n), place) for e, n in ((east, north), (goal_east, goal_north)))
    air = replace(
        at, track_deg=np.degrees(track) % 360, speed_mps=speed,
        heading_deg=np.degrees(track) % 360, airspeed_mps=speed,
        waypoint_latitude_deg=goal.latitude_deg, waypoint_longitude_deg=goal.longitude_deg,
    )  # fmt: skip
    deployment = Deployment(policy, "clone")
    deployment.centres_deg = [place]
    orders = deployment.fly(air)
    assert orders.is_flown.all()
    assert orders.reasons == {}
    turn = (orders.heading_deg - air.track_deg + 180) % 360 - 180
    np.testing.assert_allclose(turn, np.degrees(action[:, 0] * config.turn_rad), atol=0.05)
    np.testing.assert_allclose(orders.airspeed_mps - speed, action[:, 1] * config.speed_change_mps, atol=2e-3)


def test_in_wind_it_sees_what_is_over_ground_and_turns_headings_and_changes_airspeeds(run: Path) -> None:
    """As in a world with that wind; who only drifts with it is told to hover."""
    config = WorldConfig(aircraft=4, sector_radius_m=300.0, sector_area_m2=1.5e5, wind_east_mps=4.0)
    layout = lay_out(config, 0, 0)
    traffic = stack([layout], config, winds_mps=np.full((1, 2, 2), (4.0, 0.0))).traffic
    traffic.wind_east_mps, traffic.wind_north_mps = torch.full((1, 4), 4.0), torch.zeros(1, 4)
    airspeed, heading = (each[0].double().numpy() for each in through_air(traffic))
    policy = load_policy(run)
    action = policy.pilot(traffic, pairs_of(traffic))[0].double().numpy()  # (N, 2)

    at, goal = (air_of(list(east), list(north)) for east, north in (layout.position_m.T, layout.waypoint_m.T))
    air = replace(
        at, track_deg=np.degrees(traffic.track_rad[0].double().numpy()) % 360,
        speed_mps=traffic.speed_mps[0].double().numpy(), airspeed_mps=airspeed,
        heading_deg=np.degrees(heading) % 360,
        waypoint_latitude_deg=goal.latitude_deg, waypoint_longitude_deg=goal.longitude_deg,
    )  # fmt: skip
    deployment = Deployment(policy, "clone")
    deployment.centres_deg = [(52.0, 4.37)]
    decide, seen = deployment.decide, []
    deployment.decide = lambda own, pairs: (seen.append(own), decide(own, pairs))[1]
    orders = deployment.fly(air)
    assert orders.is_flown.all()
    torch.testing.assert_close(seen[0].wind_east_mps, torch.full((4,), 4.0))
    torch.testing.assert_close(seen[0].wind_north_mps, torch.zeros(4))
    turn = (orders.heading_deg - air.heading_deg + 180) % 360 - 180
    np.testing.assert_allclose(turn, np.degrees(action[:, 0] * config.turn_rad), atol=0.05)
    np.testing.assert_allclose(orders.airspeed_mps - airspeed, action[:, 1] * config.speed_change_mps, atol=2e-3)

    air.commanded_mps[1] = 0.0
    assert [why[:13] for why in deployment.fly(air).reasons] == ["told to hover"]


def test_far_traffic_moves_no_centre(run: Path) -> None:
    """Two pairs 60 km apart see themselves where each does alone, also where the second comes later."""
    policy = load_policy(run)
    here, there = air_of([0, 110], [0, 30]), air_of([60_000, 60_110], [200, 230])
    there = replace(there, callsigns=("E0", "E1"))
    both = AirTraffic(*(
        values + there.callsigns if name == "callsigns" else np.concatenate((values, getattr(there, name)))
        for name, values in vars(here).items()
    ))  # fmt: skip

    def places(deployment: Deployment, air: AirTraffic) -> torch.Tensor:
        seen: list[Traffic] = []
        deployment.decide = lambda own, pairs: seen.append(own) or torch.zeros(len(own.east_m), 2)
        assert deployment.fly(air).is_flown.all()
        return torch.stack((seen[0].east_m, seen[0].north_m))

    alone = torch.cat([places(Deployment(policy, "clone"), each) for each in (here, there)], dim=1)
    assert alone.abs().max() < 60
    late = Deployment(policy, "clone")
    late.fly(here)
    for deployment in (Deployment(policy, "clone"), late):
        torch.testing.assert_close(places(deployment, both), alone)
        assert len(deployment.centres_deg) == 2


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("speed_mps", 128.0, "faster than the 18 m/s (35 kt) it was trained for"),
        ("slowest_mps", 60.0, "of a type that cannot fly its cruise speed of 9 m/s"),
        ("fastest_mps", 5.0, "of a type that cannot fly its cruise speed of 9 m/s"),
        (
            "zone_m",
            9260.0,
            "with a protected zone other than the 100 m it was trained for: ZONER 0.0540, after CDMETHOD or ASAS, "
            "which undo it",
        ),
        ("commanded_mps", 0.0, "told to hover (0 kt): it stays, and is avoided"),
        ("avoids", 0.0, "told to avoid nobody (RESOOFF)"),
    ],
)
def test_beyond_its_scale_it_leaves_an_aircraft_alone_and_says_why(
    run: Path, column: str, value: float, reason: str
) -> None:
    air = air_of([0, 200, 400], [0, 0, 0])
    getattr(air, column)[1] = value
    orders = Deployment(load_policy(run), "clone").fly(air)
    assert orders.is_flown.tolist() == [True, False, True]
    assert {why: who.tolist() for why, who in orders.reasons.items()} == {reason: [False, True, False]}
    assert orders.heading_deg[1] == 45.0
    assert orders.airspeed_mps[1] == air.airspeed_mps[1]


def test_one_reason_for_each_aircraft(run: Path) -> None:
    air = air_of([0], [0])
    air.speed_mps[0], air.slowest_mps[0], air.zone_m[0] = 128.0, 60.0, 9260.0
    orders = Deployment(load_policy(run), "clone").fly(air)
    assert [why[:15] for why in orders.reasons] == ["faster than the"]


def seen_by(deployment: Deployment, air: AirTraffic) -> Pairs:
    """Fly straight on, and return the pairs that the flown aircraft saw."""
    seen: list[Pairs] = []

    def straight_on(own: Traffic, pairs: Pairs) -> torch.Tensor:
        seen.append(pairs)
        return torch.zeros(len(own.east_m), 2)

    deployment.decide = straight_on
    deployment.fly(air)
    return seen[0]


def test_who_flies_above_or_is_not_avoided_is_not_seen(run: Path) -> None:
    deployment = Deployment(load_policy(run), "clone")
    above, ignored = air_of([0, 110, 0], [0, 30, 200]), air_of([0, 110, 0], [0, 30, 200])
    above.altitude_m[1] += 301.0
    ignored.is_avoided[1] = False
    assert seen_by(deployment, air_of([0, 110, 0], [0, 30, 200])).is_pair[0].tolist() == [False, True, True]
    for air in (above, ignored):
        assert seen_by(deployment, air).is_pair[0].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("above_m", "climb_mps", "is_seen"),
    [
        (301.0, 0.0, False),  # the zone is 300 m high
        (299.0, 5.0, True),  # on the way out
        (340.0, -3.0, True),  # inside after 13.3 s
        (340.0, -2.0, False),  # after 20 s: beyond the look-ahead time of 15 s
        (-340.0, 3.0, True),
        (340.0, 3.0, False),  # away
        (2000.0, -200.0, True),  # through it within 15 s
    ],
)
def test_who_climbs_or_descends_into_the_height_of_the_zone_is_seen(
    run: Path, above_m: float, climb_mps: float, is_seen: bool
) -> None:
    air = air_of([0, 110, 0], [0, 30, 200])
    air.altitude_m[1] += above_m
    air.climb_mps[1] = climb_mps
    assert seen_by(Deployment(load_policy(run), "clone"), air).is_pair[0, 1] == is_seen


def test_it_flies_who_climbs_or_descends(run: Path) -> None:
    air, level = air_of([0, 110], [0, 30]), air_of([0, 110], [0, 30])
    air.climb_mps[:] = -5.0
    deployment = Deployment(load_policy(run), "clone")
    descending, flat = deployment.fly(air), deployment.fly(level)
    assert descending.is_flown.all()
    np.testing.assert_array_equal(descending.heading_deg, flat.heading_deg)


def test_who_has_nobody_near_is_left_to_the_autopilot_without_a_word(run: Path) -> None:
    """At 9 m/s each they could lose separation within 30 s from 100 + 540 m on; at 18 m/s each from 1180 m on."""
    deployment = Deployment(load_policy(run), "clone")
    for told, reach in ((9.0, 640.0), (18.0, 1180.0)):
        for distance, is_flown in ((reach - 1, True), (reach + 1, False)):
            air = air_of([0, distance], [0, 0])
            air.commanded_mps[:] = told
            orders = deployment.fly(air)
            assert orders.is_flown.tolist() == [is_flown] * 2
            assert orders.reasons == {}


@pytest.mark.parametrize(("told_mps", "flown_mps"), [(4.0, 4.0), (9.5, 9.5), (18.0, 10.7), (30.0, 10.7)])
def test_nobody_flies_faster_than_told(run: Path, told_mps: float, flown_mps: float) -> None:
    air = air_of([0, 110], [0, 30])
    air.commanded_mps[:] = told_mps
    deployment = Deployment(load_policy(run), "clone")
    deployment.decide = lambda own, pairs: torch.ones(2, 2)
    assert deployment.fly(air).airspeed_mps == pytest.approx([flown_mps] * 2, abs=0.02)
    deployment.decide = lambda own, pairs: -torch.ones(2, 2)
    assert deployment.fly(air).airspeed_mps == pytest.approx([min(told_mps, 7.3)] * 2, abs=0.02), "slower is free"


def test_something_around_the_policy_sees_what_it_sees(run: Path) -> None:
    deployment = Deployment(load_policy(run), "clone")
    policy, air = deployment.decide, air_of([0, 110, 9000], [0, 30, 0])
    plain = deployment.fly(air)
    deployment.decide = lambda own, pairs: -policy(own, pairs)
    turned = deployment.fly(air)
    assert plain.is_flown.tolist() == [True, True, False]
    np.testing.assert_allclose((turned.heading_deg + plain.heading_deg) / 2, 45.0)


def test_a_long_route_is_seen_in_its_direction(run: Path) -> None:
    """A waypoint at 30 km as from the centre to the edge; a place 30 km from the centre as a little outside."""
    deployment = Deployment(load_policy(run), "clone")
    deployment.centres_deg = [(52.0, 4.37)]

    def track(to_go_m: float, out_m: float) -> float:
        air = air_of([0, 300], [out_m, out_m])
        goal = air.latitude_deg + math.degrees(to_go_m / EARTH_M)
        return float(deployment.fly(replace(air, waypoint_latitude_deg=goal)).heading_deg[0])

    assert track(30_000, 0) == pytest.approx(track(935, 0), abs=2e-4)
    assert track(30_000, 500) == pytest.approx(track(935, 0), abs=2e-4)
    assert track(500, 30_000) == pytest.approx(track(500, 1.1 * 935), abs=2e-4)
    assert track(500, 0) != pytest.approx(track(500, 935), abs=2e-4)


def test_the_centre_is_the_middle_of_the_first_traffic_it_flies(run: Path) -> None:
    deployment = Deployment(load_policy(run), "clone")
    airliner = air_of([0], [0])
    airliner.speed_mps[0] = 200.0
    assert not deployment.fly(airliner).is_flown.any()
    assert deployment.centres_deg == []
    deployment.fly(air_of([-100, 300], [0, 0], (10.0, 179.9999)))
    assert deployment.centres_deg[0] == pytest.approx(
        (10.0, 179.9999 + math.degrees(100 / EARTH_M) / math.cos(0.1745)), abs=1e-6
    )


def test_nobody_to_fly(run: Path) -> None:
    assert len(Deployment(load_policy(run), "clone").fly(air_of([], [])).is_flown) == 0


def test_its_scale_is_that_of_its_world(make_run: Callable[..., Path], tmp_path: Path) -> None:
    world = WorldConfig(protected_zone_m=50.0, cruise_mps=12.0)
    deployment = require(f" '{make_run(tmp_path / 'run', world=world.to_json())}' ")
    assert deployment.scale.startswith("12 m/s cruise, up to 18 m/s, protected zone 50 m (ZONER 0.0270)")
    assert not deployment.fly(air_of([0, 200], [0, 0])).is_flown.any(), "100 m is not its zone"


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"expected the folder of a trained policy, .* Try SKYCLONE runs/clone"
    ):
        require("  ")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        require(str(tmp_path / "nowhere"))
