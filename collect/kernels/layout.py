"""Laying traffic out: which of the points drawn are kept, by cells, whatever their number."""

from math import floor

import numpy as np

from .compiling import entry, inner
from .elementary import arctangent, sine_cosine


@inner
def _cell(east: float, north: float, radius_m: float, cell: float, columns: int) -> int:
    """Return the cell of a point."""
    column = min(max(int(floor((east + radius_m) / cell)), 0), columns - 1)
    row = min(max(int(floor((north + radius_m) / cell)), 0), columns - 1)
    return row * columns + column


@inner
def _contains(corners: np.ndarray, east: float, north: float) -> bool:
    """Return whether a point is inside or on the polygon; see `airspace.sector.contains`."""
    for c in range(corners.shape[0]):
        after = c + 1 if c + 1 < corners.shape[0] else 0
        side_east, side_north = corners[after, 0] - corners[c, 0], corners[after, 1] - corners[c, 1]
        if side_east * (north - corners[c, 1]) - side_north * (east - corners[c, 0]) < 0.0:
            return False
    return True


@entry
def directions(angles_rad: np.ndarray) -> np.ndarray:
    """Return the unit vectors (n, 2) of angles (n,) from the first axis."""
    made = np.empty((len(angles_rad), 2))
    for index in range(len(angles_rad)):
        made[index, 1], made[index, 0] = sine_cosine(angles_rad[index])
    return made


@entry
def bearings(east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Return the angles (n,) of vectors from north, clockwise, in [-pi, pi]."""
    made = np.empty(len(east))
    for index in range(len(east)):
        made[index] = arctangent(east[index], north[index])
    return made


@entry
def scatter(
    corners: np.ndarray, candidates: np.ndarray, kept: np.ndarray, count: int, radius_m: float, gap_m: float
) -> int:
    """Keep, in the order drawn, each point inside the polygon that is far enough from all kept before.

    Args:
        corners: (C, 2) the convex polygon, counter-clockwise, within `radius_m` of the origin.
        candidates: (n, 2) points within `radius_m` of the origin along each axis.
        kept: (N, 2); the first `count` are kept already, and more are filled in.
        count: How many are kept already.
        radius_m: Half the side of the square that holds everything.
        gap_m: Least distance.

    Returns:
        How many are kept now.
    """
    most = kept.shape[0]
    columns = 1
    while gap_m * (columns + 1) <= 2.0 * radius_m and columns * columns < 4 * most:
        columns += 1
    cell = 2.0 * radius_m / columns  # at least the gap
    first, after = np.full(columns * columns, -1, np.int64), np.full(most, -1, np.int64)  # linked lists
    for point in range(count):
        place = _cell(kept[point, 0], kept[point, 1], radius_m, cell, columns)
        after[point], first[place] = first[place], point
    for index in range(candidates.shape[0]):
        if count == most:
            break
        east, north = candidates[index, 0], candidates[index, 1]
        if not _contains(corners, east, north):
            continue
        place = _cell(east, north, radius_m, cell, columns)
        row, column = place // columns, place % columns
        is_free = True
        for line in range(max(row - 1, 0), min(row + 1, columns - 1) + 1):
            for at in range(max(column - 1, 0), min(column + 1, columns - 1) + 1):
                point = first[line * columns + at]
                while point >= 0 and is_free:
                    gap_east, gap_north = kept[point, 0] - east, kept[point, 1] - north
                    is_free = not gap_east * gap_east + gap_north * gap_north < gap_m * gap_m
                    point = after[point]
        if is_free:
            kept[count, 0], kept[count, 1] = east, north
            after[count], first[place] = first[place], count
            count += 1
    return count
