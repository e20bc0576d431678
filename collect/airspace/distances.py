"""Distances along a flight, counted in one way by rewards, figures, the gate and fine-tuning."""

import torch
from torch import Tensor

from ...datasets.traffic.state import Traffic
from .fleet import limits_of
from .world_config import WorldConfig

STALL_S = 60.0
"""Who comes no nearer to its waypoint for so long, by a tenth of its way at cruise speed, has stalled."""
STALL_SHARE = 0.1


def stall_m(config: WorldConfig, traffic: Traffic) -> float | Tensor:
    """Return how much nearer to its waypoint who makes progress comes in `STALL_S`, m; of each type, (..., N)."""
    return STALL_SHARE * limits_of(config, traffic).cruise_mps * STALL_S


def distance_flown(before: Traffic, after: Traffic, config: WorldConfig) -> Tensor:
    """Return the distance flown in a step, (B, N) m: the integral of the speed.

    The speed changes at the acceleration limit a for |c|/a, c = new - old, and is constant then, so the
    distance is new T - c |c| / (2 a). The chord between two positions would miss the curve of a turn; it is
    taken in wind, where the speed over ground changes otherwise.
    """
    if before.wind_east_mps is not None:
        return torch.hypot(after.east_m - before.east_m, after.north_m - before.north_m)
    change = after.speed_mps - before.speed_mps
    return after.speed_mps * config.step_s - change * change.abs() / (
        2 * limits_of(config, before).acceleration_mps2
    )


def distance_to_go(traffic: Traffic) -> Tensor:
    """Return the distance to the waypoint, (B, N) m."""
    return torch.hypot(traffic.waypoint_east_m - traffic.east_m, traffic.waypoint_north_m - traffic.north_m)
