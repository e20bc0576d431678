"""Conflict detection: who will lose separation within the look-ahead time.

Formulas as BlueSky's `StateBased.detect` in the horizontal plane, with d = p_j - p_i, v = v_j - v_i:
tcpa = -d.v/|v|^2; dcpa = |d + v tcpa|; half = sqrt(R^2 - dcpa^2)/|v|;
conflict: dcpa < R and tcpa + half > 0 and tcpa - half < look-ahead.

Notation: B episodes, N aircraft, P pairs in conflict.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic

LEAST_SPEED2_M2PS2 = 1e-6  # as BlueSky: |v|^2 is not taken below this, so identical velocities divide by no zero


class Conflicts(NamedTuple):
    """The pairs in conflict, one entry per ownship and intruder (so each conflict is listed twice).

    Attributes:
        episode: (P,) int64, index into the batch.
        ownship: (P,) int64.
        intruder: (P,) int64.
        east_m, north_m: (P,) d = p_j - p_i.
        velocity_east_mps, velocity_north_mps: (P,) v = v_j - v_i.
        tcpa_s: (P,) time to the closest point of approach, negative once past it.
        cpa_east_m, cpa_north_m: (P,) c = d + v tcpa; its length is dcpa.
        scale: (P,) the protected zone of the pair in units of the world's; None for 1.
    """

    episode: Tensor
    ownship: Tensor
    intruder: Tensor
    east_m: Tensor
    north_m: Tensor
    velocity_east_mps: Tensor
    velocity_north_mps: Tensor
    tcpa_s: Tensor
    cpa_east_m: Tensor
    cpa_north_m: Tensor
    scale: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Conflicts":
        """Return the same with function(tensor) for every tensor."""
        scale = None if self.scale is None else function(self.scale)
        return Conflicts._make((*map(function, self[:10]), scale))

    def zone_m(self, protected_zone_m: float) -> float | Tensor:
        """Return R of each pair, (P,), where the world's is this one; this one where all have the same."""
        return protected_zone_m if self.scale is None else protected_zone_m * self.scale

    @property
    def dcpa_m(self) -> Tensor:
        """Distance at the closest point of approach, (P,)."""
        return torch.hypot(self.cpa_east_m, self.cpa_north_m)

    @property
    def distance_m(self) -> Tensor:
        """Present distance, (P,)."""
        return torch.hypot(self.east_m, self.north_m)


def that_count(conflicts: Conflicts, traffic: Traffic) -> Conflicts:
    """Return the conflicts of (B, N) traffic without those of two aircraft that both hover."""
    if traffic.is_hovering is None:
        return conflicts
    episode, own, intruder = conflicts[:3]
    counts = ~(traffic.is_hovering[episode, own] & traffic.is_hovering[episode, intruder])
    return conflicts.map(lambda tensor: tensor[counts])


def detect(pairs: Pairs, protected_zone_m: float, lookahead_s: float) -> Tensor:
    """Return which pairs are in conflict, (B, N, N) bool (or (M, N)); lists must hold them all.

    Without a root or a division: with s = d.v, the cross product d x v and |v|^2, dcpa < R is
    (d x v)^2 < R^2 |v|^2, tcpa + half > 0 is s < 0 or |d| < R, and tcpa - half < T is
    s + T |v|^2 > 0 or |d + v T| < R.
    """
    zone2: float | Tensor = protected_zone_m * protected_zone_m
    if pairs.scale is not None:
        zone2 = zone2 * pairs.scale * pairs.scale
    assert pairs.listed is None or pairs.listed.has_conflicts(
        protected_zone_m, lookahead_s
    )  # else: `complete` them
    east, north, velocity_east, velocity_north, distance2, is_pair = pairs[:6]
    approach = torch.addcmul(east * velocity_east, north, velocity_north)
    cross = torch.addcmul(east * velocity_north, north, velocity_east, value=-1.0)
    speed2 = torch.addcmul(velocity_east * velocity_east, velocity_north, velocity_north)
    speed2 = speed2.clamp_min_(LEAST_SPEED2_M2PS2)
    path = torch.add(approach, speed2, alpha=lookahead_s)
    # |d + vT|^2 = |d|^2 + T (s + (s + T |v|^2))
    later2 = torch.add(distance2, approach + path, alpha=lookahead_s)
    # Each condition as a number above 0 if it holds, and one comparison at the end: comparisons are costly.
    is_near = speed2.mul_(zone2).addcmul_(cross, cross, value=-1.0)
    is_closing = torch.maximum(approach.neg_(), zone2 - distance2)
    is_soon = torch.maximum(path, zone2 - later2)
    return (torch.minimum(torch.minimum(is_near, is_closing), is_soon) > 0).logical_and_(is_pair)


def find(pairs: Pairs, protected_zone_m: float, lookahead_s: float) -> Conflicts:
    """Find the pairs in conflict and their closest points of approach; conflicts are rare, so sparse.

    Args:
        pairs: (B, N, N) or (B, N, J).
        protected_zone_m: R (times a teacher's margin, if it keeps one).
        lookahead_s: Look-ahead time.
    """
    return gather(pairs, detect(pairs, protected_zone_m, lookahead_s))


def gather(pairs: Pairs, is_conflict: Tensor) -> Conflicts:
    """Collect the marked pairs (B, N, J) of all pairs into `Conflicts`, by episode, ownship, intruder."""
    aircraft, count = is_conflict.shape[-2:]
    flat = _true_places(is_conflict.view(-1))  # (P,)
    east, north, velocity_east, velocity_north = (
        quantity.reshape(-1).index_select(0, flat) for quantity in pairs[:4]
    )
    approach = east * velocity_east + north * velocity_north
    speed2 = velocity_east * velocity_east + velocity_north * velocity_north
    tcpa = -approach / speed2.clamp_min(LEAST_SPEED2_M2PS2)
    row = torch.div(flat, count, rounding_mode="floor")
    return Conflicts(
        torch.div(row, aircraft, rounding_mode="floor"),
        row % aircraft,
        flat % count if pairs.listed is None else pairs.listed.number.reshape(-1).index_select(0, flat),
        east,
        north,
        velocity_east,
        velocity_north,
        tcpa,
        east + velocity_east * tcpa,
        north + velocity_north * tcpa,
        None if pairs.scale is None else pairs.scale.reshape(-1).index_select(0, flat),
    )


def _true_places(mask: Tensor) -> Tensor:
    """Return where a flat mask is True, int64; NumPy's search is four times as fast on a CPU."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(-1)


def count_of(conflicts: Conflicts, shape: torch.Size) -> Tensor:
    """Return how many conflicts each ownship has, (B, N) int64."""
    flat = conflicts.episode * shape[1] + conflicts.ownship
    return torch.bincount(flat, minlength=shape[0] * shape[1]).view(shape)


def most_urgent(conflicts: Conflicts, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return tcpa (s) and dcpa (m) of each ownship's conflict with the smallest tcpa, (B, N); NaN if none."""
    flat = conflicts.episode * shape[1] + conflicts.ownship
    tcpa = conflicts.tcpa_s.new_full((shape[0] * shape[1],), torch.inf)
    tcpa.scatter_reduce_(0, flat, conflicts.tcpa_s, "amin")
    is_first = conflicts.tcpa_s == tcpa.index_select(0, flat)
    dcpa = torch.full_like(tcpa, torch.inf)
    dcpa.scatter_reduce_(0, flat, torch.where(is_first, conflicts.dcpa_m, torch.inf), "amin")
    none = torch.isinf(tcpa)
    return tcpa.masked_fill_(none, torch.nan).view(shape), dcpa.masked_fill_(none, torch.nan).view(shape)
