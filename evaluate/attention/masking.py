"""Does the policy act on the intruders it looks at? Each one is masked in turn, and the actions are compared.

Attention weights need not say what a network acts on (Jain, Wallace 2019, "Attention is not Explanation"; there
too, inputs are left out one by one). Here the network decides twice: with all intruders in view, and as if one of
them were absent, with no other one in its place. The change is the distance between the two velocities it asks
for.

Notation: M rows (an ownship in a step), K intruders seen, H heads, R resamples, S scenarios.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...collect.airspace.world_config import WorldConfig
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import FEATURE_NAMES
from ...train.policy import Policy
from ...train.runs.confidence_intervals import Estimate, mean_of_rows
from .ranks import somers_d

LEAST_CHANGE_MPS = 0.1
"""Rows in which no intruder changes the velocity by more than this are left out: no intruder matters there."""
PAIRS = 1_500_000
"""Intruders shown to the network at most: that takes a second or two."""
_CHUNK = 4096  # masked rows decided at once
_SPEED = FEATURE_NAMES["seed"][0].index("speed")  # in every view


class Masked(NamedTuple):
    """Rows in which each intruder was masked once.

    Attributes:
        change_mps: (M, K) length of the change of the velocity asked for; 0 where there is no intruder.
        weights: (M, H, K) attention with all intruders in view.
        is_present: (M, K).
        distance_m: (M, K).
        in_conflict: (M,) whether MVP would push.
        scenario: (M,) int64.
    """

    change_mps: Tensor
    weights: Tensor
    is_present: Tensor
    distance_m: Tensor
    in_conflict: Tensor
    scenario: Tensor

    def only(self, rows: Tensor) -> "Masked":
        """Return the rows where a mask (M,) is True."""
        return Masked(*(part[rows] for part in self))


@dataclass(frozen=True)
class Choice:
    """What masking one intruder of each row does, chosen by some measure; means over rows.

    Attributes:
        largest: Share of rows in which masking the chosen one, the highest, changes the velocity most.
        highest_mps: Change if the highest is masked.
        other_mps: Change if another one is masked, mean of all others.
        lowest_mps: Change if the lowest is masked.
        agreement: Rank correlation (Somers' D) of the measure with the change.
    """

    largest: Estimate
    highest_mps: Estimate
    other_mps: Estimate
    lowest_mps: Estimate
    agreement: Estimate


@dataclass(frozen=True)
class Masking:
    """Whether the intruders looked at are those that matter.

    Attributes:
        masked: Rows with two or more intruders in which each was masked.
        rows: Those of them in which masking some intruder changes the velocity by more than `LEAST_CHANGE_MPS`;
            all figures below are over these.
        chance: Share of rows in which an intruder chosen at random is the one that matters most.
        most_mps: Mean of the largest change of each row: the upper bound of any choice.
        heads: Chosen by the weight of each head.
        mean: Chosen by the mean weight of all heads.
        nearest: Chosen by nearness.
    """

    masked: int
    rows: int
    chance: float
    most_mps: Estimate
    heads: list[Choice]
    mean: Choice
    nearest: Choice


def sample(is_present: Tensor, seed: int) -> Tensor:
    """Draw the numbers of rows with two or more intruders, in order; as many as can be masked within seconds.

    Args:
        is_present: (M, K).
        seed: Seed of the draw.
    """
    rows = (is_present.sum(-1) >= 2).nonzero().squeeze(-1)
    most = max(PAIRS // max(is_present.shape[-1], 1) ** 2, 1)
    if len(rows) <= most:
        return rows
    drawn = np.random.Generator(np.random.PCG64(seed)).choice(len(rows), most, replace=False)
    return rows[torch.from_numpy(np.sort(drawn))]


def mask_each(policy: Policy, observation: Observation, config: WorldConfig) -> Tensor:
    """Mask each intruder in turn through the observation's mask.

    Returns:
        (M, K) float32, how far the velocity asked for moves, m/s; 0 where there is no intruder.
    """
    before = _velocity(policy, observation, config)
    change = torch.zeros(observation.is_present.shape)
    rows, places = observation.is_present.nonzero(as_tuple=True)
    for row, place in zip(rows.split(_CHUNK), places.split(_CHUNK), strict=True):
        without = observation.is_present[row]
        without[torch.arange(len(row)), place] = False
        masked = Observation(observation.ownship[row], observation.intruders[row], without)
        change[row, place] = (_velocity(policy, masked, config) - before[row]).norm(dim=-1)
    return change


def _velocity(policy: Policy, observation: Observation, config: WorldConfig) -> Tensor:
    """Return the velocity a policy asks for, (M, 2) m/s to the right and ahead of its track."""
    action = policy.act(observation)
    speed = observation.ownship[:, _SPEED] * policy.view.speed_mps + action[:, 1] * config.speed_change_mps
    speed = speed.clamp(config.min_speed_mps, config.max_speed_mps)
    turn = action[:, 0] * config.turn_rad
    return torch.stack((speed * torch.sin(turn), speed * torch.cos(turn)), -1)


def analyse(masked: Masked, resamples: np.ndarray) -> Masking | None:
    """Return whether the intruders looked at are those that matter.

    Args:
        masked: The rows; only those with two or more intruders count.
        resamples: (R, S) from `intervals.resample`.

    Returns:
        What was found; None if no intruder matters in any row.
    """
    several = masked.only(masked.is_present.sum(-1) >= 2)
    found = several.only((several.change_mps > LEAST_CHANGE_MPS).any(-1))
    if not len(found.change_mps):
        return None
    most = found.change_mps.amax(-1)
    is_most = (found.change_mps == most.unsqueeze(-1)) & found.is_present
    nearness = -found.distance_m
    return Masking(
        masked=len(several.change_mps),
        rows=len(found.change_mps),
        chance=float((is_most.sum(-1) / found.is_present.sum(-1)).double().mean()),
        most_mps=_mean(most, found, resamples),
        heads=[_choose(found, found.weights[:, head], resamples) for head in range(found.weights.shape[1])],
        mean=_choose(found, found.weights.mean(1), resamples),
        nearest=_choose(found, nearness, resamples),
    )


def _choose(found: Masked, measure: Tensor, resamples: np.ndarray) -> Choice:
    """Return what masking the intruder with the highest measure (M, K) does."""
    change, present = found.change_mps, found.is_present

    def changed_by(chosen: Tensor) -> Tensor:
        return change.gather(-1, chosen).squeeze(-1)  # (M,)

    top = changed_by(measure.masked_fill(~present, -torch.inf).argmax(-1, keepdim=True))
    bottom = changed_by(measure.masked_fill(~present, torch.inf).argmin(-1, keepdim=True))
    agreement = somers_d(measure.unsqueeze(1), change, present).squeeze(1)
    return Choice(
        largest=_mean(top == change.amax(-1), found, resamples),
        highest_mps=_mean(top, found, resamples),
        other_mps=_mean((change.sum(-1) - top) / (present.sum(-1) - 1), found, resamples),
        lowest_mps=_mean(bottom, found, resamples),
        agreement=_mean(agreement, found, resamples),
    )


def _mean(values: Tensor, found: Masked, resamples: np.ndarray) -> Estimate:
    """Return the mean over rows (M,), with its interval over scenarios."""
    return mean_of_rows(values.double().numpy(), found.scenario.numpy(), resamples)
