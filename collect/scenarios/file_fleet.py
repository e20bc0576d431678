"""The fleet of a scenario file: every aircraft of its own type, and as fast as the file has it, as in BlueSky."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..airspace.aircraft_types import AIRLINERS, TYPES, members_of
from ..airspace.fleet import limits_of_types, number_of
from ..airspace.world_config import WorldConfig
from ..airspace.worlds import PRESETS
from .layout import Layout

_SAME_MPS = 0.5  # speeds so near to the world's cruise speed are taken for it
_STEPS_MPS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0)  # speeds are told apart by as little as leaves few types
_MOST_TYPES = 64
_OWN = "M600"
_NUMBERS = ("cruise_mps", "min_speed_mps", "max_speed_mps", "acceleration_mps2", "bank_rad")


def type_of(kind: str, speed_mps: float) -> str:
    """Return the name of the type that flies for what a file calls an aircraft: its own, else one as fast."""
    name = kind.lower()
    if name in TYPES:
        return name
    return "m600" if speed_mps <= TYPES["m600"].max_speed_mps else "airliner"


def world_of(layouts: Sequence[Layout], base: WorldConfig) -> WorldConfig:
    """Return a world with the fleet of some files.

    A world that has a fleet, or numbers of its own, stays as it is, and so does one whose aircraft are all M600s
    at its cruise speed. Of the reference world, airliners make `enroute`.

    Args:
        layouts: Those of the files, types and speeds included.
        base: The world they are to be flown in.
    """
    kinds = [_flown(layout) for layout in layouts]
    is_preset = any(all(getattr(base, n) == getattr(each.world, n) for n in _NUMBERS) for each in PRESETS.values())
    flown = [pair for each in kinds for pair in each]
    if base.fleet or not is_preset or not flown:
        return base
    scenario, simulator = base.scenario, base.simulator
    is_reference = base == WorldConfig(scenario=scenario, simulator=simulator, aircraft=base.aircraft)
    if is_reference and any(name in AIRLINERS for name, _ in flown):
        base = replace(PRESETS["enroute"].world, scenario=scenario, simulator=simulator)
    if all(name == "m600" and abs(speed - base.cruise_mps) <= _SAME_MPS for name, speed in flown):
        return base
    for step in _STEPS_MPS:
        labels = {_label(name, speed, step) for name, speed in flown}
        if len(labels) <= _MOST_TYPES:
            break
    return replace(base, fleet=",".join(f"{label}=1" for label in sorted(labels)))


def _flown(layout: Layout) -> list[tuple[str, float]]:
    """Return type and speed of each aircraft that flies; one that takes off has its type's cruise speed."""
    speeds = np.zeros(len(layout.position_m)) if layout.speed_mps is None else layout.speed_mps
    hovers = np.zeros(len(speeds), bool) if layout.hovers is None else layout.hovers
    found = []
    for kind, speed, is_still in zip(layout.kinds or (_OWN,) * len(speeds), speeds.tolist(), hovers.tolist()):
        name = type_of(kind, speed)
        if not is_still:
            found.append((name, speed or TYPES[name].cruise_mps))
    return found


def _label(name: str, speed_mps: float, step_mps: float) -> str:
    """Return a type at a speed, as a fleet names it: a drone no faster than it can be."""
    speed = max(round(speed_mps / step_mps), 1) * step_mps
    if name not in AIRLINERS:
        speed = min(max(speed, TYPES[name].min_speed_mps), TYPES[name].max_speed_mps)
    return f"{name}@{speed:.10g}"


def in_fleet(layout: Layout, config: WorldConfig) -> Layout:
    """Return a layout whose aircraft have the names of the fleet's types: of each type the one nearest in speed."""
    members = members_of(config.fleet)
    if not members or layout.kinds is None:
        return layout
    count = len(layout.kinds)
    speeds = np.zeros(count) if layout.speed_mps is None else layout.speed_mps
    hovers = np.zeros(count, bool) if layout.hovers is None else layout.hovers
    names = []
    for kind, speed, is_still in zip(layout.kinds, speeds.tolist(), hovers.tolist()):
        name = type_of(kind, speed)
        wanted_mps = speed or TYPES[name].cruise_mps
        alike = [each for each in members if each.name.partition("@")[0] == name]
        if alike:
            names.append(min(alike, key=lambda each: abs(each.type.cruise_mps - wanted_mps)).name)
        else:
            names.append(members[0].name if is_still else kind)  # what hovers has no limits
    return replace(layout, kinds=tuple(names))


def cruise_speeds_of(layout: Layout, config: WorldConfig) -> np.ndarray:
    """Return the cruise speed of each aircraft of a file, (n,) m/s: that of its type where there is a fleet."""
    layout, limits = in_fleet(layout, config), limits_of_types(config)
    if not config.fleet or layout.kinds is None:
        return np.full(len(layout.position_m), config.cruise_mps)
    return np.array([limits[number_of(config, kind)].cruise_mps for kind in layout.kinds])
