"""The geometry of pairs of aircraft: where each intruder is, as seen from an ownship.

Notation: B episodes flown at once, N aircraft, M single ownships, K intruders, J places in a list.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .state import Traffic


class Listed(NamedTuple):
    """Who is in the lists of pairs that hold only those who can matter.

    Attributes:
        number: (B, N, J) int64, which aircraft each place holds, ascending; the ownship's own number, which is no
            pair, where there is nobody.
        zone_m: Everyone is listed who is within this distance,
        lookahead_s: or will be in this time, straight on.
        seen: How many of the nearest are listed at least.
    """

    number: Tensor
    zone_m: float
    lookahead_s: float
    seen: int

    def has_conflicts(self, zone_m: float, lookahead_s: float) -> bool:
        """Return whether everyone is listed who is within this distance, or will be in this time."""
        return zone_m <= self.zone_m and lookahead_s <= self.lookahead_s


class Pairs(NamedTuple):
    """Intruder j as seen from ownship i: (B, N, N) with the ownship first, or (M, N) for single ownships.

    Of many aircraft only those are kept that can matter (`listed`): then (B, N, J), or (M, J).

    Attributes:
        east_m: d east, d = p_j - p_i.
        north_m: d north.
        velocity_east_mps: v east, v = v_j - v_i.
        velocity_north_mps: v north.
        distance2_m2: |d|^2; infinite where there is no pair.
        is_pair: True where both fly and j is not i.
        listed: Who the intruders are; None if intruder j is aircraft j.
        scale: The protected zone of the pair in units of the world's, the larger one of both; None for 1.
    """

    east_m: Tensor
    north_m: Tensor
    velocity_east_mps: Tensor
    velocity_north_mps: Tensor
    distance2_m2: Tensor
    is_pair: Tensor
    listed: Listed | None = None
    scale: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Pairs":
        """Return new pairs whose every tensor is function(tensor)."""
        listed = self.listed and self.listed._replace(number=function(self.listed.number))
        scale = None if self.scale is None else function(self.scale)
        return Pairs._make((*map(function, self[:6]), listed, scale))

    def has_lost(self, zone_m: float) -> Tensor:
        """Return which pairs have lost separation, for the world's R or another one, (..., J) bool."""
        if self.scale is None:
            return self.distance2_m2 < zone_m * zone_m
        return self.distance2_m2 < (zone_m * self.scale).square()

    def number_of(self, place: Tensor) -> Tensor:
        """Return which aircraft are in places (..., K) of the last axis of pairs (..., J)."""
        return place if self.listed is None else self.listed.number.gather(-1, place)

    def nearest_m(self) -> Tensor:
        """Return the distance to the nearest intruder, (B, N) or (M,); infinite where there is none."""
        return self.nearest2_m2().sqrt_()

    def nearest2_m2(self) -> Tensor:
        """Return the square of `nearest_m`.

        By halves, which may overlap: `amin` over such a short axis takes four times as long on a CPU.
        """
        least = self.distance2_m2
        if least.shape[-1] == 0:
            return least.new_full(least.shape[:-1], torch.inf)
        while (count := least.shape[-1]) > 1:
            half = (count + 1) // 2
            least = torch.minimum(least[..., :half], least[..., count - half :])
        return least.squeeze(-1).clone()


def pairs_of(traffic: Traffic) -> Pairs:
    """Return all pairs of (B, N) traffic as (B, N, N)."""
    count = traffic.east_m.shape[-1]
    is_other = ~torch.eye(count, dtype=torch.bool, device=traffic.east_m.device)  # (N, N)
    is_pair = traffic.is_flying.unsqueeze(-1) & traffic.is_flying.unsqueeze(-2) & is_other
    velocity = (traffic.velocity_east_mps, traffic.velocity_north_mps)
    pairs = _relative((traffic.east_m, traffic.north_m, *velocity), is_pair)
    if traffic.zone_scale is None:
        return pairs
    return pairs._replace(scale=torch.maximum(traffic.zone_scale.unsqueeze(-2), traffic.zone_scale.unsqueeze(-1)))


def pairs_listed(traffic: Traffic, listed: Listed) -> Pairs:
    """Return the listed pairs of (B, N) traffic, (B, N, J)."""
    number = listed.number
    episodes, aircraft, _ = number.shape
    device = number.device
    first = aircraft * torch.arange(episodes, device=device).view(-1, 1, 1)
    place = (number + first).flatten()  # in all B N

    def relative(quantity: Tensor) -> Tensor:
        return quantity.reshape(-1).index_select(0, place).view(number.shape).sub_(quantity.unsqueeze(-1))

    quantities = (traffic.east_m, traffic.north_m, traffic.velocity_east_mps, traffic.velocity_north_mps)
    east, north, velocity_east, velocity_north = map(relative, quantities)
    is_pair = number != torch.arange(aircraft, device=device).unsqueeze(-1)  # who does not fly is in no list
    distance2 = _distance2(east, north, is_pair)
    scale = None
    if traffic.zone_scale is not None:
        others = traffic.zone_scale.reshape(-1).index_select(0, place).view(number.shape)
        scale = torch.maximum(others, traffic.zone_scale.unsqueeze(-1))
    return Pairs(east, north, velocity_east, velocity_north, distance2, is_pair, listed, scale)


def _relative(quantities: tuple[Tensor, Tensor, Tensor, Tensor], is_pair: Tensor) -> Pairs:
    """Subtract ownship from intruder for position and velocity."""
    east, north, velocity_east, velocity_north = (
        quantity.unsqueeze(-2) - quantity.unsqueeze(-1) for quantity in quantities
    )
    return Pairs(east, north, velocity_east, velocity_north, _distance2(east, north, is_pair), is_pair)


def _distance2(east: Tensor, north: Tensor, is_pair: Tensor) -> Tensor:
    """Return |d|^2, infinite where there is no pair."""
    return torch.where(is_pair, torch.addcmul(east * east, north, north), torch.inf)


def pairs_of_rows(traffic: Traffic, ownship: Tensor) -> tuple[Traffic, Pairs]:
    """Pick one ownship per row of (M, N) traffic.

    Args:
        traffic: M snapshots of N aircraft.
        ownship: (M,) int64, which aircraft is the ownship.

    Returns:
        The ownships as traffic of shape (M,), and their pairs of shape (M, N).
    """
    index = ownship.unsqueeze(-1)  # (M, 1)
    own = traffic.map(lambda tensor: tensor.gather(-1, index).squeeze(-1))
    numbers = torch.arange(traffic.east_m.shape[-1], device=index.device)
    is_pair = traffic.is_flying & own.is_flying.unsqueeze(-1) & (numbers != index)
    east = traffic.east_m - own.east_m.unsqueeze(-1)
    north = traffic.north_m - own.north_m.unsqueeze(-1)
    velocity_east = traffic.velocity_east_mps - own.velocity_east_mps.unsqueeze(-1)
    velocity_north = traffic.velocity_north_mps - own.velocity_north_mps.unsqueeze(-1)
    return own, Pairs(east, north, velocity_east, velocity_north, _distance2(east, north, is_pair), is_pair)


def pairs_among(traffic: Traffic, row: Tensor, intruder: Tensor) -> tuple[Traffic, Pairs]:
    """Pick some ownships of (B, N) traffic, and for each of them some of the aircraft around it.

    Unlike `pairs_of` this holds only the chosen pairs, so a graph for gradients stays small.

    Args:
        traffic: (B, N).
        row: (M,) int64, the ownships: episode times N plus number.
        intruder: (M, K) int64, numbers below N of aircraft of the same episode; an ownship is no intruder.

    Returns:
        The ownships as traffic of shape (M,), and their pairs of shape (M, K).
    """
    count = traffic.east_m.shape[-1]
    others = (row - row % count).unsqueeze(-1) + intruder  # (M, K)

    def pick(tensor: Tensor, index: Tensor) -> Tensor:
        return tensor.reshape(-1).index_select(0, index.flatten()).view(index.shape)

    own = traffic.map(lambda tensor: pick(tensor, row))
    quantities = (traffic.east_m, traffic.north_m, traffic.velocity_east_mps, traffic.velocity_north_mps)
    east, north, velocity_east, velocity_north = (
        pick(quantity, others) - pick(quantity, row).unsqueeze(-1) for quantity in quantities
    )
    is_pair = pick(traffic.is_flying, others) & own.is_flying.unsqueeze(-1) & (others != row.unsqueeze(-1))
    scale = None
    if traffic.zone_scale is not None and own.zone_scale is not None:
        scale = torch.maximum(pick(traffic.zone_scale, others), own.zone_scale.unsqueeze(-1))
    distance2 = _distance2(east, north, is_pair)
    return own, Pairs(east, north, velocity_east, velocity_north, distance2, is_pair, None, scale)
