"""Rewards, by name: one function (config, before, after, pairs after, outcome) -> (B, N)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.record import LEFT_SECTOR, WAYPOINT
from ...datasets.traffic.state import Traffic, wrap_angle
from .distances import distance_flown, distance_to_go
from .units import NAUTICAL_MILE_M
from .world_config import WorldConfig

Reward = Callable[[WorldConfig, Traffic, Traffic, Pairs, Tensor], Tensor]


def seed_reward(config: WorldConfig, before: Traffic, after: Traffic, pairs: Pairs, outcome: Tensor) -> Tensor:
    """Return the seed's reward (B, N), zero for aircraft that did not fly before the step.

    drift -0.5 per rad; step -0.005; progress 5.0 per NM towards the waypoint; waypoint +10; intrusion -10 per
    step and intruder inside R; proximity: linear from 0 at 2R to -0.5 at R (nearest intruder).
    Aircraft whose flight ended with this step are gone: they neither intrude nor are intruded upon.

    Args:
        config: The world.
        before: (B, N) before the step.
        after: (B, N) after the step, ended aircraft not flying.
        pairs: (B, N, N) of `after`.
        outcome: (B, N) int8 of the step.
    """
    zone = config.protected_zone_m
    reward = after.drift_rad.abs().mul_(-0.5).sub_(0.005)
    progress = distance_to_go(before).sub_(distance_to_go(after))
    reward.add_(progress, alpha=5.0 / NAUTICAL_MILE_M)
    reward.add_(outcome == WAYPOINT, alpha=10.0)
    nearest = pairs.nearest_m()
    in_los = (nearest < zone).nonzero(as_tuple=True)  # hardly any: count intruders for those alone
    reward[in_los] -= 10.0 * (pairs.distance2_m2[in_los] < zone * zone).sum(-1)
    nearness = (2.0 - nearest / zone).clamp_(0.0, 1.0)
    reward.sub_(nearness, alpha=0.5)
    return reward.masked_fill_(~before.is_flying, 0.0)


def separation_reward(
    config: WorldConfig, before: Traffic, after: Traffic, pairs: Pairs, outcome: Tensor
) -> Tensor:
    """Return the sum of `separation_terms`, (B, N): what `finetune` improves by default."""
    terms = separation_terms(config, before, after, pairs, outcome)
    return torch.stack(tuple(terms.values())).sum(0)


def separation_terms(
    config: WorldConfig, before: Traffic, after: Traffic, pairs: Pairs, outcome: Tensor
) -> dict[str, Tensor]:
    """Return the terms of the reward that matches the evaluation, each (B, N); arguments as `seed_reward`.

    Everything is a cost, in units of 100 m of detour, and zero on the straight line at cruise speed:

    - los: 2 per step and intruder inside R, up to 4 the deeper it is inside: few, short and shallow LoS.
    - proximity: linear from 0 at 1.1 R to 0.1 at R (nearest intruder): a margin, because touching R is an LoS.
    - path: distance flown minus distance gained towards the waypoint, twice.
    - speed: 0.2 (speed / cruise - 1)^2; and effort: 0.02 (turn in action units)^2: fly evenly.
    - left: 20 for leaving the sector, so that leaving does not pay.

    The seed's reward pays for progress and charges for time, so faster is better: a policy speeds up to
    17 m/s and loses separation a hundred times as often (design, section 4). Here neither time nor progress is
    worth anything by itself, so nothing pulls away from cruise speed, and no bonus is discounted.
    """
    zone = config.protected_zone_m
    depth = (1.0 - pairs.distance2_m2.sqrt() / zone).clamp_min_(0.0)  # (B, N, N)
    inside = (pairs.distance2_m2 < zone * zone).sum(-1)
    flown = distance_flown(before, after, config)
    gained = distance_to_go(before).sub_(distance_to_go(after))
    turn = wrap_angle(after.track_rad - before.track_rad) / config.turn_rad
    terms = {
        "los": -2.0 * (inside + depth.sum(-1)),
        "proximity": -0.1 * ((1.1 - pairs.nearest_m() / zone) / 0.1).clamp(0.0, 1.0),
        "path": 2.0 * (gained - flown) / 100.0,
        "speed": -0.2 * (after.speed_mps / config.cruise_mps - 1.0).square(),
        "effort": -0.02 * turn.square(),
        "left": -20.0 * (outcome == LEFT_SECTOR),
    }
    return {name: term.masked_fill(~before.is_flying, 0.0) for name, term in terms.items()}


REWARDS: dict[str, Reward] = {"seed": seed_reward, "separation": separation_reward}
TERMS: dict[str, Callable[..., dict[str, Tensor]]] = {"separation": separation_terms}
"""The terms one by one, of those rewards that report them."""


def reward_named(name: str) -> Reward:
    """Return the reward of that name.

    Raises:
        ConfigurationError: There is no such reward; the message lists them.
    """
    if name not in REWARDS:
        raise ConfigurationError(f"unknown reward '{name}'. There are: {', '.join(sorted(REWARDS))}.")
    return REWARDS[name]
