import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skyclone.collect.airspace.geodesy import Plane
from skyclone.collect.exports.places import places_of


@given(north=st.floats(-85, 85), east=st.floats(-180, 180), along=st.floats(-2e5, 2e5), across=st.floats(-2e5, 2e5))
def test_places_are_points_back(north: float, east: float, along: float, across: float) -> None:
    plane, points, tracks = Plane((north, east)), np.array([[across, along], [0.0, 0.0]]), np.array([1.0, -2.5])
    places, tracks_deg = places_of(plane, points, tracks)
    there = [(float(latitude), float(longitude)) for latitude, longitude in places]
    np.testing.assert_allclose(plane.points(there), points, atol=1e-4)
    turned = (plane.tracks(there, tracks_deg.tolist()) - tracks + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(turned, 0.0, atol=1e-7)
