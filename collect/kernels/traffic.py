"""What the kernels work on: the world's numbers, and the aircraft of one episode side by side.

Notation: A aircraft still flying, in slots 0 to A - 1 in order of their numbers; N aircraft at the start.
"""

from typing import NamedTuple

import numpy as np

from ..airspace.units import GRAVITY_MPS2
from ..airspace.world_config import WorldConfig
from .elementary import sine_cosine

SEED, SEPARATION = 0, 1
"""Rewards."""
REWARDS = {"seed": SEED, "separation": SEPARATION}


class Physics(NamedTuple):
    """A world as numbers; names as in `WorldConfig`, `pull_mps2` is g tan(bank)."""

    cruise_mps: float
    min_speed_mps: float
    max_speed_mps: float
    acceleration_mps2: float
    pull_mps2: float
    step_s: float
    max_steps: int
    protected_zone_m: float
    lookahead_s: float
    turn_rad: float
    speed_change_mps: float
    waypoint_radius_m: float
    outside_m: float
    reward: int


class Air(NamedTuple):
    """The aircraft that fly, arrays of N float64 (or int64) of which the first A count.

    The first seven are the state; what follows is derived from it by `flight.look` and `detection.find`.
    """

    number: np.ndarray
    east_m: np.ndarray
    north_m: np.ndarray
    track_rad: np.ndarray
    speed_mps: np.ndarray
    waypoint_east_m: np.ndarray
    waypoint_north_m: np.ndarray
    velocity_east_mps: np.ndarray
    velocity_north_mps: np.ndarray
    sine: np.ndarray  # of the track
    cosine: np.ndarray
    bearing_rad: np.ndarray  # to the waypoint
    to_go_m: np.ndarray
    nearest2_m2: np.ndarray  # infinite where nobody else flies
    reward: np.ndarray  # of the last step, as far as it is known
    row: np.ndarray  # of the last step


class Cells(NamedTuple):
    """Square cells that hold the aircraft, row by row from the south-west.

    Attributes:
        start: (cells + 1,) int64, where in `members` the aircraft of each cell begin.
        members: (N,) int64 slots, those of a cell in ascending order.
        place: (N,) int64 cell of each slot.
        around: (N,) int64, room for the neighbours of one aircraft.
    """

    start: np.ndarray
    members: np.ndarray
    place: np.ndarray
    around: np.ndarray


class Grid(NamedTuple):
    """How the cells lie; no columns: all aircraft are neighbours of each other."""

    columns: int
    rows: int
    cell_m: float


def physics_of(config: WorldConfig) -> Physics:
    """Return a world as numbers."""
    sine, cosine = sine_cosine(config.bank_rad)
    return Physics(
        float(config.cruise_mps),
        float(config.min_speed_mps),
        float(config.max_speed_mps),
        float(config.acceleration_mps2),
        GRAVITY_MPS2 * (sine / cosine),
        float(config.step_s),
        config.max_steps,
        float(config.protected_zone_m),
        float(config.lookahead_s),
        float(config.turn_rad),
        float(config.speed_change_mps),
        float(config.waypoint_radius_m),
        float(config.outside_m),
        REWARDS[config.reward],
    )
