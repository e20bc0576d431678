"""The projection against great circles, near and far."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.collect.airspace.geodesy import EARTH_RADIUS_M, Plane, middle


def great_circle(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return the distance (m), and the bearing at the first point (rad)."""
    here, there = math.radians(first[0]), math.radians(second[0])
    east = math.radians(second[1] - first[1])
    across = math.cos(there) * math.sin(east)
    along = math.cos(here) * math.sin(there) - math.sin(here) * math.cos(there) * math.cos(east)
    up = math.sin(here) * math.sin(there) + math.cos(here) * math.cos(there) * math.cos(east)
    return EARTH_RADIUS_M * math.atan2(math.hypot(across, along), up), math.atan2(across, along)


LATITUDES, LONGITUDES = st.floats(-89, 89), st.floats(-179.9, 179.9)


@given(north=LATITUDES, east=LONGITUDES, there=LATITUDES, far=LONGITUDES)
def test_distance_and_direction_from_the_centre_are_exact(
    north: float, east: float, there: float, far: float
) -> None:
    distance, bearing = great_circle((north, east), (there, far))
    point = Plane((north, east)).points([(there, far)])[0]
    if distance < 1.9e7:  # not the antipode
        expected = distance * np.array([math.sin(bearing), math.cos(bearing)])
        np.testing.assert_allclose(point, expected, atol=1.0)


def test_a_track_leads_over_the_same_places() -> None:
    plane, place = Plane((52.0, 4.0)), (47.0, 15.0)
    for track in (0.0, 30.0, 90.0, 200.0, 300.0):
        step = 1e-4
        east = step * math.sin(math.radians(track)) / math.cos(math.radians(place[0]))
        ahead = (place[0] + step * math.cos(math.radians(track)), place[1] + east)
        away = np.subtract(*plane.points([ahead, place]))
        turned = plane.tracks([place], [track])[0]
        assert (math.atan2(away[0], away[1]) - turned + math.pi) % (2 * math.pi) - math.pi == pytest.approx(
            0, abs=1e-5
        )


@pytest.mark.parametrize(("distance_m", "error"), [(0, 0), (50e3, 1.0265e-5), (1e6, 4.12e-3), (7e6, 0.2330)])
def test_the_error_is_that_of_a_circle_around_the_centre(distance_m: float, error: float) -> None:
    assert Plane.error(distance_m) == pytest.approx(error, rel=3e-3)
    if distance_m:
        latitude = math.degrees(distance_m / EARTH_RADIUS_M)
        around = Plane((0.0, 0.0)).points([(latitude, 0.0), (latitude, 0.001)])
        flat, true = np.hypot(*(around[1] - around[0])), great_circle((latitude, 0.0), (latitude, 0.001))[0]
        assert latitude > 60 or flat / true - 1 == pytest.approx(error, rel=1e-2, abs=1e-7)
        assert Plane.most_m(Plane.error(distance_m)) == pytest.approx(distance_m, rel=1e-3)


def test_the_middle_across_the_date_line() -> None:
    assert middle([179.0, -179.0]) % 360 == pytest.approx(180.0)
    assert Plane.around([(0.0, 179.0), (2.0, -179.0)]).centre_deg == (1.0, 180.0)
