"""The shapes of a scenario file: the sector, zones nobody should enter, and drawings; and its wind."""

import math
from dataclasses import dataclass

import numpy as np

from ...airspace.geodesy import EARTH_RADIUS_M, Point, cosine
from ...airspace.units import FOOT_M, KNOT_MPS, NAUTICAL_MILE_M
from ...arithmetic.geometry import directions
from .places import apart

_NO_FLY = ("NOFLY", "NO_FLY", "NO-FLY", "NFZ", "GEOFENCE", "RESTRICT", "PROHIBIT", "FORBID", "KEEPOUT", "KEEP_OUT")


@dataclass(frozen=True)
class Shape:
    """A shape of a scenario file.

    Attributes:
        name: Its name.
        corners_deg: Its corners, in order.
        where: File and line, for messages.
        is_fence: Whether a command says that nobody should enter it, whatever its name.
    """

    name: str
    corners_deg: list[Point]
    where: str
    is_fence: bool = False

    @property
    def is_no_fly(self) -> bool:
        """Whether nobody should enter it: a geofence, or by its name."""
        return self.is_fence or any(word in self.name for word in _NO_FLY)


def box(first: Point, second: Point) -> list[Point]:
    """Return the corners of a box between two opposite ones."""
    (south, west), (north, east) = first, second
    return [(south, west), (south, east), (north, east), (north, west)]


def circle(centre: Point, radius_nm: float) -> list[Point]:
    """Return 36 points of a circle."""
    reach = math.degrees(radius_nm * NAUTICAL_MILE_M / EARTH_RADIUS_M)
    around = reach * directions(np.arange(36) * 2 * np.pi / 36)
    east = centre[1] + around[:, 0] / cosine(centre[0])
    return list(zip((centre[0] + around[:, 1]).tolist(), east.tolist(), strict=True))


@dataclass(frozen=True)
class Wind:
    """The wind above a point.

    Attributes:
        point: Where it was measured.
        profile: (altitude in m, wind towards east and north in m/s), at one altitude or several.
    """

    point: Point
    profile: tuple[tuple[float, float, float], ...]


def wind_of(point: Point, levels: list[tuple[float, float, float]]) -> Wind:
    """Return the wind of (altitude in ft, direction in degrees it comes from, knots)."""
    profile = []
    for feet, direction_deg, knots in levels:
        east, north = (-knots * KNOT_MPS * directions(np.radians([direction_deg]))[0])[::-1].tolist()
        profile.append((feet * FOOT_M, east, north))
    return Wind(point, tuple(sorted(profile)))


def wind_at(winds: list[Wind], point: Point, altitude_m: float) -> tuple[float, float]:
    """Return the wind towards east and north (m/s): of several points, by the inverse square of their distances."""
    if not winds:
        return 0.0, 0.0
    weights = np.array([1.0 / (1e-12 + apart(point, wind.point) ** 2) for wind in winds])
    found = []
    for wind in winds:
        heights, east, north = np.array(wind.profile).T
        found.append((np.interp(altitude_m, heights, east), np.interp(altitude_m, heights, north)))
    east, north = (weights[:, None] * np.array(found)).sum(0) / weights.sum()
    return float(east), float(north)
