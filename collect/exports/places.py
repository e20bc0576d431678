"""Places on the earth of what flies on a plane: the way back from `geodesy.Plane`."""

import numpy as np

from ..airspace.geodesy import EARTH_RADIUS_M, Plane


def places_of(plane: Plane, points_m: np.ndarray, tracks_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of points (n, 2) east and north of the centre, and the tracks (n,) there: both back.

    Returns:
        Latitudes and longitudes (n, 2), degrees, and tracks (n,), degrees in [0, 360).
    """
    radius_m = np.hypot(points_m[:, 0], points_m[:, 1])
    angle = radius_m / EARTH_RADIUS_M
    outward = np.where(radius_m[:, None] > 0, points_m / np.where(radius_m > 0, radius_m, 1.0)[:, None], [0.0, 1.0])
    sine, cosine_ = np.sin(angle)[:, None], np.cos(angle)[:, None]
    east, north, up = _axes(plane)
    away = outward[:, :1] * east + outward[:, 1:] * north  # (n, 3) at the centre, towards the point
    across = -outward[:, 1:] * east + outward[:, :1] * north
    point = sine * away + cosine_ * up
    along = np.stack((np.sin(tracks_rad), np.cos(tracks_rad)), axis=1)
    radial = (along * outward).sum(1, keepdims=True)
    aside = (outward[:, :1] * along[:, 1:] - outward[:, 1:] * along[:, :1]) * np.sinc(angle / np.pi)[:, None]
    velocity = radial * (cosine_ * away - sine * up) + aside * across  # (n, 3)
    level = np.hypot(point[:, 0], point[:, 1])
    places = np.degrees(np.stack((np.arctan2(point[:, 2], level), np.arctan2(point[:, 1], point[:, 0])), axis=1))
    to_east = (velocity[:, 1] * point[:, 0] - velocity[:, 0] * point[:, 1]) / level
    return places, np.degrees(np.arctan2(to_east, velocity[:, 2] / level)) % 360.0


def _axes(plane: Plane) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return east, north and up at the centre, (3,) each, in the earth's frame."""
    latitude, longitude = np.radians(plane.centre_deg)
    up = np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    return east, np.cross(up, east), up
