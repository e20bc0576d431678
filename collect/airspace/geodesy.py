"""The one projection: degrees to metres on a plane around a centre and back, azimuthal equidistant.

Distances and directions from the centre are exact; at a distance r from it, distances across are too long by the
factor c / sin c with c = r / R (Snyder, Map Projections: A Working Manual, 1987, chapter 25): 0.001 % at 50 km,
0.4 % at 1000 km. Tracks are turned and stretched as the map is there, so that they lead over the same places.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..arithmetic.geometry import bearings, directions

EARTH_RADIUS_M = 6_371_000.0
"""The radius with which BlueSky moves aircraft."""
Point = tuple[float, float]
"""Latitude and longitude, degrees."""


@dataclass(frozen=True)
class Plane:
    """The plane that touches the earth at a centre.

    Attributes:
        centre_deg: Latitude and longitude.
    """

    centre_deg: Point

    @classmethod
    def around(cls, points_deg: list[Point]) -> "Plane":
        """Return the plane in the middle of some points."""
        north = [point[0] for point in points_deg]
        return cls(((min(north) + max(north)) / 2, middle([point[1] for point in points_deg])))

    @staticmethod
    def error(distance_m: float) -> float:
        """Return how much distances are too long, as a fraction, at a distance from the centre."""
        angle = distance_m / EARTH_RADIUS_M
        sine = float(directions(np.array([min(angle, np.pi)]))[0, 1])
        return angle / sine - 1.0 if sine > 1e-9 and angle < np.pi else float("inf") if angle else 0.0

    @classmethod
    def most_m(cls, error: float) -> float:
        """Return the distance from the centre at which there is that error."""
        low, high = 0.0, 3.0 * EARTH_RADIUS_M
        for _ in range(50):
            half = (low + high) / 2
            low, high = (half, high) if cls.error(half) < error else (low, half)
        return low

    def points(self, points_deg: list[Point]) -> np.ndarray:
        """Return points (n, 2) east and north of the centre, m."""
        away, _, _ = self._away(points_deg)
        radius = np.sqrt(away[:, 0] * away[:, 0] + away[:, 1] * away[:, 1])  # (n,) sine of the angle
        angle = bearings(radius, away[:, 2].copy())
        scale = np.where(radius > 0, angle / np.where(radius > 0, radius, 1.0), 1.0)
        return EARTH_RADIUS_M * scale[:, None] * away[:, :2]

    def tracks(self, points_deg: list[Point], tracks_deg: list[float]) -> np.ndarray:
        """Return tracks (n,) on the plane, rad in [0, 2 pi), of those at some points."""
        away, north, east = self._away(points_deg)
        turned = directions(np.radians(np.array(tracks_deg) % 360.0))  # (n, 2) to north, to east
        along = turned[:, :1] * north + turned[:, 1:] * east  # (n, 3) in the centre's frame
        radius = np.sqrt(away[:, 0] * away[:, 0] + away[:, 1] * away[:, 1])
        is_centre = radius < 1e-12
        outward = np.where(is_centre[:, None], [0.0, 1.0], away[:, :2] / np.where(is_centre, 1.0, radius)[:, None])
        up = away[:, 2]
        radial = up * (outward * along[:, :2]).sum(1) - radius * along[:, 2]
        stretch = np.where(is_centre, 1.0, bearings(radius, up.copy()) / np.where(is_centre, 1.0, radius))
        across = stretch * (outward[:, 1] * along[:, 0] - outward[:, 0] * along[:, 1])
        to_east = radial * outward[:, 0] + across * outward[:, 1]
        to_north = radial * outward[:, 1] - across * outward[:, 0]
        return bearings(to_east, to_north) % (2 * np.pi)

    def _away(self, points_deg: list[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return unit vectors (n, 3), east, north and up at the centre: to the points, north and east there."""
        latitude, longitude = np.array(points_deg).reshape(-1, 2).T
        (cos_here, sin_here) = directions(np.radians([self.centre_deg[0]]))[0]
        cos_there, sin_there = directions(np.radians(latitude)).T
        cos_east, sin_east = directions(np.radians((longitude - self.centre_deg[1] + 180.0) % 360.0 - 180.0)).T
        point = np.stack(
            (
                cos_there * sin_east,
                cos_here * sin_there - sin_here * cos_there * cos_east,
                sin_here * sin_there + cos_here * cos_there * cos_east,
            ),
            axis=1,
        )
        north = np.stack(
            (
                -sin_there * sin_east,
                cos_here * cos_there + sin_here * sin_there * cos_east,
                sin_here * cos_there - cos_here * sin_there * cos_east,
            ),
            axis=1,
        )
        east = np.stack((cos_east, sin_here * sin_east, -cos_here * sin_east), axis=1)
        return point, north, east


def middle(longitudes: list[float]) -> float:
    """Return the middle of longitudes (deg), also across the date line."""
    around = [(each - longitudes[0] + 180.0) % 360.0 - 180.0 for each in longitudes]
    return longitudes[0] + (min(around) + max(around)) / 2


def cosine(angle_deg: float) -> float:
    """Return the cosine of an angle in degrees."""
    return float(directions(np.array([math.radians(angle_deg)]))[0, 0])
