"""One BlueSky scenario file as a scenario: its commands, line by line, become a layout.

It reads CRE (the aircraft), DEST and ADDWPT (where they want to go), DEFWPT, and AREA, POLY, BOX or CIRCLE for the
sector. A warning names everything else in a file; what cannot be flown here is an error.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...datasets.errors import ConfigurationError
from ..airspace.geodesy import EARTH_RADIUS_M, cosine, middle, on_plane
from ..airspace.sector import contains
from ..airspace.units import KNOT_MPS, NAUTICAL_MILE_M
from ..arithmetic.geometry import directions
from .layout import Layout
from .scn_geometry import area_m2, convex, hull_with_margin

_LEAST_M2 = 1.0  # of a sector
_MOST_M = 50_000.0  # how far from its centre a plane is accurate enough
_AHEAD_S = 120.0  # an aircraft without a waypoint flies straight on for this long
_ALIASES = {"CREATE": "CRE", "POLYGON": "POLY", "WPTYPE": "ADDWPT"}
_SHAPES = ("POLY", "BOX", "CIRCLE")
_OF_AIRCRAFT = ("DEST", "ADDWPT")
_READ = ("CRE", "DEFWPT", "AREA", *_OF_AIRCRAFT, *_SHAPES)
_UNREADABLE = ("MCRE", "CRECONFS", "SYN", "TRAFGEN", "PCALL", "CALL", "IC", "SCHEDULE", "DELAY")
"""Commands that create aircraft or run commands that are not in the file: without them it is another scenario."""


@dataclass
class _Aircraft:
    """An aircraft as a file describes it; degrees, m/s, feet."""

    kind: str
    position_deg: tuple[float, float]
    track_deg: float
    altitude_ft: float
    speed_mps: float
    waypoints_deg: list[tuple[float, float]] = field(default_factory=list)
    destination_deg: tuple[float, float] | None = None


@dataclass(frozen=True)
class ScenarioFile:
    """A scenario from a file.

    Attributes:
        path: The file.
        layout: How it starts.
        warnings: What was left out, or is flown differently than in BlueSky.
    """

    path: Path
    layout: Layout
    warnings: tuple[str, ...]


def read(path: Path) -> ScenarioFile:
    """Read one .scn file.

    Raises:
        ConfigurationError: It is no scenario that can be flown; says in which line and why.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: expected a text file of BlueSky commands: {error}") from None
    reader = _Reader(path)
    for number, time_s, command in _commands(path, text):
        reader.take(number, time_s, command)
    return reader.finish()


def _commands(path: Path, text: str) -> list[tuple[int, float, str]]:
    """Return (line number, time in s, command) of each line; a line that ends in \\ continues in the next."""
    found, held, first = [], "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#")[0].strip()
        if not held:
            first = number
        if line.endswith("\\"):
            held += line[:-1].strip() + " "
            continue
        line, held = held + line, ""
        if not line:
            continue
        stamp, arrow, command = line.partition(">")
        try:
            hours, minutes, seconds = stamp.strip().split(":")
            time_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            if not arrow or not math.isfinite(time_s):
                raise ValueError
        except (ValueError, OverflowError):
            raise ConfigurationError(
                f"{path}, line {first}: expected 00:00:00.00>COMMAND, got '{line[:60]}'"
            ) from None
        found.append((first, time_s, command.strip()))
    return found


class _Reader:
    """Takes the commands of one file and makes a layout of them."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)
        self.aircraft: dict[str, _Aircraft] = {}
        self.shapes: dict[str, list[tuple[float, float]]] = {}
        self.shape_lines: dict[str, str] = {}
        self.area = ""
        self.points: dict[str, tuple[float, float]] = {}
        self.left_out: Counter[str] = Counter()
        self.start_s: float | None = None
        self.warnings: list[str] = []

    def fail(self, message: str) -> ConfigurationError:
        """Return an error that says where."""
        return ConfigurationError(f"{self.where}: {message}")

    def take(self, number: int, time_s: float, command: str) -> None:
        """Take one command."""
        self.where = f"{self.path}, line {number}"
        words = command.replace(",", " ").split()
        if not words:
            return
        if words[0].upper() in self.aircraft and len(words) > 1:  # KL204 DEST ... is DEST KL204 ...
            words[:2] = [words[1], words[0]]
        name = _ALIASES.get(words[0].upper(), words[0].upper())
        if name in _UNREADABLE:
            raise self.fail(
                f"{name} brings in traffic or commands that are not in this file. Write each aircraft as "
                "CRE callsign,type,lat,lon,hdg,alt,spd."
            )
        if name not in _READ:
            self.left_out[name] += 1
            return
        if self.start_s is None:
            self.start_s = time_s
        if time_s - self.start_s >= 1.0:
            raise self.fail(
                f"{name} comes {time_s - self.start_s:g} s after the start; expected the time of the first line, "
                "because all traffic starts at once here. Split the file, or set all times to 00:00:00.00."
            )
        if name in _OF_AIRCRAFT:
            self._go(name, words[1:])
        else:
            getattr(self, f"_{name.lower()}")(words[1:])

    def number(self, word: str, what: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a number from low to high."""
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not (low <= value <= high and math.isfinite(value)):
            limits = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
            raise self.fail(f"expected {what} as a number{limits}, got '{word[:60]}'")
        return value

    def point(self, words: list[str], what: str) -> tuple[float, float]:
        """Return latitude and longitude (deg)."""
        if len(words) < 2:
            raise self.fail(f"expected latitude and longitude of {what}, got '{' '.join(words)}'")
        return self.number(words[0], f"the latitude of {what}", -89, 89), self.number(
            words[1], f"the longitude of {what}", -180, 180
        )

    def _cre(self, words: list[str]) -> None:
        """CRE callsign,type,lat,lon,hdg,alt,spd."""
        if len(words) != 7:
            raise self.fail(f"expected CRE callsign,type,lat,lon,hdg,alt,spd, got {len(words)} values after CRE")
        name = words[0].upper()
        if name in self.aircraft:
            raise self.fail(f"callsign {name} is created twice. Give each aircraft its own.")
        altitude, speed = words[5].upper(), words[6].upper()
        feet = self.number(altitude.removeprefix("FL"), "the altitude in feet or as FL100")
        knots = self.number(speed, "the speed in knots (Mach numbers are for airliners)", 0, 2000)
        if 0.1 < knots < 1.0:  # what BlueSky takes for a Mach number
            raise self.fail(f"expected the speed in knots, got {speed}, which BlueSky takes for a Mach number")
        self.aircraft[name] = _Aircraft(
            kind=words[1].upper(),
            position_deg=self.point(words[2:4], name),
            track_deg=self.number(words[4], "the heading in degrees", -360, 360),
            altitude_ft=feet * (100.0 if altitude.startswith("FL") else 1.0),
            speed_mps=knots * KNOT_MPS,
        )

    def _go(self, command: str, words: list[str]) -> None:
        """DEST or ADDWPT callsign lat lon, or the name of a DEFWPT."""
        if len(words) < 2 or words[0].upper() not in self.aircraft:
            who = words[0] if words else "none"
            raise self.fail(f"expected {command} callsign,lat,lon of an aircraft created before, got {who}")
        aircraft, name = self.aircraft[words[0].upper()], words[1].upper()
        if name in ("FLYBY", "FLYOVER", "FLYTURN"):
            self.left_out[f"{command} {name}"] += 1
            return
        if name in self.points:
            point = self.points[name]
        elif name[0].isalpha():
            raise self.fail(f"waypoint '{words[1]}' is a name; expected lat,lon, or a DEFWPT of it above")
        else:
            point = self.point(words[1:], f"the waypoint of {words[0]}")
        if command == "DEST":
            aircraft.destination_deg = point
        else:
            aircraft.waypoints_deg.append(point)

    def _defwpt(self, words: list[str]) -> None:
        """DEFWPT name,lat,lon."""
        self.points[words[0].upper() if words else ""] = self.point(words[1:], "the waypoint")

    def _poly(self, words: list[str]) -> None:
        """POLY name,lat,lon,lat,lon,..."""
        if len(words) < 7 or len(words) % 2 == 0:
            raise self.fail("expected POLY name,lat,lon,... with three or more corners")
        corners = [self.point(words[place : place + 2], "a corner") for place in range(1, len(words), 2)]
        self._shape(words[0], corners)

    def _box(self, words: list[str]) -> None:
        """BOX name,lat,lon,lat,lon."""
        if len(words) < 5:
            raise self.fail("expected BOX name,lat,lon,lat,lon")
        (south, west), (north, east) = self.point(words[1:], "a corner"), self.point(words[3:], "a corner")
        self._shape(words[0], [(south, west), (south, east), (north, east), (north, west)])

    def _circle(self, words: list[str]) -> None:
        """CIRCLE name,lat,lon,radius in NM."""
        latitude, longitude = self.point(words[1:], "the centre")
        radius_m = NAUTICAL_MILE_M * self.number(words[3] if len(words) > 3 else "", "the radius in NM", 0.001, 100)
        reach = math.degrees(radius_m / EARTH_RADIUS_M)
        around = reach * directions(np.arange(36) * 2 * np.pi / 36)
        east = longitude + around[:, 0] / cosine(latitude)
        self._shape(words[0], list(zip((latitude + around[:, 1]).tolist(), east.tolist())))

    def _shape(self, name: str, corners: list[tuple[float, float]]) -> None:
        """Remember a shape, and the line it comes from."""
        self.shapes[name.upper()], self.shape_lines[name.upper()] = corners, self.where

    def _area(self, words: list[str]) -> None:
        """AREA lat,lon,lat,lon, or the name of a shape."""
        if len(words) == 1:
            self.area = words[0].upper()
        else:
            self.area = "AREA"
            self._box([self.area, *words])

    def finish(self) -> ScenarioFile:
        """Return the scenario."""
        self.where = str(self.path)
        if not self.aircraft:
            raise self.fail(
                "expected aircraft, found none. Create each with CRE callsign,type,lat,lon,hdg,alt,spd."
            )
        chosen = self._sector()
        corners_deg = self.shapes.get(chosen, [])
        names, all_aircraft = list(self.aircraft), list(self.aircraft.values())
        goals_deg = [self._goal(name) for name in names]
        known = corners_deg or [each.position_deg for each in all_aircraft] + [goal for goal in goals_deg if goal]
        centre = ((min(p[0] for p in known) + max(p[0] for p in known)) / 2, middle([p[1] for p in known]))
        position = on_plane([each.position_deg for each in all_aircraft], centre)
        track = np.radians([each.track_deg for each in all_aircraft])
        speed = np.array([each.speed_mps for each in all_aircraft])
        ahead = position + _AHEAD_S * speed[:, None] * directions(track)[:, ::-1]
        is_given = np.array([goal is not None for goal in goals_deg])[:, None]
        waypoint = np.where(is_given, on_plane([goal or centre for goal in goals_deg], centre), ahead)
        points = np.concatenate((position, waypoint))
        if corners_deg:
            corners, is_convex = convex(on_plane(corners_deg, centre))
            if area_m2(corners) < _LEAST_M2:
                self.where = self.shape_lines[chosen]
                raise self.fail(f"expected a sector with an area, but {chosen} is flat. Move its corners apart.")
            if not is_convex:
                self.warnings.append("the sector is not convex; its convex hull is used")
        else:
            corners = hull_with_margin(points)
        if max(np.abs(points).max(), np.abs(corners).max()) > _MOST_M:
            raise self.fail(
                f"expected all traffic within {_MOST_M / 1000:g} km of its centre, ({centre[0]:.3f}, "
                f"{centre[1]:.3f}), where the earth is flat enough. Split the file."
            )
        outside = [name for name, is_in in zip(names, contains(corners, position), strict=True) if not is_in]
        if outside:
            self.warnings.append(
                f"{_some(outside)} start outside the sector, and have left it farther than 50 m out"
            )
        self._warn(names, all_aircraft)
        layout = Layout(corners, position, waypoint, track, speed)
        return ScenarioFile(self.path, layout, tuple(f"{self.path.name}: {text}" for text in self.warnings))

    def _sector(self) -> str:
        """Return which of the shapes is the sector, "" if the file has none."""
        if self.area and self.area not in self.shapes:
            raise self.fail(f"AREA {self.area}: expected a POLY, BOX or CIRCLE of that name, found none")
        chosen = self.area or next(iter(self.shapes), "")
        others = [name for name in self.shapes if name != chosen]
        if others:
            self.warnings.append(f"the sector is {chosen}; left out: {', '.join(others)}")
        return chosen

    def _goal(self, name: str) -> tuple[float, float] | None:
        """Return where an aircraft wants to go: its destination, else its last waypoint."""
        aircraft = self.aircraft[name]
        passed = aircraft.waypoints_deg if aircraft.destination_deg else aircraft.waypoints_deg[:-1]
        self.left_out["waypoints before the last"] += len(passed)
        return aircraft.destination_deg or next(reversed(aircraft.waypoints_deg), None)

    def _warn(self, names: list[str], all_aircraft: list[_Aircraft]) -> None:
        """Warn of what is flown differently than in BlueSky."""
        aimless = [name for name in names if not self.aircraft[name].waypoints_deg and not
                   self.aircraft[name].destination_deg]  # fmt: skip
        if aimless:
            self.warnings.append(
                f"no DEST or ADDWPT for {_some(aimless)}: straight on for {_AHEAD_S:g} s of flight instead"
            )
        others = sorted({each.kind for each in all_aircraft} - {"M600"})
        if others:
            self.warnings.append(f"aircraft of type {_some(others)} are flown as M600")
        levels = [each.altitude_ft for each in all_aircraft]
        if max(levels) > min(levels):
            self.warnings.append(
                f"altitudes from {min(levels):g} to {max(levels):g} ft are flown on one level: none passes above"
            )
        left_out = [f"{name} ({count}x)" if count > 1 else name for name, count in self.left_out.items() if count]
        if left_out:
            self.warnings.append(f"left out: {', '.join(left_out)}")


def _some(names: list[str]) -> str:
    """Return the first few names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
