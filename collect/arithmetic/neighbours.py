"""Who is near whom, found by cells: for each aircraft the others that can matter to it.

Notation: B episodes, N aircraft, J places in a list.
"""

from math import floor, inf, isfinite

import numpy as np

from .compiling import entry, inner

_SLACK = 1.0 + 1e-5  # who is in reach, or nearest, must be so in single precision as well


@entry
def neighbours(
    east_m: np.ndarray, north_m: np.ndarray, is_flying: np.ndarray, reach_m: float, seen: int
) -> np.ndarray:
    """List for each flying aircraft all others within reach, and at least its nearest ones, ties included.

    Args:
        east_m: (B, N) float64.
        north_m: (B, N) float64.
        is_flying: (B, N) bool; who does not fly, or is at no finite place, is in no list and has an empty one.
        reach_m: Everyone within it is listed.
        seen: How many of the nearest are listed at least.

    Returns:
        (B, N, J) int64, numbers of aircraft, ascending; filled up with the ownship's own number. J is one more than
        the longest list has, and than `seen`.
    """
    episodes, aircraft = east_m.shape
    start, cells = np.zeros(2 * aircraft + 66, np.int64), np.full(aircraft, -1, np.int64)
    number, east, north = np.empty(aircraft, np.int64), np.empty(aircraft), np.empty(aircraft)
    kept, square, best = np.empty(aircraft, np.int64), np.empty(aircraft), np.empty(seen + 1)
    found, sizes = np.empty(32 * aircraft, np.int64), np.zeros((episodes, aircraft), np.int64)
    used, most = 0, min(seen, aircraft - 1)
    for b in range(episodes):
        columns, rows, cell_m = _sort(
            east_m[b], north_m[b], is_flying[b], reach_m * _SLACK, start, cells, number, east, north
        )
        for a in range(aircraft):
            if cells[a] < 0:
                continue
            count = _around(
                a, east_m[b, a], north_m[b, a], cells[a], columns, rows, cell_m, reach_m, seen,
                start, number, east, north, kept, square, best,
            )  # fmt: skip
            _put_in_order(kept, count)
            if used + count > len(found):
                found = _wider(found, used, used + count)
            for k in range(count):
                found[used + k] = kept[k]
            sizes[b, a], used, most = count, used + count, max(most, count)
    made = np.empty((episodes, aircraft, most + 1), np.int64)
    place = 0
    for b in range(episodes):
        for a in range(aircraft):
            for k in range(most + 1):
                made[b, a, k] = found[place + k] if k < sizes[b, a] else a
            place += sizes[b, a]
    return made


@inner
def _wider(values: np.ndarray, used: int, least: int) -> np.ndarray:
    """Return a copy with room for at least `least`, and as much again."""
    made = np.empty(2 * least, np.int64)
    for k in range(used):
        made[k] = values[k]
    return made


@inner
def _put_in_order(values: np.ndarray, count: int) -> None:
    """Sort the first few values: by insertion, at first over wide gaps (Shell, 1959)."""
    gap = 1
    while 9 * gap < count:
        gap = 3 * gap + 1
    while gap > 0:
        for k in range(gap, count):
            value, place = values[k], k
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value
        gap //= 3


@inner
def _sort(
    east_m: np.ndarray,
    north_m: np.ndarray,
    is_flying: np.ndarray,
    reach_m: float,
    start: np.ndarray,
    cells: np.ndarray,
    number: np.ndarray,
    east: np.ndarray,
    north: np.ndarray,
) -> tuple[int, int, float]:
    """Sort the aircraft of an episode (N,) into cells at least `reach_m` wide, about one aircraft a cell or more.

    Fills in the cell of each aircraft, -1 for who is not there, and, cell by cell, their numbers and places;
    `start` says where a cell begins.

    Returns:
        Columns, rows, width of a cell.
    """
    west, most_east, south, most_north = inf, -inf, inf, -inf
    for a in range(len(east_m)):
        cells[a] = 0 if is_flying[a] and isfinite(east_m[a]) and isfinite(north_m[a]) else -1
        if cells[a] == 0:
            west, most_east = min(west, east_m[a]), max(most_east, east_m[a])
            south, most_north = min(south, north_m[a]), max(most_north, north_m[a])
    columns, rows, cell_m, most = 1, 1, max(reach_m, 1.0), 2.0 * len(east_m) + 64.0
    if west < inf and reach_m < inf:
        while ((most_east - west) / cell_m + 1.0) * ((most_north - south) / cell_m + 1.0) > most:
            cell_m *= 1.25
        columns, rows = floor((most_east - west) / cell_m) + 1, floor((most_north - south) / cell_m) + 1
    for c in range(columns * rows + 1):
        start[c] = 0
    for a in range(len(east_m)):
        if cells[a] == 0:
            if columns * rows > 1:
                cells[a] = floor((north_m[a] - south) / cell_m) * columns + floor((east_m[a] - west) / cell_m)
            start[cells[a] + 1] += 1
    for c in range(columns * rows):
        start[c + 1] += start[c]
    for a in range(len(east_m) - 1, -1, -1):  # from behind: start[c + 1] moves to where cell c begins
        if cells[a] >= 0:
            start[cells[a] + 1] -= 1
            place = start[cells[a] + 1]
            number[place], east[place], north[place] = a, east_m[a], north_m[a]
    there = 0
    for a in range(len(east_m)):
        there += cells[a] >= 0
    for c in range(columns * rows):
        start[c] = start[c + 1]
    start[columns * rows] = there
    return columns, rows, cell_m


@inner
def _around(
    a: int,
    own_east: float,
    own_north: float,
    cell: int,
    columns: int,
    rows: int,
    cell_m: float,
    reach_m: float,
    seen: int,
    start: np.ndarray,
    number: np.ndarray,
    east: np.ndarray,
    north: np.ndarray,
    kept: np.ndarray,
    square: np.ndarray,
    best: np.ndarray,
) -> int:
    """Search ring after ring of cells around aircraft `a`; fill in whom to keep, and return how many they are."""
    row, column = cell // columns, cell % columns
    farthest = max(max(row, rows - 1 - row), max(column, columns - 1 - column))
    reach2, used, ring, limit2 = reach_m * reach_m * _SLACK, 0, 0, inf
    while True:
        for line in range(max(row - ring, 0), min(row + ring, rows - 1) + 1):
            step = 1 if ring == 0 or abs(line - row) == ring else 2 * ring
            for at in range(column - ring, column + ring + 1, step):
                if not 0 <= at < columns:
                    continue
                for place in range(start[line * columns + at], start[line * columns + at + 1]):
                    if number[place] != a:
                        d_east, d_north = east[place] - own_east, north[place] - own_north
                        kept[used], square[used] = number[place], d_east * d_east + d_north * d_north
                        used += 1
        is_all = ring >= farthest
        if is_all or ring >= 1:
            limit2 = max(reach2, _seen2(square, used, seen, best) * _SLACK)
            sure_m = ring * cell_m / _SLACK  # everyone that near has been looked at
            if is_all or limit2 <= sure_m * sure_m:
                break
        ring += 1
    count = 0
    for k in range(used):
        if square[k] <= limit2:
            kept[count] = kept[k]
            count += 1
    return count


@inner
def _seen2(square: np.ndarray, used: int, seen: int, best: np.ndarray) -> float:
    """Return the square of the distance to the last of the nearest `seen`; infinite if there are fewer."""
    if used < seen:
        return inf
    if seen == 0:
        return 0.0
    count = 0
    for k in range(used):
        if count == seen and square[k] >= best[count - 1]:
            continue
        place = min(count, seen - 1)
        while place > 0 and best[place - 1] > square[k]:
            best[place] = best[place - 1]
            place -= 1
        best[place] = square[k]
        count = min(count + 1, seen)
    return best[seen - 1]
