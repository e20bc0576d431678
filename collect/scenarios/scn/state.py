"""What a scenario file has made so far, and how its commands read positions and callsigns."""

from collections import Counter

from ....datasets.errors import ConfigurationError
from ...airspace.geodesy import Point
from .arguments import is_latitude, latitude, longitude
from .commands import Command, Skipped
from .places import Places
from .shapes import Shape, Wind
from .traffic import Aircraft

_AT_ONCE_S = 1.0  # what comes this soon after an aircraft belongs to its creation


class State:
    """What a scenario file has made so far.

    Attributes:
        aircraft: All that are created, in that order, but those deleted at once.
        flying: Those that fly at this time, by callsign.
        shapes: By name.
        area: The name of the shape that is the sector, "" if there is none.
        winds: What WIND says.
        places: Places by name.
        left_out: Orders to aircraft in flight, and how often they come.
        late: Callsigns of aircraft whose routes come later than they do.
        again: Callsigns of aircraft that come while others of that callsign may be flying.
        slow: Callsigns of aircraft whose speeds in knots BlueSky takes for Mach numbers.
        now: The command that is being done.
        near: Where names are looked up: the position read last.
        heading_deg: The heading of the runway read last, else north.
        reads_mach: Whether a speed below 1 is a Mach number.
    """

    def __init__(self) -> None:
        self.aircraft: list[Aircraft] = []
        self.flying: dict[str, Aircraft] = {}
        self.shapes: dict[str, Shape] = {}
        self.area = ""
        self.winds: list[Wind] = []
        self.places = Places()
        self.left_out: Counter[str] = Counter()
        self.late: dict[str, None] = {}
        self.again: list[str] = []
        self.slow: list[str] = []
        self.now: Command | None = None
        self.near: Point = (0.0, 0.0)
        self.heading_deg = 0.0
        self.reads_mach = True

    @property
    def time_s(self) -> float:
        """The time of the command that is being done."""
        return self.now.time_s if self.now else 0.0

    @property
    def where(self) -> str:
        """File and line of that command."""
        return self.now.where if self.now else ""

    def has_flown(self, aircraft: Aircraft) -> bool:
        """Return whether an aircraft has flown for a while, so that a command does not belong to its creation."""
        return self.time_s - aircraft.entry_s >= _AT_ONCE_S

    def called(self, words: list[str]) -> Aircraft:
        """Return the aircraft that the first word calls.

        Raises:
            Skipped: There is none at this time.
        """
        name = words[0].upper() if words else ""
        if name in ("#", "*") and self.flying:
            name = next(reversed(self.flying))
        if name not in self.flying:
            raise Skipped(f"there is no aircraft '{name[:60]}' at this time")
        self.near = self.flying[name].position_deg
        return self.flying[name]

    def position(self, words: list[str], near: Point | None = None) -> tuple[Point, str, list[str]]:
        """Return the position that words begin with, its name ("" for latitude and longitude), and further words.

        Raises:
            Skipped: BlueSky cannot read it either.
            ConfigurationError: It is that of an aircraft in flight, or needs BlueSky's navigation data.
        """
        if not words or not words[0]:
            raise Skipped("expected a position")
        name = words[0].upper()
        if name in self.flying:
            if self.has_flown(self.flying[name]):
                raise ConfigurationError(
                    f"expected a place, got {name}, which is in flight at that time. Write lat,lon."
                )
            return self.flying[name].position_deg, "", words[1:]
        if is_latitude(name):
            if len(words) < 2:
                raise ConfigurationError(f"expected latitude and longitude, got {name[:60]} alone")
            return (latitude(name), longitude(words[1])), "", words[2:]
        if len(words) > 1 and words[1].upper().startswith("RW") and self.places.airport(name):
            name, words = f"{name}/{words[1].upper()}", words[1:]
        if "/RW" in name:
            return self.runway(name), name, words[1:]
        point = self.places.airport(name) or self.places.waypoint(name, near or self.near)
        if point is None:
            raise Skipped(f"there is no place '{name[:60]}'")
        return point, name, words[1:]

    def runway(self, name: str) -> Point:
        """Return the threshold of a runway such as EHAM/RW18L, and keep its heading.

        Raises:
            Skipped: There is none.
        """
        airport, runway = name.split("/RW", 1)
        found = self.places.runway(airport, runway.lstrip("Y"))
        if found is None:
            raise Skipped(f"there is no runway {name[:60]}")
        self.heading_deg = found[1]
        return found[0]

    def positions(self, words: list[str]) -> list[Point]:
        """Return all positions of some words."""
        found, place = [], 0
        while place < len(words):
            here = words[place : place + 2]
            self.near, _, rest = self.position(here)
            found.append(self.near)
            place += len(here) - len(rest)
        return found
