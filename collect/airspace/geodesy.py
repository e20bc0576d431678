"""The one flat-earth projection: degrees to metres on the plane that touches the earth at a centre."""

import math

import numpy as np

from ..arithmetic.geometry import directions

EARTH_RADIUS_M = 6_371_000.0
"""The radius with which BlueSky moves aircraft."""


def middle(longitudes: list[float]) -> float:
    """Return the middle of longitudes (deg), also across the date line."""
    around = [(each - longitudes[0] + 180.0) % 360.0 - 180.0 for each in longitudes]
    return longitudes[0] + (min(around) + max(around)) / 2


def on_plane(points_deg: list[tuple[float, float]], centre_deg: tuple[float, float]) -> np.ndarray:
    """Return points (n, 2) east and north of the centre, m, on the plane that touches the earth there."""
    latitude, longitude = np.array(points_deg).T
    around = (longitude - centre_deg[1] + 180.0) % 360.0 - 180.0
    east = EARTH_RADIUS_M * np.radians(around) * cosine(centre_deg[0])
    return np.stack((east, EARTH_RADIUS_M * np.radians(latitude - centre_deg[0])), axis=-1)


def cosine(angle_deg: float) -> float:
    """Return the cosine of an angle in degrees."""
    return float(directions(np.array([math.radians(angle_deg)]))[0, 0])
