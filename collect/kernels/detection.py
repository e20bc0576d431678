"""Who is near whom: conflicts, losses of separation and the nearest aircraft, by cells.

A conflict within the look-ahead time T needs |d| < R + T |v|, so with cells of that size only the 3 x 3 cells
around an aircraft are searched. The result is that of all pairs to the last bit: minima do not depend on the order,
and conflicts are handed on in order of (ownship, intruder).
"""

from math import floor, inf, sqrt

import numpy as np

from ..arithmetic.compiling import inner
from ..teachers.rules import RVO, Rules
from .traffic import Grid, Physics

FEW = 32
"""Up to this many aircraft all pairs are looked at."""
TEACHERS, WORLDS = 1, 2
"""Bits of a pair: in conflict for the teacher; on the protected zone itself."""
_SLACK = 1.0 + 1e-9  # rounding must not put a neighbour two cells away


@inner
def reach_of(air: np.ndarray, count: int, physics: Physics, rules: Rules) -> float:
    """Return the distance beyond which no pair can matter to detection or to the teacher, m."""
    fastest, most, scale = 0.0, 0.0, 0.0
    for a in range(count):
        fastest, most = max(fastest, air[a]["speed_mps"]), max(most, air[a]["max_speed_mps"])
        scale = max(scale, air[a]["zone_scale"])
    zone = max(physics.protected_zone_m, rules.zone_m) * scale
    reach = zone + max(physics.lookahead_s, rules.lookahead_s) * 2.0 * fastest
    if rules.kind == RVO:  # v = v_i + v_j - 2 v', and v' may be as fast as any aircraft
        reach = max(reach, rules.zone_m * scale + rules.lookahead_s * 2.0 * (fastest + most))
    return reach * _SLACK


@inner
def sort_into_cells(
    air: np.ndarray, count: int, reach_m: float, few: int, start: np.ndarray, near: np.ndarray
) -> Grid:
    """Sort the aircraft into cells at least `reach_m` wide, about one aircraft a cell or more; few into one.

    Args:
        air: The aircraft.
        count: A.
        reach_m: Least width of a cell.
        few: Up to this many aircraft go into one cell.
        start: (room,) int64: is filled with the places in `near` where the cells begin.
        near: (N,) of `traffic.NEAR`: is filled cell by cell, in order of the slots in each.
    """
    grid, west, south = _grid_of(air, count, reach_m, float(min(2 * count + 64, len(start) - 1)), few)
    size = grid.columns * grid.rows
    for c in range(size + 1):
        start[c] = 0
    for a in range(count):
        c = 0
        if size > 1:
            column = min(floor((air[a]["east_m"] - west) / grid.cell_m), grid.columns - 1)
            row = min(floor((air[a]["north_m"] - south) / grid.cell_m), grid.rows - 1)
            c = row * grid.columns + column
        air[a]["cell"] = c
        start[c + 1] += 1
    for c in range(size):
        start[c + 1] += start[c]
    for a in range(count - 1, -1, -1):  # from behind: start[c + 1] moves to where cell c begins
        c = air[a]["cell"]
        start[c + 1] -= 1
        place = start[c + 1]
        air[a]["place"] = place
        near[place]["slot"], near[place]["nearest2_m2"] = a, inf
        near[place]["east_m"], near[place]["north_m"] = air[a]["east_m"], air[a]["north_m"]
        near[place]["velocity_east_mps"] = air[a]["velocity_east_mps"]
        near[place]["velocity_north_mps"] = air[a]["velocity_north_mps"]
        near[place]["zone_scale"] = air[a]["zone_scale"]
    for c in range(size):
        start[c] = start[c + 1]
    start[size] = count
    return grid


@inner
def _grid_of(air: np.ndarray, count: int, reach_m: float, most: float, few: int) -> tuple[Grid, float, float]:
    """Return a grid of at most `most` cells, and the place of its south-western corner."""
    if count <= few:
        return Grid(1, 1, inf), 0.0, 0.0
    west, east, south, north = inf, -inf, inf, -inf
    for a in range(count):
        west, east = min(west, air[a]["east_m"]), max(east, air[a]["east_m"])
        south, north = min(south, air[a]["north_m"]), max(north, air[a]["north_m"])
    cell = reach_m
    while ((east - west) / cell + 1.0) * ((north - south) / cell + 1.0) > most:
        cell *= 1.25
    columns, rows = floor((east - west) / cell) + 1, floor((north - south) / cell) + 1
    if columns <= 3 and rows <= 3:
        return Grid(1, 1, inf), west, south
    return Grid(columns, rows, cell), west, south


@inner
def row_of_cells(air: np.ndarray, a: int, line: int, grid: Grid, start: np.ndarray) -> tuple[int, int]:
    """Return the first place in `near`, and the one after the last, of the cells around slot `a` in a line."""
    column = air[a]["cell"] % grid.columns
    first = line * grid.columns
    return start[first + max(column - 1, 0)], start[first + min(column + 1, grid.columns - 1) + 1]


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
def bits_of(
    east: float,
    north: float,
    distance2: float,
    velocity_east: float,
    velocity_north: float,
    scale: float,
    physics: Physics,
    rules: Rules,
) -> int:
    """Return for whom a pair with a zone on that scale is in conflict: `TEACHERS`, `WORLDS`, both, nobody (0)."""
    widest = max(physics.protected_zone_m, rules.zone_m) * scale
    widest2 = widest * widest
    longest_s = max(physics.lookahead_s, rules.lookahead_s)
    approach = east * velocity_east + north * velocity_north
    cross = east * velocity_north - north * velocity_east
    speed2 = velocity_east * velocity_east + velocity_north * velocity_north
    # One jump that is hardly ever taken: half of the pairs approach, and no processor guesses which.
    path = approach + longest_s * speed2
    is_soon = (path > 0.0) | (distance2 + longest_s * (approach + path) < widest2)
    is_closing = (approach < 0.0) & (cross * cross < widest2 * speed2) & is_soon
    if not ((distance2 < widest2) | is_closing):
        return 0
    bits = 0
    if in_conflict(distance2, approach, cross, speed2, rules.zone_m * scale, rules.lookahead_s):
        bits += TEACHERS
    if in_conflict(distance2, approach, cross, speed2, physics.protected_zone_m * scale, physics.lookahead_s):
        bits += WORLDS
    return bits


@inner
def find(
    air: np.ndarray,
    count: int,
    physics: Physics,
    rules: Rules,
    grid: Grid,
    start: np.ndarray,
    near: np.ndarray,
    pairs: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Find the pairs in conflict, and fill in the distances to the nearest aircraft.

    Args:
        air: The aircraft.
        count: A.
        physics: The world: conflicts on its R count.
        rules: The teacher: conflicts on its zone are those it acts on.
        grid: From `sort_into_cells`, with at least `reach_of`.
        start: Of the cells.
        near: Of the cells.
        pairs: (room,) of `traffic.PAIR`; gets larger where that is needed.

    Returns:
        The pairs, each once with the lower slot first, in ascending order; and how many they are.
    """
    used = 0
    for a in range(count):
        first, own, nearest2 = used, near[air[a]["place"]], inf
        own_east, own_north = own["east_m"], own["north_m"]
        own_velocity_east, own_velocity_north = own["velocity_east_mps"], own["velocity_north_mps"]
        row = air[a]["cell"] // grid.columns
        for line in range(max(row - 1, 0), min(row + 1, grid.rows - 1) + 1):
            begin, end = row_of_cells(air, a, line, grid, start)
            if grid.columns * grid.rows == 1:
                begin = a + 1
            if used + end - begin > len(pairs):
                pairs = wider(pairs, used + end - begin)
            for place in range(begin, end):
                b = near[place]["slot"]
                east, north = near[place]["east_m"] - own_east, near[place]["north_m"] - own_north
                distance2 = inf if b == a else east * east + north * north
                nearest2 = min(nearest2, distance2)
                near[place]["nearest2_m2"] = min(near[place]["nearest2_m2"], distance2)
                velocity_east = near[place]["velocity_east_mps"] - own_velocity_east
                velocity_north = near[place]["velocity_north_mps"] - own_velocity_north
                scale = max(own["zone_scale"], near[place]["zone_scale"])
                bits = bits_of(east, north, distance2, velocity_east, velocity_north, scale, physics, rules)
                if bits and b > a:
                    insert(pairs, first, used, a, b, bits)
                    used += 1
        own["nearest2_m2"] = min(own["nearest2_m2"], nearest2)
    for a in range(count):
        air[a]["nearest2_m2"] = near[air[a]["place"]]["nearest2_m2"]
        if grid.columns * grid.rows > 1:
            _look_farther(a, air, grid, start, near)
    return pairs, used


@inner
def insert(pairs: np.ndarray, first: int, used: int, a: int, b: int, bits: int) -> None:
    """Insert a pair among those of slot `a`, which begin at `first`: cells are not in order of the slots."""
    place = used
    while place > first and pairs[place - 1]["intruder"] > b:
        pairs[place] = pairs[place - 1]
        place -= 1
    pairs[place]["own"], pairs[place]["intruder"], pairs[place]["bits"] = a, b, bits


@inner
def _look_farther(a: int, air: np.ndarray, grid: Grid, start: np.ndarray, near: np.ndarray) -> None:
    """Search ring after ring of cells for the aircraft nearest to slot `a`, until none can be nearer."""
    row, column = air[a]["cell"] // grid.columns, air[a]["cell"] % grid.columns
    farthest = max(max(row, grid.rows - 1 - row), max(column, grid.columns - 1 - column))
    ring, nearest2 = 1, air[a]["nearest2_m2"]
    while ring < farthest:
        reach_m = ring * grid.cell_m / _SLACK
        if nearest2 <= reach_m * reach_m:
            break
        ring += 1
        for line in range(max(row - ring, 0), min(row + ring, grid.rows - 1) + 1):
            step = 1 if abs(line - row) == ring else 2 * ring
            for at in range(column - ring, column + ring + 1, step):
                if not 0 <= at < grid.columns:
                    continue
                cell = line * grid.columns + at
                for place in range(start[cell], start[cell + 1]):
                    east, north = (
                        near[place]["east_m"] - air[a]["east_m"],
                        near[place]["north_m"] - air[a]["north_m"],
                    )
                    nearest2 = min(nearest2, east * east + north * north)
    air[a]["nearest2_m2"] = nearest2


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
