"""The geometry of scenarios drawn by hand: convex sectors out of points."""

import numpy as np

from ..airspace.sector import Corners

_MARGIN_M = 200.0


def hull(points: np.ndarray) -> Corners:
    """Return the convex hull (C, 2) of points (n, 2), counter-clockwise (Andrew's monotone chain, 1979)."""
    ordered = sorted(set(map(tuple, points.tolist())))

    def half(line: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        chain: list[tuple[float, ...]] = []
        for point in line:
            while len(chain) > 1 and _cross(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        return chain[:-1]

    return np.array(half(ordered) + half(ordered[::-1]))


def _cross(first: tuple[float, ...], second: tuple[float, ...], third: tuple[float, ...]) -> float:
    """Return twice the area of a triangle, above 0 if it turns left."""
    return (second[0] - first[0]) * (third[1] - first[1]) - (second[1] - first[1]) * (third[0] - first[0])


def convex(corners: np.ndarray) -> tuple[Corners, bool]:
    """Return the hull of a polygon's corners, and whether the polygon itself was convex."""
    found = hull(corners)
    following = np.roll(corners, -1, axis=0)
    own = 0.5 * abs(np.sum(corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]))
    after = np.roll(found, -1, axis=0)
    area = 0.5 * np.sum(found[:, 0] * after[:, 1] - found[:, 1] * after[:, 0])
    return found, bool(own > 0.999 * area)


def hull_with_margin(points: np.ndarray, margin_m: float = _MARGIN_M) -> Corners:
    """Return the convex hull of discs of radius `margin_m` around points (n, 2)."""
    angles = np.arange(24) * 2 * np.pi / 24
    ring = margin_m * np.stack((np.cos(angles), np.sin(angles)), axis=-1)
    return hull((points[:, None] + ring).reshape(-1, 2))
