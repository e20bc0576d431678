"""What the teachers say: target velocities of `none`, `mvp` and `rvo`; formulas as in `collect.teachers`."""

from math import inf, sqrt

import numpy as np

from ..airspace.conflicts import LEAST_SPEED2_M2PS2
from ..arithmetic.compiling import inner
from ..arithmetic.elementary import PI, arctangent, clip, length, sine_cosine, single, wrap
from ..teachers.rules import (
    HEAD_ON_M,
    LEAST_DISTANCE_M,
    LEAST_TCPA_S,
    LEAST_TIME_S,
    MVP,
    RVO,
    SPEED_FACTORS,
    TIE_MPS,
    TURNS,
    Rules,
)
from .detection import TEACHERS, row_of_cells
from .traffic import Grid, Physics


@inner
def push(
    east: float, north: float, velocity_east: float, velocity_north: float, zone_m: float
) -> tuple[float, float, float, float]:
    """Return MVP's velocity change of the ownship, east and north, tcpa and dcpa; see `teachers.mvp`."""
    approach = east * velocity_east + north * velocity_north
    speed2 = velocity_east * velocity_east + velocity_north * velocity_north
    tcpa = -approach / max(speed2, LEAST_SPEED2_M2PS2)
    cpa_east, cpa_north = east + velocity_east * tcpa, north + velocity_north * tcpa
    distance = max(length(east, north), LEAST_DISTANCE_M)
    dcpa = length(cpa_east, cpa_north)
    away = zone_m - dcpa
    moved = dcpa
    if dcpa <= HEAD_ON_M:
        cpa_east, cpa_north = north / distance * HEAD_ON_M, -east / distance * HEAD_ON_M
        moved = HEAD_ON_M
    if distance > zone_m and moved < distance:
        a, b = zone_m / distance, moved / distance
        away = zone_m / (a * b + sqrt(max(1.0 - a * a, 0.0) * max(1.0 - b * b, 0.0))) - moved
    factor = -away / (max(abs(tcpa), LEAST_TCPA_S) * moved)
    return factor * cpa_east, factor * cpa_north, tcpa, dcpa


@inner
def advise(
    air: np.ndarray,
    count: int,
    physics: Physics,
    rules: Rules,
    grid: Grid,
    start: np.ndarray,
    near: np.ndarray,
    around: np.ndarray,
    pairs: np.ndarray,
    used: int,
) -> None:
    """Say what each aircraft should do, in action units; also count its conflicts and find the most urgent one.

    Args:
        air: The aircraft.
        count: A.
        physics: The world.
        rules: The teacher.
        grid: From `detection.sort_into_cells`.
        start: Of the cells.
        near: Of the cells.
        around: (N,) of `traffic.NEAR`, room for the neighbours of one aircraft.
        pairs: From `detection.find`.
        used: How many there are.
    """
    add_pushes(air, count, rules, pairs, used)
    for a in range(count):
        track, speed = air[a]["bearing_rad"], air[a]["cruise_mps"]
        is_windy = air[a]["wind_east_mps"] != 0.0 or air[a]["wind_north_mps"] != 0.0
        if is_windy:
            speed = ground_speed(air, a)
        if rules.kind == MVP and air[a]["conflicts"] > 0.0:
            east, north = (
                air[a]["velocity_east_mps"] + air[a]["advised_turn"],
                air[a]["velocity_north_mps"] + air[a]["pushed_north"],
            )
            speed = clip(length(east, north), air[a]["min_speed_mps"], air[a]["max_speed_mps"])
            track = arctangent(east, north)
            if east == 0.0 and north == 0.0:
                speed = 0.0
        elif rules.kind == RVO:
            track, speed = _reciprocal(a, air, physics, rules, grid, start, near, around)
        if is_windy:
            sine, cosine = sine_cosine(track)
            east, north = speed * sine - air[a]["wind_east_mps"], speed * cosine - air[a]["wind_north_mps"]
            track, speed = arctangent(east, north), length(east, north)
        turn = wrap(track - air[a]["heading_rad"]) if speed > 0.0 else 0.0
        change = speed - air[a]["airspeed_mps"]
        air[a]["advised_turn"] = single(clip(turn / physics.turn_rad, -1.0, 1.0))
        air[a]["advised_speed"] = single(clip(change / physics.speed_change_mps, -1.0, 1.0))


@inner
def ground_speed(air: np.ndarray, a: int) -> float:
    """Return what cruise speed through the air leaves towards the waypoint; see `teachers.registry.to_waypoint`."""
    sine, cosine = sine_cosine(air[a]["bearing_rad"])
    along = air[a]["wind_east_mps"] * sine + air[a]["wind_north_mps"] * cosine
    across = air[a]["wind_east_mps"] * cosine - air[a]["wind_north_mps"] * sine
    left = air[a]["cruise_mps"] * air[a]["cruise_mps"] - across * across
    return max(along + sqrt(max(left, 0.0)), 0.0)


@inner
def add_pushes(air: np.ndarray, count: int, rules: Rules, pairs: np.ndarray, used: int) -> None:
    """Add up MVP's pushes, count conflicts and find the most urgent; arguments as for `advise`.

    The pushes are left in `advised_turn` (east) and `pushed_north`, in m/s.
    """
    for a in range(count):
        air[a]["conflicts"], air[a]["tcpa_s"], air[a]["dcpa_m"] = 0.0, np.nan, np.nan
        air[a]["advised_turn"], air[a]["pushed_north"] = 0.0, 0.0  # sums of pushes, for now
    for k in range(used):
        if pairs[k]["bits"] & TEACHERS:
            a, b = pairs[k]["own"], pairs[k]["intruder"]
            east, north, tcpa, dcpa = push(
                air[b]["east_m"] - air[a]["east_m"],
                air[b]["north_m"] - air[a]["north_m"],
                air[b]["velocity_east_mps"] - air[a]["velocity_east_mps"],
                air[b]["velocity_north_mps"] - air[a]["velocity_north_mps"],
                rules.zone_m * max(air[a]["zone_scale"], air[b]["zone_scale"]),
            )
            air[a]["advised_turn"] += east
            air[a]["pushed_north"] += north
            air[b]["advised_turn"] -= east
            air[b]["pushed_north"] -= north
            for own in (a, b):
                is_first = air[own]["conflicts"] == 0.0 or tcpa < air[own]["tcpa_s"]
                if is_first or (tcpa == air[own]["tcpa_s"] and dcpa < air[own]["dcpa_m"]):
                    air[own]["tcpa_s"], air[own]["dcpa_m"] = tcpa, dcpa
                air[own]["conflicts"] += 1.0


@inner
def _reciprocal(
    a: int,
    air: np.ndarray,
    physics: Physics,
    rules: Rules,
    grid: Grid,
    start: np.ndarray,
    near: np.ndarray,
    around: np.ndarray,
) -> tuple[float, float]:
    """Return the track and speed that `rvo` chooses for slot `a`; see `teachers.rvo`."""
    bearing, cruise = air[a]["bearing_rad"], air[a]["cruise_mps"]
    if air[a]["wind_east_mps"] != 0.0 or air[a]["wind_north_mps"] != 0.0:
        cruise = ground_speed(air, a)
    found, row = 0, air[a]["cell"] // grid.columns
    for line in range(max(row - 1, 0), min(row + 1, grid.rows - 1) + 1):
        begin, end = row_of_cells(air, a, line, grid, start)
        for place in range(begin, end):
            if near[place]["slot"] != a:
                around[found] = near[place]
                found += 1
    sine, cosine = sine_cosine(bearing)
    if _first_collision(air[a], around, found, cruise * sine, cruise * cosine, rules) == inf:
        return bearing, cruise
    least, track, speed = inf, bearing, cruise
    wanted_east, wanted_north = 0.0, 0.0
    for f in range(len(SPEED_FACTORS)):
        fast = clip(cruise * SPEED_FACTORS[f], air[a]["min_speed_mps"], air[a]["max_speed_mps"])
        for t in range(TURNS):
            angle = bearing + (1.0 if t % 2 == 1 else -1.0) * ((t + 1) // 2) * (PI / (TURNS - 1))
            sine, cosine = sine_cosine(angle)
            east, north = fast * sine, fast * cosine
            if f == 0 and t == 0:
                wanted_east, wanted_north = east, north
            detour, tie = length(east - wanted_east, north - wanted_north), TIE_MPS * (f * TURNS + t)
            if detour + tie >= least:
                continue
            time = _first_collision(air[a], around, found, east, north, rules)
            cost = rules.urgency_m / max(time, LEAST_TIME_S) + detour + tie
            if cost < least:
                least, track, speed = cost, angle, fast
    return track, speed


@inner
def _first_collision(
    own: np.ndarray, around: np.ndarray, found: int, east: float, north: float, rules: Rules
) -> float:
    """Return when an aircraft would first lose separation from a neighbour, each doing half of the avoiding."""
    soonest = inf
    for k in range(found):
        other = around[k]
        zone_m = rules.zone_m * max(own["zone_scale"], other["zone_scale"])
        v_east = other["velocity_east_mps"] + own["velocity_east_mps"] - 2.0 * east
        v_north = other["velocity_north_mps"] + own["velocity_north_mps"] - 2.0 * north
        d_east, d_north = other["east_m"] - own["east_m"], other["north_m"] - own["north_m"]
        approach = d_east * v_east + d_north * v_north
        if approach >= 0.0:
            continue
        speed2 = max(v_east * v_east + v_north * v_north, LEAST_SPEED2_M2PS2)
        beyond = d_east * d_east + d_north * d_north - zone_m * zone_m
        discriminant = approach * approach - speed2 * beyond
        if discriminant > 0.0:
            soonest = min(soonest, max((-approach - sqrt(discriminant)) / speed2, 0.0))
    return soonest if soonest < rules.lookahead_s else inf
