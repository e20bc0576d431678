"""Who enters, which waypoint comes next, and who comes no nearer to it.

Notation: A aircraft still flying, N at the start, L waypoints after the first.
"""

import numpy as np

from ..airspace.distances import STALL_S, STALL_SHARE
from ..arithmetic.compiling import inner
from ..arithmetic.elementary import length
from .motion import look
from .traffic import Physics, Starts


@inner
def enter(
    air: np.ndarray, count: int, episode: int, step: int, starts: Starts, physics: Physics, figures: np.ndarray
) -> int:
    """Put those that enter before a step into slots, in order of their numbers; return how many there are."""
    state, entry_steps = starts.states[episode], starts.entry_steps[episode]
    for k in range(state.shape[1]):
        number = (
            k if step == 0 else state.shape[1] - 1 - k
        )  # from behind: who is to wait waits for lower numbers too
        if entry_steps[number] != step:
            continue
        if step > 0 and starts.waits[episode] and not has_room(air, count, state, entry_steps, number, physics):
            entry_steps[number] = step + 1
            starts.last_entry[episode] = max(starts.last_entry[episode], step + 1)
            continue
        a = count
        while a > 0 and air[a - 1]["number"] > number:
            air[a] = air[a - 1]
            a -= 1
        air[a]["number"], air[a]["row"], air[a]["hovers"] = number, -1, starts.hovers[episode, number]
        air[a]["east_m"], air[a]["north_m"] = state[0, number], state[1, number]
        air[a]["track_rad"], air[a]["speed_mps"] = state[2, number], state[3, number]
        air[a]["has_stalled"] = 0
        of_type(air, a, starts.types[starts.kinds[episode, number]])
        air[a]["wind_east_mps"], air[a]["wind_north_mps"] = 0.0, 0.0
        if len(starts.winds[episode]):
            air[a]["wind_east_mps"] = starts.winds[episode, step, 0]
            air[a]["wind_north_mps"] = starts.winds[episode, step, 1]
        head_for(air, a, state[4, number], state[5, number], 0)
        count += 1
        if air[a]["hovers"] == 0:
            way_m = air[a]["to_go_m"] + route_m(
                state[4:, number], starts.routes[episode, number], starts.legs[episode, number]
            )
            straight_m = max(way_m - physics.waypoint_radius_m, 0.0)
            figures["straight_m"] += straight_m
            figures["straight_s"] += straight_m / air[a]["cruise_mps"]
            figures["aircraft"] += 1.0
    return count


@inner
def of_type(air: np.ndarray, a: int, numbers: np.ndarray) -> None:
    """Let slot `a` be of a type, (6,): see `Starts.types`."""
    air[a]["cruise_mps"], air[a]["min_speed_mps"], air[a]["max_speed_mps"] = numbers[0], numbers[1], numbers[2]
    air[a]["acceleration_mps2"], air[a]["pull_mps2"], air[a]["zone_scale"] = numbers[3], numbers[4], numbers[5]


@inner
def has_room(
    air: np.ndarray, count: int, state: np.ndarray, entry_steps: np.ndarray, number: int, physics: Physics
) -> bool:
    """Return whether an aircraft may enter: see `Itinerary.enter`."""
    least2 = physics.room_m * physics.room_m
    for a in range(count):
        east, north = air[a]["east_m"] - state[0, number], air[a]["north_m"] - state[1, number]
        if east * east + north * north < least2:
            return False
    for other in range(number):
        if entry_steps[other] == entry_steps[number]:
            east, north = state[0, other] - state[0, number], state[1, other] - state[1, number]
            if east * east + north * north < least2:
                return False
    return True


@inner
def waiting(starts: Starts, episode: int, step: int, physics: Physics) -> bool:
    """Return whether anybody is yet to enter after a step, before the time limit."""
    if step < starts.last_entry[episode]:
        for number in range(starts.entry_steps.shape[1]):
            if step < starts.entry_steps[episode, number] < physics.max_steps:
                return True
    return False


@inner
def head_for(air: np.ndarray, a: int, east_m: float, north_m: float, leg: int) -> None:
    """Give slot `a` a waypoint, the one of number `leg` on its way."""
    air[a]["waypoint_east_m"], air[a]["waypoint_north_m"], air[a]["leg"] = east_m, north_m, leg
    look(air, a)
    air[a]["mark_m"], air[a]["since_s"] = air[a]["to_go_m"], 0.0


@inner
def route_m(waypoint: np.ndarray, route: np.ndarray, legs: int) -> float:
    """Return the length of a route (L, 2) of so many legs, from the waypoint (2,) before it."""
    total, east, north = 0.0, waypoint[0], waypoint[1]
    for leg in range(legs):
        total += length(route[leg, 0] - east, route[leg, 1] - north)
        east, north = route[leg, 0], route[leg, 1]
    return total


@inner
def make_progress(air: np.ndarray, a: int, physics: Physics) -> float:
    """Note how near slot `a` has come to its waypoint; return 1 once it has stalled; see `flying.progress`."""
    air[a]["since_s"] += physics.step_s
    if air[a]["to_go_m"] <= air[a]["mark_m"] - STALL_SHARE * air[a]["cruise_mps"] * STALL_S:
        air[a]["mark_m"], air[a]["since_s"] = air[a]["to_go_m"], 0.0
    if air[a]["has_stalled"] or air[a]["since_s"] < STALL_S:
        return 0.0
    air[a]["has_stalled"] = 1
    return 1.0
