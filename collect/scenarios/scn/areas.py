"""The commands that make places, areas and wind."""

import math
from collections.abc import Callable

from ....datasets.errors import ConfigurationError
from ...airspace.geodesy import Point
from ...airspace.units import FOOT_M
from .arguments import altitude_m, is_latitude, number
from .commands import Skipped
from .shapes import Shape, box, circle, wind_of
from .state import State

_LEAST_DEG2 = 1e-12  # of a triangle in a shape; a square of 0.1 m


def _defwpt(state: State, words: list[str]) -> None:
    """DEFWPT name,lat,lon,[type]; or name,DEL."""
    name = words[0].upper() if words else ""
    if not name or name.isdigit() or len(words) < 2:
        raise Skipped("expected DEFWPT name,lat,lon")
    if words[-1].upper() in ("DEL", "DELETE"):
        state.places.remove(name)
    else:
        state.places.define(name, state.position(words[1:])[0])


def _wind(state: State, words: list[str]) -> None:
    """WIND lat,lon,direction,knots; or lat,lon,altitude,direction,knots, and more of the three."""
    point, _, rest = state.position(words)
    state.near = point
    if "DEL" in (word.upper() for word in rest):
        state.winds.clear()
        return
    if len(rest) == 2 or (len(rest) == 3 and not rest[0]):
        rest = ["0", *rest[-2:]]
    if not rest or len(rest) % 3:
        raise Skipped("expected WIND lat,lon,[altitude],direction,knots")
    if any(state.has_flown(aircraft) for aircraft in state.aircraft):
        state.left_out["WIND"] += 1
        return
    heights = [altitude_m(word) / FOOT_M for word in rest[0::3]]
    directions, knots = ([number(word, "the wind") for word in rest[place::3]] for place in (1, 2))
    state.winds.append(wind_of(point, list(zip(heights, directions, knots, strict=True))))


def _add(state: State, name: str, corners: list[Point], is_fence: bool = False) -> None:
    """Keep a shape.

    Raises:
        ConfigurationError: It is flat.
    """
    if not name:
        raise Skipped("expected a name")
    if _breadth_deg2(corners) < _LEAST_DEG2:
        raise ConfigurationError(f"expected a shape with an area, but {name[:60]} is flat. Move its corners apart.")
    state.shapes[name.upper()] = Shape(name.upper(), corners, state.where, is_fence)


def _breadth_deg2(corners: list[Point]) -> float:
    """Return the largest area of a triangle of the first corner, the one farthest from it, and a third."""
    here = [(north - corners[0][0], (east - corners[0][1] + 180.0) % 360.0 - 180.0) for north, east in corners]
    far = max(here, key=lambda each: math.hypot(*each))
    return 0.5 * max(abs(far[0] * each[1] - far[1] * each[0]) for each in here)


def _polygon(state: State, name: str, words: list[str], is_fence: bool = False) -> None:
    """Add a polygon of three or more corners."""
    corners = state.positions(words)
    if len(corners) < 3:
        raise Skipped(f"expected three or more corners, got {len(corners)}")
    _add(state, name, corners, is_fence)


def _poly(state: State, words: list[str]) -> None:
    """POLY name,lat,lon,lat,lon,..."""
    _polygon(state, words[0] if words else "", words[1:])


def _polyalt(state: State, words: list[str]) -> None:
    """POLYALT name,top,bottom,lat,lon,lat,lon,..."""
    for word in words[1:3]:
        altitude_m(word)
    _polygon(state, words[0] if words else "", words[3:])


def _geofence(state: State, words: list[str]) -> None:
    """GEOFENCE name,top,bottom,lat,lon,lat,lon,... of BlueSky's plugin."""
    _polygon(state, words[0] if words else "", words[3:], is_fence=True)


def _box(state: State, words: list[str]) -> None:
    """BOX name,lat,lon,lat,lon,[top,bottom]."""
    first, _, rest = state.position(words[1:])
    second, _, rest = state.position(rest)
    for word in rest[:2]:
        if word:
            altitude_m(word)
    if len(rest) > 2:
        raise Skipped("expected BOX name,lat,lon,lat,lon")
    _add(state, words[0], box(first, second))


def _circle(state: State, words: list[str]) -> None:
    """CIRCLE name,lat,lon,radius in NM,[top,bottom]."""
    centre, _, rest = state.position(words[1:])
    radius_nm = number(rest[0] if rest else "", "the radius in NM")
    if not 0 <= radius_nm <= 2000 or abs(centre[0]) > 89:
        raise ConfigurationError(f"expected a circle of at most 2000 NM, off the poles, got {radius_nm:g} NM.")
    _add(state, words[0], circle(centre, radius_nm))


def _area(state: State, words: list[str]) -> None:
    """AREA lat,lon,lat,lon,[top,bottom]; the name of a shape; or ON or OFF."""
    if not words or not words[0]:
        return
    name = words[0].upper()
    if len(words) == 1 or not is_latitude(name):
        if name in state.shapes:
            state.area = name
        elif name.startswith("OF"):
            if any(state.has_flown(aircraft) for aircraft in state.aircraft):
                state.left_out["AREA OFF"] += 1
            else:
                state.area = ""
        elif name != "ON":
            raise Skipped(f"there is no shape '{name[:60]}'")
        return
    corners = state.positions(words[:4])
    if len(corners) != 2:
        raise Skipped("expected AREA lat,lon,lat,lon")
    _add(state, "AREA", box(corners[0], corners[1]))
    state.area = "AREA"


COMMANDS: dict[str, Callable[[State, list[str]], None]] = {
    "DEFWPT": _defwpt,
    "WIND": _wind,
    "AREA": _area,
    "POLY": _poly,
    "POLYALT": _polyalt,
    "GEOFENCE": _geofence,
    "BOX": _box,
    "CIRCLE": _circle,
}
"""What each command does."""
