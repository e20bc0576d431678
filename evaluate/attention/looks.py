"""What a policy's heads looked at while it flew, row by row, and where the intruders were.

Notation: M rows (an ownship in a step), K intruders seen, H heads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...collect import teachers
from ...collect.airspace.conflicts import LEAST_SPEED2_M2PS2, detect, gather
from ...collect.airspace.neighbours import complete_for
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.flight import Step, fly
from ...collect.flying.world import World
from ...collect.teachers.mvp import mvp_push
from ...datasets.traffic.observation import Observation, observe, observe_all
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.view import View
from ...train.policy import Policy

EVERY = 8
"""One step in eight is analysed: neighbouring steps are much alike, so more scenarios say more."""


class Looks(NamedTuple):
    """Rows to be analysed.

    Attributes:
        weights: (M, H, K) attention, exactly 0 where there is no intruder.
        is_present: (M, K).
        distance_m: (M, K).
        tcpa_s: (M, K).
        dcpa_m: (M, K).
        push_mps: (M, K) length of MVP's velocity change away from each intruder, 0 without conflict.
        scenario: (M,) int64, number of the scenario among those flown, from 0.
    """

    weights: Tensor
    is_present: Tensor
    distance_m: Tensor
    tcpa_s: Tensor
    dcpa_m: Tensor
    push_mps: Tensor
    scenario: Tensor

    def only(self, rows: Tensor) -> "Looks":
        """Return some of the rows, given by their numbers or a mask (M,)."""
        return Looks(*(part[rows] for part in self))


class Seen(NamedTuple):
    """A policy's looks, and their observations (M rows)."""

    looks: Looks
    observation: Observation


def fly_and_look(
    policy: Policy, config: WorldConfig, seed: int, episodes: Sequence[int], device: str | torch.device = "cpu"
) -> Seen | None:
    """Fly some scenarios with a policy and record what its heads look at, on the CPU.

    Returns:
        Its looks; None if it has no attention.
    """
    world = World(config, seed, episodes, device)
    pairs = complete_for(world.pairs, world.traffic, policy.view)
    if not policy.attention(observe_all(world.traffic, policy.view, pairs)).shape[-2]:
        return None
    looks: list[Looks] = []
    observations: list[Observation] = []
    for step in fly(world, policy.pilot):
        if int(step.steps[0]) % EVERY == 0:
            flying = step.traffic.is_piloted
            own = step.traffic.of(flying)  # (M,)
            observations.append(observe(own, _around(step, policy.view), policy.view))
            scenario = step.slots.unsqueeze(-1).expand_as(flying)[flying]
            looks.append(look(policy, observations[-1], config, scenario))
    return Seen(
        Looks(*(torch.cat(parts).cpu() for parts in zip(*looks, strict=True))),
        Observation(*(torch.cat(parts).cpu() for parts in zip(*observations, strict=True))),
    )


def look(policy: Policy, observation: Observation, config: WorldConfig, scenario: Tensor | None = None) -> Looks:
    """Return the attention on an observation (M rows), beside what MVP would do.

    In every view, distance, relative position and relative velocity are the first five features of an intruder.
    The axes may be rotated; lengths and times do not depend on that.

    Args:
        policy: Whose attention.
        observation: What it sees.
        config: The world.
        scenario: (M,) which scenario each row is from; None if they are all from one.
    """
    pairs = _pairs_in(observation, policy.view)
    teacher = teachers.make("mvp", config)
    is_conflict = detect(pairs, teacher.protected_zone_m, teacher.lookahead_s)  # (M, K)
    push = torch.zeros_like(pairs.east_m)
    push[is_conflict] = torch.hypot(*mvp_push(gather(pairs, is_conflict), teacher.protected_zone_m))
    east, north, velocity_east, velocity_north = pairs[:4]
    speed2 = (velocity_east * velocity_east + velocity_north * velocity_north).clamp_min(LEAST_SPEED2_M2PS2)
    tcpa = -(east * velocity_east + north * velocity_north) / speed2
    return Looks(
        policy.attention(observation),
        observation.is_present,
        torch.hypot(east, north),
        tcpa,
        torch.hypot(east + velocity_east * tcpa, north + velocity_north * tcpa),
        push,
        torch.zeros(len(east), dtype=torch.int64, device=east.device) if scenario is None else scenario,
    )


def _around(step: Step, view: View) -> Pairs:
    """Return the pairs of the flying aircraft, (M, N) or (M, J), good for a view."""
    pairs, flying = complete_for(step.pairs, step.traffic, view), step.traffic.is_piloted
    return pairs.map(lambda tensor: tensor[flying])


def _pairs_in(observation: Observation, view: View) -> Pairs:
    """Return the pairs (M, K) an observation shows, in SI units."""
    features = observation.intruders
    position, velocity = features[..., 1:3] * view.length_m, features[..., 3:5] * view.speed_mps
    distance2 = position.square().sum(-1).masked_fill(~observation.is_present, torch.inf)
    (east, north), (velocity_east, velocity_north) = position.unbind(-1), velocity.unbind(-1)
    return Pairs(east, north, velocity_east, velocity_north, distance2, observation.is_present)
