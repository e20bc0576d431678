"""Distances along a flight, counted in one way by rewards, figures, the gate and fine-tuning."""

import torch
from torch import Tensor

from ...datasets.traffic.state import Traffic
from .fleet import limits_of
from .world_config import WorldConfig

STALL_S = 60.0
"""Who comes no nearer to its waypoint for so long, by a tenth of its way at cruise speed, has stalled."""
STALL_SHARE = 0.1
_LEAST_SQUARE = 1e-6  # under a root that is differentiated: its slope at 0 is infinite


def stall_m(config: WorldConfig, traffic: Traffic) -> float | Tensor:
    """Return how much nearer to its waypoint who makes progress comes in `STALL_S`, m; of each type, (..., N)."""
    return STALL_SHARE * limits_of(config, traffic).cruise_mps * STALL_S


def distance_flown(before: Traffic, after: Traffic, config: WorldConfig) -> Tensor:
    """Return the distance flown in a step, (B, N) m: the integral of the speed.

    The speed changes at the acceleration limit a for |c|/a, c = new - old, and is constant then, so the
    distance is new T - c |c| / (2 a). The chord between two positions would miss the curve of a turn; it is
    taken in wind, where the speed over ground changes otherwise.
    """
    change = after.speed_mps - before.speed_mps
    flown = after.speed_mps * config.step_s - change * change.abs() / (
        2 * limits_of(config, before).acceleration_mps2
    )
    if before.wind_east_mps is None or before.wind_north_mps is None:
        return flown
    is_windy = (before.wind_east_mps != 0) | (before.wind_north_mps != 0)
    return torch.where(is_windy, length_of(after.east_m - before.east_m, after.north_m - before.north_m), flown)


def length_of(east: Tensor, north: Tensor) -> Tensor:
    """Return the length of a vector, with a finite gradient also where it is 0."""
    return torch.addcmul(east * east, north, north).clamp_min(_LEAST_SQUARE).sqrt()


def distance_to_go(traffic: Traffic) -> Tensor:
    """Return the distance to the waypoint, (B, N) m."""
    return torch.hypot(traffic.waypoint_east_m - traffic.east_m, traffic.waypoint_north_m - traffic.north_m)
