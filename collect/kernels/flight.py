"""The loop: episodes flown to their end one after another, each row written where it belongs.

One call flies for about so much work and returns where it is, so that whoever calls can listen to Ctrl-C.

Notation: E episodes, N aircraft at the start, A still flying.
"""

from math import inf, sqrt
from typing import NamedTuple

import numpy as np

from ...datasets.traffic.record import FLYING, LEFT_SECTOR, TIME_LIMIT, WAYPOINT
from ..arithmetic.compiling import entry, inner
from ..arithmetic.elementary import clip, single
from ..arithmetic.noise import normal_pair
from ..teachers.rules import Rules
from .detection import WORLDS, distance_of, find, reach_of, sort_into_cells, wider
from .motion import advance, flown_m, inner_radius, look, outcome_of
from .resolution import advise
from .rewards import PER_INTRUDER, nearest_part, own_part
from .traffic import AIR, NEAR, PAIR, ROW, SEEN, Physics

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
        )
    ]
)
"""Sums of an episode, as in `flying.figures.Figures`."""


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
    starts: np.ndarray,
    numbers: np.ndarray,
    corners: np.ndarray,
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
        starts: (E, 6, N) float64: east, north, track, speed, waypoint east and north; float32 values.
        numbers: (E,) int64, how many aircraft each episode has.
        corners: (E, C, 2) float64, the sectors.
        deviation: Standard deviation of the noise on the flown action, in action units.
        keys: (E, 2) int64, the key of each episode's noise.
        few: Up to this many aircraft all pairs are looked at; `detection.FEW`, or more to test it.
        is_recording: Whether rows are wanted.
        flown: Where they are: from `begun`, or what this function returned. Its arrays are written to.
        work: How many steps of an aircraft are enough for now.

    Returns:
        Where they are now.
    """
    episodes, _, most = starts.shape
    start, near, around = np.zeros(2 * most + 66, np.int64), np.empty(most, NEAR), np.empty(most, NEAR)
    pairs = np.empty(most + 16, PAIR)
    rows, row_count, seen, seen_count, figures, nearest2_m2, air, episode, step, count = flown
    while episode < episodes and work > 0:
        if step == 0:
            count = begin(air, starts[episode], numbers[episode], physics, figures[episode])
        noise = Noise(deviation, int(keys[episode, 0]), int(keys[episode, 1]))
        inner_m = inner_radius(corners[episode])
        while work > 0:
            work -= count + 1
            grid = sort_into_cells(air, count, reach_of(air, count, physics, rules), few, start, near)
            pairs, used = find(air, count, physics, rules, grid, start, near, pairs)
            if is_recording and step:
                finish_rewards(air, count, physics, pairs, used, rows)
            if count == 0:
                episode, step = episode + 1, 0
                break
            advise(air, count, physics, rules, grid, start, near, around, pairs, used)
            if seen_count + used > len(seen):
                seen = wider(seen, seen_count + used)
            seen_count = see(air, pairs, used, episode, step, seen, seen_count)
            if is_recording and row_count + count > len(rows):
                rows = wider(rows, row_count + count)
            row_count = number_rows(air, count, row_count, nearest2_m2[episode])
            corner, sums = corners[episode], figures[episode]
            count = fly_step(air, count, episode, step, noise, corner, inner_m, physics, sums, rows, is_recording)
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
        nearest2_m2[number] = min(nearest2_m2[number], air[a]["nearest2_m2"])
    return row_count + count


@inner
def fly_step(
    air: np.ndarray,
    count: int,
    episode: int,
    step: int,
    noise: Noise,
    corners: np.ndarray,
    inner_m: float,
    physics: Physics,
    figures: np.ndarray,
    rows: np.ndarray,
    is_recording: bool,
) -> int:
    """Fly and record all slots for a step; return how many still fly, in the first slots."""
    kept = 0
    for a in range(count):
        turn, change = air[a]["advised_turn"], air[a]["advised_speed"]
        if noise.deviation > 0.0:
            turn, change = with_noise(turn, change, noise, step, int(air[a]["number"]))
        if is_recording:
            write_row(air, a, episode, step, turn, change, rows)
        outcome = fly_slot(air, a, turn, change, step, corners, inner_m, physics, figures)
        if is_recording:
            row = rows[air[a]["row"]]
            row["reward"], row["outcome"] = air[a]["reward"], outcome
        if outcome == FLYING:
            air[kept] = air[a]
            kept += 1
    return kept


@inner
def begin(air: np.ndarray, state: np.ndarray, number: int, physics: Physics, figures: np.ndarray) -> int:
    """Put the first `number` aircraft of a state (6, N) into slots; return how many there are."""
    for a in range(number):
        air[a]["number"] = a
        air[a]["east_m"], air[a]["north_m"] = state[0, a], state[1, a]
        air[a]["track_rad"], air[a]["speed_mps"] = state[2, a], state[3, a]
        air[a]["waypoint_east_m"], air[a]["waypoint_north_m"] = state[4, a], state[5, a]
        look(air, a)
        figures["straight_m"] += max(air[a]["to_go_m"] - physics.waypoint_radius_m, 0.0)
    figures["aircraft"] = number
    return number


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
    corners: np.ndarray,
    inner_m: float,
    physics: Physics,
    figures: np.ndarray,
) -> int:
    """Fly slot `a` for a step, add it to the episode's figures, and return what became of it."""
    to_go_m, speed_mps = air[a]["to_go_m"], air[a]["speed_mps"]
    advance(air, a, turn, change, physics)
    look(air, a)
    outcome = outcome_of(air, a, step + 1, corners, inner_m, physics)
    air[a]["reward"] = own_part(air, a, outcome, to_go_m)
    figures["steps"] += 1.0
    figures["flown_m"] += flown_m(speed_mps, air[a]["speed_mps"], physics)
    figures["progress_m"] += to_go_m - air[a]["to_go_m"]
    figures["effort"] += 0.5 * (abs(turn) + abs(change))
    figures["at_waypoint"] += outcome == WAYPOINT
    figures["left_sector"] += outcome == LEFT_SECTOR
    figures["time_limit"] += outcome == TIME_LIMIT
    return outcome


@inner
def see(
    air: np.ndarray, pairs: np.ndarray, used: int, episode: int, step: int, seen: np.ndarray, count: int
) -> int:
    """Write down the pairs in conflict on R; return how many there are by now."""
    for k in range(used):
        if pairs[k]["bits"] & WORLDS:
            a, b = pairs[k]["own"], pairs[k]["intruder"]
            east, north = air[b]["east_m"] - air[a]["east_m"], air[b]["north_m"] - air[a]["north_m"]
            seen[count]["episode"], seen[count]["step"] = episode, step
            seen[count]["own"], seen[count]["intruder"] = air[a]["number"], air[b]["number"]
            seen[count]["distance2_m2"] = east * east + north * north
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
            if distance_of(air, a, b) < physics.protected_zone_m:
                air[a]["reward"] += PER_INTRUDER
                air[b]["reward"] += PER_INTRUDER
    for a in range(count):
        rows[air[a]["row"]]["reward"] = air[a]["reward"] + nearest_part(air[a]["nearest2_m2"], physics)
