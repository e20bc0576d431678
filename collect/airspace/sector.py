"""The sector: a convex polygon around the origin, and whether an aircraft has left it.

Notation: B episodes, N aircraft, C corners (polygons with fewer corners repeat their last one).
"""

from math import pi

import numpy as np
import torch
from torch import Tensor

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.state import Traffic
from ..arithmetic.geometry import directions, perimeter_points, polygon_angles

MOST_CORNERS = 512
Corners = np.ndarray
"""(C, 2) float64: east and north of each corner in m, counter-clockwise."""


def random_polygon(generator: np.random.Generator, radius_m: float, area_m2: float) -> Corners:
    """Draw a convex polygon with corners on a circle, adding corners until it is large enough.

    Args:
        generator: Source of randomness.
        radius_m: Radius of the circle.
        area_m2: Smallest area.

    Raises:
        ConfigurationError: The circle itself is hardly larger than the area.
    """
    circle_m2 = pi * radius_m * radius_m
    if area_m2 > 0.99 * circle_m2:
        raise ConfigurationError(
            f"expected sector_area_m2 below 99 % of the circle's {circle_m2:.0f} m2, got {area_m2:.0f}"
        )
    angles = polygon_angles(2 * pi * generator.random(MOST_CORNERS), float(radius_m), float(area_m2))
    if not len(angles):
        raise ConfigurationError(f"{area_m2:.0f} m2 need over {MOST_CORNERS} corners. Ask for a smaller area.")
    return radius_m * directions(angles)


def along_perimeter(corners: Corners, fraction: np.ndarray) -> np.ndarray:
    """Return the points (n, 2) at the given fractions (n,) in [0, 1) of the polygon's perimeter."""
    return perimeter_points(np.ascontiguousarray(corners), fraction)


def contains(corners: Corners, points: np.ndarray) -> np.ndarray:
    """Return (n,) bool, whether each of the points (n, 2) is inside or on the convex polygon."""
    sides = np.roll(corners, -1, axis=0) - corners
    relative = points[:, None, :] - corners[None]  # (n, C, 2)
    return (sides[:, 0] * relative[..., 1] - sides[:, 1] * relative[..., 0] >= 0).all(axis=1)


def distance_outside(east_m: Tensor, north_m: Tensor, corners_m: Tensor) -> Tensor:
    """Return how far outside its episode's polygon each aircraft is: (B, N) m, 0 inside.

    Args:
        east_m: (B, N).
        north_m: (B, N).
        corners_m: (B, C, 2), counter-clockwise, the last corner repeated where there are fewer.
    """
    start_east, start_north = corners_m[:, None, :, 0], corners_m[:, None, :, 1]  # (B, 1, C)
    following = torch.roll(corners_m, -1, dims=1)[:, None]
    side_east, side_north = following[..., 0] - start_east, following[..., 1] - start_north
    length2 = (side_east * side_east + side_north * side_north).clamp_min(1e-9)
    east, north = east_m.unsqueeze(-1) - start_east, north_m.unsqueeze(-1) - start_north  # (B, N, C)
    along = ((east * side_east + north * side_north) / length2).clamp_(0.0, 1.0)
    gap_east, gap_north = east - along * side_east, north - along * side_north
    distance2 = (gap_east * gap_east + gap_north * gap_north).amin(-1)
    is_inside = (side_east * north - side_north * east >= 0).all(-1)
    return distance2.sqrt().masked_fill(is_inside, 0.0)


def inner_radius(corners_m: Tensor) -> Tensor:
    """Return the radius (B,) of the largest disc around the origin that fits into each polygon (B, C, 2).

    Zero where the origin is not inside.
    """
    side = torch.roll(corners_m, -1, dims=1) - corners_m
    length = torch.hypot(side[..., 0], side[..., 1])
    cross = side[..., 1] * corners_m[..., 0] - side[..., 0] * corners_m[..., 1]
    return torch.where(length > 1e-3, cross / length.clamp_min(1e-3), torch.inf).amin(-1).clamp_min(0.0)


def is_outside(traffic: Traffic, corners_m: Tensor, inner_m: Tensor, beyond_m: float) -> Tensor:
    """Return which flying aircraft are more than `beyond_m` outside their episode's polygon, (B, N) bool.

    Only aircraft farther from the origin than the inner disc and `beyond_m` can be. They are few, so the
    corners are checked for those alone.

    Args:
        traffic: (B, N).
        corners_m: (B, C, 2).
        inner_m: (B,) from `inner_radius`.
        beyond_m: Distance outside that is still allowed.
    """
    east_m, north_m = traffic.east_m, traffic.north_m
    reach = (inner_m + beyond_m).unsqueeze(-1)
    is_far = (east_m * east_m + north_m * north_m) > reach * reach
    is_far &= traffic.is_flying
    episode, aircraft = is_far.nonzero(as_tuple=True)
    if len(episode):
        distance = distance_outside(
            east_m[episode, aircraft].unsqueeze(-1), north_m[episode, aircraft].unsqueeze(-1), corners_m[episode]
        )
        is_far[episode, aircraft] = distance.squeeze(-1) > beyond_m
    return is_far
