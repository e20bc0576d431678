"""Sectors of scenarios written by hand: convex polygons from points."""

import numpy as np

from ..airspace.hull import hull
from ..airspace.sector import Corners
from ..arithmetic.geometry import directions

_MARGIN_M = 200.0


def convex(corners: np.ndarray) -> tuple[Corners, bool]:
    """Return the hull of a polygon's corners, and whether the polygon itself was convex."""
    found = _corners(corners)
    following = np.roll(corners, -1, axis=0)
    own = 0.5 * abs(np.sum(corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]))
    return found, bool(own > 0.999 * area_m2(found))


def area_m2(corners: Corners) -> float:
    """Return the area of a polygon; 0 for a line or a point."""
    after = np.roll(corners, -1, axis=0)
    return 0.5 * float(np.sum(corners[:, 0] * after[:, 1] - corners[:, 1] * after[:, 0]))


def hull_with_margin(points: np.ndarray, margin_m: float = _MARGIN_M) -> Corners:
    """Return the convex hull of discs of radius `margin_m` around points (n, 2)."""
    outer = _corners(points)  # the others' discs lie inside
    points = outer if len(outer) > 2 else points
    angles = np.arange(24) * 2 * np.pi / 24
    ring = margin_m * directions(angles)
    return _corners((points[:, None] + ring).reshape(-1, 2))


def _corners(points: np.ndarray) -> Corners:
    """Return the convex hull (C, 2) of points (n, 2); C is 0 for a single point, 2 for points on a line."""
    return np.array(hull(map(tuple, points.tolist()))).reshape(-1, 2)
