"""Simulators move the aircraft. The embedded dynamics are the default; BlueSky is the other one.

A simulator lays out B episodes of N aircraft and then advances them one decision step at a time.
Layouts, waypoints, conflicts, outcomes and rewards are the world's and the same in both.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.state import Traffic
from ..airspace.dynamics import advance
from ..airspace.world_config import WorldConfig

Wind = tuple[Tensor, Tensor]
"""Towards east and north, each (B, N) m/s."""


@dataclass(frozen=True)
class Resolution:
    """A conflict resolution that the simulator itself flies; it overrides the commands it gets.

    Attributes:
        method: Its name in the simulator.
        margin: Factor on the protected zone in resolving.
        lookahead_s: Its look-ahead time.
    """

    method: str
    margin: float
    lookahead_s: float


class Simulator(Protocol):
    """Moves the aircraft of one world."""

    def lay_out(self, traffic: Traffic) -> None:
        """Start with (B, N) traffic."""

    def advance(self, before: Traffic, action: Tensor, wind: Wind | None = None) -> Traffic:
        """Return the traffic after a decision step; arguments as for `dynamics.advance`."""

    def flown(self, action: Tensor) -> Tensor:
        """Return what was flown in the last step, (B, N, 2), where that is not the action asked for."""

    def enter(self, traffic: Traffic, who: Tensor) -> None:
        """Take those aircraft of (B, N) traffic in that have just entered, (B, N) bool."""

    def keep(self, slots: Tensor) -> None:
        """Forget all episodes but those in `slots` (B',), which become 0, 1, ..."""

    def restart(self, slots: Tensor, traffic: Traffic) -> None:
        """Restart the episodes in `slots` (S,) with (S, N) traffic."""

    def resolve_with(self, resolution: Resolution | None) -> None:
        """Switch the simulator's own conflict resolution on, or off (None)."""


class Embedded:
    """The point-mass dynamics of `dynamics.advance`: keeps no state.

    Args:
        config: The world.
    """

    def __init__(self, config: WorldConfig) -> None:
        self.config = config

    def lay_out(self, traffic: Traffic) -> None:
        """Do nothing."""

    def advance(self, before: Traffic, action: Tensor, wind: Wind | None = None) -> Traffic:
        """Fly one decision step."""
        return advance(before, action, self.config, wind)

    def flown(self, action: Tensor) -> Tensor:
        """Return the action."""
        return action

    def enter(self, traffic: Traffic, who: Tensor) -> None:
        """Do nothing."""

    def keep(self, slots: Tensor) -> None:
        """Do nothing."""

    def restart(self, slots: Tensor, traffic: Traffic) -> None:
        """Do nothing."""

    def resolve_with(self, resolution: Resolution | None) -> None:
        """Refuse: only the pilots resolve conflicts here.

        Raises:
            ConfigurationError: A resolution is given.
        """
        if resolution is not None:
            raise ConfigurationError(
                f"BlueSky's own {resolution.method} flies in BlueSky only. Add --simulator bluesky."
            )
