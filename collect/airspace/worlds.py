"""Worlds by name: `m600`, `enroute:protected_zone_m=5556`, `my.toml:step_s=2`; as TOML, and as a list of fields.

A TOML file holds fields of the world; `base = "enroute"` says from which preset the others are, else `m600`.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...datasets import spec
from ...datasets.config import fields_of, shown
from ...datasets.errors import ConfigurationError
from ...datasets.files.storage import size_of
from .units import FOOT_M, KNOT_MPS, NAUTICAL_MILE_M
from .world_config import WorldConfig

BASE = "base"
"""The key of a file that names the preset it starts from."""
SCALE = (
    "protected_zone_m",
    "lookahead_s",
    "step_s",
    "turn_rad",
    "speed_change_mps",
    "cruise_mps",
    "min_speed_mps",
    "max_speed_mps",
    "acceleration_mps2",
    "bank_rad",
    "sector_radius_m",
    "waypoint_radius_m",
    "fleet",
    "wind_east_mps",
    "wind_north_mps",
    "gust_mps",
)
"""What a policy has learned by heart: the numbers behind what it sees, and behind what becomes of its actions."""
UNITS = {"mps2": "m/s²", "mps": "m/s", "m2": "m²", "m": "m", "s": "s", "rad": "rad"}
"""Of fields, by the end of their names."""
_MOST_BYTES = 2**20
_OF_FILES = "file:"  # as scenarios of files begin


class Preset(NamedTuple):
    """A world that ships with the package.

    Attributes:
        text: What it is, in a line.
        world: It itself.
    """

    text: str
    world: WorldConfig


PRESETS = {
    "m600": Preset(
        "M600 drones in a busy sector of 0.75 square nautical miles: the reference world", WorldConfig()
    ),
    "enroute": Preset(
        "A320s at FL360 in a sector of 100 NM radius, kept 5 NM apart",
        WorldConfig(
            cruise_mps=230.0,  # Mach 0.78
            min_speed_mps=216.0,  # 124 m/s CAS, the least in cruise (OpenAP); BlueSky itself would go down to 121
            max_speed_mps=236.0,  # Mach 0.80, where BlueSky's A320 ends
            acceleration_mps2=0.5,  # BlueSky's least; thrust minus drag has 0.2 left up there
            sector_radius_m=100 * NAUTICAL_MILE_M,
            sector_area_m2=29_000 * NAUTICAL_MILE_M**2,
            start_separation_m=15 * NAUTICAL_MILE_M,  # room for the turns of two that begin head-on
            step_s=5.0,
            max_steps=480,
            protected_zone_m=5 * NAUTICAL_MILE_M,
            nmac_m=500 * FOOT_M,
            lookahead_s=300.0,
            turn_rad=0.15,  # at cruise speed 0.1 is flown in a step
            speed_change_mps=5 * KNOT_MPS,
            waypoint_radius_m=6.5 * NAUTICAL_MILE_M,  # a circle at cruise speed has 6.25
            outside_m=15 * NAUTICAL_MILE_M,
        ),
    ),
}
PRESETS["u-space"] = Preset(
    "M600s, Mavics and winged delivery drones in a city sector of 3 km radius, in a light wind with gusts",
    WorldConfig(
        aircraft=40,
        fleet="m600=0.5,mavic=0.3,wing(cruise_mps=21;protected_zone_m=150)=0.2",
        max_speed_mps=40.0,  # of the fastest type: what views divide speeds by
        sector_radius_m=3000.0,
        sector_area_m2=7.7 * NAUTICAL_MILE_M**2,
        start_separation_m=200.0,
        max_steps=1000,
        lookahead_s=20.0,
        waypoint_radius_m=100.0,  # a circle of a winged drone at cruise speed has 96
        outside_m=150.0,
        wind_east_mps=2.0,
        gust_mps=1.0,
    ),
)
DEFAULT = "m600"


def parse(text: str, files: bool = True) -> WorldConfig:
    """Return the world of `NAME[:key=value...]` or `FILE.toml[:key=value...]`.

    Args:
        text: A preset, or a file; where a file is called like a preset, it is `./m600`.
        files: Whether a file may be opened; not where the text was not typed by the user.

    Raises:
        ConfigurationError: There is no such world or field, a value cannot be, or the file is no TOML.
    """
    name = text.partition(":")[0]
    if name in PRESETS:
        changes = spec.parse(text, "world", dict.fromkeys(PRESETS, WorldConfig))[1]
        return replace(PRESETS[name].world, **changes)
    path, rest = _split(text) if files else (text, "")
    if not files or (path == name and not _looks_like_a_file(path)):
        raise ConfigurationError(
            f"unknown world {shown(path)}. There are: {', '.join(PRESETS)}"
            + (
                "; or name a TOML file, such as my.toml."
                if files
                else ". A text may stem from a dataset here, and opens no file: "
                "skyclone.collect.airspace.worlds.parse('my.toml') reads one."
            )
        )
    world = read(Path(path))
    if not rest:
        return world
    return replace(world, **spec.parameters(rest, f"world '{path}'", WorldConfig, prefix=f"{path}:"))


def named(world: WorldConfig | str | None, files: bool = True) -> WorldConfig:
    """Return a world that may be given as its text; None is the reference world.

    Raises:
        ConfigurationError: As `parse`.
    """
    return parse(world, files) if isinstance(world, str) else world or WorldConfig()


def read(path: Path) -> WorldConfig:
    """Return the world of a TOML file.

    Raises:
        ConfigurationError: It is missing, no TOML, or no world.
    """
    where = f"world {shown(str(path))}"
    data = _toml(path, where)
    base = data.pop(BASE, DEFAULT)
    if not isinstance(base, str) or base not in PRESETS:
        raise ConfigurationError(f"{where}: expected {BASE} to be one of {', '.join(PRESETS)}, got {shown(base)}.")
    spec.check(data, where, WorldConfig, hint=f"`skyclone worlds {base}` prints a file that can be.")
    if str(data.get("scenario", "")).startswith(_OF_FILES):
        raise ConfigurationError(
            f"{where}: expected a scenario by its name, got {shown(data['scenario'])}: a file opens no other one. "
            "Leave it out, and name the file yourself: --scenario file:PATH"
        )
    try:
        return replace(PRESETS[base].world, **data)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _toml(path: Path, where: str) -> dict[str, Any]:
    """Return what a file holds."""
    example = f"`skyclone worlds {DEFAULT} > my.toml` writes one."
    try:
        size = size_of(path)
        if size > _MOST_BYTES:
            raise ConfigurationError(
                f"{where}: expected TOML of at most {_MOST_BYTES:,} bytes, got {size:,}. {example}"
            )
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigurationError(f"{where}: expected a TOML file, there is none. {example}") from None
    except OSError as error:
        raise ConfigurationError(f"{where}: expected a TOML file, got: {error.strerror}. {example}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where}: expected TOML in UTF-8, got other bytes. {example}") from None
    except (ValueError, RecursionError) as error:  # also a whole number of more digits than Python reads
        raise ConfigurationError(f"{where}: expected TOML, got: {str(error)[:200]}. {example}") from None


def _split(text: str) -> tuple[str, str]:
    """Return the file that a text names, and the changes after it; paths may hold colons too."""
    ends = [len(text), *(mark.start() for mark in reversed([*re.finditer(r":(?=\w+=)", text)]))]
    end = next((each for each in ends if _is_there(text[:each])), ends[-1])
    return text[:end], text[end + 1 :]


def _is_there(path: str) -> bool:
    """Return whether there is such a file."""
    try:
        return path != "" and Path(path).exists()
    except (OSError, ValueError):
        return False


def _looks_like_a_file(path: str) -> bool:
    """Return whether somebody who wrote this meant a file, there or not."""
    return _is_there(path) or path.lower().endswith(".toml") or re.search(r"[/\\]", path) is not None


def by_turns(world: WorldConfig, aircraft: Sequence[int], surveillance: str) -> list[WorldConfig]:
    """Return the worlds of several numbers of aircraft and several surveillances, each with each.

    Args:
        world: What they are otherwise; its own number or surveillance where none is given.
        aircraft: The numbers.
        surveillance: The surveillances, as `perfect,remote-id`.

    Raises:
        ConfigurationError: There is no such surveillance.
    """
    qualities = spec.comma_list(surveillance, str, "surveillance", "perfect,remote-id")
    return [
        replace(world, aircraft=count, surveillance=quality)
        for quality in qualities or (world.surveillance,)
        for count in aircraft or (world.aircraft,)
    ]


def to_toml(world: WorldConfig) -> str:
    """Return a file that `read` reads as this world, with what each field means."""
    lines = []
    for name, unit, _, text in fields():
        lines += [f"# {text}{f' [{unit}]' if unit else ''}", f"{name} = {_literal(getattr(world, name))}"]
    return "\n".join(lines) + "\n"


def _literal(value: float | str) -> str:
    """Return a value as TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


class Entry(NamedTuple):
    """A field of the world, as it is listed."""

    name: str
    unit: str
    default: float | str
    text: str


def fields() -> list[Entry]:
    """Return all fields of the world."""
    return [
        Entry(name, UNITS.get(name.rpartition("_")[2], ""), field.default, str(field.description))
        for name, field in fields_of(WorldConfig).items()
    ]


def scale_warning(name: str, there: Any, here: WorldConfig) -> str | None:
    """Return what to say of a policy that is flown in a world of another scale than that of its training.

    Args:
        name: Of the policy.
        there: The world it was trained in, as its checkpoint says.
        here: Where it is flown.
    """
    if not isinstance(there, Mapping):
        return None
    numbers = asdict(here)
    there = {**{key: fields_of(WorldConfig)[key].default for key in WorldConfig.added}, **there}
    other = [key for key in SCALE if key in there and there[key] != numbers[key]]
    if not other:
        return None
    then = _listed([f"{key} {_short(there[key])}" for key in other])
    now = _listed([_short(numbers[key]) for key in other])
    return f"{name} was trained with {then}; here {'it is' if len(other) == 1 else 'they are'} {now}."


def _short(value: Any) -> str:
    """Return a number for people."""
    return f"{value:.10g}" if isinstance(value, int | float) and not isinstance(value, bool) else shown(value)


def _listed(parts: list[str]) -> str:
    """Return parts with commas and a last `and`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
