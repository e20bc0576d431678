"""Types of aircraft, and fleets: aircraft of several types in one episode.

A fleet is a text such as `m600=0.7,wing=0.3`: types and their shares, which need not add up to 1. A type may be
changed: `wing(cruise_mps=25;protected_zone_m=150)=0.3`; `m600@12` is short for a cruise speed of 12 m/s, and an
airliner's limits move with it. A world without a fleet has one type, its own numbers.
"""

import re
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from pydantic import Field

from ...datasets import spec
from ...datasets.config import Config, config, shown
from ...datasets.errors import ConfigurationError

_PART = re.compile(r"([\w-]+)(@[\d.]+)?(?:\(([^()]*)\))?=([-+.\w]+)")
_SLOWER, _FASTER = 0.85, 1.05  # limits of an airliner in units of its cruise speed


@config
class AircraftType(Config):
    """What aircraft of a type can do."""

    title = "an aircraft type"

    cruise_mps: float = Field(default=9.0, gt=0, description="Speed at the start and speed without conflict.")
    min_speed_mps: float = Field(default=0.0, ge=0, description="Lowest speed.")
    max_speed_mps: float = Field(default=18.0, gt=0, description="Highest speed.")
    acceleration_mps2: float = Field(default=3.5, gt=0, description="Acceleration and deceleration limit.")
    bank_rad: float = Field(default=0.4363323129985824, gt=0, lt=1.5, description="Bank angle in turns.")
    protected_zone_m: float = Field(
        default=0.0, ge=0, description="R of a pair is the larger one of both; 0 for the world's."
    )
    blue_sky: str = Field(default="M600", description="The type that BlueSky flies for it.")

    def __post_init__(self) -> None:
        if not self.min_speed_mps <= self.cruise_mps <= self.max_speed_mps:
            raise ConfigurationError(
                f"expected min_speed_mps <= cruise_mps <= max_speed_mps of an aircraft type, got "
                f"{self.min_speed_mps}, {self.cruise_mps}, {self.max_speed_mps}"
            )


TYPES: dict[str, AircraftType] = {
    "m600": AircraftType(),
    "mavic": AircraftType(cruise_mps=10.0, blue_sky="MAVIC"),
    "m200": AircraftType(cruise_mps=14.0, max_speed_mps=23.0, blue_sky="M200"),
    # a delivery drone with wings: BlueSky has none, its Amazon octocopter flies as fast
    "wing": AircraftType(cruise_mps=28.0, min_speed_mps=16.0, max_speed_mps=40.0, blue_sky="AMZN"),
    "amzn": AircraftType(cruise_mps=20.0, max_speed_mps=44.0, blue_sky="AMZN"),
    "mnet": AircraftType(cruise_mps=8.0, max_speed_mps=11.0, blue_sky="MNET"),
    "phan4": AircraftType(cruise_mps=10.0, max_speed_mps=20.0, blue_sky="PHAN4"),
    "m100": AircraftType(cruise_mps=12.0, max_speed_mps=22.0, blue_sky="M100"),
    "horsefly": AircraftType(cruise_mps=14.0, max_speed_mps=22.3, blue_sky="HORSEFLY"),
    "ec35": AircraftType(cruise_mps=50.0, max_speed_mps=71.95, blue_sky="EC35"),
    "a320": AircraftType(
        cruise_mps=230.0, min_speed_mps=216.0, max_speed_mps=236.0, acceleration_mps2=0.5, blue_sky="A320"
    ),
}
TYPES["airliner"] = TYPES["a320"]
"""Types by name; speeds, accelerations and bank angles within BlueSky's own."""
AIRLINERS = ("a320", "airliner")
"""Types whose limits depend on the height they fly at, and so move with the cruise speed that is given."""


class Member(NamedTuple):
    """A type of a fleet, its name there (`m600@12`), and its share."""

    name: str
    type: AircraftType
    share: float


@cache
def members_of(text: str) -> tuple[Member, ...]:
    """Return the types of a fleet, none for an empty text.

    Raises:
        ConfigurationError: It is no fleet; says what was expected.
    """
    example = "Example: m600=0.7,wing=0.3"
    found: list[Member] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _PART.fullmatch(part)
        share = _number(match.group(4)) if match else 0.0
        if not match or not 0.0 < share < 1e9:
            raise ConfigurationError(
                f"fleet: expected TYPE=SHARE with a share above 0, got {shown(part)}. {example}"
            )
        name, speed, changes = match.group(1).lower(), match.group(2) or "", match.group(3)
        kind = spec.find(name, "aircraft type", TYPES)
        if speed:
            kind = _at(kind, _number(speed[1:]), name in AIRLINERS)
        if changes:
            text_of = f"aircraft type '{name}'"
            kind = replace(kind, **spec.parameters(changes.replace(";", ":"), text_of, AircraftType))
        if name + speed in (each.name for each in found):
            raise ConfigurationError(f"fleet: expected each type once, got {name + speed} again. {example}")
        found.append(Member(name + speed, kind, share))
    return tuple(found)


def _at(kind: AircraftType, cruise_mps: float, is_airliner: bool) -> AircraftType:
    """Return a type with another cruise speed."""
    if not is_airliner:
        return replace(kind, cruise_mps=cruise_mps)
    low_mps, high_mps = _SLOWER * cruise_mps, _FASTER * cruise_mps
    return replace(kind, cruise_mps=cruise_mps, min_speed_mps=low_mps, max_speed_mps=high_mps)


def _number(text: str) -> float:
    """Return a number, 0 where it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0
