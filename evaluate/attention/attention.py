"""What the attention looks at: near intruders, urgent ones, those that MVP would avoid, those that matter.

Notation: M rows (an ownship in a step), K intruders seen, H heads, R resamples, S scenarios.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import isfinite, log
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...collect.airspace.world_config import WorldConfig
from ...train.policy import Policy
from ...train.runs.confidence_intervals import Estimate, mean_of_rows, resample
from . import masking
from .looks import Looks, fly_and_look
from .masking import Masked, Masking
from .ranks import somers_d

RESAMPLES = 2000
DISTANCE_EDGES_M = np.arange(0.0, 801.0, 50.0)
TCPA_EDGES_S = np.arange(-20.0, 61.0, 5.0)
DCPA_EDGES_M = np.arange(0.0, 401.0, 25.0)


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
class HeadPair:
    """How much two heads differ, over rows with two or more intruders.

    Attributes:
        heads: Their numbers, from 1.
        distance: Jensen-Shannon distance (Endres, Schindelin 2003; base 2) of their weights: 0 the same weights,
            1 not one intruder in common.
        rank_correlation: Kendall's tau of their weights: 1 the same order, 0 no relation.
        other_top: Share of rows in which their heaviest intruders differ.
    """

    heads: tuple[int, int]
    distance: Estimate
    rank_correlation: Estimate
    other_top: Estimate


@dataclass(frozen=True)
class Attention:
    """What a policy's heads look at; lists have one entry per head, intervals are over scenarios.

    Attributes:
        rows: Ownships looked at, M.
        rows_in_conflict: Those of them that MVP would push.
        padded: Slots without an intruder that were checked.
        padding_weight: Largest weight any head gave to one of them: exactly 0 if the mask works.
        sharpness: Mean of the largest weight, over rows with two or more intruders.
        uniform_sharpness: What it would be if all intruders weighed the same.
        entropy: Mean of -sum(w ln w) / ln(intruders), over the same rows: 0 one intruder only, 1 all alike.
        agreement: Rank correlation (Somers' D) between the weights and MVP's push per intruder, mean over
            rows in conflict: 1 if the intruders are weighed in the order of the pushes, 0 if there is no relation.
        nearest_agreement: The same for weights by nearness alone.
        top_push: Share of the rows in conflict whose heaviest intruder is the one MVP pushes away from most.
        nearest_top_push: The same for the nearest intruder.
        by_distance: Weight against distance, m.
        by_tcpa: Weight against tcpa, s, of intruders that will pass within the protected zone (dcpa < R).
        by_dcpa: Weight against dcpa, m, of intruders that will pass within the look-ahead time.
        pairs: How much each two heads differ.
        masking: Whether the intruders looked at are those that matter; None if none ever does.
        masking_in_conflict: The same, over rows that MVP would push.
    """

    rows: int
    rows_in_conflict: int
    padded: int
    padding_weight: float
    sharpness: list[Estimate]
    uniform_sharpness: float
    entropy: list[Estimate]
    agreement: list[Estimate]
    nearest_agreement: Estimate
    top_push: list[Estimate]
    nearest_top_push: Estimate
    by_distance: Profile
    by_tcpa: Profile
    by_dcpa: Profile
    pairs: list[HeadPair]
    masking: Masking | None = None
    masking_in_conflict: Masking | None = None

    @property
    def leaks(self) -> bool:
        """Whether some head gave weight to padding."""
        return self.padding_weight != 0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, null where there is no figure."""
        data: dict[str, Any] = _plain(asdict(self))
        return data


def _plain(value: Any) -> Any:
    """Return the value as JSON with None for NaN, at any depth."""
    if isinstance(value, Estimate):
        return value.to_json()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def watch(
    policy: Policy, config: WorldConfig, seed: int, episodes: Sequence[int], device: str | torch.device = "cpu"
) -> Attention | None:
    """Fly some scenarios with a policy and analyse its attention.

    Returns:
        What it looks at; None if it has no attention or never saw an intruder.
    """
    seen = fly_and_look(policy, config, seed, episodes, device)
    if seen is None or not seen.looks.is_present.any() or not seen.looks.weights.any():
        return None
    looks = seen.looks
    rows = masking.sample(looks.is_present, seed)
    drawn = looks.only(rows)
    change = masking.mask_each(policy, type(seen.observation)(*(part[rows] for part in seen.observation)), config)
    masked = Masked(
        change,
        drawn.weights,
        drawn.is_present,
        drawn.distance_m,
        (drawn.push_mps > 0).any(-1),
        drawn.scenario,
    )
    return analyse(looks, config, resample(len(episodes), RESAMPLES, seed), masked)


def analyse(looks: Looks, config: WorldConfig, resamples: np.ndarray, masked: Masked | None = None) -> Attention:
    """Return what the heads look at.

    Args:
        looks: The rows.
        config: The world; gives the protected zone and the look-ahead time.
        resamples: (R, S) from `intervals.resample`.
        masked: Some of these rows, with each intruder masked in turn.
    """
    weights, present = looks.weights.double(), looks.is_present
    several = present.sum(-1) >= 2
    among = present.sum(-1).clamp_min(2).double()  # (M,) intruders of each such row
    entropy = -torch.xlogy(weights, weights).sum(-1) / among.log().unsqueeze(-1)  # (M, H)
    is_pushed = (looks.push_mps > 0).any(-1)
    conflict = looks.only(several & is_pushed)
    in_conflict, push = conflict.weights.double(), conflict.push_mps
    nearness = -conflict.distance_m.masked_fill(~conflict.is_present, torch.inf).unsqueeze(1)  # (M', 1, K)
    uniform = (1.0 / present.sum(-1).clamp_min(1).double()).unsqueeze(-1).expand(present.shape)
    padding = weights.transpose(1, 2)[~present]  # (P, H)
    tcpa, dcpa = looks.tcpa_s, looks.dcpa_m
    will_pass = present & (dcpa < config.protected_zone_m)
    soon = present & (tcpa > 0) & (tcpa < config.lookahead_s)

    def over_several(values: Tensor) -> list[Estimate]:
        return _means(values[several], looks.scenario[several], resamples)

    def over_conflicts(values: Tensor) -> list[Estimate]:
        return _means(values, conflict.scenario, resamples)

    return Attention(
        rows=len(present),
        rows_in_conflict=int(is_pushed.sum()),
        padded=len(padding),
        padding_weight=float(padding.abs().max()) if padding.numel() else 0.0,
        sharpness=over_several(weights.amax(-1)),
        uniform_sharpness=float((1.0 / among[several]).mean()),
        entropy=over_several(entropy),
        agreement=over_conflicts(somers_d(in_conflict, push, conflict.is_present)),
        nearest_agreement=over_conflicts(somers_d(nearness, push, conflict.is_present))[0],
        top_push=over_conflicts(_is_top(in_conflict, push)),
        nearest_top_push=over_conflicts(_is_top(nearness, push))[0],
        by_distance=_profile(looks.distance_m, present, weights, uniform, DISTANCE_EDGES_M),
        by_tcpa=_profile(tcpa, will_pass, weights, uniform, TCPA_EDGES_S),
        by_dcpa=_profile(dcpa, soon, weights, uniform, DCPA_EDGES_M),
        pairs=compare_heads(looks if masked is None else masked, resamples),
        masking=masking.analyse(masked, resamples) if masked else None,
        masking_in_conflict=masking.analyse(masked.only(masked.in_conflict), resamples) if masked else None,
    )


def compare_heads(rows: Looks | Masked, resamples: np.ndarray) -> list[HeadPair]:
    """Return how much each two heads differ, over rows with two or more intruders."""
    several = rows.is_present.sum(-1) >= 2
    weights, present, scenario = rows.weights[several].double(), rows.is_present[several], rows.scenario[several]
    top, bits = weights.argmax(-1), -torch.xlogy(weights, weights).sum(-1) / log(2.0)  # (M, H)
    found = []
    for one, other in combinations(range(weights.shape[1]), 2):
        mixture = (weights[:, one] + weights[:, other]) / 2
        divergence = -torch.xlogy(mixture, mixture).sum(-1) / log(2.0) - (bits[:, one] + bits[:, other]) / 2
        tau = somers_d(weights[:, one : one + 1], weights[:, other], present)
        columns = (divergence.clamp_min(0.0).sqrt(), tau.squeeze(1), (top[:, one] != top[:, other]).double())
        found.append(HeadPair((one + 1, other + 1), *_means(torch.stack(columns, 1), scenario, resamples)))
    return found


def _means(values: Tensor, scenario: Tensor, resamples: np.ndarray) -> list[Estimate]:
    """Return the mean of each column of (M, n), with its interval over scenarios."""
    return [mean_of_rows(column, scenario.numpy(), resamples) for column in values.double().numpy().T]


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
