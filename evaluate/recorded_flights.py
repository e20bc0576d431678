"""Flights recorded elsewhere, such as in BlueSky, as a replay: what was flown, commanded, and advised by MVP.

Notation: T steps, N aircraft.
"""

import base64
from collections.abc import Mapping, Sequence
from math import pi
from typing import NamedTuple

import numpy as np
import torch

from ..collect import teachers
from ..collect.airspace.conflicts import find, that_count
from ..collect.airspace.neighbours import pairs_around, sight_of
from ..collect.airspace.world_config import WorldConfig
from ..collect.flying.flight import advise
from ..datasets.errors import ConfigurationError
from ..datasets.traffic.state import Traffic
from .report.replay import GONE, VERSION, Filmed, Flight, Replay, Scenario

_DECISION = np.dtype([("track", "<u2"), ("speed", "u1"), ("action", "i1", (4,))])
_AHEAD_M = 1000.0  # where an aircraft without a waypoint is taken to fly to


class Recorded(NamedTuple):
    """One flight of N aircraft, all (T, N); NaN in all of them where an aircraft does not fly.

    Attributes:
        east_m: Position east of the middle of the picture.
        north_m: Position north of it.
        track_rad: Direction of travel over ground, clockwise from north.
        speed_mps: Ground speed.
        target_track_rad: The track that is commanded, by resolution or autopilot.
        target_speed_mps: The speed that is commanded.
        waypoint_east_m: What it flies to; NaN where it has no waypoint.
        waypoint_north_m: The same, north.
    """

    east_m: np.ndarray
    north_m: np.ndarray
    track_rad: np.ndarray
    speed_mps: np.ndarray
    target_track_rad: np.ndarray
    target_speed_mps: np.ndarray
    waypoint_east_m: np.ndarray
    waypoint_north_m: np.ndarray


class _Scales(NamedTuple):
    """What the largest numbers of a replay stand for."""

    unit_m: float
    speed_mps: float
    turn_rad: float
    change_mps: float


def replay_of(
    flights: Mapping[str, Recorded],
    config: WorldConfig,
    step_s: float = 1.0,
    hovers: Sequence[int] = (),
    teacher: str = "mvp",
) -> Replay:
    """Return one scenario, as flown by each, as the replay of a report.

    Args:
        flights: By who flew; the same aircraft in the same order in each.
        config: Its protected zone and look-ahead say what a conflict is; its limits are those of the teacher.
        step_s: Time between two steps.
        hovers: Numbers of the aircraft that stay where they are, flown by nobody.
        teacher: Who is asked what it would have done in each state.

    Raises:
        ConfigurationError: There is no flight, nobody flies in one, or they are not of as many aircraft.
    """
    _check(flights)
    recorded = list(flights.values())
    places = np.concatenate([np.stack((each.east_m, each.north_m), -1).reshape(-1, 2) for each in recorded])
    turns, changes = zip(*(_commanded(each) for each in recorded))
    scales = _Scales(
        unit_m=2.0 * (float(np.nanmax(np.abs(places))) + 2 * config.outside_m) / -GONE,
        speed_mps=max(config.max_speed_mps, *(float(np.nanmax(each.speed_mps)) for each in recorded)),
        turn_rad=max(config.turn_rad, *(float(np.nanmax(np.abs(each))) for each in turns)),
        change_mps=max(config.speed_change_mps, *(float(np.nanmax(np.abs(each))) for each in changes)),
    )
    return Replay(
        version=VERSION,
        zone_m=config.protected_zone_m,
        step_s=step_s,
        unit_m=scales.unit_m,
        speed_mps=scales.speed_mps,
        least_speed_mps=config.min_speed_mps,
        turn_rad=scales.turn_rad,
        change_mps=scales.change_mps,
        aircraft=recorded[0].east_m.shape[1],
        mvp=teacher,
        scenarios=[Scenario(0, [], _goals(recorded), hovers=list(hovers))],
        contenders=[
            Filmed(name, [_flight(each, config, scales, hovers, teacher)]) for name, each in flights.items()
        ],
    )


def _check(flights: Mapping[str, Recorded]) -> None:
    """Raise unless there is something to show."""
    counts = {name: each.east_m.shape[1] for name, each in flights.items()}
    if len(set(counts.values())) != 1:
        raise ConfigurationError(f"expected flights of the same aircraft, got {counts or 'none'}")
    for name, each in flights.items():
        if np.isnan(each.east_m).all():
            raise ConfigurationError(f"expected somebody to fly in the flight of {name}, got nobody")


def _commanded(flight: Recorded) -> tuple[np.ndarray, np.ndarray]:
    """Return the turns (T, N) and the speed changes (T, N) that are commanded."""
    turn = (flight.target_track_rad - flight.track_rad + pi) % (2 * pi) - pi
    return turn, flight.target_speed_mps - flight.speed_mps


def _goals(flights: Sequence[Recorded]) -> list[list[float]]:
    """Return of each aircraft the last waypoint it has; of one that never has any, the last place it is at."""
    goals = np.zeros((flights[0].east_m.shape[1], 2))
    for flight in flights:
        places = np.stack((flight.east_m, flight.north_m), -1)
        waypoints = np.stack((flight.waypoint_east_m, flight.waypoint_north_m), -1)
        for number in range(len(goals)):
            for rows in (waypoints[:, number], places[:, number]):
                there = rows[~np.isnan(rows[:, 0])]
                if len(there):
                    goals[number] = there[-1]
                    break
    found: list[list[float]] = goals.round(1).tolist()
    return found


def _flight(flight: Recorded, config: WorldConfig, scales: _Scales, hovers: Sequence[int], teacher: str) -> Flight:
    """Return a flight as text, to the last step in which somebody is flown."""
    is_flown = ~np.isnan(flight.east_m)
    is_flown[:, list(hovers)] = False
    steps = int(np.flatnonzero(is_flown.any(1) if is_flown.any() else ~np.isnan(flight.east_m).all(1))[-1]) + 1
    flight = Recorded(*(part[:steps] for part in flight))
    is_flying = ~np.isnan(flight.east_m)  # (T, N)
    traffic = _traffic(flight, is_flying, hovers)
    pairs = pairs_around(traffic, sight_of(config))
    advised = advise(teachers.parse(teacher, config), config, traffic, pairs).action.numpy()  # (T, N, 2)
    advised = advised * (config.turn_rad / scales.turn_rad, config.speed_change_mps / scales.change_mps)
    turn, change = _commanded(flight)
    flown = np.stack((turn / scales.turn_rad, change / scales.change_mps), -1)
    rows = np.zeros(int(is_flying.sum()), _DECISION)
    rows["track"] = np.round(flight.track_rad[is_flying] % (2 * pi) * (65536 / (2 * pi))) % 65536
    rows["speed"] = np.round(flight.speed_mps[is_flying] * (255 / scales.speed_mps))
    rows["action"] = np.round(np.concatenate((flown, advised), -1)[is_flying] * 127)
    places = np.stack((flight.east_m, flight.north_m), -1) / scales.unit_m
    positions = np.where(is_flying[..., None], np.nan_to_num(places).round(), GONE).astype("<i2")
    found = that_count(find(pairs, config.protected_zone_m, config.lookahead_s), traffic)
    count = is_flying.shape[1]
    codes = (found.episode * count + found.ownship) * count + found.intruder
    conflicts = sorted(codes[found.ownship < found.intruder].tolist())
    return Flight(steps, _base64(positions), _base64(rows), None, conflicts)


def _traffic(flight: Recorded, is_flying: np.ndarray, hovers: Sequence[int]) -> Traffic:
    """Return the states as (T, N) traffic: each step is an episode of its own."""
    ahead = (
        flight.east_m + _AHEAD_M * np.sin(flight.track_rad),
        flight.north_m + _AHEAD_M * np.cos(flight.track_rad),
    )
    has_none = np.isnan(flight.waypoint_east_m)
    waypoint_east_m = np.where(has_none, ahead[0], flight.waypoint_east_m)
    waypoint_north_m = np.where(has_none, ahead[1], flight.waypoint_north_m)
    is_hovering = np.zeros_like(is_flying)
    is_hovering[:, list(hovers)] = is_flying[:, list(hovers)]
    states = (*flight[:4], waypoint_east_m, waypoint_north_m)
    east, north, track, speed, *waypoint = (
        torch.from_numpy(np.nan_to_num(part).astype(np.float64)) for part in states
    )
    return Traffic(
        east,
        north,
        track,
        speed,
        waypoint[0],
        waypoint[1],
        is_flying=torch.from_numpy(is_flying),
        is_hovering=torch.from_numpy(is_hovering) if len(hovers) else None,
    )


def _base64(array: np.ndarray) -> str:
    """Return the bytes of an array."""
    return base64.b64encode(array.tobytes()).decode()
