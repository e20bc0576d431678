"""Teachers: rule-based conflict resolution, mapping a state of traffic to target velocities.

A teacher is a plug: a class registered by name, whose constructor takes numbers and whose `velocity` takes
(B, N) traffic. Shipped: `none`, `mvp` and `rvo`.

    @register("mine")
    class Mine:
        def __init__(self, config: WorldConfig, margin: float = 1.0) -> None: ...
        def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity: ...
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...datasets import spec
from ...datasets.errors import ConfigurationError
from ...datasets.traffic.state import Traffic, wrap_angle
from ..airspace.conflicts import Conflicts
from ..airspace.dynamics import through_air
from ..airspace.fleet import limits_of
from ..airspace.world_config import WorldConfig


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
        """Return target velocities for (B, N) traffic; `conflicts` of this state, if known already."""


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
    maker = spec.find(name, "teacher", _makers())
    spec.check(parameters, f"teacher '{name}'", maker, skip=1)
    teacher: Teacher = maker(config or WorldConfig(), **parameters)
    return teacher


def parse(text: str, config: WorldConfig) -> Teacher:
    """Make a teacher from text such as `mvp:margin=1.15:lookahead_s=20`.

    Raises:
        ConfigurationError: Unknown teacher or parameter, or not a number.
    """
    name, parameters = spec.parse(text, "teacher", _makers(), skip=1)
    return make(name, config, **parameters)


def _makers() -> dict[str, Callable[..., Teacher]]:
    """Return what makes the teachers, by name; the world they fly in comes first."""
    return dict(sorted(_TEACHERS.items()))


def to_waypoint(state: Traffic, config: WorldConfig) -> Velocity:
    """Return the velocity straight to the waypoint at cruise speed, in wind through the air."""
    bearing, cruise = state.bearing_rad, limits_of(config, state).cruise_mps
    sine, cosine = torch.sin(bearing), torch.cos(bearing)
    if state.wind_east_mps is not None and state.wind_north_mps is not None:
        along = state.wind_east_mps * sine + state.wind_north_mps * cosine
        across = state.wind_east_mps * cosine - state.wind_north_mps * sine
        cruise = (along + (cruise * cruise - across * across).clamp_min(0.0).sqrt()).clamp_min(0.0)
    return Velocity(cruise * sine, cruise * cosine)


def action_towards(state: Traffic, velocity: Velocity, config: WorldConfig) -> Tensor:
    """Return the action (B, N, 2) towards a target velocity: turn and speed change, clipped to [-1, 1].

    A target speed of zero keeps the track. In wind they are a turn of the heading and a change of airspeed.
    """
    east, north = velocity
    if state.wind_east_mps is not None and state.wind_north_mps is not None:
        east, north = east - state.wind_east_mps, north - state.wind_north_mps
    airspeed, heading = through_air(state)
    target_mps = torch.hypot(east, north)
    turn = wrap_angle(torch.atan2(east, north) - heading)
    turn = turn.masked_fill(target_mps == 0, 0.0)
    speed = target_mps - airspeed
    return torch.stack((turn / config.turn_rad, speed / config.speed_change_mps), dim=-1).clamp_(-1.0, 1.0)


def check_detection(name: str, margin: float, lookahead_s: float) -> None:
    """Raise unless margin and look-ahead time are above 0, and no larger than anyone means."""
    if not (0 < margin < 100 and 0 < lookahead_s < 10_000):
        raise ConfigurationError(
            f"teacher '{name}': expected margin and lookahead_s above 0, below 100 and 10,000, "
            f"got {margin} and {lookahead_s}. "
            "Example: mvp:margin=1.1:lookahead_s=15"
        )
