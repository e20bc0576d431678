"""Rewards, by name: one function (config, before, after, pairs after, outcome) -> (B, N)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..datasets.errors import ConfigurationError
from ..datasets.record import WAYPOINT
from ..datasets.traffic import Pairs, Traffic
from .configuration import NAUTICAL_MILE_M, WorldConfig

Reward = Callable[[WorldConfig, Traffic, Traffic, Pairs, Tensor], Tensor]


def seed_reward(config: WorldConfig, before: Traffic, after: Traffic, pairs: Pairs, outcome: Tensor) -> Tensor:
    """Return the seed's reward (B, N), zero for aircraft that did not fly before the step.

    drift -0.5 per rad; step -0.005; progress 5.0 per NM towards the waypoint; waypoint +10; intrusion -10 per
    step and intruder inside R; proximity: linear from 0 at 2R to -0.5 at R (nearest intruder).
    Aircraft whose flight ended with this step are gone: they neither intrude nor are intruded upon.

    Args:
        config: The world.
        before: (B, N) before the step.
        after: (B, N) after the step, ended aircraft no longer flying.
        pairs: (B, N, N) of `after`.
        outcome: (B, N) int8 of the step.
    """
    zone = config.protected_zone_m
    reward = after.drift_rad.abs().mul_(-0.5).sub_(0.005)
    progress = _to_go(before).sub_(_to_go(after))
    reward.add_(progress, alpha=5.0 / NAUTICAL_MILE_M)
    reward.add_(outcome == WAYPOINT, alpha=10.0)
    intruders = (pairs.distance2_m2 < zone * zone).sum(-1)
    reward.sub_(intruders, alpha=10)
    nearness = (2.0 - pairs.nearest_m() / zone).clamp_(0.0, 1.0)
    reward.sub_(nearness, alpha=0.5)
    return reward.masked_fill_(~before.is_flying, 0.0)


def _to_go(traffic: Traffic) -> Tensor:
    """Return the distance to the waypoint, (B, N) m."""
    return torch.hypot(traffic.waypoint_east_m - traffic.east_m, traffic.waypoint_north_m - traffic.north_m)


REWARDS: dict[str, Reward] = {"seed": seed_reward}


def reward_named(name: str) -> Reward:
    """Return the reward of that name.

    Raises:
        ConfigurationError: There is none; says which there are.
    """
    if name not in REWARDS:
        raise ConfigurationError(f"unknown reward '{name}'. There are: {', '.join(sorted(REWARDS))}.")
    return REWARDS[name]
