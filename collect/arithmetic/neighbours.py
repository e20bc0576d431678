"""Who is near whom, found by cells: for each aircraft the others that can matter to it.

Notation: B episodes, N aircraft, J places in a list.
"""

from math import floor, inf, isfinite

import numpy as np

from .compiling import entry, inner

_SLACK = 1.0 + 1e-5  # who is nearest, or in reach, must be so in single precision as well
_WIDER = 1.001  # a cell, than the reach: one ring of cells is enough
_LEAST_SPEED2 = 1e-6  # as in `airspace.conflicts`


@entry
def neighbours(
    state: np.ndarray,
    is_flying: np.ndarray,
    zone_m: float,
    lookahead_s: float,
    reach_m: float,
    is_all: bool,
    seen: int,
) -> np.ndarray:
    """List for each flying aircraft all others it may meet, and at least its nearest ones, ties included.

    Args:
        state: (B, 4, N) float64: east, north, velocity east and north.
        is_flying: (B, N) bool; who does not fly, or is at no finite place, is in no list and has an empty one.
        zone_m: Listed are those that are within it,
        lookahead_s: or will be in this time, straight on.
        reach_m: Nobody farther away will.
        is_all: Whether everyone within reach is listed: velocities may change.
        seen: How many of the nearest are listed at least.

    Returns:
        (B, N, J) int64, numbers of aircraft, ascending; filled up with the ownship's own number. J is one more than
        the longest list has, and than `seen`.
    """
    episodes, _, aircraft = state.shape
    start, cells = np.zeros(2 * aircraft + 66, np.int64), np.full(aircraft, -1, np.int64)
    number, near = np.empty(aircraft, np.int64), np.empty((aircraft, 4))
    kept, square, is_met = np.empty(aircraft, np.int64), np.empty(aircraft), np.empty(aircraft, np.bool_)
    best, found = np.empty(seen + 1), np.empty(32 * aircraft, np.int64)
    sizes, used, most = np.zeros((episodes, aircraft), np.int64), 0, min(seen, aircraft - 1)
    for b in range(episodes):
        grid = _sort(state[b], is_flying[b], reach_m * _WIDER, start, cells, number, near)
        for a in range(aircraft):
            if cells[a] < 0:
                continue
            count = _around(a, state[b], cells[a], grid, zone_m, lookahead_s, reach_m, is_all, seen,
                            start, number, near, kept, square, is_met, best)  # fmt: skip
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
    state: np.ndarray,
    is_flying: np.ndarray,
    reach_m: float,
    start: np.ndarray,
    cells: np.ndarray,
    number: np.ndarray,
    near: np.ndarray,
) -> tuple[int, int, float]:
    """Sort the aircraft of an episode into cells at least `reach_m` wide, about one aircraft a cell or more.

    Fills in the cell of each aircraft, -1 for who is not there, and, cell by cell, their numbers and states;
    `start` says where a cell begins.

    Returns:
        Columns, rows, width of a cell.
    """
    aircraft = len(cells)
    west, east, south, north = inf, -inf, inf, -inf
    for a in range(aircraft):
        cells[a] = 0 if is_flying[a] and isfinite(state[0, a]) and isfinite(state[1, a]) else -1
        if cells[a] == 0:
            west, east = min(west, state[0, a]), max(east, state[0, a])
            south, north = min(south, state[1, a]), max(north, state[1, a])
    columns, rows, cell_m, most = 1, 1, max(reach_m, 1.0), 2.0 * aircraft + 64.0
    if west < inf and reach_m < inf:
        while ((east - west) / cell_m + 1.0) * ((north - south) / cell_m + 1.0) > most:
            cell_m *= 1.25
        columns, rows = floor((east - west) / cell_m) + 1, floor((north - south) / cell_m) + 1
    for c in range(columns * rows + 1):
        start[c] = 0
    there = 0
    for a in range(aircraft):
        if cells[a] == 0:
            if columns * rows > 1:
                cells[a] = floor((state[1, a] - south) / cell_m) * columns + floor((state[0, a] - west) / cell_m)
            start[cells[a] + 1] += 1
            there += 1
    for c in range(columns * rows):
        start[c + 1] += start[c]
    for a in range(aircraft - 1, -1, -1):  # from behind: start[c + 1] moves to where cell c begins
        if cells[a] >= 0:
            start[cells[a] + 1] -= 1
            place = start[cells[a] + 1]
            number[place] = a
            for q in range(4):
                near[place, q] = state[q, a]
    for c in range(columns * rows):
        start[c] = start[c + 1]
    start[columns * rows] = there
    return columns, rows, cell_m


@inner
def _around(
    a: int,
    state: np.ndarray,
    cell: int,
    grid: tuple[int, int, float],
    zone_m: float,
    lookahead_s: float,
    reach_m: float,
    is_all: bool,
    seen: int,
    start: np.ndarray,
    number: np.ndarray,
    near: np.ndarray,
    kept: np.ndarray,
    square: np.ndarray,
    is_met: np.ndarray,
    best: np.ndarray,
) -> int:
    """Search ring after ring of cells around aircraft `a`; fill in whom to keep, and return how many they are."""
    columns, rows, cell_m = grid
    row, column = cell // columns, cell % columns
    farthest = max(max(row, rows - 1 - row), max(column, columns - 1 - column))
    reach2, used, ring, seen2, last = reach_m * reach_m * _SLACK, 0, 0, inf, max(seen - 1, 0)
    for k in range(seen):
        best[k] = inf
    if seen == 0:
        best[0] = -inf
    while True:
        for line in range(max(row - ring, 0), min(row + ring, rows - 1) + 1):
            step = 1 if ring == 0 or abs(line - row) == ring else 2 * ring
            for at in range(column - ring, column + ring + 1, step):
                if not 0 <= at < columns:
                    continue
                for place in range(start[line * columns + at], start[line * columns + at + 1]):
                    if number[place] == a:
                        continue
                    east, north = near[place, 0] - state[0, a], near[place, 1] - state[1, a]
                    distance2 = east * east + north * north
                    if distance2 > reach2 and distance2 > best[last] * _SLACK:
                        continue
                    if distance2 < best[last]:
                        _note(distance2, seen, best)
                    kept[used], square[used] = number[place], distance2
                    v_east, v_north = near[place, 2] - state[2, a], near[place, 3] - state[3, a]
                    is_met[used] = not distance2 > reach2 and (
                        is_all or _meets(east, north, v_east, v_north, distance2, zone_m, lookahead_s)
                    )
                    used += 1
        if ring >= min(1, farthest):
            seen2 = best[last] * _SLACK if seen else -inf
            sure_m = ring * cell_m / _SLACK  # everyone that near has been looked at
            if ring >= farthest or max(reach2, seen2) <= sure_m * sure_m:
                break
        ring += 1
    count = 0
    for k in range(used):
        if is_met[k] or square[k] <= seen2:
            kept[count] = kept[k]
            count += 1
    return count


@inner
def _meets(
    east: float,
    north: float,
    velocity_east: float,
    velocity_north: float,
    distance2: float,
    zone_m: float,
    time_s: float,
) -> bool:
    """Return whether another is within the zone, or will be in that time; see `airspace.conflicts.detect`."""
    zone2 = zone_m * zone_m
    approach = east * velocity_east + north * velocity_north
    cross = east * velocity_north - north * velocity_east
    speed2 = max(velocity_east * velocity_east + velocity_north * velocity_north, _LEAST_SPEED2)
    path = approach + time_s * speed2
    is_soon = (path > 0.0) | (distance2 + time_s * (approach + path) < zone2)
    return (distance2 < zone2) | (is_soon & (approach < 0.0) & (cross * cross < zone2 * speed2))


@inner
def _note(square: float, seen: int, best: np.ndarray) -> None:
    """Insert a value among the least `seen`, which are in ascending order."""
    place = seen - 1
    while place > 0 and best[place - 1] > square:
        best[place] = best[place - 1]
        place -= 1
    best[place] = square
