"""`mvp`: the Modified Voltage Potential."""

import torch
from torch import Tensor

from ...datasets.traffic.state import Traffic
from ..airspace.conflicts import Conflicts, find
from ..airspace.fleet import limits_of
from ..airspace.neighbours import Sight, pairs_around
from ..airspace.world_config import WorldConfig
from .registry import Velocity, check_detection, register, to_waypoint
from .rules import HEAD_ON_M, LEAST_DISTANCE_M, LEAST_TCPA_S, Rules
from .rules import MVP as KIND


@register("mvp")
class MVP:
    """Modified Voltage Potential (Hoekstra, van Gent, Ruigrok 2002), as BlueSky's `MVP` in the horizontal plane.

    Without conflict an aircraft flies to its waypoint at cruise speed; in conflict the pushes out of all its
    conflicts are added to its present velocity.

    Args:
        config: The world.
        margin: Factor on the protected zone in detection and push alike; 1.0 is BlueSky's default and grazes.
        lookahead_s: Look-ahead time; the world's by default (0).
    """

    def __init__(self, config: WorldConfig, margin: float = 1.1, lookahead_s: float = 0.0) -> None:
        self.config = config
        self.lookahead_s = lookahead_s or config.lookahead_s
        check_detection("mvp", margin, self.lookahead_s)
        self.protected_zone_m = config.protected_zone_m * margin

    def rules(self) -> Rules:
        """Return the teacher as numbers."""
        return Rules(KIND, self.protected_zone_m, self.lookahead_s)

    def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity:
        """Return target velocities for (B, N) traffic."""
        if conflicts is None:
            pairs = pairs_around(state, Sight(self.protected_zone_m, self.lookahead_s))
            conflicts = find(pairs, self.protected_zone_m, self.lookahead_s)
        east, north = to_waypoint(state, self.config)
        if not len(conflicts.episode):
            return Velocity(east, north)
        flat = conflicts.episode * state.east_m.shape[1] + conflicts.ownship
        resolved_east, resolved_north = state.velocity_east_mps, state.velocity_north_mps
        for velocity, change in zip(
            (resolved_east, resolved_north), mvp_push(conflicts, self.protected_zone_m), strict=True
        ):
            velocity.view(-1).index_add_(0, flat, change)
        length = torch.hypot(resolved_east, resolved_north)
        limits = limits_of(self.config, state)
        capped = torch.clamp(length, limits.min_speed_mps, limits.max_speed_mps)  # type: ignore[arg-type]
        factor = capped / length.clamp_min(1e-9)
        in_conflict = torch.zeros_like(state.is_flying)
        in_conflict.view(-1)[flat] = True
        east = torch.where(in_conflict, resolved_east * factor, east)
        north = torch.where(in_conflict, resolved_north * factor, north)
        return Velocity(east, north)


def mvp_push(conflicts: Conflicts, protected_zone_m: float) -> tuple[Tensor, Tensor]:
    """Return MVP's velocity change for the ownship of each conflict, east and north, (P,) m/s.

    c = d + v tcpa; where |c| <= 10 m, c is 10 m of (d_north, -d_east)/|d|;
    push = R/cos(asin(R/|d|) - asin(|c|/|d|)) - |c| if R < |d| and |c| < |d|, else R - dcpa (BlueSky takes the
    real dcpa here, also where c became 10 m long);
    dv = -push/(|tcpa| |c|) c, with cos(asin a - asin b) = ab + sqrt((1 - a^2)(1 - b^2)).
    """
    zone = conflicts.zone_m(protected_zone_m)
    distance = conflicts.distance_m.clamp_min(LEAST_DISTANCE_M)
    dcpa = conflicts.dcpa_m
    intrusion = zone - dcpa
    is_head_on = dcpa <= HEAD_ON_M
    cpa_east = torch.where(is_head_on, conflicts.north_m / distance * HEAD_ON_M, conflicts.cpa_east_m)
    cpa_north = torch.where(is_head_on, -conflicts.east_m / distance * HEAD_ON_M, conflicts.cpa_north_m)
    dcpa = torch.where(is_head_on, HEAD_ON_M, dcpa)
    a, b = zone / distance, dcpa / distance
    cosine = a * b + ((1 - a * a).clamp_min(0.0) * (1 - b * b).clamp_min(0.0)).sqrt()
    is_outside = (distance > zone) & (dcpa < distance)
    push = torch.where(is_outside, zone / cosine - dcpa, intrusion)
    factor = -push / (conflicts.tcpa_s.abs().clamp_min(LEAST_TCPA_S) * dcpa)
    return factor * cpa_east, factor * cpa_north
