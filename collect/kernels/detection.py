"""Who is near whom: conflicts, losses of separation and the nearest aircraft, by cells.

A conflict within the look-ahead time T needs |d| < R + T |v|, so with cells of that size only the 3 x 3 cells
around an aircraft are searched. The result is that of all pairs to the last bit: minima do not depend on the order,
and conflicts are handed on in order of (ownship, intruder).
"""

from math import floor, inf, sqrt

import numpy as np

from ..arithmetic.compiling import inner
from ..teachers.rules import RVO, Rules
from .traffic import AROUND, MEMBERS, START, Grid, Physics

FEW = 32
"""Up to this many aircraft all pairs are looked at."""
TEACHERS, WORLDS = 1, 2
"""Bits of a pair: in conflict for the teacher; on the protected zone itself."""
_SLACK = 1.0 + 1e-9  # rounding must not put a neighbour two cells away


@inner
def reach_of(air: np.ndarray, count: int, physics: Physics, rules: Rules) -> float:
    """Return the distance beyond which no pair can matter to detection or to the teacher, m."""
    fastest = 0.0
    for a in range(count):
        fastest = max(fastest, air[a]["speed_mps"])
    zone = max(physics.protected_zone_m, rules.zone_m)
    reach = zone + max(physics.lookahead_s, rules.lookahead_s) * 2.0 * fastest
    if rules.kind == RVO:  # v = v_i + v_j - 2 v', and v' may be as fast as any aircraft
        reach = max(reach, rules.zone_m + rules.lookahead_s * 2.0 * (fastest + physics.max_speed_mps))
    return reach * _SLACK


@inner
def sort_into_cells(air: np.ndarray, count: int, reach_m: float, few: int, cells: np.ndarray) -> Grid:
    """Sort the aircraft into cells at least `reach_m` wide, about one aircraft a cell or more."""
    if count <= few:
        return Grid(0, 0, inf)
    west, east, south, north = inf, -inf, inf, -inf
    for a in range(count):
        west, east = min(west, air[a]["east_m"]), max(east, air[a]["east_m"])
        south, north = min(south, air[a]["north_m"]), max(north, air[a]["north_m"])
    cell = reach_m
    most = float(min(2 * count + 64, cells.shape[1] - 1))
    while ((east - west) / cell + 1.0) * ((north - south) / cell + 1.0) > most:
        cell *= 1.25
    columns, rows = floor((east - west) / cell) + 1, floor((north - south) / cell) + 1
    if columns <= 3 and rows <= 3:
        return Grid(0, 0, inf)
    start = cells[START]
    for c in range(columns * rows + 1):
        start[c] = 0
    for a in range(count):
        column, row = floor((air[a]["east_m"] - west) / cell), floor((air[a]["north_m"] - south) / cell)
        air[a]["cell"] = min(row, rows - 1) * columns + min(column, columns - 1)
        start[air[a]["cell"] + 1] += 1
    for c in range(columns * rows):
        start[c + 1] += start[c]
    for a in range(count - 1, -1, -1):  # from behind: each start moves to the front of its cell's members
        start[air[a]["cell"] + 1] -= 1
        cells[MEMBERS, start[air[a]["cell"] + 1]] = a
    for c in range(columns * rows):  # start[c + 1] is now where cell c begins
        start[c] = start[c + 1]
    start[columns * rows] = count
    return Grid(columns, rows, cell)


@inner
def neighbours(air: np.ndarray, a: int, count: int, first: int, grid: Grid, cells: np.ndarray) -> int:
    """Put all slots from `first` on that may be within a cell's width of slot `a` into `cells.around`."""
    found = 0
    if grid.columns == 0:
        for b in range(first, count):
            cells[AROUND, b - first] = b
        return max(count - first, 0)
    row, column = air[a]["cell"] // grid.columns, air[a]["cell"] % grid.columns
    left, right = max(column - 1, 0), min(column + 1, grid.columns - 1)
    for line in range(max(row - 1, 0), min(row + 1, grid.rows - 1) + 1):
        begin, end = cells[START, line * grid.columns + left], cells[START, line * grid.columns + right + 1]
        for place in range(begin, end):
            if cells[MEMBERS, place] >= first:
                cells[AROUND, found] = cells[MEMBERS, place]
                found += 1
    return found


@inner
def in_conflict(
    distance2: float, approach: float, cross: float, speed2: float, zone_m: float, lookahead_s: float
) -> bool:
    """Return whether separation is lost, or will be within the look-ahead time; see `airspace.conflicts.detect`.

    Args:
        distance2: |d|^2.
        approach: d.v
        cross: d x v
        speed2: |v|^2
        zone_m: R.
        lookahead_s: T.
    """
    zone2 = zone_m * zone_m
    if distance2 < zone2:
        return True
    if approach >= 0.0 or cross * cross >= zone2 * speed2:
        return False
    path = approach + lookahead_s * speed2
    return path > 0.0 or distance2 + lookahead_s * (approach + path) < zone2


@inner
def find(
    air: np.ndarray, count: int, physics: Physics, rules: Rules, grid: Grid, cells: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, int]:
    """Find the pairs in conflict, and fill in the distances to the nearest aircraft.

    Args:
        air: The aircraft.
        count: A.
        physics: The world: conflicts on its R count.
        rules: The teacher: conflicts on its zone are those it acts on.
        grid: From `sort_into_cells`, with at least `reach_of`.
        cells: Their members.
        pairs: (room,) of `traffic.PAIR`; gets larger where that is needed.

    Returns:
        The pairs, each once with the lower slot first, in ascending order; and how many they are.
    """
    for a in range(count):
        air[a]["nearest2_m2"] = inf
    used = 0
    widest2 = max(physics.protected_zone_m, rules.zone_m) ** 2
    for a in range(count):
        first = used
        found = neighbours(air, a, count, a + 1, grid, cells)
        if used + found > len(pairs):
            pairs = wider(pairs, used + found)
        for k in range(found):
            b = cells[AROUND, k]
            east, north = air[b]["east_m"] - air[a]["east_m"], air[b]["north_m"] - air[a]["north_m"]
            distance2 = east * east + north * north
            air[a]["nearest2_m2"] = min(air[a]["nearest2_m2"], distance2)
            air[b]["nearest2_m2"] = min(air[b]["nearest2_m2"], distance2)
            velocity_east = air[b]["velocity_east_mps"] - air[a]["velocity_east_mps"]
            velocity_north = air[b]["velocity_north_mps"] - air[a]["velocity_north_mps"]
            approach = east * velocity_east + north * velocity_north
            if approach >= 0.0 and distance2 >= widest2:
                continue
            cross = east * velocity_north - north * velocity_east
            speed2 = velocity_east * velocity_east + velocity_north * velocity_north
            if cross * cross >= widest2 * speed2 and distance2 >= widest2:
                continue
            bits = 0
            if in_conflict(distance2, approach, cross, speed2, rules.zone_m, rules.lookahead_s):
                bits += TEACHERS
            if in_conflict(distance2, approach, cross, speed2, physics.protected_zone_m, physics.lookahead_s):
                bits += WORLDS
            if bits:
                place = used
                while place > first and pairs[place - 1]["intruder"] > b:  # cells are not in order of the slots
                    pairs[place] = pairs[place - 1]
                    place -= 1
                pairs[place]["own"], pairs[place]["intruder"], pairs[place]["bits"] = a, b, bits
                used += 1
    if grid.columns:
        for a in range(count):
            _look_farther(a, air, grid, cells)
    return pairs, used


@inner
def _look_farther(a: int, air: np.ndarray, grid: Grid, cells: np.ndarray) -> None:
    """Search ring after ring of cells for the aircraft nearest to slot `a`, until none can be nearer."""
    row, column = air[a]["cell"] // grid.columns, air[a]["cell"] % grid.columns
    ring = 1
    while True:
        seen = ring * grid.cell_m / _SLACK
        farthest = max(max(row, grid.rows - 1 - row), max(column, grid.columns - 1 - column))
        if air[a]["nearest2_m2"] <= seen * seen or ring >= farthest:
            return
        ring += 1
        for line in range(max(row - ring, 0), min(row + ring, grid.rows - 1) + 1):
            step = 1 if abs(line - row) == ring else 2 * ring
            for place in range(column - ring, column + ring + 1, step):
                if not 0 <= place < grid.columns:
                    continue
                cell = line * grid.columns + place
                for k in range(cells[START, cell], cells[START, cell + 1]):
                    b = cells[MEMBERS, k]
                    east, north = air[b]["east_m"] - air[a]["east_m"], air[b]["north_m"] - air[a]["north_m"]
                    air[a]["nearest2_m2"] = min(air[a]["nearest2_m2"], east * east + north * north)


@inner
def wider(rows: np.ndarray, least: int) -> np.ndarray:
    """Return a copy with room for at least `least`, and half as much again."""
    made = np.empty(least + least // 2 + 16, rows.dtype)
    for place in range(len(rows)):
        made[place] = rows[place]
    return made


@inner
def distance_of(air: np.ndarray, a: int, b: int) -> float:
    """Return the distance between two slots, m."""
    east, north = air[b]["east_m"] - air[a]["east_m"], air[b]["north_m"] - air[a]["north_m"]
    return sqrt(east * east + north * north)
