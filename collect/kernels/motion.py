"""One decision step of one aircraft: dynamics, sector test and outcome; formulas as in `collect.airspace`."""

from math import inf, sqrt

import numpy as np

from ...datasets.traffic.record import FLYING, LEFT_SECTOR, TIME_LIMIT, WAYPOINT
from ..airspace.dynamics import LEAST_AIRSPEED_MPS
from ..arithmetic.compiling import inner
from ..arithmetic.elementary import arctangent, clip, length, sine_cosine, single, wrap
from .traffic import Physics


@inner
def look(air: np.ndarray, a: int) -> None:
    """Derive from the state of slot `a` what does not depend on others."""
    sine, cosine = sine_cosine(air[a]["track_rad"])
    air[a]["velocity_east_mps"] = air[a]["speed_mps"] * sine
    air[a]["velocity_north_mps"] = air[a]["speed_mps"] * cosine
    air[a]["sine"], air[a]["cosine"] = sine, cosine
    air[a]["heading_rad"], air[a]["airspeed_mps"] = air[a]["track_rad"], air[a]["speed_mps"]
    east, north = air[a]["waypoint_east_m"] - air[a]["east_m"], air[a]["waypoint_north_m"] - air[a]["north_m"]
    air[a]["bearing_rad"] = arctangent(east, north)
    air[a]["to_go_m"] = length(east, north)
    if air[a]["wind_east_mps"] != 0.0 or air[a]["wind_north_mps"] != 0.0:
        through_air(air, a)


@inner
def through_air(air: np.ndarray, a: int) -> None:
    """Derive the heading and airspeed of slot `a` from its velocity over ground and the wind."""
    east = air[a]["velocity_east_mps"] - air[a]["wind_east_mps"]
    north = air[a]["velocity_north_mps"] - air[a]["wind_north_mps"]
    air[a]["heading_rad"], air[a]["airspeed_mps"] = arctangent(east, north), length(east, north)
    if air[a]["airspeed_mps"] < LEAST_AIRSPEED_MPS:
        air[a]["heading_rad"], air[a]["airspeed_mps"] = air[a]["bearing_rad"], 0.0
    air[a]["sine"], air[a]["cosine"] = sine_cosine(air[a]["heading_rad"])


@inner
def advance(air: np.ndarray, a: int, turn: float, speed_change: float, physics: Physics) -> None:
    """Fly slot `a` for one decision step; see `airspace.dynamics.advance`.

    Args:
        air: The aircraft, looked at.
        a: Which.
        turn: In action units, in [-1, 1].
        speed_change: In action units, in [-1, 1].
        physics: The world.
    """
    speed, acceleration = air[a]["airspeed_mps"], air[a]["acceleration_mps2"]
    target = clip(speed + speed_change * physics.speed_change_mps, air[a]["min_speed_mps"], air[a]["max_speed_mps"])
    most = acceleration * physics.step_s
    change = clip(target - speed, -most, most)
    new_speed = speed + change
    pull = air[a]["pull_mps2"]
    turned, turn_s = _turn(turn * physics.turn_rad, speed, new_speed, change, acceleration, pull, physics.step_s)
    in_turn = _distance(turn_s, speed, new_speed, change, acceleration)
    rest = _distance(physics.step_s, speed, new_speed, change, acceleration) - in_turn
    sine, cosine = sine_cosine(0.5 * turned)
    chord = in_turn * (2.0 + cosine) / 3.0
    # sin and cos of (track + half) and of (track + turn)
    east, north = air[a]["sine"], air[a]["cosine"]
    half_east, half_north = east * cosine + north * sine, north * cosine - east * sine
    full_east, full_north = half_east * cosine + half_north * sine, half_north * cosine - half_east * sine
    air[a]["east_m"] = single(air[a]["east_m"] + (chord * half_east + rest * full_east))
    air[a]["north_m"] = single(air[a]["north_m"] + (chord * half_north + rest * full_north))
    air[a]["track_rad"] = single(wrap(air[a]["heading_rad"] + turned))
    air[a]["speed_mps"] = single(new_speed)


@inner
def advance_in_wind(
    air: np.ndarray, a: int, turn: float, speed_change: float, physics: Physics, east_mps: float, north_mps: float
) -> None:
    """Fly slot `a` for one decision step as `advance`, after which the wind is that towards east and north."""
    drift_east, drift_north = air[a]["wind_east_mps"] * physics.step_s, air[a]["wind_north_mps"] * physics.step_s
    advance(air, a, turn, speed_change, physics)
    air[a]["east_m"], air[a]["north_m"] = (
        single(air[a]["east_m"] + drift_east),
        single(air[a]["north_m"] + drift_north),
    )
    sine, cosine = sine_cosine(air[a]["track_rad"])  # of the heading, until here
    east, north = air[a]["speed_mps"] * sine + east_mps, air[a]["speed_mps"] * cosine + north_mps
    air[a]["track_rad"], air[a]["speed_mps"] = single(arctangent(east, north)), single(length(east, north))
    air[a]["wind_east_mps"], air[a]["wind_north_mps"] = east_mps, north_mps


@inner
def _distance(time_s: float, speed: float, new_speed: float, change: float, acceleration_mps2: float) -> float:
    """Return the distance flown in the first `time_s` of the step, accelerating first, then at `new_speed`."""
    accelerating_s = min(abs(change) / acceleration_mps2, time_s)
    gained = 0.5 * acceleration_mps2 * accelerating_s * accelerating_s
    return speed * accelerating_s + (gained if change > 0.0 else -gained) + new_speed * (time_s - accelerating_s)


@inner
def _turn(
    wanted: float,
    speed: float,
    new_speed: float,
    change: float,
    acceleration_mps2: float,
    pull_mps2: float,
    step_s: float,
) -> tuple[float, float]:
    """Return the turn made (rad) and the time it takes (s), at a turn rate of g tan(bank) / speed."""
    slow, fast = max(speed, LEAST_AIRSPEED_MPS), max(new_speed, LEAST_AIRSPEED_MPS)
    accelerating = abs(change) / acceleration_mps2 / step_s
    while_accelerating = (1.0 / slow + 8.0 / (slow + fast) + 1.0 / fast) / 6.0
    rate = pull_mps2 * (accelerating * while_accelerating + (1.0 - accelerating) / fast)
    most = rate * step_s
    turn = clip(wanted, -most, most)
    return turn, abs(turn) / rate


@inner
def flown_m(before_mps: float, after_mps: float, acceleration_mps2: float, step_s: float) -> float:
    """Return the distance flown in a step; see `airspace.distances.distance_flown`."""
    change = after_mps - before_mps
    return after_mps * step_s - change * abs(change) / (2.0 * acceleration_mps2)


@inner
def outcome_of(
    air: np.ndarray, a: int, step: int, is_last: bool, corners: np.ndarray, inner_m: float, physics: Physics
) -> int:
    """Return what became of slot `a` with step `step`, counted from 1; the last waypoint before left_sector."""
    if is_last and air[a]["to_go_m"] <= physics.waypoint_radius_m:
        return WAYPOINT
    reach = inner_m + physics.outside_m
    east, north = air[a]["east_m"], air[a]["north_m"]
    if east * east + north * north > reach * reach and _outside_m(east, north, corners) > physics.outside_m:
        return LEFT_SECTOR
    return TIME_LIMIT if step >= physics.max_steps else FLYING


@inner
def _outside_m(east_m: float, north_m: float, corners: np.ndarray) -> float:
    """Return how far a point is outside the convex polygon (C, 2); 0 inside."""
    count = corners.shape[0]
    is_inside, least2 = True, inf
    for c in range(count):
        after = c + 1 if c + 1 < count else 0
        side_east, side_north = corners[after, 0] - corners[c, 0], corners[after, 1] - corners[c, 1]
        east, north = east_m - corners[c, 0], north_m - corners[c, 1]
        if side_east * north - side_north * east < 0.0:
            is_inside = False
        length2 = max(side_east * side_east + side_north * side_north, 1e-9)
        along = clip((east * side_east + north * side_north) / length2, 0.0, 1.0)
        gap_east, gap_north = east - along * side_east, north - along * side_north
        least2 = min(least2, gap_east * gap_east + gap_north * gap_north)
    return 0.0 if is_inside else sqrt(least2)


@inner
def is_in_any(east_m: float, north_m: float, polygons: np.ndarray) -> bool:
    """Return whether a point is inside or on one of the convex polygons (Z, C, 2); see `Itinerary.is_in_no_fly`."""
    count = polygons.shape[1]
    for z in range(polygons.shape[0]):
        is_inside, is_polygon = True, False
        for c in range(count):
            after = c + 1 if c + 1 < count else 0
            side_east = polygons[z, after, 0] - polygons[z, c, 0]
            side_north = polygons[z, after, 1] - polygons[z, c, 1]
            is_polygon |= (side_east != 0.0) | (side_north != 0.0)
            if side_east * (north_m - polygons[z, c, 1]) - side_north * (east_m - polygons[z, c, 0]) < 0.0:
                is_inside = False
        if is_inside and is_polygon:
            return True
    return False


@inner
def inner_radius(corners: np.ndarray) -> float:
    """Return the radius of the largest disc around the origin that fits into the polygon (C, 2); see `sector`."""
    least = inf
    for c in range(corners.shape[0]):
        after = c + 1 if c + 1 < corners.shape[0] else 0
        side_east, side_north = corners[after, 0] - corners[c, 0], corners[after, 1] - corners[c, 1]
        side_m = length(side_east, side_north)
        if side_m > 1e-3:
            least = min(least, (side_north * corners[c, 0] - side_east * corners[c, 1]) / side_m)
    return max(least, 0.0)
