"""Rewards, by name: one function (config, change) -> (B, N), made by what stands in `REWARDS`."""

from collections.abc import Callable

from torch import Tensor

from ...datasets import spec
from ...datasets.traffic.record import WAYPOINT
from .distances import distance_to_go
from .objective import Change, Costs
from .units import NAUTICAL_MILE_M
from .world_config import WorldConfig

Reward = Callable[[WorldConfig, Change], Tensor]


def seed_reward(config: WorldConfig, change: Change) -> Tensor:
    """Return the seed's reward (B, N), zero for aircraft that did not fly before the step.

    drift -0.5 per rad; step -0.005; progress 5.0 per NM towards the waypoint; waypoint +10; intrusion -10 per
    step and intruder inside R; proximity: linear from 0 at 2R to -0.5 at R (nearest intruder).
    Aircraft whose flight ended with this step are gone: they neither intrude nor are intruded upon.

    It pays for progress and charges for time, so faster is better: a policy speeds up to 17 m/s and loses
    separation a hundred times as often (design, section 4). `Costs` does not.

    Args:
        config: The world.
        change: The step.
    """
    before, _, after, pairs, outcome, _ = change
    zone = config.protected_zone_m
    reward = after.drift_rad.abs().mul_(-0.5).sub_(0.005)
    progress = distance_to_go(before).sub_(distance_to_go(after))
    reward.add_(progress, alpha=5.0 / NAUTICAL_MILE_M)
    reward.add_(outcome == WAYPOINT, alpha=10.0)
    nearest = pairs.nearest_m()
    widest = zone if pairs.scale is None else zone * float(pairs.scale.max())
    in_los = (nearest < widest).nonzero(as_tuple=True)  # hardly any: count intruders for those alone
    reward[in_los] -= 10.0 * pairs.has_lost(zone)[in_los].sum(-1)
    nearness = (2.0 - nearest / zone).clamp_(0.0, 1.0)
    reward.sub_(nearness, alpha=0.5)
    return reward.masked_fill_(~before.is_piloted, 0.0)


def _seed() -> Reward:
    """Return the seed's reward."""
    return seed_reward


REWARDS: dict[str, Callable[..., Reward]] = {"seed": _seed, "detour": Costs}
"""What makes a reward, by name; what it takes stands after colons: `detour:path=2:margin=1.2`."""


def reward_named(text: str) -> Reward:
    """Return the reward of that name, such as `seed` or `detour:margin=1.2`.

    Raises:
        ConfigurationError: There is no such reward or parameter; the message lists them.
    """
    name, parameters = spec.parse(text, "reward", REWARDS)
    return REWARDS[name](**parameters)
