import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect.airspace.sector import (
    along_perimeter,
    contains,
    distance_outside,
    inner_radius,
    is_outside,
    random_polygon,
)
from skyclone.datasets.errors import ConfigurationError

RADIUS_M, AREA_M2 = 935.0, 0.75 * 1852.0**2
SQUARE = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])  # counter-clockwise


def area_of(corners):
    east, north = corners.T
    return 0.5 * abs(east @ np.roll(north, -1) - north @ np.roll(east, -1))


def outside(points, corners):
    east, north = torch.tensor(points, dtype=torch.float64).T
    return distance_outside(east[None], north[None], torch.tensor(corners)[None])[0].tolist()


# --- worked out on paper ---


def test_points_along_the_perimeter_of_a_square():
    points = along_perimeter(SQUARE, np.array([0.0, 0.125, 0.25, 0.5, 0.9]))
    np.testing.assert_allclose(points, [[1, 1], [0, 1], [-1, 1], [-1, -1], [1, 0.2]], atol=1e-12)


def test_points_inside_a_square():
    points = np.array([[0, 0], [1, 0], [1, 1], [1.001, 0], [0, -2], [0.99, -0.99]])
    assert contains(SQUARE, points).tolist() == [True, True, True, False, False, True]


def test_distance_outside_a_square():
    points = [(0.0, 0.0), (3.0, 0.0), (0.5, -1.5), (4.0, 5.0), (-1.0, 1.0)]
    assert outside(points, SQUARE) == pytest.approx([0, 2, 0.5, 5, 0])


def test_padded_corners_change_nothing():
    padded = np.concatenate((SQUARE, np.repeat(SQUARE[-1:], 3, axis=0)))
    points = [(0.0, 0.0), (3.0, 0.0), (0.5, -1.5), (4.0, 5.0), (0.9, -0.9), (1.2, -1.1)]
    assert outside(points, padded) == pytest.approx(outside(points, SQUARE))
    assert inner_radius(torch.tensor(np.stack((padded, padded)))).tolist() == pytest.approx([1, 1])


def test_inner_radius_is_zero_where_the_origin_is_outside():
    assert inner_radius(torch.tensor(SQUARE + 5)[None]).tolist() == [0]


def test_leaving_means_more_than_so_many_metres_outside(traffic_of):
    corners = torch.tensor(100 * SQUARE, dtype=torch.float32)[None]
    rows = [(149, 0, 0, 9), (151, 0, 0, 9), (0, 0, 0, 9), (134, 134, 0, 9), (136, 136, 0, 9), (400, 0, 0, 9)]
    traffic = traffic_of(rows, ended=(5,))
    gone = is_outside(traffic, corners, inner_radius(corners), 50.0)
    assert gone.tolist() == [[False, True, False, False, True, False]]  # 34 sqrt(2) = 48 m, 36 sqrt(2) = 51 m


def test_a_sector_larger_than_its_circle_is_an_error():
    message = r"expected sector_area_m2 below 99 % of the circle's 314 m2, got 313"
    with pytest.raises(ConfigurationError, match=message):
        random_polygon(np.random.default_rng(0), 10.0, 313.0)


# --- properties ---


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), part=st.floats(0.05, 0.95))
def test_random_polygons(seed, part):
    area_m2 = part * np.pi * RADIUS_M**2
    corners = random_polygon(np.random.default_rng(seed), RADIUS_M, area_m2)
    assert len(corners) >= 3
    np.testing.assert_allclose(np.hypot(*corners.T), RADIUS_M)
    assert area_of(corners) >= area_m2 - 1e-6
    assert contains(corners, np.zeros((1, 2)))[0]
    angles = np.unwrap(np.arctan2(corners[:, 1], corners[:, 0]))
    assert (np.diff(angles) > 0).all()  # counter-clockwise, once around
    assert angles[-1] - angles[0] < 2 * np.pi


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_waypoints_lie_on_the_edge(seed):
    generator = np.random.default_rng(seed)
    corners = random_polygon(generator, RADIUS_M, AREA_M2)
    points = along_perimeter(corners, generator.uniform(size=50))
    assert contains(0.999999 * corners, points).sum() == 0
    assert contains(1.000001 * corners, points).all()
    assert max(outside(points.tolist(), corners)) < 1e-6


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_distance_outside_is_the_distance_to_the_nearest_point_of_the_edge(seed):
    generator = np.random.default_rng(seed)
    corners = random_polygon(generator, RADIUS_M, AREA_M2)
    points = generator.uniform(-1500, 1500, (40, 2))
    edge = along_perimeter(corners, np.linspace(0, 1, 20_000, endpoint=False))
    nearest = np.hypot(*(points[:, None] - edge).transpose(2, 0, 1)).min(axis=1)
    # The nearest point of the edge is at most half a spacing away from a sampled one, along the edge.
    perimeter = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T).sum()
    is_out = ~contains(corners, points)
    got = np.asarray(outside(points.tolist(), corners))
    assert (got[~is_out] == 0).all()
    assert (got[is_out] <= nearest[is_out] + 1e-6).all()
    assert (nearest[is_out] - got[is_out] <= perimeter / 20_000 / 2 + 1e-6).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_quick_check_agrees_with_the_distance(random_traffic, seed):
    generator = np.random.default_rng(seed)
    polygons = [random_polygon(generator, RADIUS_M, AREA_M2) for _ in range(4)]
    count = max(len(polygon) for polygon in polygons)
    padded = [np.concatenate((polygon, np.repeat(polygon[-1:], count - len(polygon), 0))) for polygon in polygons]
    corners = torch.tensor(np.stack(padded))
    traffic = random_traffic(seed, 4, 30, half_m=1100.0)
    expected = distance_outside(traffic.east_m, traffic.north_m, corners) > 50.0
    assert torch.equal(is_outside(traffic, corners, inner_radius(corners), 50.0), expected)
