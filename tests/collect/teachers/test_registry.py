import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect import teachers
from skyclone.collect.airspace.conflicts import find
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.teachers.registry import Velocity, action_towards, to_waypoint
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic

CONFIG = WorldConfig()
TEACHERS = ("mvp", "none", "rvo")


def velocity_of(teacher, traffic):
    """The teacher's velocities, (N, 2) east and north."""
    return torch.stack(teacher.velocity(traffic), -1)[0]


# --- worked out on paper ---


def test_without_conflict_everyone_flies_to_the_waypoint_at_cruise_speed(traffic_of):
    traffic = traffic_of([(0, 0, 90, 4), (500, 0, 0, 9)], waypoints=[(0, -300), (800, 400)])
    for name in TEACHERS:
        velocity = velocity_of(teachers.make(name), traffic)
        assert velocity.tolist() == [pytest.approx([0, -9], abs=1e-5), pytest.approx([5.4, 7.2])]


def test_mvp_outside_the_zone(traffic_of):
    # R = 75: d = (35, 120), |d| = 125, v = (0, -18): tcpa 120/18 = 6.667 s, c = (35, 0).
    # cos(asin 0.6 - asin 0.28) = 0.6 x 0.28 + 0.8 x 0.96 = 0.936; push = 75/0.936 - 35 = 45.128 m over 6.667 s
    traffic = traffic_of([(0, 0, 0, 9), (35, 120, 180, 9)])
    velocity = velocity_of(teachers.make("mvp", margin=0.75), traffic)
    push_mps = (75 / 0.936 - 35) / (120 / 18)
    assert velocity.tolist() == [
        pytest.approx([-push_mps, 9], rel=1e-5),
        pytest.approx([push_mps, -9], rel=1e-5),
    ]


def test_mvp_inside_the_zone(traffic_of):
    # |d| < R = 100: tcpa 1 s, c = (60, 0): pushed by 40 m in 1 s, far above the speed limit of 18 m/s
    traffic = traffic_of([(0, 0, 0, 9), (60, 18, 180, 9)])
    velocity = velocity_of(teachers.make("mvp", margin=1.0), traffic)
    factor = 18 / math.hypot(40, 9)
    assert velocity[0].tolist() == pytest.approx([-40 * factor, 9 * factor], rel=1e-5)


def test_mvp_head_on_gives_way_sideways(traffic_of):
    # dcpa 0 <= 10 m: c is 10 m of (d_north, -d_east)/|d|, east of the one flying north
    traffic = traffic_of([(0, 0, 0, 9), (0, 250, 180, 9)], dtype=torch.float64)
    velocity = velocity_of(teachers.make("mvp", margin=1.0), traffic)
    push_mps = (100 / math.cos(math.asin(100 / 250) - math.asin(10 / 250)) - 10) / (250 / 18)
    assert velocity.tolist() == [pytest.approx([-push_mps, 9]), pytest.approx([push_mps, -9])]


def test_mvp_head_on_inside_the_zone_pushes_by_what_is_missing_from_the_real_dcpa(traffic_of):
    # tcpa 70/18 s, dcpa 4 m: BlueSky's push is R - 4 although c was made 10 m long
    traffic = traffic_of([(0, 0, 0, 9), (4, 70, 180, 9)], dtype=torch.float64)
    velocity = velocity_of(teachers.make("mvp", margin=1.0), traffic)
    dv = 96 / (70 / 18)
    side = (70 / math.hypot(4, 70), -4 / math.hypot(4, 70))
    wanted = np.array([-dv * side[0], 9 - dv * side[1]])
    np.testing.assert_allclose(velocity[0], 18 * wanted / np.hypot(*wanted), rtol=1e-9)


def test_mvp_sums_over_all_conflicts(traffic_of):
    # one intruder on each side at the same distance: the pushes cancel out
    traffic = traffic_of([(0, 0, 0, 9), (-50, 200, 180, 9), (50, 200, 180, 9)], dtype=torch.float64)
    assert velocity_of(teachers.make("mvp"), traffic)[0].tolist() == pytest.approx([0, 9], abs=1e-12)


def test_mvp_with_identical_velocities_parts_straight_at_top_speed(traffic_of):
    # tcpa = 0: BlueSky divides by it (and flies off at 45 deg); here the push is finite, then capped
    traffic = traffic_of([(0, 0, 0, 9), (60, 0, 0, 9)])
    velocity = velocity_of(teachers.make("mvp"), traffic)
    assert velocity.tolist() == [pytest.approx([-18, 0], abs=1e-3), pytest.approx([18, 0], abs=1e-3)]


def test_mvp_on_the_same_spot_stays_finite(traffic_of):
    traffic = traffic_of([(10, 10, 0, 9), (10, 10, 0, 9), (10, 10, 90, 9)])
    for name in TEACHERS:
        assert velocity_of(teachers.make(name), traffic).isfinite().all()


def test_speed_limits_hold(traffic_of):
    config = WorldConfig(min_speed_mps=5.0, max_speed_mps=12.0)
    rows = [(0, 0, 0, 9), (60, 18, 180, 9), (300, 0, 90, 6), (380, 0, 270, 6), (300, 60, 180, 5)]
    for name in ("mvp", "rvo"):
        speed = velocity_of(teachers.make(name, config), traffic_of(rows)).norm(dim=-1)
        assert speed.min() >= 5 - 1e-4
        assert speed.max() <= 12 + 1e-4


def test_one_aircraft_alone(traffic_of):
    traffic = traffic_of([(0, 0, 90, 4)], waypoints=[(300, 0)])
    for name in TEACHERS:
        assert velocity_of(teachers.make(name), traffic).tolist() == [pytest.approx([9, 0], abs=1e-5)]


def test_action_towards_by_hand(traffic_of):
    rows = [(0, 0, 0, 9), (0, 0, 0, 9), (0, 0, 170, 9), (0, 0, 45, 9), (0, 0, 0, 9)]
    east = [9.0, 0.0, 9 * math.sin(math.radians(-170)), 0.0, -18.0]
    north = [0.0, 9 + CONFIG.speed_change_mps / 2, 9 * math.cos(math.radians(-170)), 0.0, 0.0]
    velocity = Velocity(torch.tensor([east]), torch.tensor([north]))
    action = action_towards(traffic_of(rows), velocity, CONFIG)[0]
    assert action[0].tolist() == pytest.approx([1, 0], abs=1e-6)  # 90 deg to the right: clipped
    assert action[1].tolist() == pytest.approx([0, 0.5], abs=1e-6)
    assert action[2].tolist() == pytest.approx([20 / 45, 0], abs=1e-5)  # 170 to -170 deg: 20 to the right
    assert action[3].tolist() == pytest.approx([0, -1])  # a speed of zero keeps the track
    assert action[4].tolist() == pytest.approx([-1, 1])


def test_reciprocal_velocities_avoid_a_head_on_collision(traffic_of):
    traffic = traffic_of([(0, 0, 0, 9), (0, 200, 180, 9)], waypoints=[(0, 900), (0, -900)])
    velocity = velocity_of(teachers.make("rvo"), traffic)
    assert abs(velocity[0, 0]) > 1
    assert velocity[1].tolist() == pytest.approx((-velocity[0]).tolist(), abs=1e-4)  # each does half
    later = traffic_of([(0, 0, 0, 9), (0, 200, 180, 9)], dtype=torch.float32)
    later.track_rad = torch.atan2(velocity[None, :, 0], velocity[None, :, 1])
    later.speed_mps = velocity[None].norm(dim=-1)
    assert len(find(pairs_of(later), 100.0, 15.0).episode) == 0


# --- properties ---


@pytest.mark.parametrize("name", TEACHERS)
def test_ended_aircraft_are_avoided_by_nobody(random_traffic, name):
    traffic = random_traffic(1, 5, 12)
    traffic.is_flying[:, 8:] = False
    teacher = teachers.make(name)
    without = teacher.velocity(traffic.map(lambda tensor: tensor[:, :8]))
    for full, part in zip(teacher.velocity(traffic), without, strict=True):
        torch.testing.assert_close(full[:, :8], part, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", TEACHERS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), angle=st.floats(-3, 3), shift=st.floats(-500, 500))
def test_teachers_know_neither_place_nor_direction_nor_order(random_traffic, name, seed, angle, shift):
    traffic = random_traffic(seed, 2, 8)
    teacher = teachers.make(name)
    east, north = teacher.velocity(traffic)
    sine, cosine = math.sin(angle), math.cos(angle)
    moved = Traffic(
        traffic.east_m * cosine + traffic.north_m * sine + shift,
        traffic.north_m * cosine - traffic.east_m * sine - shift,
        traffic.track_rad + angle,
        traffic.speed_mps,
        traffic.waypoint_east_m * cosine + traffic.waypoint_north_m * sine + shift,
        traffic.waypoint_north_m * cosine - traffic.waypoint_east_m * sine - shift,
        traffic.is_flying,
    )
    turned = teacher.velocity(moved)
    torch.testing.assert_close(turned.east_mps, east * cosine + north * sine, rtol=0, atol=1e-6)
    torch.testing.assert_close(turned.north_mps, north * cosine - east * sine, rtol=0, atol=1e-6)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(8))
    shuffled = teacher.velocity(traffic.map(lambda tensor: tensor[:, order]))
    torch.testing.assert_close(shuffled.east_mps, east[:, order], rtol=0, atol=1e-9)


def test_conflicts_at_hand_change_nothing(random_traffic):
    traffic, teacher = random_traffic(2, 6, 15), teachers.make("mvp", margin=1.2, lookahead_s=20)
    conflicts = find(pairs_of(traffic), teacher.protected_zone_m, teacher.lookahead_s)
    for given_, found in zip(teacher.velocity(traffic, conflicts), teacher.velocity(traffic), strict=True):
        assert torch.equal(given_, found)


def test_a_larger_margin_pushes_farther(traffic_of):
    traffic = traffic_of([(0, 0, 0, 9), (60, 200, 180, 9)])
    pushes = [velocity_of(teachers.make("mvp", margin=margin), traffic)[0, 0].item() for margin in (1.0, 1.1, 1.2)]
    assert pushes[0] > pushes[1] > pushes[2]


def test_a_teacher_changes_nothing_of_the_state(random_traffic):
    for name in TEACHERS:
        traffic = random_traffic(3, 2, 10)
        before = traffic.clone()
        teachers.make(name).velocity(traffic)
        assert all(
            torch.equal(getattr(traffic, name), getattr(before, name))
            for name in vars(traffic)
            if getattr(traffic, name) is not None
        )


# --- names and parameters ---


def test_parse_reads_parameters():
    teacher = teachers.parse("mvp:margin=1.15:lookahead_s=20", CONFIG)
    assert teacher.protected_zone_m == pytest.approx(115)
    assert teacher.lookahead_s == 20
    assert teachers.parse("mvp", WorldConfig(lookahead_s=12)).lookahead_s == 12
    assert set(TEACHERS) <= set(teachers.names())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mpv", r"unknown teacher 'mpv'\. There are: mvp, none, rvo"),
        ("mvp:margn=1", r"teacher 'mvp' has no parameter 'margn'\. It has: margin, lookahead_s"),
        ("none:margin=1", r"teacher 'none' has no parameter 'margin'\. It has: none"),
        ("mvp:margin=wide", r"expected a number for margin, got 'wide'\. Example: mvp:margin=1\.1"),
        ("mvp:margin", r"expected NAME:key=value:key=value, got 'margin'"),
        ("mvp:margin=0", r"expected margin and lookahead_s above 0, below 100 and 10,000, got 0\.0 and 15"),
        ("mvp:margin=nan", r"expected a number for margin, got nan"),
        ("rvo:lookahead_s=-3", r"teacher 'rvo': expected margin and lookahead_s above 0, .* got 1\.1 and -3"),
    ],
)
def test_bad_teachers(text, message):
    with pytest.raises(ConfigurationError, match=message):
        teachers.parse(text, CONFIG)


def test_a_registered_teacher_can_be_made(traffic_of, monkeypatch):
    monkeypatch.setattr(teachers.registry, "_TEACHERS", dict(teachers.registry._TEACHERS))

    @teachers.register("southward")
    class Southward:
        def __init__(self, config, speed_mps=5.0):
            self.protected_zone_m, self.lookahead_s, self.speed_mps = 100.0, 15.0, speed_mps

        def velocity(self, state, conflicts=None):
            return Velocity(torch.zeros_like(state.east_m), torch.full_like(state.east_m, -self.speed_mps))

    teacher = teachers.parse("southward:speed_mps=7", CONFIG)
    assert velocity_of(teacher, traffic_of([(0, 0, 0, 9)])).tolist() == [[0, -7]]


# --- held against BlueSky ---


def difference(teacher, traffic, reference, latitude_deg=None):
    """The largest |velocity - BlueSky's| over the aircraft in conflict, and how many those are."""
    theirs, is_in_conflict, details = reference.resolve(
        traffic, teacher.protected_zone_m, teacher.lookahead_s, latitude_deg
    )
    ours = velocity_of(teacher, traffic).double().numpy()
    gap = np.hypot(*(ours - theirs).T)[is_in_conflict]
    free = velocity_of(teachers.make("none"), traffic).double().numpy()
    np.testing.assert_allclose(ours[~is_in_conflict], free[~is_in_conflict])
    assert not len(details.tcpa) or np.abs(details.tcpa).min() > 1e-6  # below it BlueSky divides by zero
    return float(gap.max(initial=0.0)), int(is_in_conflict.sum())


def test_hand_made_resolutions_as_bluesky(bluesky_reference, hand_made):
    """BlueSky's `MVP.resolve` on hand-made geometries, measured on the exact plane, in float64.

    Identical velocities inside the zone are left out: tcpa is 0 there, BlueSky divides by it and flies off at
    45 degrees; see `test_mvp_with_identical_velocities_parts_straight_at_top_speed`.
    """
    for margin in (1.0, 1.1):
        for name, traffic in hand_made.items():
            if name != "parallel, too close":
                worst, _ = difference(teachers.make("mvp", margin=margin), traffic, bluesky_reference)
                assert worst < 1e-9, name


@pytest.mark.parametrize(("latitude_deg", "tolerance"), [(None, 1e-9), (0.0, 1e-5), (52.0, 0.05)])
def test_random_resolutions_as_bluesky(bluesky_reference, random_traffic, latitude_deg, tolerance):
    """BlueSky's `MVP.resolve` on dense random traffic, up to eight conflicts at once.

    Measured on the exact plane (None) both are equal to rounding. With BlueSky's own flat earth, whose east-west
    scale is the cosine of each pair's mean latitude, they stay within 1e-6 m/s near the equator, and
    within some cm/s at 52 deg north, where 800 m of latitude change that scale by 1e-4.
    """
    worst = aircraft = 0
    for seed in range(60):
        gap, count = difference(teachers.make("mvp"), random_traffic(seed, 1, 30), bluesky_reference, latitude_deg)
        worst, aircraft = max(worst, gap), aircraft + count
    print(f"largest difference {worst:.2e} m/s over {aircraft} aircraft in conflict, latitude {latitude_deg}")
    assert worst < tolerance
    assert aircraft > 1_500


def test_single_precision_is_close_to_double(random_traffic):
    """The collector flies in float32. Against float64 on the very same states: all but 1 in 10,000 within 1e-3 m/s.

    The worst are aircraft with a |tcpa| of some hundredths of a second, whose push divides by it.
    """
    single = random_traffic(9, 300, 30, dtype=torch.float32)
    double = single.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    teacher = teachers.make("mvp")
    both = zip(teacher.velocity(single), teacher.velocity(double), strict=True)
    gap = torch.hypot(*(ours.double() - exact for ours, exact in both))
    print(f"float32 against float64: median {gap.median():.1e}, largest {gap.max():.1e} m/s")
    assert (gap < 1e-3).double().mean() > 0.9999
    assert gap.max() < 0.05
    free = to_waypoint(single, CONFIG)
    assert (free.east_mps - teacher.velocity(single).east_mps).abs().max() > 1  # there was something to resolve
