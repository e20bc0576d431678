"""What the kernels work on: the world's numbers, and the aircraft of one episode side by side.

Notation: A aircraft still flying, in slots 0 to A - 1 in order of their numbers; N aircraft at the start.
"""

from typing import NamedTuple

import numpy as np

from ...datasets.traffic.record import COLUMNS
from ..airspace.fleet import types_of, zone_scales_of
from ..airspace.units import GRAVITY_MPS2
from ..airspace.world_config import WorldConfig
from ..arithmetic.geometry import directions


class Physics(NamedTuple):
    """A world as numbers; names as in `WorldConfig`, `room_m` is the start separation."""

    step_s: float
    max_steps: int
    protected_zone_m: float
    lookahead_s: float
    turn_rad: float
    speed_change_mps: float
    waypoint_radius_m: float
    outside_m: float
    room_m: float


AIR = np.dtype(
    [
        ("number", "i8"),
        ("east_m", "f8"),
        ("north_m", "f8"),
        ("track_rad", "f8"),
        ("speed_mps", "f8"),
        ("waypoint_east_m", "f8"),
        ("waypoint_north_m", "f8"),
        ("leg", "i8"),  # how many waypoints lie behind it
        ("hovers", "i8"),  # 1 if it stays where it is, flown by nobody
        # of its type, as in `fleet.Limits`
        ("cruise_mps", "f8"),
        ("min_speed_mps", "f8"),
        ("max_speed_mps", "f8"),
        ("acceleration_mps2", "f8"),
        ("pull_mps2", "f8"),
        ("zone_scale", "f8"),  # its protected zone in units of the world's
        ("wind_east_mps", "f8"),
        ("wind_north_mps", "f8"),
        ("mark_m", "f8"),  # distance to go when it last made progress
        ("since_s", "f8"),  # and how long ago that was
        ("has_stalled", "i8"),
        # derived from the state by `motion.look`
        ("velocity_east_mps", "f8"),
        ("velocity_north_mps", "f8"),
        ("heading_rad", "f8"),  # without wind the track
        ("airspeed_mps", "f8"),
        ("sine", "f8"),  # of the heading
        ("cosine", "f8"),
        ("bearing_rad", "f8"),  # to the waypoint
        ("to_go_m", "f8"),
        # by `detection`
        ("cell", "i8"),
        ("place", "i8"),  # in `NEAR`
        ("nearest2_m2", "f8"),  # infinite where nobody else flies
        # by `resolution.advise`
        ("advised_turn", "f8"),
        ("advised_speed", "f8"),
        ("conflicts", "f8"),  # that the teacher acts on
        ("tcpa_s", "f8"),  # of the most urgent one
        ("dcpa_m", "f8"),
        ("pushed_north", "f8"),
        # by `flight.fly`: of the last step
        ("reward", "f8"),
        ("row", "i8"),
    ],
    align=True,
)
"""An aircraft that flies. An episode is an array of N, of which the first A count.

One array and not one a quantity: numba counts the references to each array that a function is handed.
"""
PAIR = np.dtype([("own", "i8"), ("intruder", "i8"), ("bits", "i8")])
"""Slots of two aircraft in conflict, and for whom (`detection.TEACHERS`, `detection.WORLDS`)."""
SEEN = np.dtype(
    [
        ("episode", "i4"),
        ("step", "i4"),
        ("own", "i4"),
        ("intruder", "i4"),
        ("distance2_m2", "f8"),
        ("zone_scale", "f8"),
    ]
)
"""A pair in conflict on its R: place of the episode in the batch, step, numbers of the two aircraft."""
ROW = np.dtype([(column.name, column.dtype) for column in COLUMNS], align=True)
"""A row of the traffic record; `episode` is the place of the episode in the batch."""
NEAR = np.dtype(
    [
        ("slot", "i8"),
        ("east_m", "f8"),
        ("north_m", "f8"),
        ("velocity_east_mps", "f8"),
        ("velocity_north_mps", "f8"),
        ("zone_scale", "f8"),
        ("nearest2_m2", "f8"),
    ]
)
"""What its neighbours need of an aircraft; cell by cell in one array, so that neighbours lie side by side."""


class Starts(NamedTuple):
    """How a batch of E episodes begins: N aircraft, L waypoints after the first, Z no-fly polygons of C corners.

    Attributes:
        states: (E, 6, N) float64: east, north, track, speed, waypoint east and north; float32 values.
        entry_steps: (E, N) int64, before which step each enters; -1 where there is none, or none in time.
        last_entry: (E,) int64, the largest of them.
        waits: (E,) int64, 1 where those that enter later wait for room: then their step moves on.
        hovers: (E, N) int64, 1 where one stays where it is.
        hovering: (E,) int64, how many do.
        routes: (E, N, L, 2) float64.
        legs: (E, N) int64, how many waypoints each has after its first.
        corners: (E, C, 2) float64, the sectors.
        no_fly: (E, Z, C, 2) float64; where there are fewer, polygons whose corners are all in one place.
        kinds: (E, N) int64, the type of each.
        types: (K, 6) float64, of each type its cruise speed, lowest and highest speed, acceleration, g tan(bank),
            and its protected zone in units of the world's.
        winds: (E, T + 1, 2) float64, towards east and north before each step; (E, 0, 2) where there is none.
        blown: (E,) int64, how many of these count: 0 in an episode without wind beside others that have some.
    """

    states: np.ndarray
    entry_steps: np.ndarray
    last_entry: np.ndarray
    waits: np.ndarray
    hovers: np.ndarray
    hovering: np.ndarray
    routes: np.ndarray
    legs: np.ndarray
    corners: np.ndarray
    no_fly: np.ndarray
    kinds: np.ndarray
    types: np.ndarray
    winds: np.ndarray
    blown: np.ndarray


class Grid(NamedTuple):
    """How the cells lie: row by row from the south-west."""

    columns: int
    rows: int
    cell_m: float


def physics_of(config: WorldConfig) -> Physics:
    """Return a world as numbers."""
    return Physics(
        float(config.step_s),
        config.max_steps,
        float(config.protected_zone_m),
        float(config.lookahead_s),
        float(config.turn_rad),
        float(config.speed_change_mps),
        float(config.waypoint_radius_m),
        float(config.outside_m),
        float(config.start_separation_m),
    )


def types_as_rows(config: WorldConfig) -> np.ndarray:
    """Return what each type of a world can do, as `Starts.types`."""
    rows = []
    for each, scale in zip(types_of(config), zone_scales_of(config)):
        cosine, sine = directions(np.array([each.bank_rad]))[0]
        pull_mps2 = float(GRAVITY_MPS2 * (sine / cosine))
        speeds = (each.cruise_mps, each.min_speed_mps, each.max_speed_mps)
        rows.append((*speeds, each.acceleration_mps2, pull_mps2, scale))
    return np.array(rows, np.float64)
