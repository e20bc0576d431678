"""Simulators: what moves the aircraft. The embedded dynamics are the default; BlueSky is the other one.

A simulator is asked to lay out B episodes of N aircraft and then to advance them one decision step at a time.
Layouts, waypoints, conflicts, outcomes and rewards are the world's and the same in both.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..datasets.errors import ConfigurationError
from ..datasets.traffic import Traffic
from .bluesky_process import bluesky_version
from .configuration import EMBEDDED, WorldConfig, parse_parameters
from .dynamics import advance


@dataclass(frozen=True)
class Resolution:
    """A conflict resolution that the simulator itself shall fly, over the commands it gets.

    Attributes:
        method: Its name in the simulator.
        margin: Factor on the protected zone in resolving.
        lookahead_s: Its look-ahead time.
    """

    method: str
    margin: float
    lookahead_s: float


class Simulator(Protocol):
    """What moves the aircraft of one world."""

    def lay_out(self, traffic: Traffic) -> None:
        """Start with (B, N) traffic."""

    def advance(self, before: Traffic, action: Tensor) -> Traffic:
        """Return where a decision step leads; arguments as for `dynamics.advance`."""

    def flown(self, action: Tensor) -> Tensor:
        """Return what was flown in the last step, (B, N, 2), where that is not the action asked for."""

    def keep(self, slots: Tensor) -> None:
        """Forget all episodes but those in `slots` (B',), which become 0, 1, ..."""

    def restart(self, slots: Tensor, traffic: Traffic) -> None:
        """Start anew the episodes in `slots` (S,), with (S, N) traffic."""

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

    def advance(self, before: Traffic, action: Tensor) -> Traffic:
        """Fly one decision step."""
        return advance(before, action, self.config)

    def flown(self, action: Tensor) -> Tensor:
        """Return the action."""
        return action

    def keep(self, slots: Tensor) -> None:
        """Do nothing."""

    def restart(self, slots: Tensor, traffic: Traffic) -> None:
        """Do nothing."""

    def resolve_with(self, resolution: Resolution | None) -> None:
        """Refuse: there is no resolution but the pilots'.

        Raises:
            ConfigurationError: One is asked for.
        """
        if resolution is not None:
            raise ConfigurationError(
                f"BlueSky's own {resolution.method} flies in BlueSky only. Add --simulator bluesky."
            )


def simulator_of(config: WorldConfig) -> Simulator:
    """Make the simulator of a world.

    Raises:
        ConfigurationError: There is none of that name, it has no such parameter, or it is not installed.
    """
    make, parameters = _find(config.simulator)
    return make(config, **parameters)


def check(text: str) -> None:
    """Raise ConfigurationError unless the text names a simulator that is installed, and its parameters."""
    _find(text)


def packages_of(config: WorldConfig) -> dict[str, str]:
    """Return the packages, and their versions, that fly a world beside our own."""
    if is_embedded(config):
        return {}
    return {"bluesky-simulator": bluesky_version()}


def is_embedded(config: WorldConfig) -> bool:
    """Return whether a world is flown by the embedded simulator."""
    return config.simulator == EMBEDDED


def _find(text: str) -> tuple[Callable[..., Simulator], dict[str, float]]:
    """Return what makes the simulator, and its parameters."""
    from .bluesky_simulator import BlueSkySimulator

    makers: dict[str, Callable[..., Simulator]] = {EMBEDDED: Embedded, "bluesky": BlueSkySimulator}
    name, parameters = parse_parameters(text, "simulator")
    if name not in makers:
        raise ConfigurationError(f"unknown simulator '{name}'. There are: {', '.join(makers)}.")
    known = list(inspect.signature(makers[name]).parameters)[1:]
    for key in parameters:
        if key not in known:
            raise ConfigurationError(
                f"simulator '{name}' has no parameter '{key}'. It has: {', '.join(known) or 'none'}."
            )
    if name != EMBEDDED:
        bluesky_version()
    return makers[name], parameters
