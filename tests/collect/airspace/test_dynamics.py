import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect.airspace.aircraft_types import TYPES
from skyclone.collect.airspace.dynamics import advance, through_air
from skyclone.collect.airspace.fleet import number_of
from skyclone.collect.airspace.units import GRAVITY_MPS2, KNOT_MPS
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.traffic.state import Traffic

CONFIG = WorldConfig()
PULL_MPS2 = GRAVITY_MPS2 * math.tan(math.radians(25))  # turn rate times speed
EARTH_RADIUS_M = 6371000.0


def flown(traffic, turn, speed, config=CONFIG):
    """One step with one action for everybody: the first aircraft's east, north, track, speed."""
    action = torch.tensor([turn, speed], dtype=traffic.east_m.dtype).expand(*traffic.east_m.shape, 2)
    after = advance(traffic, action, config)
    return tuple(tensor[0, 0].item() for tensor in (after.east_m, after.north_m, after.track_rad, after.speed_mps))


# --- worked out on paper ---


def test_straight_on(traffic_of):
    assert flown(traffic_of([(3, 4, 0, 9)]), 0, 0) == pytest.approx((3, 13, 0, 9))
    assert flown(traffic_of([(3, 4, 90, 9)]), 0, 0) == pytest.approx((12, 4, math.pi / 2, 9), abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_speeding_up_and_slowing_down(traffic_of, sign):
    # dv = 10/3 kt at 3.5 m/s2 takes dv/3.5 s; on the way half of it is missing
    change = CONFIG.speed_change_mps
    assert change == pytest.approx(1.7149, abs=1e-4)
    north = 9 + sign * (change - 0.5 * change * change / 3.5)
    assert flown(traffic_of([(0, 0, 0, 9)]), 0, sign) == pytest.approx((0, north, 0, 9 + sign * change))


def test_speed_limits(traffic_of):
    assert flown(traffic_of([(0, 0, 0, 18)]), 0, 1) == pytest.approx((0, 18, 0, 18))
    assert flown(traffic_of([(0, 0, 0, 0)]), 0, -1) == (0, 0, 0, 0)
    # from 1 m/s to a standstill at 3.5 m/s2: v^2 / (2 a)
    assert flown(traffic_of([(0, 0, 0, 1)]), 0, -1) == pytest.approx((0, 1 / 7, 0, 0))


def test_acceleration_limit(traffic_of):
    config = WorldConfig(speed_change_mps=10.0)
    assert flown(traffic_of([(0, 0, 0, 9)]), 0, 0.8, config) == pytest.approx((0, 10.75, 0, 12.5))


@pytest.mark.parametrize("side", [1, -1])
def test_turn_at_cruise_speed_is_limited_by_the_bank_angle(traffic_of, side):
    # g tan(25 deg) / 9 = 0.508 rad/s: less than the 45 deg asked for; a chord of a circle of radius 9/0.508
    turn = PULL_MPS2 / 9
    assert turn == pytest.approx(0.508, abs=1e-3)
    chord = 2 * 9 / turn * math.sin(turn / 2)
    expected = (side * chord * math.sin(turn / 2), chord * math.cos(turn / 2), side * turn, 9)
    assert flown(traffic_of([(0, 0, 0, 9)]), side, 0) == pytest.approx(expected, abs=1e-3)


def test_slow_aircraft_finish_their_turn_and_fly_on(traffic_of):
    # at 4 m/s: 1.143 rad/s, 45 deg take 0.687 s; the rest of the second is straight
    turn = math.pi / 4
    duration = turn / (PULL_MPS2 / 4)
    chord, rest = 2 * 4 * duration / turn * math.sin(turn / 2), 4 * (1 - duration)
    east = chord * math.sin(turn / 2) + rest * math.sin(turn)
    north = chord * math.cos(turn / 2) + rest * math.cos(turn)
    assert flown(traffic_of([(0, 0, 0, 4)]), 1, 0) == pytest.approx((east, north, turn, 4), abs=1e-3)


def test_tracks_stay_within_half_a_turn(traffic_of):
    _, _, track, _ = flown(traffic_of([(0, 0, 179, 3)]), 1, 0)
    assert math.degrees(track) == pytest.approx(179 + 45 - 360, abs=1e-3)


def test_ended_aircraft_stay_and_actions_are_clipped(traffic_of):
    traffic = traffic_of([(0, 0, 0, 9), (50, 60, 30, 7)], ended=(1,))
    after = advance(traffic, torch.full((1, 2, 2), 7.0), CONFIG)
    assert [tensor[0, 1].item() for tensor in (after.east_m, after.north_m, after.speed_mps)] == [50, 60, 7]
    clipped = advance(traffic, torch.ones((1, 2, 2)), CONFIG)
    assert torch.equal(after.east_m, clipped.east_m)
    assert torch.equal(after.speed_mps, clipped.speed_mps)


# --- properties ---


def integrate(speed, turn_rad, change_mps, steps=2000):
    """BlueSky's law in small steps: speed at 3.5 m/s2, heading at g tan(bank)/speed, position along it."""
    east, north, track = np.zeros_like(speed), np.zeros_like(speed), np.zeros_like(speed)
    target, dt = np.clip(speed + change_mps, 0.0, 18.0), 1.0 / steps
    for _ in range(steps):
        speed = speed + np.clip(target - speed, -3.5 * dt, 3.5 * dt)
        most = PULL_MPS2 / np.maximum(speed, 0.01) * dt
        change = np.clip(turn_rad - track, -most, most)
        east = east + speed * np.sin(track + change / 2) * dt
        north = north + speed * np.cos(track + change / 2) * dt
        track = track + change
    return east, north, track, speed


@pytest.mark.parametrize(("most_change", "tolerance_m"), [(0.0, 0.001), (1.0, 0.25)])
def test_one_step_in_closed_form_is_what_small_steps_add_up_to(most_change, tolerance_m):
    """At constant speed to a millimetre; with a turn and a speed change at once to 0.2 m.

    For the turn rate then changes on the way, which the closed form replaces by its mean.
    """
    generator = np.random.default_rng(3)
    speed = np.concatenate((generator.uniform(0, 18, 3000), np.linspace(0, 18, 200)))
    action = generator.uniform(-1, 1, (len(speed), 2)) * (1.0, most_change)
    zero = torch.zeros((1, len(speed)), dtype=torch.float64)
    traffic = Traffic(zero, zero, zero, torch.from_numpy(speed)[None], zero, zero, torch.ones_like(zero).bool())
    after = advance(traffic, torch.from_numpy(action)[None], CONFIG)
    east, north, track, new_speed = integrate(
        speed, action[:, 0] * CONFIG.turn_rad, action[:, 1] * CONFIG.speed_change_mps
    )
    gap = np.hypot(after.east_m[0].numpy() - east, after.north_m[0].numpy() - north)
    turn_gap = np.degrees(np.abs(after.track_rad[0].numpy() - track))
    print(f"one step against 2000 small ones: position {gap.max():.4f} m, track {turn_gap.max():.4f} deg at most")
    np.testing.assert_allclose(after.speed_mps[0], new_speed, atol=1e-9)
    assert gap.max() < tolerance_m
    assert turn_gap.max() < 0.01


@settings(max_examples=25, deadline=None)
@given(
    speed=st.floats(0, 18),
    turn=st.floats(-1, 1),
    change=st.floats(-1, 1),
    angle=st.floats(-3, 3),
    shift=st.floats(-800, 800),
)
def test_flying_knows_neither_place_nor_direction_nor_side(traffic_of, speed, turn, change, angle, shift):
    def fly(east, north, track, turn):
        traffic = traffic_of([(east, north, math.degrees(track), speed)], dtype=torch.float64)
        return flown(traffic, turn, change)

    east, north, track, new_speed = fly(0, 0, 0, turn)
    there = fly(shift, -shift, angle, turn)
    sine, cosine = math.sin(angle), math.cos(angle)
    assert there[0] == pytest.approx(shift + east * cosine + north * sine, abs=1e-9)
    assert there[1] == pytest.approx(-shift + north * cosine - east * sine, abs=1e-9)
    assert math.remainder(there[2] - angle - track, 2 * math.pi) == pytest.approx(0, abs=1e-9)
    assert there[3] == new_speed
    assert fly(0, 0, 0, -turn) == pytest.approx((-east, north, -track, new_speed), abs=1e-9)


# --- held against BlueSky ---


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # BlueSky, from Python 3.12
@pytest.mark.parametrize(
    ("name", "altitude_m", "wind"),
    [
        ("m600", 0, (0.0, 0.0)),
        ("m600", 100, (4.0, -3.0)),
        ("mavic", 0, (0.0, 0.0)),
        ("m200", 0, (0.0, 0.0)),
        ("wing", 0, (0.0, 0.0)),
        ("wing", 100, (-6.0, 2.0)),
        ("a320", 11_000, (0.0, 0.0)),
        ("a320", 11_000, (30.0, 10.0)),
    ],
)
def test_tracks_stay_with_blueskys(bluesky, traffic_of, name, altitude_m, wind):
    """The same heading and speed commands to 120 aircraft: our tracks and BlueSky's stay together for 60 s.

    Each second every aircraft gets a random action. Its target heading and speed, computed from our state, go to
    BlueSky's autopilot, which flies them in 20 steps of 0.05 s (`selhdgcmd`, `selspdcmd`, `sim.step`). BlueSky
    starts near 0 N 0 E, where a degree is as long in both directions. In wind, headings are
    commanded at constant airspeed: BlueSky holds the track that a heading has at the airspeed of that moment.
    What is left comes from turns during which the speed changes as well (see the test of one step above), hardly
    from BlueSky's time step: with 0.01 s the worst distance is the same.
    """
    count, seconds = 120, 60
    from bluesky.tools.aero import vtas2cas

    kind = TYPES[name]
    fleet = WorldConfig(fleet=f"m600=1,{name}=1" if name != "m600" else "m600=1")
    generator = np.random.default_rng(1)
    track = generator.uniform(-180, 180, count)
    traffic = traffic_of([(0, 0, degrees, kind.cruise_mps) for degrees in track], dtype=torch.float64)
    traffic.kind = torch.full_like(traffic.is_flying, number_of(fleet, name), dtype=torch.int64)
    blown = tuple(torch.full_like(traffic.east_m, each) for each in wind) if any(wind) else None
    if blown:
        traffic = replace(traffic, wind_east_mps=blown[0], wind_north_mps=blown[1])
        east_mps, north_mps = traffic.velocity_east_mps + blown[0], traffic.velocity_north_mps + blown[1]
        traffic.track_rad, traffic.speed_mps = torch.atan2(east_mps, north_mps), torch.hypot(east_mps, north_mps)
    simulator, everyone, start_deg = bluesky.traf, np.arange(count), 0.02 * np.arange(count)
    bluesky.sim.reset()
    if blown:
        came_from = (math.degrees(math.atan2(wind[0], wind[1])) + 180.0) % 360.0
        simulator.wind.add(0.0, 0.0, came_from, math.hypot(*wind) / KNOT_MPS)  # as the command WIND does
    names, altitudes = [f"DRONE{number}" for number in everyone], np.full(count, float(altitude_m))
    cas_mps = vtas2cas(np.full(count, kind.cruise_mps), altitudes)
    simulator.cre(names, kind.blue_sky, np.zeros(count), start_deg.copy(), track % 360, altitude_m, cas_mps)
    worst = []
    for _ in range(seconds):
        action = torch.from_numpy(generator.uniform(-1, 1, (1, count, 2)))
        if blown:
            action[..., 1] = 0.0
        airspeed, heading = through_air(traffic)
        heading = heading + action[..., 0] * CONFIG.turn_rad
        speed = (airspeed + action[..., 1] * CONFIG.speed_change_mps).clamp(kind.min_speed_mps, kind.max_speed_mps)
        heading_deg = np.degrees(heading[0].numpy()) % 360
        for each in everyone if blown else [everyone]:  # in wind BlueSky fails on several at once
            simulator.ap.selhdgcmd(each, heading_deg[each])
        simulator.ap.selspdcmd(everyone, vtas2cas(speed[0].numpy(), altitudes))
        for _ in range(20):
            bluesky.sim.step()
        traffic = advance(traffic, action, fleet, blown)
        east = np.radians(simulator.lon - start_deg) * EARTH_RADIUS_M
        north = np.radians(simulator.lat) * EARTH_RADIUS_M
        worst.append(np.hypot(east - traffic.east_m[0].numpy(), north - traffic.north_m[0].numpy()).max())
        np.testing.assert_allclose(simulator.tas, through_air(traffic)[0][0], atol=1e-6 if not altitude_m else 0.3)
    print(f"BlueSky against the embedded world, {count} {name}, wind {wind}: {worst[-1]:.2f} m after {seconds} s")
    assert bluesky.sim.simt == pytest.approx(seconds)
    assert max(worst) < (2.0 if not altitude_m else 3.0)
    if name == "m600" and not blown:
        assert set(simulator.perf.vmax) == {CONFIG.max_speed_mps}
        assert set(simulator.perf.axmax) == {CONFIG.acceleration_mps2}
        assert traffic.speed_mps.min() < 1  # the whole range of speeds was flown
        assert traffic.speed_mps.max() > 17
