"""`rvo`: reciprocal velocity obstacles by sampling (van den Berg, Lin, Manocha, ICRA 2008)."""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..airspace.conflicts import LEAST_SPEED2_M2PS2, Conflicts
from ..airspace.fleet import fastest_mps, limits_of
from ..airspace.neighbours import Sight, pairs_around
from ..airspace.world_config import WorldConfig
from .registry import Velocity, check_detection, register, to_waypoint
from .rules import LEAST_TIME_S, SPEED_FACTORS, TIE_MPS, TURNS, Rules
from .rules import RVO as KIND


def time_to_collision(
    east: Tensor, north: Tensor, velocity_east: Tensor, velocity_north: Tensor, zone_m: float | Tensor
) -> Tensor:
    """Return the time until |d + v t| < R first holds; 0 while inside and closing; infinite for never.

    Args:
        east: d east, any shape, m.
        north: d north.
        velocity_east: v east, broadcastable against d, m/s.
        velocity_north: v north.
        zone_m: R; one, or of each.
    """
    approach = east * velocity_east + north * velocity_north
    speed2 = (velocity_east * velocity_east + velocity_north * velocity_north).clamp_min(LEAST_SPEED2_M2PS2)
    beyond = east * east + north * north - zone_m * zone_m
    discriminant = approach * approach - speed2 * beyond
    time = (-approach - discriminant.clamp_min(0.0).sqrt()) / speed2
    is_hit = (discriminant > 0) & (approach < 0)
    return torch.where(is_hit, time.clamp_min(0.0), torch.inf)


def reciprocal_velocity(
    pairs: Pairs,
    state: Traffic,
    wanted: tuple[Tensor, Tensor],
    speed_limits_mps: Sequence[float | Tensor],
    zone_m: float,
    lookahead_s: float,
    urgency_m: float,
) -> tuple[Tensor, Tensor]:
    """Choose each aircraft's velocity; only those whose wanted one collides are sampled.

    Args:
        pairs: (B, N, N) pairs of the state, or (B, N, J).
        state: (B, N) traffic.
        wanted: Velocity to the waypoint, east and north, each (B, N).
        speed_limits_mps: Lowest and highest speed; of all, or of each (B, N).
        zone_m: Protected zone, margin included; of pairs whose own is that of the world.
        lookahead_s: Collisions later than this do not count.
        urgency_m: Weight of 1/(time to collision) against the distance from the wanted velocity.

    Returns:
        Velocity east and north, each (B, N).
    """
    own = (state.velocity_east_mps, state.velocity_north_mps)
    zones_m = zone_m if pairs.scale is None else zone_m * pairs.scale
    # 2 v' - v_i - v_j = (v' - v_i) * 2 - (v_j - v_i), the ownship's velocity relative to the intruder's
    relative = [2 * (w - o).unsqueeze(-1) for w, o in zip(wanted, own, strict=True)]
    soonest = time_to_collision(
        pairs.east_m,
        pairs.north_m,
        pairs.velocity_east_mps - relative[0],
        pairs.velocity_north_mps - relative[1],
        zones_m,
    )
    collides = (soonest.masked_fill(~pairs.is_pair, torch.inf) < lookahead_s).any(-1)  # (B, N)
    rows = collides.reshape(-1).nonzero().squeeze(-1)  # (M,)
    east, north = wanted[0].clone(), wanted[1].clone()
    if not len(rows):
        return east, north
    limits = [
        each.reshape(-1)[rows].unsqueeze(-1) if isinstance(each, Tensor) else each for each in speed_limits_mps
    ]
    fan_east, fan_north = _fan(wanted[0].reshape(-1)[rows], wanted[1].reshape(-1)[rows], limits)  # (M, V)
    change = [  # (M, V, 1)
        2 * (fan - o.reshape(-1)[rows].unsqueeze(-1)).unsqueeze(-1)
        for fan, o in zip((fan_east, fan_north), own, strict=True)
    ]
    around = [quantity.flatten(0, 1)[rows].unsqueeze(1) for quantity in pairs[:6]]  # (M, 1, N)
    if isinstance(zones_m, Tensor):
        zones_m = zones_m.flatten(0, 1)[rows].unsqueeze(1)
    time = time_to_collision(around[0], around[1], around[2] - change[0], around[3] - change[1], zones_m)
    time = time.masked_fill_(~around[5], torch.inf).amin(-1)  # (M, V)
    time = torch.where(time < lookahead_s, time, torch.inf)
    detour = torch.hypot(fan_east - fan_east[:, :1], fan_north - fan_north[:, :1])
    tie = TIE_MPS * torch.arange(fan_east.shape[1], dtype=east.dtype, device=east.device)  # (V,)
    best = (urgency_m / time.clamp_min(LEAST_TIME_S) + detour + tie).argmin(-1, keepdim=True)
    east.view(-1)[rows] = fan_east.gather(-1, best).squeeze(-1)
    north.view(-1)[rows] = fan_north.gather(-1, best).squeeze(-1)
    return east, north


def _fan(east: Tensor, north: Tensor, speed_limits_mps: Sequence[float | Tensor]) -> tuple[Tensor, Tensor]:
    """Return the sampled velocities (M, V); the first is the wanted one itself."""
    order = torch.arange(TURNS, device=east.device)
    side = torch.where(order % 2 == 1, 1.0, -1.0)  # 0, +1, -1, +2, -2, ...: to the right first
    angle = side * ((order + 1) // 2) * (pi / (TURNS - 1))
    factors = torch.tensor(SPEED_FACTORS, dtype=east.dtype, device=east.device)
    speed = torch.hypot(east, north).unsqueeze(-1)  # (M, 1)
    speeds = torch.clamp(speed * factors, *speed_limits_mps)  # type: ignore[arg-type]  # (M, 6)
    track = torch.atan2(east, north).unsqueeze(-1) + angle  # (M, TURNS)
    fan_east = speeds.unsqueeze(-1) * torch.sin(track).unsqueeze(-2)  # (M, 6, TURNS)
    fan_north = speeds.unsqueeze(-1) * torch.cos(track).unsqueeze(-2)
    return fan_east.flatten(1), fan_north.flatten(1)


@register("rvo")
class RVO:
    """Reciprocal velocity obstacles (van den Berg, Lin, Manocha, ICRA 2008), by sampling.

    From a fan of velocities around the one to the waypoint, each aircraft takes the one with the least
    `urgency / time to collision + distance from the wanted velocity`. Collisions are predicted for
    2 v' - v_i: each aircraft does half of the avoiding.

    Args:
        config: The world.
        margin: Factor on the protected zone.
        lookahead_s: Look-ahead time; the world's by default (0).
        urgency: Weight of an early collision against a detour, m.
    """

    def __init__(
        self, config: WorldConfig, margin: float = 1.1, lookahead_s: float = 0.0, urgency: float = 200.0
    ) -> None:
        self.config = config
        self.lookahead_s = lookahead_s or config.lookahead_s
        check_detection("rvo", margin, self.lookahead_s)
        self.protected_zone_m = config.protected_zone_m * margin
        self.urgency = urgency

    def rules(self) -> Rules:
        """Return the teacher as numbers."""
        return Rules(KIND, self.protected_zone_m, self.lookahead_s, self.urgency)

    def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity:
        """Return target velocities for (B, N) traffic."""
        wanted = to_waypoint(state, self.config)
        limits = limits_of(self.config, state)[1:3]
        # 2 v' - v_i - v_j: as if each could be faster by the highest speed
        pairs = pairs_around(state, Sight(self.protected_zone_m, self.lookahead_s, 0, fastest_mps(self.config)))
        return Velocity(
            *reciprocal_velocity(
                pairs, state, wanted, limits, self.protected_zone_m, self.lookahead_s, self.urgency
            )
        )
