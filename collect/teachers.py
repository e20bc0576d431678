"""Teachers: rule-based conflict resolution, mapping a state of traffic to target velocities.

A teacher is a plug: a class registered by name, whose constructor takes numbers and whose `velocity` takes
(B, N) traffic. Shipped: `none`, `mvp` and `rvo`.

    @register("mine")
    class Mine:
        def __init__(self, config: WorldConfig, margin: float = 1.0) -> None: ...
        def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity: ...
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..datasets.errors import ConfigurationError
from ..datasets.traffic import Traffic, pairs_of, wrap_angle
from .configuration import WorldConfig, parse_parameters
from .conflicts import Conflicts, find
from .reciprocal import reciprocal_velocity

HEAD_ON_M = 10.0
"""Where the CPA distance is below this, MVP takes a sideways vector of this length (as BlueSky)."""
LEAST_TCPA_S = 1e-6
"""|tcpa| is not taken below this: the push keeps its direction, its length is capped by the speed limit."""


class Velocity(NamedTuple):
    """A target velocity per aircraft, each (B, N) m/s."""

    east_mps: Tensor
    north_mps: Tensor


class Teacher(Protocol):
    """What every teacher has.

    Attributes:
        protected_zone_m: Radius within which the teacher sees a conflict (R times its margin).
        lookahead_s: Its look-ahead time.
    """

    protected_zone_m: float
    lookahead_s: float

    def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity:
        """Return target velocities for (B, N) traffic; `conflicts` of this state if they are at hand."""


_TEACHERS: dict[str, Callable[..., Teacher]] = {}


def register(name: str) -> Callable[[Any], Any]:
    """Register a teacher class under a name."""

    def add(teacher: Any) -> Any:
        _TEACHERS[name] = teacher
        return teacher

    return add


def names() -> tuple[str, ...]:
    """Return the names of all teachers."""
    return tuple(sorted(_TEACHERS))


def make(name: str, config: WorldConfig | None = None, **parameters: float) -> Teacher:
    """Make a teacher.

    Args:
        name: One of `names()`.
        config: The world it flies in; the reference world by default.
        **parameters: The teacher's own, such as `margin=1.15, lookahead_s=20` for `mvp`.

    Raises:
        ConfigurationError: Unknown teacher or parameter.
    """
    if name not in _TEACHERS:
        raise ConfigurationError(f"unknown teacher '{name}'. There are: {', '.join(names())}.")
    known = [key for key in inspect.signature(_TEACHERS[name]).parameters if key != "config"]
    for key in parameters:
        if key not in known:
            raise ConfigurationError(
                f"teacher '{name}' has no parameter '{key}'. It has: {', '.join(known) or 'none'}."
            )
    return _TEACHERS[name](config or WorldConfig(), **parameters)


def parse(text: str, config: WorldConfig) -> Teacher:
    """Make a teacher from text such as `mvp:margin=1.15:lookahead_s=20`.

    Raises:
        ConfigurationError: Unknown teacher or parameter, or not a number.
    """
    name, parameters = parse_parameters(text, "teacher")
    return make(name, config, **parameters)


def to_waypoint(state: Traffic, config: WorldConfig) -> Velocity:
    """Return the velocity straight to the own waypoint at cruise speed."""
    bearing = state.bearing_rad
    return Velocity(config.cruise_mps * torch.sin(bearing), config.cruise_mps * torch.cos(bearing))


def action_towards(state: Traffic, velocity: Velocity, config: WorldConfig) -> Tensor:
    """Return the action (B, N, 2) towards a target velocity: turn and speed change, clipped to [-1, 1].

    A target speed of zero keeps the track.
    """
    target_mps = torch.hypot(velocity.east_mps, velocity.north_mps)
    turn = wrap_angle(torch.atan2(velocity.east_mps, velocity.north_mps) - state.track_rad)
    turn = turn.masked_fill(target_mps == 0, 0.0)
    speed = target_mps - state.speed_mps
    return torch.stack((turn / config.turn_rad, speed / config.speed_change_mps), dim=-1).clamp_(-1.0, 1.0)


def _check_detection(name: str, margin: float, lookahead_s: float) -> None:
    """Raise unless margin and look-ahead time make sense."""
    if not (0 < margin < 100 and 0 < lookahead_s < 10_000):
        raise ConfigurationError(
            f"teacher '{name}': expected margin and lookahead_s above 0, got {margin} and {lookahead_s}. "
            "Example: mvp:margin=1.1:lookahead_s=15"
        )


@register("none")
class Straight:
    """No resolution: straight to the waypoint at cruise speed."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.protected_zone_m = config.protected_zone_m
        self.lookahead_s = config.lookahead_s

    def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity:
        """Return the velocity to the waypoint, (B, N)."""
        return to_waypoint(state, self.config)


@register("mvp")
class MVP:
    """Modified Voltage Potential (Hoekstra, van Gent, Ruigrok 2002), as BlueSky's `MVP` in the horizontal plane.

    Without conflict an aircraft flies to its waypoint at cruise speed; in conflict its present velocity is
    changed by the sum of the pushes out of all its conflicts.

    Args:
        config: The world.
        margin: Factor on the protected zone in detection and push alike; 1.0 is BlueSky's default and grazes.
        lookahead_s: Look-ahead time; the world's by default (0).
    """

    def __init__(self, config: WorldConfig, margin: float = 1.1, lookahead_s: float = 0.0) -> None:
        self.config = config
        self.lookahead_s = lookahead_s or config.lookahead_s
        _check_detection("mvp", margin, self.lookahead_s)
        self.protected_zone_m = config.protected_zone_m * margin

    def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity:
        """Return target velocities for (B, N) traffic."""
        if conflicts is None:
            conflicts = find(pairs_of(state), self.protected_zone_m, self.lookahead_s)
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
        capped = length.clamp(self.config.min_speed_mps, self.config.max_speed_mps)
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
    zone = protected_zone_m
    distance = conflicts.distance_m.clamp_min(1e-6)
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


@register("rvo")
class RVO:
    """Reciprocal velocity obstacles (van den Berg, Lin, Manocha, ICRA 2008), by sampling.

    Of a fan of velocities around the one to the waypoint, each aircraft takes the one with the least
    `urgency / time to collision + distance from the wanted velocity`, where a collision is
    foreseen for 2 v' - v_i: each aircraft does half the avoiding.

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
        _check_detection("rvo", margin, self.lookahead_s)
        self.protected_zone_m = config.protected_zone_m * margin
        self.urgency = urgency

    def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity:
        """Return target velocities for (B, N) traffic."""
        wanted = to_waypoint(state, self.config)
        limits = (self.config.min_speed_mps, self.config.max_speed_mps)
        return Velocity(
            *reciprocal_velocity(
                pairs_of(state), state, wanted, limits, self.protected_zone_m, self.lookahead_s, self.urgency
            )
        )
