"""Simulators, by name."""

from collections.abc import Callable
from typing import Any

from ...datasets import spec
from ..airspace.world_config import EMBEDDED, WorldConfig
from .bluesky import BlueSkySimulator
from .bluesky_process import bluesky_version
from .simulator import Embedded, Simulator

_SIMULATORS: dict[str, Callable[..., Simulator]] = {EMBEDDED: Embedded, "bluesky": BlueSkySimulator}


def simulator_of(config: WorldConfig) -> Simulator:
    """Make the simulator of a world.

    Raises:
        ConfigurationError: Unknown simulator or parameter, or it is not installed.
    """
    make, parameters = _find(config.simulator)
    return make(config, **parameters)


def check(text: str) -> None:
    """Raise ConfigurationError unless the text names a simulator that is installed, and its parameters."""
    _find(text)


def packages_of(config: WorldConfig) -> dict[str, str]:
    """Return the packages besides our own that fly a world, with their versions."""
    if is_embedded(config):
        return {}
    return {"bluesky-simulator": bluesky_version()}


def is_embedded(config: WorldConfig) -> bool:
    """Return whether a world is flown by the embedded simulator."""
    return config.simulator == EMBEDDED


def _find(text: str) -> tuple[Callable[..., Simulator], dict[str, Any]]:
    """Return what makes the simulator, and its parameters."""
    name, parameters = spec.parse(text, "simulator", _SIMULATORS, skip=1)
    if name != EMBEDDED:
        bluesky_version()
    return _SIMULATORS[name], parameters
