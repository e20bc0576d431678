import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, QhullError

from skyclone.collect.airspace.hull import hull, lower_hull


def test_the_corners_of_a_square_begin_lower_left_and_turn_left():
    square = [(1.0, 1.0), (0.0, 1.0), (0.5, 0.0), (0.0, 0.0), (1.0, 0.0), (0.0, 0.0), (0.3, 0.7)]
    assert hull(square) == [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert lower_hull(sorted(square)) == [(0, 0), (1, 0), (1, 1)]


def test_points_on_a_line_are_its_two_ends():
    assert hull([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]) == [(0, 0), (2, 2)]


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=3, max_size=25))
def test_it_is_the_hull_of_qhull(points):
    try:
        expected = ConvexHull(np.array(points, float))
    except QhullError:  # all on one line
        assert len(hull(points)) <= 2
        return
    corners = np.array(hull(points), float)
    following = np.roll(corners, -1, axis=0)
    area = 0.5 * np.sum(corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0])
    assert area == pytest.approx(expected.volume)  # of a plane figure that is its area
    assert set(map(tuple, corners)) <= set(points)
