"""What the attention looks at: near intruders, urgent ones, those MVP would avoid?

Notation: M rows (an ownship in a step), K intruders seen, H heads.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..collect import teachers
from ..collect.configuration import WorldConfig
from ..collect.conflicts import LEAST_SPEED2_M2PS2, detect, gather
from ..collect.flight import fly
from ..collect.teachers import mvp_push
from ..collect.world import World
from ..datasets.observation import Observation, View, observe, observe_all
from ..datasets.traffic import Pairs, Traffic
from ..train.policy import Policy

EVERY = 4
"""One step in four is looked at: those between are much alike."""
DISTANCE_EDGES_M = np.arange(0.0, 801.0, 50.0)
TCPA_EDGES_S = np.arange(-20.0, 61.0, 5.0)


@dataclass(frozen=True)
class Profile:
    """Mean attention weight per bin of some quantity; None in empty bins.

    Attributes:
        edges: n + 1 edges of the bins.
        count: Intruders in each bin.
        uniform: Weight each would have if all present intruders weighed the same.
        weight: Per head, the mean weight.
    """

    edges: list[float]
    count: list[int]
    uniform: list[float | None]
    weight: list[list[float | None]]


@dataclass(frozen=True)
class Attention:
    """What a policy's heads look at; lists have one entry per head.

    Attributes:
        rows: Ownships looked at, M.
        rows_in_conflict: Those of them that MVP would push.
        sharpness: Mean of the largest weight, over rows with two or more intruders.
        uniform_sharpness: What it would be if all intruders weighed the same.
        entropy: Mean of -sum(w ln w) / ln(intruders), over the same rows: 0 one intruder only, 1 all alike.
        agreement: Rank correlation (Somers' D) between the weights and MVP's push per intruder, mean over
            rows in conflict: 1 if the intruders are weighed in the order of the pushes, 0 if there is no relation.
        nearest_agreement: The same for a head that simply looked at the nearest intruder most.
        top_push: Share of the rows in conflict whose heaviest intruder is the one MVP pushes away from most.
        nearest_top_push: The same for the nearest intruder.
        by_distance: Weight against distance, m.
        by_tcpa: Weight against tcpa, s, of intruders that will pass within the protected zone (dcpa < R).
    """

    rows: int
    rows_in_conflict: int
    sharpness: list[float]
    uniform_sharpness: float
    entropy: list[float]
    agreement: list[float]
    nearest_agreement: float
    top_push: list[float]
    nearest_top_push: float
    by_distance: Profile
    by_tcpa: Profile

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, null where there is no figure."""
        data: dict[str, Any] = _finite(asdict(self))
        return data


def _finite(value: Any) -> Any:
    """Return the value with None for NaN, at any depth."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


class Looks(NamedTuple):
    """Rows to be analysed.

    Attributes:
        weights: (M, H, K) attention, 0 where there is no intruder.
        is_present: (M, K).
        distance_m: (M, K).
        tcpa_s: (M, K).
        dcpa_m: (M, K).
        push_mps: (M, K) length of MVP's velocity change away from each intruder, 0 without conflict.
    """

    weights: Tensor
    is_present: Tensor
    distance_m: Tensor
    tcpa_s: Tensor
    dcpa_m: Tensor
    push_mps: Tensor


def watch(
    policy: Policy, config: WorldConfig, seed: int, episodes: Sequence[int], device: str | torch.device = "cpu"
) -> Attention | None:
    """Let a policy fly some scenarios and look at its attention.

    Returns:
        What it looks at; None if it has no attention or never saw an intruder.
    """
    world = World(config, seed, episodes, device)
    if not policy.attention(observe_all(world.traffic, policy.view, world.pairs)).shape[-2]:
        return None
    looks: list[Looks] = []
    for step in fly(world, policy.pilot):
        if int(step.steps[0]) % EVERY == 0:
            flying = step.traffic.is_flying
            own = Traffic(*(tensor[flying] for tensor in vars(step.traffic).values()))  # (M,)
            pairs = Pairs(*(tensor[flying] for tensor in step.pairs))  # (M, N)
            looks.append(look(policy, observe(own, pairs, policy.view), config))
    joined = Looks(*(torch.cat(parts).cpu() for parts in zip(*looks, strict=True)))
    if not joined.is_present.any() or not joined.weights.any():
        return None
    return analyse(joined, config.protected_zone_m)


def look(policy: Policy, observation: Observation, config: WorldConfig) -> Looks:
    """Return the attention on an observation (M rows), beside what MVP would do.

    Whatever the view, distance, relative position and relative velocity are its first five features of an
    intruder, in axes that may be rotated: lengths and times do not depend on that.
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
    )


def _pairs_in(observation: Observation, view: View) -> Pairs:
    """Return the pairs (M, K) an observation shows, in SI units."""
    features = observation.intruders
    position, velocity = features[..., 1:3] * view.length_m, features[..., 3:5] * view.speed_mps
    distance2 = position.square().sum(-1).masked_fill(~observation.is_present, torch.inf)
    (east, north), (velocity_east, velocity_north) = position.unbind(-1), velocity.unbind(-1)
    return Pairs(east, north, velocity_east, velocity_north, distance2, observation.is_present)


def analyse(looks: Looks, protected_zone_m: float) -> Attention:
    """Return what the heads look at."""
    weights, present = looks.weights.double(), looks.is_present
    several = present.sum(-1) >= 2
    among = present[several].sum(-1).double()  # intruders of each such row
    inside = weights[several]
    entropy = -(torch.xlogy(inside, inside).sum(-1)) / among.log().unsqueeze(-1)  # (M', H)
    rows = several & (looks.push_mps > 0).any(-1)
    in_conflict, push = weights[rows], looks.push_mps[rows]
    nearness = -looks.distance_m[rows].masked_fill(~present[rows], torch.inf).unsqueeze(1)  # (M'', 1, K)
    uniform = (1.0 / present.sum(-1).clamp_min(1).double()).unsqueeze(-1).expand(present.shape)
    will_pass = present & (looks.dcpa_m < protected_zone_m)
    return Attention(
        rows=len(present),
        rows_in_conflict=int((looks.push_mps > 0).any(-1).sum()),
        sharpness=inside.amax(-1).mean(0).tolist(),
        uniform_sharpness=float((1.0 / among).mean()),
        entropy=entropy.mean(0).tolist(),
        agreement=somers_d(in_conflict, push, present[rows]).nanmean(0).tolist(),
        nearest_agreement=float(somers_d(nearness, push, present[rows]).nanmean()),
        top_push=_is_top(in_conflict, push).mean(0).tolist(),
        nearest_top_push=float(_is_top(nearness, push).mean()),
        by_distance=_profile(looks.distance_m, present, weights, uniform, DISTANCE_EDGES_M),
        by_tcpa=_profile(looks.tcpa_s, will_pass, weights, uniform, TCPA_EDGES_S),
    )


def somers_d(weights: Tensor, push: Tensor, is_present: Tensor) -> Tensor:
    """Return the rank correlation between weights and pushes per row, (M, H); NaN if all pushes are equal.

    Somers' D (1962): of the pairs of intruders with unequal push, the share that the weights order alike minus
    the share they order the other way round. Unlike Spearman's it reaches 1 although most pushes are 0.

    Args:
        weights: (M, H, K).
        push: (M, K).
        is_present: (M, K).
    """
    higher = torch.sign(push.unsqueeze(-1) - push.unsqueeze(-2))  # (M, K, K)
    higher = higher * (is_present.unsqueeze(-1) & is_present.unsqueeze(-2))
    heavier = torch.sign((weights.unsqueeze(-1) - weights.unsqueeze(-2)).nan_to_num())  # (M, H, K, K)
    alike = (heavier * higher.unsqueeze(1)).sum((-1, -2))
    return alike / higher.abs().sum((-1, -2)).unsqueeze(-1)


def _is_top(weights: Tensor, push: Tensor) -> Tensor:
    """Return (M, H) float64, whether the heaviest intruder is the one pushed away from most."""
    return (weights.argmax(-1) == push.argmax(-1, keepdim=True)).double()


def _profile(quantity: Tensor, chosen: Tensor, weights: Tensor, uniform: Tensor, edges: np.ndarray) -> Profile:
    """Return the mean weight per bin of a quantity (M, K), over the chosen intruders."""
    bins = len(edges) - 1
    place = np.digitize(quantity[chosen].numpy(), edges) - 1  # (P,)
    is_in = (place >= 0) & (place < bins)
    place = place[is_in]
    count = np.bincount(place, minlength=bins)

    def means(values: Tensor) -> list[float | None]:
        sums = np.bincount(place, values[chosen].numpy()[is_in], minlength=bins)
        return [float(total / n) if n else None for total, n in zip(sums, count)]

    heads = [means(weights[:, head]) for head in range(weights.shape[1])]
    return Profile([float(edge) for edge in edges], count.tolist(), means(uniform), heads)
