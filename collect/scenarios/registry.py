"""Scenarios: the layout of an episode's traffic, from (seed, episode) alone.

A scenario is a function (generator, config, **parameters) -> Layout, registered by name. The same seed
and episode give the same layout in every run, batch and worker.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...datasets import spec
from ...datasets.config import shown
from ...datasets.errors import ConfigurationError
from ..airspace.aircraft_types import members_of
from ..airspace.world_config import EMBEDDED, WorldConfig
from . import file_fleet, mixture
from . import scn_files as scenario_files
from .layout import Layout as Layout
from .scn_files import is_file as is_file
from .time_limit import MOST_STEPS, steps_of

(
    LAYOUT_STREAM,
    NOISE_STREAM,
    WIND_STREAM,
    FLEET_STREAM,
    SURVEILLANCE_STREAM,
    MIX_STREAM,
    OWNSHIP_STREAM,
) = range(7)
"""The independent random streams of an episode: its layout, the pilot's noise, gusts, the types of its aircraft,
what they hear of each other, who flies them, which of them an environment gives to its user."""
REFERENCE = WorldConfig()

Scenario = Callable[..., Layout]
_SCENARIOS: dict[str, Scenario] = {}


def register(name: str) -> Callable[[Scenario], Scenario]:
    """Register a scenario under a name."""

    def add(scenario: Scenario) -> Scenario:
        _SCENARIOS[name] = scenario
        return scenario

    return add


def names() -> tuple[str, ...]:
    """Return the names of all scenarios."""
    return (*sorted(_SCENARIOS), mixture.NAME)


def generator_of(seed: int, episode: int, stream: int) -> np.random.Generator:
    """Return the random generator of one stream of an episode: a function of its arguments only."""
    return np.random.Generator(np.random.PCG64(stream_of(seed, episode, stream)))


def stream_of(seed: int, episode: int, stream: int) -> np.random.SeedSequence:
    """Return the seed of one stream of an episode."""
    return np.random.SeedSequence((seed, episode, stream))


def surveillance_keys(seed: int, episodes: Sequence[int]) -> np.ndarray:
    """Return the keys of what aircraft of some episodes hear, (B, 2) int64: each a function of seed and number."""
    keys = [stream_of(seed, each, SURVEILLANCE_STREAM).generate_state(2) for each in episodes]
    return np.array(keys, np.int64).reshape(len(keys), 2)


def check(text: str) -> None:
    """Raise ConfigurationError unless the text names a scenario and its parameters, or files that can be read."""
    if is_file(text):
        scenario_files.read_all(text)
    elif is_mix(text):
        mixture.shares_of(text, _SCENARIOS)
    else:
        _find(text)


def count_of(text: str) -> int | None:
    """Return how many scenarios there are, None for an unlimited number."""
    return len(scenario_files.read_all(text)) if is_file(text) else None


def world_for(
    scenario: str, aircraft: int | None = None, simulator: str = EMBEDDED, base: WorldConfig = REFERENCE
) -> WorldConfig:
    """Return the world for a scenario as named on the command line; all else is as in `base`.

    For files, their content becomes part of the scenario's name, the number of aircraft is that of the largest
    file, the time limit grows with the distance (`steps_of`), and the wind is that of the files, unless they differ
    in it or `base` has one.

    Raises:
        ConfigurationError: A number of aircraft that is not the file's, or a scenario that cannot be flown.
    """
    if not is_file(scenario):
        count = base.aircraft if aircraft is None else aircraft
        return replace(base, aircraft=count, scenario=scenario, simulator=simulator)
    layouts = [each.layout for each in scenario_files.read_all(scenario)]
    most = max(len(layout.position_m) for layout in layouts)
    if aircraft not in (None, most):
        raise ConfigurationError(
            f"scenario '{scenario}' has {most} aircraft, got --aircraft {aircraft}. Leave --aircraft out."
        )
    base = file_fleet.world_of(layouts, base)
    winds = {layout.wind_mps for layout in layouts}
    if len(winds) == 1 and not (base.wind_east_mps or base.wind_north_mps):
        east_mps, north_mps = winds.pop()
        base = replace(base, wind_east_mps=east_mps, wind_north_mps=north_mps)
    steps = max(steps_of(layout, base) for layout in layouts)
    entries = [layout.entry_s for layout in layouts if layout.entry_s is not None]
    if any(float(entry_s.max()) >= MOST_STEPS * base.step_s for entry_s in entries):
        raise ConfigurationError(
            f"scenario '{scenario}': expected all aircraft to enter within {MOST_STEPS * base.step_s:,g} s of the "
            "first, as long as an episode can be. Split the file."
        )
    world = replace(
        base,
        aircraft=most,
        scenario=typed(scenario),
        simulator=simulator,
        max_steps=min(max(steps, base.max_steps), MOST_STEPS),
    )
    for number in range(len(layouts)):
        lay_out(world, 0, number)  # so that an error comes at once
    return world


def recorded_world(data: Any, where: object) -> WorldConfig:
    """Return the world that a dataset or a checkpoint names.

    What stands in a file opens no other file by its name alone: a scenario of files is read only with the digest of
    their contents, as `collect` writes it, and then holds nothing that its author did not have.

    Args:
        data: The world as JSON.
        where: Whose it is, for the message.

    Raises:
        ConfigurationError: It is damaged, or names files without their digest.
    """
    world = WorldConfig.from_json(data)
    if is_file(world.scenario) and not scenario_files.is_pinned(world.scenario):
        raise ConfigurationError(
            f"{where}: expected scenario files with the digest of their contents, got {shown(world.scenario)}. "
            "It was changed, and is not opened."
        )
    return world


def typed(scenario: str) -> str:
    """Return a scenario that somebody typed as worlds name it: files with the digest of their contents."""
    return scenario_files.pinned(scenario) if is_file(scenario) else scenario


def warnings_about(world: WorldConfig) -> list[str]:
    """Return what is left out of a world's scenario files, or flown differently, or arrives as it begins."""
    if not is_file(world.scenario):
        return []
    said: list[str] = []
    for each in scenario_files.read_all(world.scenario):
        said += each.warnings
        if names := each.there_already(world.waypoint_radius_m):
            said.append(
                f"{each.path.name}: arrived as they begin, within {world.waypoint_radius_m:g} m of their waypoint "
                f"(waypoint_radius_m of the world): {names}"
            )
    return said


def is_mix(text: str) -> bool:
    """Return whether a scenario is a mixture of others."""
    return text.partition(":")[0] == mixture.NAME


def parts_of(text: str) -> tuple[str, ...]:
    """Return the scenarios of a mixture; one that is none alone."""
    return tuple(mixture.shares_of(text, _SCENARIOS)) if is_mix(text) else (text,)


def _find(text: str) -> tuple[Scenario, dict[str, Any]]:
    """Return the scenario function and its parameters."""
    known: dict[str, Callable[..., Any]] = dict(sorted(_SCENARIOS.items()))
    known[mixture.NAME] = mixture.shares_of  # to be named where there is no such scenario
    if text.lower().endswith(".scn"):
        raise ConfigurationError(
            f"unknown scenario {shown(text)}. A BlueSky file is given with file: before its path, "
            f"{shown('file:' + text)}."
        )
    name, parameters = spec.parse(text, "scenario", known, skip=2)
    return _SCENARIOS[name], parameters


def lay_out(config: WorldConfig, seed: int, episode: int) -> Layout:
    """Lay out one episode.

    Raises:
        ConfigurationError: Unknown scenario, or the aircraft do not fit into the sector.
    """
    return lay_out_by(config, lambda stream: generator_of(seed, episode, stream), episode)


def lay_out_by(config: WorldConfig, generator_of: Callable[[int], np.random.Generator], episode: int = 0) -> Layout:
    """Lay out an episode by any source of random numbers.

    Args:
        config: The world.
        generator_of: Returns the generator of a stream; only its `random` and `integers` are called.
        episode: Its number: of scenario files, it says which.

    Raises:
        ConfigurationError: As `lay_out`.
    """
    if is_file(config.scenario):
        return scenario_files.layout_of(config, episode)
    return _of_fleet(_generated(config, generator_of(LAYOUT_STREAM)), config, generator_of)


def _of_fleet(layout: Layout, config: WorldConfig, generator_of: Callable[[int], np.random.Generator]) -> Layout:
    """Return a layout with the types of its aircraft drawn by their shares, where the world has a fleet."""
    members = members_of(config.fleet)
    if not members or layout.kinds is not None:
        return layout
    generator = generator_of(FLEET_STREAM)
    shares = {each.name: each.share for each in members}
    kinds = tuple(mixture.one_of(generator, shares) for _ in range(len(layout.position_m)))
    return replace(layout, kinds=kinds)


def _generated(config: WorldConfig, generator: np.random.Generator) -> Layout:
    """Return a generated layout."""
    text = config.scenario
    if is_mix(text):
        text = mixture.one_of(generator, mixture.shares_of(text, _SCENARIOS))
    scenario, parameters = _find(text)
    return scenario(generator, config, **parameters)
