"""Whom to look at: all pairs of few aircraft, of many only those that can matter.

All pairs take time and memory with the square of the number of aircraft. So of more than `FEW` aircraft each has a
list of its neighbours: all with whom it may be in conflict, and at least some of the nearest. Whatever is
computed from pairs comes out the same, as whoever is not listed would not count. Lists are made on the CPU, by
cells, wherever the traffic is; where nothing can be compiled, all pairs are kept.

Notation: B episodes, N aircraft, J places in a list.
"""

from math import inf, isfinite
from typing import NamedTuple

import torch

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.pairs import Listed, Pairs, pairs_listed, pairs_of
from ...datasets.traffic.state import Traffic
from ...datasets.traffic.view import View
from ..arithmetic import compiling
from ..arithmetic.neighbours import neighbours
from .objective import NEARER, Costs
from .reward import reward_named
from .world_config import WorldConfig

FEW = 64
"""Up to this many aircraft all pairs are kept: as fast, and the bits do not change."""
SEEN = 16
"""So many of the nearest are listed where nobody says how many are seen."""
MOST_OF_ALL = 1000
"""Up to this many aircraft all pairs fit into memory."""
_TEACHERS_MARGIN = 1.25  # room for a teacher's margin, so that its conflicts need no lists of their own
_ROUNDING_M = 0.1  # a conflict in single precision may be a little farther away


class Sight(NamedTuple):
    """What lists of neighbours must be good for.

    Attributes:
        zone_m: Everyone is needed who is within this distance,
        lookahead_s: or will be in this time, straight on;
        seen: and so many of the nearest.
        faster_mps: If above 0, velocities may change: everyone is needed who might be there in that time, were each
            faster than anyone is by so much.
    """

    zone_m: float = 0.0
    lookahead_s: float = 0.0
    seen: int = 0
    faster_mps: float = 0.0


def sight_of(config: WorldConfig, seen: int = SEEN, costs: Costs | None = None) -> Sight:
    """Return what a world needs: for conflicts, its reward, and a teacher with a usual margin.

    Args:
        config: The world.
        seen: How many intruders whoever flies wants to see. Who wants more can still have them, by `complete`.
        costs: What is charged beside the reward.
    """
    zone_m, lookahead_s = _TEACHERS_MARGIN * config.protected_zone_m, config.lookahead_s
    for charged in (reward_named(config.reward), costs):
        if isinstance(charged, Costs):
            zone_m = max(zone_m, charged.margin * config.protected_zone_m)
            lookahead_s = max(lookahead_s, charged.lookahead_s)
            if charged.yielding:
                zone_m = max(zone_m, (2 * charged.keep_off + NEARER) * config.protected_zone_m)
    return Sight(zone_m, lookahead_s, seen)


def pairs_around(traffic: Traffic, sight: Sight) -> Pairs:
    """Return the pairs of (B, N) traffic that can matter: (B, N, J), or all of them (B, N, N).

    Raises:
        ConfigurationError: All pairs of so many aircraft are needed that they would not fit into memory.
    """
    aircraft = traffic.east_m.shape[-1]
    if aircraft <= FEW or 2 * sight.seen > aircraft or compiling.why_not():
        _check_memory(aircraft, sight)
        return pairs_of(traffic)
    with torch.no_grad():
        speed_mps = traffic.speed_mps.masked_fill(~traffic.is_flying, 0.0)
        fastest_mps = float(speed_mps.max()) if speed_mps.numel() else 0.0
        widest = 1.0 if traffic.zone_scale is None else float(traffic.zone_scale.max())
        zone_m, seen, is_all = widest * sight.zone_m + _ROUNDING_M, max(sight.seen, 1), sight.faster_mps > 0.0
        reach_m = zone_m + 2.0 * sight.lookahead_s * (fastest_mps + sight.faster_mps)
        if not isfinite(reach_m):
            reach_m = inf
        quantities = (traffic.east_m, traffic.north_m, traffic.velocity_east_mps, traffic.velocity_north_mps)
        state = torch.stack([quantity.double() for quantity in quantities], dim=1).cpu().numpy()  # (B, 4, N)
        flying = traffic.is_flying.cpu().numpy()
        number = neighbours(state, flying, zone_m, float(sight.lookahead_s), reach_m, is_all, seen)
        listed = Listed(torch.from_numpy(number).to(traffic.east_m.device), sight.zone_m, sight.lookahead_s, seen)
    return pairs_listed(traffic, listed)


def _check_memory(aircraft: int, sight: Sight) -> None:
    """Raise if all pairs of so many aircraft would not fit into memory."""
    if aircraft <= MOST_OF_ALL:
        return
    if reason := compiling.why_not():
        raise ConfigurationError(
            f"expected at most {MOST_OF_ALL} aircraft where numba compiles nothing ({reason}), got {aircraft}: "
            "without it all pairs are kept, and do not fit into memory. Ask for fewer aircraft, or install numba."
        )
    raise ConfigurationError(
        f"expected at most {MOST_OF_ALL} aircraft where each sees {sight.seen} others, got {aircraft}: that takes "
        "memory with the square of their number. See only the nearest, such as --observation seed:intruders=16."
    )


def complete(pairs: Pairs, traffic: Traffic, sight: Sight) -> Pairs:
    """Return the pairs if they are good for what is needed, else such that are.

    Args:
        pairs: (B, N, N) or (B, N, J).
        traffic: (B, N), whose pairs they are.
        sight: What is needed.
    """
    listed = pairs.listed
    if listed is None or (sight.seen <= listed.seen and listed.has_conflicts(sight.zone_m, sight.lookahead_s)):
        return pairs
    return pairs_around(traffic, sight)


def complete_for(pairs: Pairs, traffic: Traffic, view: View) -> Pairs:
    """Return the pairs if as many of the nearest are listed as a view sees, else such pairs."""
    return complete(pairs, traffic, Sight(seen=view.seen(traffic.east_m.shape[-1])))
