"""The traffic of a scenario file: aircraft as CRE makes them, and their routes as BlueSky keeps them.

The rules of routes were read from BlueSky (bluesky/traffic/route.py and autopilot.py, 1.1.1).
"""

import math
from dataclasses import dataclass, field

from ....datasets.errors import ConfigurationError
from ...airspace.aircraft_types import AIRLINERS
from ...airspace.geodesy import Point
from ...airspace.units import NAUTICAL_MILE_M
from ..file_fleet import type_of
from .arguments import Speed
from .atmosphere import true_of_calibrated, true_of_mach
from .commands import Skipped

_MOST_WAYPOINTS = 2000
_ZONE_NM = 5.0  # the protected zone that CRECONFS means


@dataclass(eq=False)
class Waypoint:
    """A waypoint of a route: an origin (which nobody flies to), a destination, or one between them."""

    name: str
    point: Point
    kind: str = ""  # "", "origin" or "destination"


@dataclass(eq=False)
class Aircraft:
    """An aircraft as a file describes it.

    Attributes:
        name: Its callsign.
        kind: Its type.
        position_deg: Latitude and longitude.
        track_deg: Its heading.
        altitude_m: Its altitude.
        speed_mps: True airspeed.
        entry_s: When it is created.
        route: Its waypoints in order.
        active: The waypoint it flies to first; None for the first after the origin.
        selected_mps: The speed that a command selects at its creation; None for the one it has.
    """

    name: str
    kind: str
    position_deg: Point
    track_deg: float
    altitude_m: float
    speed_mps: float
    entry_s: float
    route: list[Waypoint] = field(default_factory=list)
    active: Waypoint | None = None
    selected_mps: float | None = None

    @property
    def flown_deg(self) -> list[Point]:
        """The waypoints that it flies to, in order."""
        start = self.route.index(self.active) if self.active in self.route else 0
        return [each.point for each in self.route[start:] if each.kind != "origin"]

    @property
    def hovers(self) -> bool:
        """Whether it stays where it is: without speed and without a waypoint, or told so."""
        return self.is_told_to_hover or (self.speed_mps == 0 and not self.selected_mps and not self.flown_deg)

    @property
    def is_told_to_hover(self) -> bool:
        """Whether a command selects 0 kt; an airliner then flies as slowly as it can."""
        return self.selected_mps == 0 and type_of(self.kind, self.speed_mps) not in AIRLINERS

    @property
    def end_deg(self) -> Point:
        """From where the next waypoint is looked up: the last one before the destination, or where it is."""
        if not self.route:
            return self.position_deg
        return self.route[-2 if self.route[-1].kind == "destination" and len(self.route) > 1 else -1].point

    def add(self, name: str, point: Point, after: str = "", before: str = "") -> None:
        """Add a waypoint: after or before one of that name, else before the destination; "" takes the callsign."""
        if len(self.route) >= _MOST_WAYPOINTS:
            raise ConfigurationError(f"expected at most {_MOST_WAYPOINTS:,} waypoints of {self.name}.")
        names = [each.name for each in self.route]
        waypoint = Waypoint(self._free(name, names), point)
        if after and after in names:
            self.route.insert(names.index(after) + 1, waypoint)
        elif before and before in names:
            self.route.insert(names.index(before), waypoint)
            if self.route[names.index(before) + 1] is self.active:
                self.active = waypoint
        else:
            has_destination = bool(self.route) and self.route[-1].kind == "destination"
            self.route.insert(len(self.route) - has_destination, waypoint)

    def _free(self, name: str, names: list[str]) -> str:
        """Return a name that the route does not have."""
        if not name:
            number, taken = 1, set(names)
            while f"{self.name}{number:03d}" in taken:
                number += 1
            return f"{self.name}{number:03d}"
        number = 0
        while name in names:
            number += 1
            name = f"{name[:-2]}{number:02d}"
        return name

    def go_to(self, name: str, point: Point) -> None:
        """Set the destination."""
        if self.route and self.route[-1].kind == "destination":
            self.route.pop()
        self.route.append(Waypoint(name, point, "destination"))

    def come_from(self, name: str, point: Point) -> None:
        """Set the origin."""
        if self.route and self.route[0].kind == "origin":
            self.route.pop(0)
        self.route.insert(0, Waypoint(name, point, "origin"))

    def waypoint(self, name: str) -> Waypoint:
        """Return a waypoint of the route.

        Raises:
            Skipped: There is none of that name.
        """
        for each in self.route:
            if each.name == name.upper():
                return each
        raise Skipped(f"expected a waypoint in the route of {self.name}, got '{name[:60]}'")

    def drop(self, name: str) -> None:
        """Drop a waypoint, or all of them (*)."""
        if name == "*":
            self.route.clear()
        else:
            self.route.remove(self.waypoint(name))


def true_speed(speed: Speed, altitude_m: float) -> float:
    """Return the true airspeed (m/s) of a speed at an altitude."""
    if speed.is_mach:
        return true_of_mach(speed.value, altitude_m)
    return true_of_calibrated(speed.value, altitude_m)


def in_conflict(
    target: Aircraft,
    name: str,
    kind: str,
    turn_deg: float,
    miss_nm: float,
    time_s: float,
    above_m: float | None,
    speed: Speed | None,
) -> Aircraft:
    """Return an aircraft on a collision course, as CRECONFS makes it (bluesky/traffic/traffic.py, without wind).

    Args:
        target: Whom it will meet.
        name: Its callsign.
        kind: Its type.
        turn_deg: The angle between the tracks.
        miss_nm: The distance at the closest point of approach.
        time_s: The time until the loss of separation.
        above_m: How much higher it flies; None for the same altitude.
        speed: Its speed; None for the target's.
    """
    track = math.radians(target.track_deg + turn_deg)
    altitude_m = target.altitude_m + (above_m or 0.0)
    speed_mps = true_speed(speed, altitude_m) if speed else target.speed_mps
    own = (
        target.speed_mps * math.cos(math.radians(target.track_deg)),
        target.speed_mps * math.sin(math.radians(target.track_deg)),
    )
    north, east = own[0] - speed_mps * math.cos(track), own[1] - speed_mps * math.sin(track)
    miss_m, zone_m = miss_nm * NAUTICAL_MILE_M, _ZONE_NM * NAUTICAL_MILE_M
    along = time_s * math.hypot(north, east) + (0 if miss_m > zone_m else math.sqrt(zone_m**2 - miss_m**2))
    away = math.hypot(along, miss_m)
    if not away:
        raise Skipped("expected an aircraft that comes nearer")
    ahead, aside = along / away, miss_m / away
    bearing = math.atan2(ahead * east - aside * north, ahead * north + aside * east)
    latitude, longitude = target.position_deg
    shift = away / NAUTICAL_MILE_M / 60.0
    place = (
        latitude + shift * math.cos(bearing),
        (longitude + shift * math.sin(bearing) / max(0.01 / 60, math.cos(math.radians(latitude))) + 180.0) % 360.0
        - 180.0,
    )
    if not (abs(place[0]) <= 90 and abs(place[1]) <= 180):
        raise Skipped("expected an aircraft on this earth")
    return Aircraft(name, kind, place, math.degrees(track) % 360.0, altitude_m, speed_mps, target.entry_s)
