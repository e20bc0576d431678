import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.datasets.traffic.pairs import pairs_among, pairs_of, pairs_of_rows
from skyclone.datasets.traffic.state import Traffic, wrap_angle

FIELDS = ("east_m", "north_m", "velocity_east_mps", "velocity_north_mps", "distance2_m2", "is_pair")


def traffic_of(rows, flying=None):
    """(1, N) traffic of rows (east, north, track in degrees, speed, waypoint east, waypoint north)."""
    columns = list(torch.tensor(rows, dtype=torch.float32).T.unsqueeze(1))
    columns[2] = torch.deg2rad(columns[2])
    return Traffic(*columns, torch.tensor([flying or [True] * len(rows)]))


def random_traffic(seed, batch=5, aircraft=7):
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn((6, batch, aircraft), generator=generator)
    is_flying = torch.rand((batch, aircraft), generator=generator) > 0.3
    return Traffic(*(400 * state), is_flying)


def test_velocity_bearing_and_drift_by_hand():
    traffic = traffic_of([(0, 0, 90, 9, 0, 100), (10, 10, 180, 4, 40, 50), (0, 0, -150, 9, -1, 1)])
    assert traffic.velocity_east_mps[0].tolist() == pytest.approx([9, 0, -4.5], abs=1e-5)
    assert traffic.velocity_north_mps[0].tolist() == pytest.approx([0, -4, -9 * math.sqrt(0.75)], abs=1e-5)
    assert traffic.bearing_rad[0].tolist() == pytest.approx([0, math.atan2(30, 40), -math.pi / 4])
    assert traffic.drift_rad[0].tolist() == pytest.approx(
        [math.pi / 2, math.pi - math.atan2(30, 40), math.radians(-105)]
    )


@settings(max_examples=50, deadline=None)
@given(turns=st.integers(-3, 3), angle=st.floats(-3.14, 3.14))
def test_wrapping_takes_out_whole_turns(turns, angle):
    wrapped = wrap_angle(torch.tensor(angle + 2 * math.pi * turns, dtype=torch.float64)).item()
    assert wrapped == pytest.approx(angle, abs=1e-9)


def test_wrapping_is_from_minus_pi_to_below_pi():
    assert wrap_angle(torch.tensor(math.pi, dtype=torch.float64)).item() == -math.pi


def test_pairs_by_hand():
    traffic = traffic_of([(1, 2, 0, 9, 0, 0), (4, 6, 90, 5, 0, 0)])
    pairs = pairs_of(traffic)
    assert pairs.east_m[0].tolist() == [[0, 3], [-3, 0]]  # ownship first: d = p_j - p_i
    assert pairs.north_m[0].tolist() == [[0, 4], [-4, 0]]
    assert pairs.velocity_east_mps[0, 0].tolist() == pytest.approx([0, 5], abs=1e-5)
    assert pairs.velocity_north_mps[0, 0].tolist() == pytest.approx([0, -9], abs=1e-5)
    assert pairs.distance2_m2[0].tolist() == [[math.inf, 25], [25, math.inf]]
    assert pairs.is_pair[0].tolist() == [[False, True], [True, False]]
    assert pairs.nearest_m()[0].tolist() == [5, 5]


def test_ended_aircraft_are_in_no_pair():
    traffic = traffic_of([(0, 0, 0, 9, 0, 0), (3, 4, 0, 9, 0, 0), (6, 8, 0, 9, 0, 0)], [True, False, True])
    pairs = pairs_of(traffic)
    assert pairs.is_pair.nonzero().tolist() == [[0, 0, 2], [0, 2, 0]]
    assert pairs.nearest_m()[0].tolist() == [10, math.inf, 10]


def test_one_aircraft_has_no_pair():
    pairs = pairs_of(traffic_of([(0, 0, 0, 9, 0, 0)]))
    assert not pairs.is_pair.any()
    assert pairs.nearest_m().tolist() == [[math.inf]]
    nobody = pairs_of(random_traffic(0, 2, 0))
    assert nobody.nearest_m().shape == (2, 0)


def test_pairs_are_antisymmetric():
    pairs = pairs_of(random_traffic(3))
    for name in FIELDS[:4]:
        values = getattr(pairs, name)
        assert torch.equal(values, -values.transpose(1, 2)), name
    assert torch.equal(pairs.distance2_m2, pairs.distance2_m2.transpose(1, 2))


def test_rows_are_the_same_pairs_as_in_flight():
    traffic = random_traffic(1)
    everybody = pairs_of(traffic)
    episode, aircraft = (
        index.reshape(-1) for index in torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    )
    order = torch.randperm(len(episode), generator=torch.Generator().manual_seed(2))
    episode, aircraft = episode[order], aircraft[order]
    own, rows = pairs_of_rows(traffic.map(lambda tensor: tensor[episode]), aircraft)
    for name in FIELDS:
        assert torch.equal(getattr(rows, name), getattr(everybody, name)[episode, aircraft]), name
    for name in (name for name, tensor in vars(own).items() if tensor is not None):
        assert torch.equal(getattr(own, name), getattr(traffic, name)[episode, aircraft]), name


def test_chosen_pairs_are_those_of_all_pairs():
    traffic = random_traffic(3)
    everybody = pairs_of(traffic)
    row = torch.tensor([0, 33, 16, 16])  # 5 episodes of 7
    intruder = torch.tensor([[0, 1, 6], [5, 2, 2], [2, 4, 3], [6, 0, 1]])
    own, chosen = pairs_among(traffic, row, intruder)
    episode, ownship = row // 7, row % 7
    for name in FIELDS:
        expected = getattr(everybody, name)[episode.unsqueeze(-1), ownship.unsqueeze(-1), intruder]
        assert torch.equal(getattr(chosen, name), expected), name
    for name in (name for name, tensor in vars(own).items() if tensor is not None):
        assert torch.equal(getattr(own, name), getattr(traffic, name)[episode, ownship]), name


def test_a_copy_shares_no_memory():
    traffic = random_traffic(0)
    copy = traffic.clone()
    copy.east_m += 1
    copy.is_flying[:] = False
    assert not torch.equal(copy.east_m, traffic.east_m)
    assert traffic.is_flying.any()
