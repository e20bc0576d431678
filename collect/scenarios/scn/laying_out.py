"""From what a scenario file says to the layout of its traffic, and what is flown differently than in BlueSky."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....datasets.errors import ConfigurationError
from ...airspace.aircraft_types import AIRLINERS
from ...airspace.geodesy import Plane, Point
from ...airspace.sector import Corners, contains
from ...airspace.units import FOOT_M, KNOT_MPS
from ...arithmetic.geometry import directions
from ..file_fleet import type_of
from ..layout import Layout
from ..scn_geometry import area_m2, convex, hull_with_margin
from .shapes import wind_at
from .state import State
from .traffic import Aircraft

_LEAST_M2 = 1.0  # of a sector
_AHEAD_S = 120.0  # an aircraft without a waypoint flies straight on for this long
_STATED_ERROR = 0.001  # of distances; a smaller one is not worth a warning
_MOST_ERROR_NEAR, _MOST_ERROR_FAR = 0.25, 1.0  # where aircraft begin, and at the farthest waypoint


@dataclass(frozen=True)
class ScenarioFile:
    """A scenario from a file.

    Attributes:
        path: The file.
        layout: How it starts.
        warnings: What was left out, or is flown differently than in BlueSky.
        callsigns: Of the aircraft, in the layout's order.
        centre_deg: Latitude and longitude of the origin; azimuthal equidistant around it (`airspace.geodesy`).
    """

    path: Path
    layout: Layout
    warnings: tuple[str, ...]
    callsigns: tuple[str, ...]
    centre_deg: Point

    def there_already(self, radius_m: float) -> str:
        """Name the aircraft that begin within a distance of their only waypoint; "" if there is none."""
        layout = self.layout
        way = layout.waypoint_m - layout.position_m
        found = np.sqrt((way * way).sum(1)) <= radius_m
        if layout.hovers is not None:
            found &= ~layout.hovers
        if layout.routes_m is not None:
            found &= [len(route) == 0 for route in layout.routes_m]
        return _some([name for name, is_there in zip(self.callsigns, found, strict=True) if is_there])


def lay_out(path: Path, state: State, said: list[str]) -> ScenarioFile:
    """Return the scenario of a file.

    Args:
        path: The file.
        state: What its commands have made.
        said: Warnings from reading them.

    Raises:
        ConfigurationError: It cannot be flown; says why.
    """
    everyone = state.aircraft
    if not everyone:
        why = f" ({'; '.join(said)})" if said else ""
        raise ConfigurationError(
            f"{path}: expected aircraft, found none. Create each with CRE callsign,type,lat,lon,hdg,alt,spd.{why}"
        )
    shape = state.shapes.get(state.area)
    known = (shape.corners_deg if shape else []) or [
        point for each in everyone for point in (each.position_deg, *each.flown_deg)
    ]
    plane = _plane(known, everyone)
    warnings: list[str] = []
    position = plane.points([each.position_deg for each in everyone])
    track = plane.tracks([each.position_deg for each in everyone], [each.track_deg for each in everyone])
    speed = np.array([each.speed_mps for each in everyone])
    ways = _ways(plane, everyone, position, track)
    no_fly = _no_fly(plane, state, warnings)
    corners = _sector(plane, state, np.concatenate((position, *ways)), warnings)
    _check_plane(path, plane, position, np.concatenate((position, *ways, corners)), warnings)
    is_outside = ~contains(corners, position)
    if is_outside.any():
        names = [each.name for each, outside in zip(everyone, is_outside, strict=True) if outside]
        warnings.append(f"{_some(names)} start outside the sector, and have left it farther than 50 m out")
    _warn(state, warnings)
    start_s = min(each.entry_s for each in everyone)
    entry_s = np.array([each.entry_s - start_s for each in everyone])
    if start_s > 0:
        warnings.append(f"it begins with the first aircraft, at {start_s:g} s of the file")
    hovers = np.array([each.hovers for each in everyone])
    routes = tuple(way[1:] for way in ways)
    layout = Layout(
        corners_m=corners,
        position_m=position,
        waypoint_m=np.array([way[0] for way in ways]),
        track_rad=track,
        speed_mps=speed,
        entry_s=entry_s if entry_s.any() else None,
        routes_m=routes if any(map(len, routes)) else None,
        hovers=hovers if hovers.any() else None,
        kinds=tuple(each.kind for each in everyone),
        no_fly_m=no_fly,
        wind_mps=_wind(state, warnings),
    )
    texts = tuple(f"{path.name}: {text}" for text in (*warnings, *said))
    return ScenarioFile(path, layout, texts, tuple(each.name for each in everyone), plane.centre_deg)


def _plane(known: list[Point], everyone: list[Aircraft]) -> Plane:
    """Return the plane in the middle of everything; if that is wide, in the middle of where aircraft begin."""
    plane = Plane.around(known)
    points = plane.points(known)
    if Plane.error(float(np.sqrt((points * points).sum(1)).max())) <= _STATED_ERROR:
        return plane
    return Plane.around([each.position_deg for each in everyone])


def _sector(plane: Plane, state: State, points: np.ndarray, warnings: list[str]) -> Corners:
    """Return the sector: the AREA, or the hull of all points (n, 2) with a margin."""
    shape = state.shapes.get(state.area)
    if shape is None:
        return hull_with_margin(points)
    corners, is_convex = convex(plane.points(shape.corners_deg))
    if area_m2(corners) < _LEAST_M2:
        raise ConfigurationError(
            f"{shape.where}: expected a sector with an area, but {_some([shape.name])} is flat. Move its corners."
        )
    if not is_convex:
        warnings.append("the sector is not convex; its convex hull is used")
    return corners


def _ways(plane: Plane, everyone: list[Aircraft], position: np.ndarray, track: np.ndarray) -> list[np.ndarray]:
    """Return the waypoints of each aircraft, (1 + L, 2) m: its route, straight on, or where it hovers."""
    reach_m = np.array([_AHEAD_S * (each.selected_mps or each.speed_mps) for each in everyone])
    ahead = position + reach_m[:, None] * directions(track)[:, ::-1]
    points = plane.points([point for each in everyone for point in each.flown_deg])
    ends = np.cumsum([len(each.flown_deg) for each in everyone])
    routes = [way if len(way) else straight[None] for way, straight in zip(np.split(points, ends[:-1]), ahead)]
    return [here[None] if each.hovers else way for each, here, way in zip(everyone, position, routes, strict=True)]


def _no_fly(plane: Plane, state: State, warnings: list[str]) -> tuple[Corners, ...]:
    """Return the polygons that nobody should enter, and name the other shapes."""
    polygons, bent = [], []
    for shape in state.shapes.values():
        if shape.is_no_fly and shape.name != state.area:
            corners, is_convex = convex(plane.points(shape.corners_deg))
            polygons.append(corners)
            if not is_convex:
                bent.append(shape.name)
    if polygons:
        names = [name for name, shape in state.shapes.items() if shape.is_no_fly and name != state.area]
        warnings.append(f"no-fly zones: {_some(names)}")
    if bent:
        warnings.append(f"no-fly zones that are not convex, so that their hulls are used: {_some(bent)}")
    others = [name for name, shape in state.shapes.items() if name != state.area and not shape.is_no_fly]
    if others:
        chosen = f"the sector is {state.area}" if state.area in state.shapes else "there is no AREA"
        warnings.append(f"{chosen}; left out: {_some(others)}")
    return tuple(polygons)


def _check_plane(path: Path, plane: Plane, starts: np.ndarray, points: np.ndarray, warnings: list[str]) -> None:
    """Raise if the traffic is spread too widely for a plane; say how wrong distances on it are."""
    near_m, far_m = (float(np.sqrt((each * each).sum(1)).max()) for each in (starts, points))
    for reach_m, most in ((near_m, _MOST_ERROR_NEAR), (far_m, _MOST_ERROR_FAR)):
        if Plane.error(reach_m) > most:
            north, east = plane.centre_deg
            raise ConfigurationError(
                f"{path}: expected all traffic within {Plane.most_m(most) / 1000:,.0f} km of its centre, "
                f"({north:.3f}, {east:.3f}), where distances on a plane are wrong by at most {most:.0%}; it "
                f"reaches {reach_m / 1000:,.0f} km. Split the file."
            )
    if Plane.error(far_m) > _STATED_ERROR:
        warnings.append(
            f"on the plane, distances are wrong by up to {Plane.error(near_m):.2%} where aircraft begin, "
            f"{Plane.error(far_m):.2%} at its edge, {far_m / 1000:,.0f} km from the centre"
        )


def _warn(state: State, warnings: list[str]) -> None:
    """Warn of what is flown differently than in BlueSky."""
    flown_as = {each.name: type_of(each.kind, each.speed_mps) for each in state.aircraft}
    aimless = [each.name for each in state.aircraft if not each.flown_deg and not each.hovers]
    if aimless:
        warnings.append(f"no DEST or ADDWPT for {_some(aimless)}: straight on for {_AHEAD_S:g} s of flight instead")
    told = [each.name for each in state.aircraft if each.is_told_to_hover]
    if told:
        warnings.append(f"hovering where they begin, told to by SPD 0: {_some(told)}")
    hovering = [each.name for each in state.aircraft if each.hovers and not each.is_told_to_hover]
    if hovering:
        warnings.append(f"hovering where they are, without speed and DEST: {_some(hovering)}")
    rolling = [each.name for each in state.aircraft if not each.speed_mps and not each.hovers]
    rolling = [name for name in rolling if flown_as[name] in AIRLINERS]
    if rolling:
        warnings.append(f"taking off: at their lowest speed from the beginning: {_some(rolling)}")
    if state.late:
        warnings.append(
            f"routes that come later than their aircraft are flown from the entry on: {_some(list(state.late))}"
        )
    if state.again:
        warnings.append(f"callsigns that are used again are other aircraft: {_some(state.again)}")
    if state.slow:
        warnings.append(
            f"speeds below 4 kt are no Mach numbers, as in BlueSky after CASMACHTHR 0: {_some(state.slow)}"
        )
    flown = {each.kind: type_of(each.kind, each.speed_mps) for each in state.aircraft}
    for name in sorted(set(flown.values())):
        others = sorted(kind for kind, flown_as in flown.items() if flown_as == name != kind.lower())
        if others:
            warnings.append(f"aircraft of type {_some(others)} are flown as {name}")
    levels = [each.altitude_m / FOOT_M for each in state.aircraft]
    if max(levels) > min(levels) + 0.5:
        warnings.append(
            f"altitudes from {min(levels):g} to {max(levels):g} ft are flown on one level: none passes above"
        )


def _wind(state: State, warnings: list[str]) -> tuple[float, float]:
    """Return the wind in the middle of the traffic, towards east and north (m/s)."""
    if not state.winds:
        return 0.0, 0.0
    centre = Plane.around([each.position_deg for each in state.aircraft]).centre_deg
    level_m = sum(each.altitude_m for each in state.aircraft) / len(state.aircraft)
    east, north = wind_at(state.winds, centre, level_m)
    knots = (east * east + north * north) ** 0.5 / KNOT_MPS
    if len(state.winds) > 1 or len(state.winds[0].profile) > 1:
        warnings.append(f"the wind is everywhere that in the middle of the traffic, {knots:.0f} kt")
    return east, north


def _some(names: list[str]) -> str:
    """Return the first few names."""
    shown = ["".join(each if each.isprintable() else "?" for each in name[:30]) for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
