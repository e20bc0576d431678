import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect.airspace.conflicts import count_of, detect, find, most_urgent
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic

ZONE_M, LOOKAHEAD_S = 100.0, 15.0


def conflicts_of(traffic, zone_m=ZONE_M, lookahead_s=LOOKAHEAD_S):
    return detect(pairs_of(traffic), zone_m, lookahead_s)


# --- worked out on paper ---


@pytest.mark.parametrize(("gap_m", "expected"), [(200.0, True), (369.9, True), (370.1, False), (500.0, False)])
def test_head_on_enters_after_the_gap_less_the_zone_over_the_closing_speed(traffic_of, gap_m, expected):
    # closing at 18 m/s, the zone is entered after (gap - 100)/18 s: 15 s for a gap of 370 m
    traffic = traffic_of([(0, 0, 0, 9), (0, gap_m, 180, 9)])
    assert conflicts_of(traffic)[0, 0, 1].item() is expected


def test_head_on_tcpa_and_dcpa(traffic_of):
    found = find(pairs_of(traffic_of([(0, 0, 0, 9), (30, 200, 180, 9)])), ZONE_M, LOOKAHEAD_S)
    assert found.ownship.tolist() == [0, 1]
    assert found.intruder.tolist() == [1, 0]
    assert found.tcpa_s.tolist() == pytest.approx([200 / 18, 200 / 18])
    assert found.dcpa_m.tolist() == pytest.approx([30, 30], rel=1e-5)
    assert found.distance_m.tolist() == pytest.approx([np.hypot(30, 200)] * 2)
    assert found.cpa_east_m.tolist() == pytest.approx([30, -30], rel=1e-4)
    assert found.cpa_north_m.tolist() == pytest.approx([0, 0], abs=1e-3)


def test_crossing_at_a_right_angle(traffic_of):
    # d = (-90, 90), v = (9, -9): they meet after 10 s; 60 m farther back dcpa is 60 sin 45 deg
    found = find(pairs_of(traffic_of([(0, -90, 0, 9), (-90, 0, 90, 9)])), ZONE_M, LOOKAHEAD_S)
    assert found.tcpa_s.tolist() == pytest.approx([10, 10])
    assert found.dcpa_m.tolist() == pytest.approx([0, 0], abs=1e-3)
    found = find(pairs_of(traffic_of([(0, -90, 0, 9), (-150, 0, 90, 9)])), ZONE_M, LOOKAHEAD_S)
    assert found.tcpa_s.tolist() == pytest.approx([240 / 18, 240 / 18])
    assert found.dcpa_m.tolist() == pytest.approx([60 / np.sqrt(2)] * 2, rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, 0, 30, 9), (150, 0, 30, 9)], False),  # parallel, the same velocity, farther apart than R
        ([(0, 0, 30, 9), (90, 0, 30, 9)], True),  # parallel, already inside: never leaves
        ([(0, 0, 0, 18), (0, 200, 0, 9)], True),  # overtaking: enters after 100/9 = 11.1 s
        ([(0, 0, 0, 18), (0, 236, 0, 9)], False),  # enters after 15.1 s
        ([(0, 0, 180, 9), (0, 101, 0, 9)], False),  # parting, outside
        ([(0, 0, 180, 9), (0, 99, 0, 9)], True),  # parting, still inside
        ([(0, 0, 0, 9), (100.1, 50, 180, 9)], False),  # passes just clear of R
        ([(0, 0, 0, 9), (99.9, 50, 180, 9)], True),
    ],
)
def test_hand_made_pairs(traffic_of, rows, expected):
    is_conflict = conflicts_of(traffic_of(rows))[0]
    assert is_conflict.tolist() == [[False, expected], [expected, False]]


def test_already_past_the_closest_point_has_a_negative_tcpa(traffic_of):
    found = find(pairs_of(traffic_of([(0, 0, 180, 9), (0, 90, 0, 9)])), ZONE_M, LOOKAHEAD_S)
    assert found.tcpa_s.tolist() == pytest.approx([-5, -5])  # 90 m apart, parting at 18 m/s
    assert found.dcpa_m.tolist() == pytest.approx([0, 0], abs=1e-4)


def test_one_aircraft_alone_has_no_conflict(traffic_of):
    traffic = traffic_of([(0, 0, 0, 9)])
    found = find(pairs_of(traffic), ZONE_M, LOOKAHEAD_S)
    assert len(found.episode) == 0
    assert count_of(found, traffic.east_m.shape).tolist() == [[0]]
    tcpa, dcpa = most_urgent(found, traffic.east_m.shape)
    assert tcpa.isnan().all()
    assert dcpa.isnan().all()


def test_counts_and_the_most_urgent_of_several(traffic_of):
    # aircraft 0 meets 1 after 200/18 s and 2 after 150/18 s, 20 m beside; 3 is far away
    traffic = traffic_of([(0, 0, 0, 9), (0, 200, 180, 9), (20, 150, 180, 9), (5000, 0, 0, 9)])
    found = find(pairs_of(traffic), ZONE_M, LOOKAHEAD_S)
    # 1 and 2 fly the same way, 54 m apart: in conflict with each other as well
    assert count_of(found, traffic.east_m.shape).tolist() == [[2, 2, 2, 0]]
    tcpa, dcpa = most_urgent(found, traffic.east_m.shape)
    assert tcpa[0, 0].item() == pytest.approx(150 / 18)
    assert dcpa[0, 0].item() == pytest.approx(20, rel=1e-5)
    assert tcpa[0, 1].item() == pytest.approx(0, abs=1e-4)
    assert dcpa[0, 1].item() == pytest.approx(np.hypot(20, 50), rel=1e-5)
    assert tcpa[0, 3].isnan()
    assert dcpa[0, 3].isnan()


def test_ended_aircraft_are_in_no_conflict(traffic_of):
    rows = [(0, 0, 0, 9), (0, 200, 180, 9), (50, 20, 0, 9)]
    assert conflicts_of(traffic_of(rows)).sum() == 6
    assert conflicts_of(traffic_of(rows, ended=(1,))).nonzero().tolist() == [[0, 0, 2], [0, 2, 0]]
    assert conflicts_of(traffic_of(rows, ended=(0, 1))).sum() == 0


# --- properties ---


def least_distance(traffic, until_s):
    """The smallest distance of each pair flying straight on from now until then: an independent definition."""
    pairs = pairs_of(traffic)
    speed2 = (pairs.velocity_east_mps**2 + pairs.velocity_north_mps**2).clamp_min(1e-12)
    approach = pairs.east_m * pairs.velocity_east_mps + pairs.north_m * pairs.velocity_north_mps
    time = (-approach / speed2).clamp(0, until_s)
    return torch.hypot(
        pairs.east_m + pairs.velocity_east_mps * time, pairs.north_m + pairs.velocity_north_mps * time
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), zone_m=st.floats(20, 200), lookahead_s=st.floats(1, 60))
def test_a_conflict_is_a_predicted_loss_of_separation(random_traffic, seed, zone_m, lookahead_s):
    traffic = random_traffic(seed, 4, 12)
    least = least_distance(traffic, lookahead_s)
    expected = (least < zone_m) & pairs_of(traffic).is_pair
    is_clear_cut = (least - zone_m).abs() > 1e-6
    assert torch.equal(conflicts_of(traffic, zone_m, lookahead_s) & is_clear_cut, expected & is_clear_cut)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), angle=st.floats(-3, 3), shift=st.floats(-500, 500))
def test_detection_is_symmetric_and_knows_neither_place_nor_direction_nor_order(random_traffic, seed, angle, shift):
    traffic = random_traffic(seed, 3, 10)
    is_conflict = conflicts_of(traffic)
    assert torch.equal(is_conflict, is_conflict.transpose(1, 2))
    assert not is_conflict.diagonal(dim1=1, dim2=2).any()
    sine, cosine = np.sin(angle), np.cos(angle)
    moved = Traffic(
        traffic.east_m * cosine + traffic.north_m * sine + shift,
        traffic.north_m * cosine - traffic.east_m * sine - shift,
        traffic.track_rad + angle,
        traffic.speed_mps,
        traffic.waypoint_east_m,
        traffic.waypoint_north_m,
        traffic.is_flying,
    )
    assert torch.equal(conflicts_of(moved), is_conflict)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(10))
    shuffled = traffic.map(lambda tensor: tensor[:, order])
    assert torch.equal(conflicts_of(shuffled), is_conflict[:, order][:, :, order])


def test_single_precision_is_symmetric_too(random_traffic):
    # i -> j and j -> i go through the same operations on negated numbers
    is_conflict = conflicts_of(random_traffic(5, 50, 20, dtype=torch.float32))
    assert is_conflict.sum() > 1000
    assert torch.equal(is_conflict, is_conflict.transpose(1, 2))


def test_found_conflicts_are_the_detected_pairs_with_their_geometry(random_traffic):
    traffic = random_traffic(3, 6, 15)
    pairs = pairs_of(traffic)
    found = find(pairs, ZONE_M, LOOKAHEAD_S)
    index = (found.episode, found.ownship, found.intruder)
    assert torch.equal(torch.stack(index, -1), conflicts_of(traffic).nonzero())
    assert torch.equal(found.east_m, pairs.east_m[index])
    assert torch.equal(found.velocity_north_mps, pairs.velocity_north_mps[index])
    assert (found.dcpa_m < ZONE_M).all()
    assert count_of(found, traffic.east_m.shape).sum() == len(found.episode)
    tcpa, _ = most_urgent(found, traffic.east_m.shape)
    least = torch.full_like(pairs.east_m, torch.inf).index_put(index, found.tcpa_s).amin(-1)
    assert torch.equal(tcpa.nan_to_num(torch.inf), least)


# --- held against BlueSky ---


def test_hand_made_geometries_as_bluesky(bluesky_reference, hand_made):
    """The same pairs as BlueSky's `StateBased.detect`, its geometry replaced by the exact plane."""
    for name, traffic in hand_made.items():
        for zone_m in (100.0, 110.0):
            theirs, _ = bluesky_reference.detect(traffic, zone_m, LOOKAHEAD_S)
            assert (conflicts_of(traffic, zone_m)[0].numpy() == theirs).all(), name


@pytest.mark.parametrize("latitude_deg", [None, 0.0, 52.0])
def test_random_geometries_as_bluesky(bluesky_reference, random_traffic, latitude_deg):
    """The same pairs as BlueSky, on the exact plane (None) and with BlueSky's own flat earth.

    BlueSky scales east-west distances by the cosine of each pair's mean latitude: within our 2 km that is 1 + 1e-8
    at the equator and up to 1 +- 1e-4 at 52 deg, so a pair within some centimetres of R may be judged otherwise
    there. None of the pairs drawn here is.
    """
    pairs = conflicts = 0
    for seed in range(60):
        traffic = random_traffic(seed, 1, 30)
        ours = conflicts_of(traffic)[0].numpy()
        theirs, details = bluesky_reference.detect(traffic, ZONE_M, LOOKAHEAD_S, latitude_deg)
        assert (ours == theirs).all()
        found = find(pairs_of(traffic), ZONE_M, LOOKAHEAD_S)
        tolerance = 1e-6 if latitude_deg is None else 1e-3 if latitude_deg == 0 else 0.2
        np.testing.assert_allclose(found.dcpa_m, details.dcpa, atol=tolerance)
        np.testing.assert_allclose(found.tcpa_s, details.tcpa, atol=tolerance / 10)
        pairs, conflicts = pairs + ours.size - len(ours), conflicts + int(ours.sum())
    print(f"{pairs} ordered pairs, {conflicts} conflicts, latitude {latitude_deg}: the same as BlueSky")
    assert pairs == 52_200
    assert conflicts > 4_000


def test_blueskys_compiled_geometry_is_not_the_reference(bluesky):
    """BlueSky's compiled `kwikqdrdist_matrix` (its default) gives i->j and j->i one bearing (issue #616).

    Hence the tests, and whatever flies in BlueSky, take the Python one.
    """
    compiled = pytest.importorskip("bluesky.tools.geo._cgeo")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the matrix subclass", PendingDeprecationWarning)
        latitude, longitude = np.asmatrix([0.0, 0.001]), np.asmatrix([0.0, 0.0])
    bearing, _ = compiled.kwikqdrdist_matrix(latitude, longitude, latitude, longitude)
    opposite = abs(bearing[0, 1] - bearing[1, 0])
    if opposite == pytest.approx(180):
        pytest.skip("this BlueSky's compiled geometry is repaired")
    assert opposite == pytest.approx(0)
    bearing, _ = bluesky.tools.geo.kwikqdrdist_matrix(latitude, longitude, latitude, longitude)
    assert abs(bearing[0, 1] - bearing[1, 0]) == pytest.approx(180)
