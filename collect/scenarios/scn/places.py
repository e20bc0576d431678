"""Places by name: those of a scenario file, and BlueSky's airports, runways, navigation aids and fixes.

BlueSky's data come with its package (X-Plane's nav.dat, fix.dat and apt.dat, and a list of airports). They are read
as text, without BlueSky: starting it takes seconds, and it reads more than is needed here.
"""

import math
from collections import defaultdict
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

from ....datasets.errors import ConfigurationError
from ...airspace.geodesy import EARTH_RADIUS_M, Point

_AIDS = ("2", "3", "12", "13")  # NDB, VOR, DME, TACAN in nav.dat


class Places:
    """Places of one scenario: its own (DEFWPT), and BlueSky's.

    Names that only BlueSky knows need its package: ConfigurationError where it is not installed.
    """

    def __init__(self) -> None:
        self._own: dict[str, list[Point]] = defaultdict(list)

    def define(self, name: str, point: Point) -> None:
        """Add a place."""
        self._own[name].append(point)

    def remove(self, name: str) -> None:
        """Remove the newest place of a name, if there is one."""
        if self._own[name]:
            self._own[name].pop()

    def airport(self, name: str) -> Point | None:
        """Return an airport."""
        if name in self._own and not _folder():
            return None
        return _airports(_needed(name)).get(name)

    def waypoint(self, name: str, near: Point) -> Point | None:
        """Return the navigation aid, fix or own place of that name that is nearest to a point."""
        own = self._own.get(name, [])
        known = [] if own and not _folder() else _waypoints(_needed(name)).get(name, [])
        return min([*known, *own], key=lambda point: apart(near, point), default=None)

    def runway(self, airport: str, runway: str) -> tuple[Point, float] | None:
        """Return the threshold of a runway and its heading (degrees)."""
        return _runways(_needed(airport), airport).get(runway)


def apart(first: Point, second: Point) -> float:
    """Return the distance between two points for a comparison (rad)."""
    north = math.radians(second[0] - first[0])
    east = math.radians((second[1] - first[1] + 180.0) % 360.0 - 180.0)
    return math.hypot(north, east * math.cos(math.radians(first[0] + second[0]) * 0.5))


def bearing(first: Point, second: Point) -> float:
    """Return the heading (degrees) at the first point of the great circle to the second."""
    here, there = math.radians(first[0]), math.radians(second[0])
    east = math.radians(second[1] - first[1])
    along = math.cos(here) * math.sin(there) - math.sin(here) * math.cos(there) * math.cos(east)
    return math.degrees(math.atan2(math.sin(east) * math.cos(there), along)) % 360.0


def beyond(point: Point, heading_deg: float, angle_rad: float) -> Point:
    """Return where a great circle leads."""
    here, heading = math.radians(point[0]), math.radians(heading_deg)
    there = math.asin(
        math.sin(here) * math.cos(angle_rad) + math.cos(here) * math.sin(angle_rad) * math.cos(heading)
    )
    east = math.atan2(
        math.sin(heading) * math.sin(angle_rad) * math.cos(here),
        math.cos(angle_rad) - math.sin(here) * math.sin(there),
    )
    return math.degrees(there), (point[1] + math.degrees(east) + 180.0) % 360.0 - 180.0


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    """Return where BlueSky's navigation data are, None if they are not installed."""
    spec = find_spec("bluesky")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "resources" / "navdata"
        if (folder / "airports.dat").exists():
            return folder
    return None


def _needed(name: str) -> Path:
    """Return where BlueSky's navigation data are."""
    folder = _folder()
    if folder is None:
        raise ConfigurationError(
            f"the place '{name[:60]}' is known by its name only. Install BlueSky's navigation data with "
            "pip install 'skyclone[bluesky]', or write lat,lon, or define it with DEFWPT before."
        )
    return folder


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of navigation data."""
    return path.read_text(encoding="ascii", errors="ignore").splitlines()


@lru_cache(maxsize=1)
def _airports(folder: Path) -> dict[str, Point]:
    """Return the first airport of each name."""
    found: dict[str, Point] = {}
    for line in _lines(folder / "airports.dat"):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) > 4 and fields[0] and not fields[0].startswith("#") and fields[4] != "Closed":
            found.setdefault(fields[0], (float(fields[2]), float(fields[3])))
    return found


@lru_cache(maxsize=1)
def _waypoints(folder: Path) -> dict[str, list[Point]]:
    """Return all navigation aids and fixes of each name, in BlueSky's order."""
    found: dict[str, list[Point]] = defaultdict(list)
    for line in _lines(folder / "nav.dat"):
        fields = line.split()
        if len(fields) > 7 and fields[0] in _AIDS:
            found[fields[7]].append((float(fields[1]), float(fields[2])))
    for line in _lines(folder / "fix.dat"):
        text = line.strip()
        if len(text) < 3 or not (text[2] == "." or (text[0] == "-" and text[3:4] == ".")):
            continue
        fields = text.split()
        if len(fields) > 2:
            found[fields[2]].append((float(fields[0]), float(fields[1])))
    return found


@lru_cache(maxsize=1)
def _runway_lines(folder: Path) -> dict[str, list[bytes]]:
    """Return the lines of each airport's runways; a few seconds."""
    found: dict[str, list[bytes]] = {}
    with ZipFile(folder / "apt.zip") as archive, archive.open("apt.dat") as file:
        here: list[bytes] = []
        for line in file:
            if line.startswith(b"1 "):
                here = []
                found[line.split()[4].decode("ascii", errors="ignore")] = here
            elif line.startswith(b"100 "):
                here.append(line)
    return found


def _runways(folder: Path, airport: str) -> dict[str, tuple[Point, float]]:
    """Return the thresholds of an airport's paved runways, and their headings (degrees)."""
    found: dict[str, tuple[Point, float]] = {}
    for line in _runway_lines(folder).get(airport, []):
        fields = line.decode("ascii", errors="ignore").split()
        if int(fields[2]) > 2:  # neither asphalt nor concrete
            continue
        ends = [(float(fields[at]), float(fields[at + 1])) for at in (9, 18)]
        for place, other, at in ((ends[0], ends[1], 8), (ends[1], ends[0], 17)):
            course = bearing(place, other)
            found[fields[at]] = (beyond(place, course, float(fields[at + 3]) / EARTH_RADIUS_M), course)
    return found
