"""The loop: episodes flown to their end one after another, each row written where it belongs."""

from math import inf, sqrt
from typing import NamedTuple

import numpy as np

from ...datasets.traffic.record import FLYING
from ..teachers.rules import Rules
from .compiling import entry, inner
from .detection import WORLDS, distance_of, find, reach_of, sort_into_cells, wider
from .elementary import clip, single
from .motion import advance, flown_m, inner_radius, look, outcome_of
from .noise import normal_pair
from .resolution import advise
from .rewards import intruder_part, nearest_part, own_part
from .traffic import AIR, Physics

KEYS = ("episode", "step", "aircraft")
FLOATS = (
    "east_m",
    "north_m",
    "track_rad",
    "speed_mps",
    "waypoint_east_m",
    "waypoint_north_m",
    "teacher_turn",
    "teacher_speed",
    "pilot_turn",
    "pilot_speed",
    "reward",
    "nearest_m",
    "tcpa_s",
    "dcpa_m",
)
CODES = ("conflicts", "outcome")
REWARD = FLOATS.index("reward")
SUMS = (
    "aircraft",
    "straight_m",
    "steps",
    "flown_m",
    "progress_m",
    "effort",
    "waypoint",
    "left_sector",
    "time_limit",
)


class Flown(NamedTuple):
    """What a batch of E episodes brought; rows in order of episode, step, aircraft.

    Attributes:
        keys: (3, room) int32, see `KEYS`; the episode's place in the batch.
        floats: (14, room) float32, see `FLOATS`.
        codes: (2, room) int32, see `CODES`.
        rows: How many rows there are; 0 if they were not wanted.
        seen: (4, room) int32: place of the episode, step, and the two aircraft of each pair in conflict on R.
        seen_m2: (1, room) float64, the squares of their distances.
        encounters: How many there are.
        sums: (E, 9) float64, see `SUMS`.
        nearest2_m2: (E, N) float64, of each aircraft over its whole flight.
    """

    keys: np.ndarray
    floats: np.ndarray
    codes: np.ndarray
    rows: int
    seen: np.ndarray
    seen_m2: np.ndarray
    encounters: int
    sums: np.ndarray
    nearest2_m2: np.ndarray


@inner
def begin(air: np.ndarray, state: np.ndarray, number: int) -> int:
    """Put the first `number` aircraft of a state (6, N) into slots; return how many there are."""
    for a in range(number):
        air[a]["number"] = a
        air[a]["east_m"], air[a]["north_m"] = state[0, a], state[1, a]
        air[a]["track_rad"], air[a]["speed_mps"] = state[2, a], state[3, a]
        air[a]["waypoint_east_m"], air[a]["waypoint_north_m"] = state[4, a], state[5, a]
        look(air, a)
    return number


@inner
def move(air: np.ndarray, a: int, b: int) -> None:
    """Move slot `a` into slot `b`."""
    if a != b:
        air[b] = air[a]


@inner
def write_row(
    air: np.ndarray,
    a: int,
    pilot: tuple[float, float],
    floats: np.ndarray,
    codes: np.ndarray,
    row: int,
) -> None:
    """Write down state and labels of slot `a`; reward and outcome follow when they are known."""
    floats[0, row], floats[1, row] = air[a]["east_m"], air[a]["north_m"]
    floats[2, row], floats[3, row] = air[a]["track_rad"], air[a]["speed_mps"]
    floats[4, row], floats[5, row] = air[a]["waypoint_east_m"], air[a]["waypoint_north_m"]
    floats[6, row], floats[7, row] = air[a]["advised_turn"], air[a]["advised_speed"]
    floats[8, row], floats[9, row] = pilot
    floats[11, row] = np.nan if air[a]["nearest2_m2"] == inf else sqrt(air[a]["nearest2_m2"])
    floats[12, row], floats[13, row] = air[a]["tcpa_s"], air[a]["dcpa_m"]
    codes[0, row] = int(min(air[a]["conflicts"], 127.0))


@entry
def fly(
    physics: Physics,
    rules: Rules,
    starts: np.ndarray,
    numbers: np.ndarray,
    corners: np.ndarray,
    noise: float,
    noise_keys: np.ndarray,
    few: int,
    is_recording: bool,
    room: int,
) -> Flown:
    """Fly episodes to their end.

    Args:
        physics: The world.
        rules: The teacher that flies and labels.
        starts: (E, 6, N) float64: east, north, track, speed, waypoint east and north; float32 values.
        numbers: (E,) int64, how many aircraft each episode has.
        corners: (E, C, 2) float64, the sectors.
        noise: Standard deviation of the noise on the flown action, in action units.
        noise_keys: (E, 2) int64, the key of each episode's noise.
        few: Up to this many aircraft all pairs are looked at; `detection.FEW`, or more to test it.
        is_recording: Whether rows are wanted.
        room: For how many rows there is room at first.

    Returns:
        What they brought.
    """
    episodes, _, most = starts.shape
    air, cells = np.zeros(most, AIR), np.zeros((3, 2 * most + 66), np.int64)
    pairs = np.zeros((3, most + 16), np.int32)
    keys = np.empty((3, room), np.int32)
    floats = np.empty((14, room), np.float32)
    codes = np.empty((2, room), np.int32)
    seen = np.empty((4, 1024), np.int32)
    seen_m2 = np.empty((1, 1024), np.float64)
    sums = np.zeros((episodes, 9))
    nearest2_m2 = np.full((episodes, most), inf)
    rows = 0
    encounters = 0
    for episode in range(episodes):
        count = begin(air, starts[episode], numbers[episode])
        key, key_2 = int(noise_keys[episode, 0]), int(noise_keys[episode, 1])
        sums[episode, 0] = count
        for a in range(count):
            sums[episode, 1] += max(air[a]["to_go_m"] - physics.waypoint_radius_m, 0.0)
        inner_m = inner_radius(corners[episode])
        step = 0
        while True:
            grid = sort_into_cells(air, count, reach_of(air, count, physics, rules), few, cells)
            pairs, used = find(air, count, physics, rules, grid, cells, pairs)
            if is_recording and step:
                _finish_rewards(air, count, physics, pairs, used, floats)
            if count == 0:
                break
            advise(air, count, physics, rules, grid, cells, pairs, used)
            if is_recording and rows + count > floats.shape[1]:
                keys, floats, codes = (
                    wider(keys, rows + count),
                    wider(floats, rows + count),
                    wider(codes, rows + count),
                )
            if encounters + used > seen.shape[1]:
                seen, seen_m2 = wider(seen, encounters + used), wider(seen_m2, encounters + used)
            for k in range(used):
                if pairs[2, k] & WORLDS:
                    a, b = pairs[0, k], pairs[1, k]
                    seen[0, encounters], seen[1, encounters] = episode, step
                    seen[2, encounters], seen[3, encounters] = air[a]["number"], air[b]["number"]
                    east, north = air[b]["east_m"] - air[a]["east_m"], air[b]["north_m"] - air[a]["north_m"]
                    seen_m2[0, encounters] = east * east + north * north
                    encounters += 1
            kept = 0
            for a in range(count):
                number = air[a]["number"]
                nearest2_m2[episode, number] = min(nearest2_m2[episode, number], air[a]["nearest2_m2"])
                turn, change = air[a]["advised_turn"], air[a]["advised_speed"]
                if noise > 0.0:
                    first, second = normal_pair(key, key_2, step, int(number))
                    turn = single(clip(turn + noise * first, -1.0, 1.0))
                    change = single(clip(change + noise * second, -1.0, 1.0))
                if is_recording:
                    keys[0, rows], keys[1, rows], keys[2, rows] = episode, step, number
                    write_row(air, a, (turn, change), floats, codes, rows)
                to_go_m, track_rad, speed_mps = air[a]["to_go_m"], air[a]["track_rad"], air[a]["speed_mps"]
                advance(air, a, turn, change, physics)
                look(air, a)
                outcome = outcome_of(air, a, step + 1, corners[episode], inner_m, physics)
                sums[episode, 2] += 1.0
                sums[episode, 3] += flown_m(speed_mps, air[a]["speed_mps"], physics)
                sums[episode, 4] += to_go_m - air[a]["to_go_m"]
                sums[episode, 5] += 0.5 * (abs(turn) + abs(change))
                reward = own_part(air, a, physics, outcome, to_go_m, track_rad, speed_mps)
                if is_recording:
                    codes[1, rows], floats[REWARD, rows] = outcome, reward
                air[a]["row"], air[a]["reward"] = rows, reward
                rows += is_recording
                if outcome == FLYING:
                    move(air, a, kept)
                    kept += 1
                else:
                    sums[episode, 5 + outcome] += 1.0
            count = kept
            step += 1
    return Flown(keys, floats, codes, rows, seen, seen_m2, encounters, sums, nearest2_m2)


@inner
def _finish_rewards(
    air: np.ndarray, count: int, physics: Physics, pairs: np.ndarray, used: int, floats: np.ndarray
) -> None:
    """Add to the rewards of the last step what its end took away from those that still fly."""
    for k in range(used):
        if pairs[2, k] & WORLDS:
            a, b = pairs[0, k], pairs[1, k]
            distance_m = distance_of(air, a, b)
            if distance_m < physics.protected_zone_m:
                air[a]["reward"] += intruder_part(distance_m, physics)
                air[b]["reward"] += intruder_part(distance_m, physics)
    for a in range(count):
        floats[REWARD, air[a]["row"]] = air[a]["reward"] + nearest_part(air[a]["nearest2_m2"], physics)
