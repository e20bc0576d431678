"""Geometry of a layout: directions, a random polygon, points on its perimeter and scattered inside."""

from math import floor

import numpy as np

from .compiling import entry, inner
from .elementary import PI, TWO_PI, arctangent, length, sine_cosine


@inner
def _cell(east: float, north: float, radius_m: float, cell: float, columns: int) -> int:
    """Return the cell of a point."""
    column = min(max(floor((east + radius_m) / cell), 0), columns - 1)
    row = min(max(floor((north + radius_m) / cell), 0), columns - 1)
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
def polygon_angles(drawn_rad: np.ndarray, radius_m: float, area_m2: float) -> np.ndarray:
    """Return the angles of a polygon's corners on a circle, ascending: as few as make it large enough.

    Args:
        drawn_rad: (n,) angles in [0, 2 pi), in the order drawn.
        radius_m: Radius of the circle.
        area_m2: Least area.

    Returns:
        (C,) angles, none if all of them are not enough.
    """
    angles = np.empty(len(drawn_rad))
    for count in range(len(drawn_rad)):
        place = count
        while place > 0 and angles[place - 1] > drawn_rad[count]:
            angles[place] = angles[place - 1]
            place -= 1
        angles[place] = drawn_rad[count]
        widest, sines = angles[0] + TWO_PI - angles[count], 0.0
        sines += sine_cosine(widest)[0]
        for corner in range(count):
            gap = angles[corner + 1] - angles[corner]
            widest = max(widest, gap)
            sines += sine_cosine(gap)[0]
        if count >= 2 and widest < PI and 0.5 * radius_m * radius_m * sines >= area_m2:
            return angles[: count + 1]
    return angles[:0]


@entry
def perimeter_points(corners: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Return the points (n, 2) at the given fractions (n,) in [0, 1) of the perimeter of a polygon (C, 2)."""
    count = corners.shape[0]
    ends = np.empty(count)  # of each side, along the perimeter
    total = 0.0
    for c in range(count):
        after = c + 1 if c + 1 < count else 0
        total += length(corners[after, 0] - corners[c, 0], corners[after, 1] - corners[c, 1])
        ends[c] = total
    made = np.empty((len(fraction), 2))
    for index in range(len(fraction)):
        distance = fraction[index] * total
        c = 0
        while c + 1 < count and ends[c] <= distance:
            c += 1
        after = c + 1 if c + 1 < count else 0
        side_east, side_north = corners[after, 0] - corners[c, 0], corners[after, 1] - corners[c, 1]
        side_m = length(side_east, side_north)
        along = (distance - (ends[c] - side_m)) / max(side_m, 1e-9)
        made[index, 0] = corners[c, 0] + along * side_east
        made[index, 1] = corners[c, 1] + along * side_north
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
