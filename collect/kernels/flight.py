"""The loop: episodes flown to their end one after another, each row written where it belongs.

One call flies for about so much work and returns where it is, so that whoever calls can listen to Ctrl-C.

Notation: E episodes, N aircraft at the start, A still flying.
"""

from math import inf, sqrt
from typing import NamedTuple

import numpy as np

from ...datasets.traffic.record import FLYING, LEFT_SECTOR, TIME_LIMIT, WAYPOINT
from ..arithmetic.compiling import entry, inner
from ..arithmetic.elementary import clip, length, single
from ..arithmetic.noise import normal_pair
from ..teachers.rules import Rules
from .detection import WORLDS, distance_of, find, reach_of, sort_into_cells, wider
from .motion import advance, advance_in_wind, flown_m, inner_radius, is_in_any, look, outcome_of
from .resolution import advise
from .rewards import PER_INTRUDER, nearest_part, own_part
from .routes import enter, head_for, make_progress, waiting
from .traffic import AIR, NEAR, PAIR, ROW, SEEN, Physics, Starts

FIGURES = np.dtype(
    [
        (name, "f8")
        for name in (
            "aircraft",
            "straight_m",
            "steps",
            "flown_m",
            "progress_m",
            "effort",
            "at_waypoint",
            "left_sector",
            "time_limit",
            "progress_s",
            "straight_s",
            "stalled",
            "no_fly_steps",
            "duration_steps",
        )
    ]
)
"""Sums of an episode, as in `flying.sums.Figures`, and until which step anybody has flown."""


class Flown(NamedTuple):
    """What a batch has brought so far, and where it is.

    Attributes:
        rows: (room,) of `traffic.ROW`, in order of episode, step, aircraft.
        row_count: How many rows there are.
        seen: (room,) of `traffic.SEEN`, in order of episode, step, own, intruder.
        seen_count: How many of them there are.
        figures: (E,) of `FIGURES`.
        nearest2_m2: (E, N) of each aircraft over its whole flight; infinite where nobody else flew.
        air: (N,) of `traffic.AIR`, the episode that is flown.
        episode: Its place in the batch; E when all are over.
        step: Its next step.
        flying: A.
    """

    rows: np.ndarray
    row_count: int
    seen: np.ndarray
    seen_count: int
    figures: np.ndarray
    nearest2_m2: np.ndarray
    air: np.ndarray
    episode: int
    step: int
    flying: int


class Way(NamedTuple):
    """Where the aircraft of an episode may fly, and where they want to: see `traffic.Starts`.

    Attributes:
        routes: (N, L, 2).
        legs: (N,).
        corners: (C, 2) of the sector.
        inner_m: Radius of the largest disc around the origin that fits into it.
        winds: (T + 1, 2), or (0, 2).
    """

    routes: np.ndarray
    legs: np.ndarray
    corners: np.ndarray
    inner_m: float
    winds: np.ndarray


class Noise(NamedTuple):
    """Noise on the flown actions of an episode.

    Attributes:
        deviation: Its standard deviation, in action units.
        key: Half of the key of `noise.normal_pair`.
        key_2: The other half.
    """

    deviation: float
    key: int
    key_2: int


@entry
def fly(
    physics: Physics,
    rules: Rules,
    starts: Starts,
    deviation: float,
    keys: np.ndarray,
    few: int,
    is_recording: bool,
    flown: Flown,
    work: int,
) -> Flown:
    """Fly episodes on.

    Args:
        physics: The world.
        rules: The teacher that flies and labels.
        starts: How the episodes begin.
        deviation: Standard deviation of the noise on the flown action, in action units.
        keys: (E, 2) int64, the key of each episode's noise.
        few: Up to this many aircraft all pairs are looked at; `detection.FEW`, or more to test it.
        is_recording: Whether rows are wanted.
        flown: Where they are: from `begun`, or what this function returned. Its arrays are written to.
        work: How many steps of an aircraft are enough for now.

    Returns:
        Where they are now.
    """
    episodes, _, most = starts.states.shape
    start, near, around = np.zeros(2 * most + 66, np.int64), np.empty(most, NEAR), np.empty(most, NEAR)
    pairs = np.empty(most + 16, PAIR)
    rows, row_count, seen, seen_count, figures, nearest2_m2, air, episode, step, count = flown
    while episode < episodes and work > 0:
        corners, no_fly = starts.corners[episode], starts.no_fly[episode]
        noise = Noise(deviation, int(keys[episode, 0]), int(keys[episode, 1]))
        inner_m, winds = inner_radius(corners), starts.winds[episode, : starts.blown[episode]]
        way = Way(starts.routes[episode], starts.legs[episode], corners, inner_m, winds)
        while work > 0:
            work -= count + 1
            if step <= starts.last_entry[episode] and step < physics.max_steps:
                count = enter(air, 0 if step == 0 else count, episode, step, starts, physics, figures[episode])
            grid = sort_into_cells(air, count, reach_of(air, count, physics, rules), few, start, near)
            pairs, used = find(air, count, physics, rules, grid, start, near, pairs)
            if is_recording and step:
                finish_rewards(air, count, physics, pairs, used, rows)
            if piloted(air, count, starts.hovering[episode]) == 0 and not waiting(starts, episode, step, physics):
                episode, step, count = episode + 1, 0, 0
                break
            advise(air, count, physics, rules, grid, start, near, around, pairs, used)
            if seen_count + used > len(seen):
                seen = wider(seen, seen_count + used)
            seen_count = see(air, pairs, used, episode, step, seen, seen_count)
            if is_recording and row_count + count > len(rows):
                rows = wider(rows, row_count + count)
            row_count = number_rows(air, count, row_count, nearest2_m2[episode])
            sums = figures[episode]
            if len(no_fly):
                sums["no_fly_steps"] += in_no_fly(air, count, no_fly)
            count = fly_step(air, count, episode, step, noise, way, physics, sums, rows, is_recording)
            step += 1
    return Flown(rows, row_count, seen, seen_count, figures, nearest2_m2, air, episode, step, count)


def begun(episodes: int, aircraft: int, room: int) -> Flown:
    """Return a batch of E episodes of at most N aircraft of which nothing is flown yet.

    Args:
        episodes: E.
        aircraft: N.
        room: For how many rows there is room at first.
    """
    return Flown(
        rows=np.empty(room, ROW),
        row_count=0,
        seen=np.empty(1024, SEEN),
        seen_count=0,
        figures=np.zeros(episodes, FIGURES),
        nearest2_m2=np.full((episodes, aircraft), inf),
        air=np.zeros(aircraft, AIR),
        episode=0,
        step=0,
        flying=0,
    )


@inner
def number_rows(air: np.ndarray, count: int, row_count: int, nearest2_m2: np.ndarray) -> int:
    """Give each slot its row and lower what its aircraft's nearest was, (N,); return the rows there are now."""
    for a in range(count):
        air[a]["row"] = row_count + a
        number = air[a]["number"]
        if air[a]["hovers"] == 0:
            nearest2_m2[number] = min(nearest2_m2[number], air[a]["nearest2_m2"])
    return row_count + count


@inner
def fly_step(
    air: np.ndarray,
    count: int,
    episode: int,
    step: int,
    noise: Noise,
    way: Way,
    physics: Physics,
    figures: np.ndarray,
    rows: np.ndarray,
    is_recording: bool,
) -> int:
    """Fly and record all slots for a step; return how many still fly, in the first slots."""
    kept = 0
    for a in range(count):
        turn, change = air[a]["advised_turn"], air[a]["advised_speed"]
        if air[a]["hovers"]:
            turn, change = 0.0, single(clip(-air[a]["speed_mps"] / physics.speed_change_mps, -1.0, 1.0))
            air[a]["advised_turn"], air[a]["advised_speed"] = turn, change
        elif noise.deviation > 0.0:
            turn, change = with_noise(turn, change, noise, step, int(air[a]["number"]))
        if is_recording:
            write_row(air, a, episode, step, turn, change, rows)
        if air[a]["hovers"]:
            outcome = stay(air, a, change, physics, step + 1, way.winds)
        else:
            outcome = fly_slot(air, a, turn, change, step, way, physics, figures)
        if is_recording:
            row = rows[air[a]["row"]]
            row["reward"], row["outcome"] = air[a]["reward"], outcome
        if outcome == FLYING:
            air[kept] = air[a]
            kept += 1
    return kept


@inner
def piloted(air: np.ndarray, count: int, hovering: int) -> int:
    """Return how many slots are flown by somebody."""
    flown = count
    if hovering:
        for a in range(count):
            flown -= air[a]["hovers"]
    return flown


@inner
def in_no_fly(air: np.ndarray, count: int, no_fly: np.ndarray) -> float:
    """Return how many slots that somebody flies are inside one of the polygons (Z, C, 2)."""
    inside = 0.0
    for a in range(count):
        if air[a]["hovers"] == 0 and is_in_any(air[a]["east_m"], air[a]["north_m"], no_fly):
            inside += 1.0
    return inside


@inner
def stay(air: np.ndarray, a: int, change: float, physics: Physics, step: int, winds: np.ndarray) -> int:
    """Let slot `a` hover on, and return what becomes of it; in wind it keeps its place, whatever it takes."""
    if len(winds):
        air[a]["wind_east_mps"], air[a]["wind_north_mps"] = winds[step, 0], winds[step, 1]
    else:
        advance(air, a, 0.0, change, physics)
    look(air, a)
    air[a]["reward"] = 0.0
    return FLYING


@inner
def with_noise(turn: float, change: float, noise: Noise, step: int, number: int) -> tuple[float, float]:
    """Return the action that is flown, as it is stored."""
    first, second = normal_pair(noise.key, noise.key_2, step, number)
    return (
        single(clip(turn + noise.deviation * first, -1.0, 1.0)),
        single(clip(change + noise.deviation * second, -1.0, 1.0)),
    )


@inner
def fly_slot(
    air: np.ndarray,
    a: int,
    turn: float,
    change: float,
    step: int,
    way: Way,
    physics: Physics,
    figures: np.ndarray,
) -> int:
    """Fly slot `a` for a step, add it to the episode's figures, and return what became of it."""
    to_go_m, speed_mps, east_m, north_m = (
        air[a]["to_go_m"],
        air[a]["speed_mps"],
        air[a]["east_m"],
        air[a]["north_m"],
    )
    if len(way.winds):
        wind_east, wind_north = way.winds[step + 1, 0], way.winds[step + 1, 1]
        advance_in_wind(air, a, turn, change, physics, wind_east, wind_north)
        flown = length(air[a]["east_m"] - east_m, air[a]["north_m"] - north_m)
    else:
        advance(air, a, turn, change, physics)
        flown = flown_m(speed_mps, air[a]["speed_mps"], air[a]["acceleration_mps2"], physics.step_s)
    look(air, a)
    legs = way.legs[air[a]["number"]]
    is_last = air[a]["leg"] >= legs
    outcome = outcome_of(air, a, step + 1, is_last, way.corners, way.inner_m, physics)
    air[a]["reward"] = own_part(air, a, outcome, to_go_m)
    figures["steps"] += 1.0
    figures["duration_steps"] = step + 1.0
    figures["flown_m"] += flown
    figures["progress_m"] += to_go_m - air[a]["to_go_m"]
    figures["progress_s"] += (to_go_m - air[a]["to_go_m"]) / air[a]["cruise_mps"]
    figures["effort"] += 0.5 * (abs(turn) + abs(change))
    figures["at_waypoint"] += outcome == WAYPOINT
    figures["left_sector"] += outcome == LEFT_SECTOR
    figures["time_limit"] += outcome == TIME_LIMIT
    figures["stalled"] += make_progress(air, a, physics)
    if outcome == FLYING and not is_last and air[a]["to_go_m"] <= physics.waypoint_radius_m:
        following, leg = way.routes[air[a]["number"]], air[a]["leg"]
        head_for(air, a, following[leg, 0], following[leg, 1], leg + 1)
    return outcome


@inner
def see(
    air: np.ndarray, pairs: np.ndarray, used: int, episode: int, step: int, seen: np.ndarray, count: int
) -> int:
    """Write down the pairs in conflict on R; return how many there are by now."""
    for k in range(used):
        if pairs[k]["bits"] & WORLDS:
            a, b = pairs[k]["own"], pairs[k]["intruder"]
            if air[a]["hovers"] and air[b]["hovers"]:
                continue
            east, north = air[b]["east_m"] - air[a]["east_m"], air[b]["north_m"] - air[a]["north_m"]
            seen[count]["episode"], seen[count]["step"] = episode, step
            seen[count]["own"], seen[count]["intruder"] = air[a]["number"], air[b]["number"]
            seen[count]["distance2_m2"] = east * east + north * north
            seen[count]["zone_scale"] = max(air[a]["zone_scale"], air[b]["zone_scale"])
            count += 1
    return count


@inner
def write_row(
    air: np.ndarray, a: int, episode: int, step: int, turn: float, change: float, rows: np.ndarray
) -> None:
    """Write down state, labels and action of slot `a`; reward and outcome follow when they are known."""
    own, row = air[a], rows[air[a]["row"]]
    row["episode"], row["step"], row["aircraft"] = episode, step, own["number"]
    row["east_m"], row["north_m"] = own["east_m"], own["north_m"]
    row["track_rad"], row["speed_mps"] = own["track_rad"], own["speed_mps"]
    row["waypoint_east_m"], row["waypoint_north_m"] = own["waypoint_east_m"], own["waypoint_north_m"]
    if own["hovers"]:
        row["waypoint_east_m"], row["waypoint_north_m"] = np.nan, np.nan
    row["teacher_turn"], row["teacher_speed"] = own["advised_turn"], own["advised_speed"]
    row["pilot_turn"], row["pilot_speed"] = turn, change
    row["conflicts"] = int(min(own["conflicts"], 127.0))
    row["nearest_m"] = np.nan if own["nearest2_m2"] == inf else sqrt(own["nearest2_m2"])
    row["tcpa_s"], row["dcpa_m"] = own["tcpa_s"], own["dcpa_m"]


@inner
def finish_rewards(
    air: np.ndarray, count: int, physics: Physics, pairs: np.ndarray, used: int, rows: np.ndarray
) -> None:
    """Add to the rewards of the last step what its end took away from those that still fly."""
    for k in range(used):
        if pairs[k]["bits"] & WORLDS:
            a, b = pairs[k]["own"], pairs[k]["intruder"]
            if distance_of(air, a, b) < physics.protected_zone_m * max(air[a]["zone_scale"], air[b]["zone_scale"]):
                air[a]["reward"] += PER_INTRUDER
                air[b]["reward"] += PER_INTRUDER
    for a in range(count):
        if air[a]["row"] >= 0 and air[a]["hovers"] == 0:  # who has just entered has no last step
            rows[air[a]["row"]]["reward"] = air[a]["reward"] + nearest_part(air[a]["nearest2_m2"], physics)
