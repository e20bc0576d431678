"""The commands that make aircraft and their routes."""

from collections.abc import Callable
from functools import partial

from ....datasets.errors import ConfigurationError
from ...airspace.geodesy import Point
from ...airspace.units import KNOT_MPS
from .arguments import altitude_m, heading, is_latitude, latitude, longitude, number, seconds, speed
from .commands import Skipped
from .places import bearing, beyond
from .state import State
from .traffic import Aircraft, in_conflict, true_speed

_TURNS = (
    *("FLYBY", "FLYOVER", "FLYTURN", "TURNSPD", "TURNSPEED", "TURNRAD", "TURNRADIUS", "TURNHDG", "TURNHDGR"),
    *("TURNHDGRATE", "TURNBANK", "TURNPHI"),
)
_IN_FLIGHT = (
    *("ALT", "HDG", "VS", "LNAV", "VNAV", "MOVE", "RTA", "AT", "ATALT", "ATSPD", "ATDIST", "SWTOC", "SWTOD"),
    *("BANK", "BANKLIM", "THR", "CRUISESPD", "GROUP", "ADDAWY", "ADDAIRWAY"),
)
_MOST_AIRCRAFT = 32_000
_TAKE_OFF_RAD = 2.0 / 60.0 * 0.017453292519943295  # 2 NM


def _leave_out(state: State, name: str) -> None:
    """Leave an order to an aircraft in flight out."""
    state.left_out[name] += 1


def _cre(state: State, words: list[str]) -> None:
    """CRE callsign,type,lat,lon,hdg,alt,spd."""
    if len(words) < 3 or not words[0]:
        raise Skipped("expected CRE callsign,type,lat,lon,hdg,alt,spd")
    name, kind = words[0].upper(), words[1].upper() or "B744"
    point, _, rest = state.position(words[2:])
    state.near = point
    if len(rest) > 3:
        raise Skipped(f"expected CRE callsign,type,lat,lon,hdg,alt,spd, got {len(words)} values after CRE")
    course, height, knots = [*rest, "", "", ""][:3]
    track_deg = _course(state, course, point) if course else state.heading_deg
    altitude = altitude_m(height) if height else 0.0
    speed_mps = _true_speed(state, knots, altitude, name) if knots else 0.0
    _enter(state, Aircraft(name, kind, point, track_deg, altitude, speed_mps, state.time_s))


def _enter(state: State, aircraft: Aircraft) -> None:
    """Add a new aircraft."""
    before = state.flying.get(aircraft.name)
    if before and not (state.area and state.has_flown(before)):
        raise Skipped(f"{aircraft.name} exists already")
    if len(state.aircraft) >= _MOST_AIRCRAFT:
        raise ConfigurationError(f"expected at most {_MOST_AIRCRAFT:,} aircraft. Split the file.")
    if before:  # which may have left the area by then, and so be deleted
        state.again.append(aircraft.name)
    state.aircraft.append(aircraft)
    state.flying[aircraft.name] = aircraft


def _course(state: State, word: str, point: Point) -> float:
    """Return a heading (degrees), or the one towards a place."""
    if word[0].isalpha() and not word[1:].replace(".", "").isdigit():
        return bearing(point, state.position([word])[0])
    if "M" in word.upper():
        raise ConfigurationError(f"expected a true heading, got the magnetic one {word[:60]}. Write the true one.")
    return heading(word)


def _true_speed(state: State, word: str, altitude: float, name: str) -> float:
    """Return the true airspeed (m/s) that a word means."""
    found = speed(word)
    if not state.reads_mach and "M" not in word.upper():
        found = found._replace(is_mach=False)
    elif state.reads_mach and not found.is_mach and 0.1 < found.value < 2.0:
        state.slow.append(name)
    return true_speed(found, altitude)


def _creconfs(state: State, words: list[str]) -> None:
    """CRECONFS callsign,type,target,angle,distance NM,time,[height,time,speed]."""
    if not 6 <= len(words) <= 9:
        raise Skipped("expected CRECONFS callsign,type,target,angle,distance,time,[height,time,speed]")
    target = state.called(words[2:3])
    if state.has_flown(target):
        raise ConfigurationError(
            f"CRECONFS depends on where {target.name} is at that time. Write the aircraft as CRE."
        )
    height, _, knots = [*words[6:], "", "", ""][:3]
    made = in_conflict(
        target,
        words[0].upper(),
        words[1].upper(),
        heading(words[3]),
        number(words[4], "the distance in NM"),
        seconds(words[5]),
        altitude_m(height) if height else None,
        speed(knots) if knots else None,
    )
    made.entry_s = state.time_s
    _enter(state, made)


def _del(state: State, words: list[str]) -> None:
    """DEL callsign, ALL, WIND or shape."""
    for word in words or [""]:
        name = word.upper()
        if name == "WIND":
            state.winds.clear()
        elif name == "ALL" and name not in state.flying:
            for each in list(state.flying):
                _remove(state, each)
        elif name in state.flying:
            _remove(state, name)
        elif state.shapes.pop(name, None) is None:
            raise Skipped(f"there is no aircraft or shape '{name[:60]}'")


def _remove(state: State, name: str) -> None:
    """Remove an aircraft; one that has flown is kept, without its callsign."""
    aircraft = state.flying.pop(name)
    if state.has_flown(aircraft):
        _leave_out(state, "DEL")
    else:
        state.aircraft.remove(aircraft)


def _spd(state: State, words: list[str]) -> None:
    """SPD callsign,speed."""
    aircraft = state.called(words)
    is_late = state.has_flown(aircraft)
    if len(words) != 2 or (is_late and not aircraft.is_told_to_hover):
        return _leave_out(state, "SPD")
    selected = _true_speed(state, words[1], aircraft.altitude_m, aircraft.name)
    aircraft.selected_mps = selected  # who hovers until then flies from the beginning: it could not set off later
    if is_late or (abs(selected - aircraft.speed_mps) > KNOT_MPS and not aircraft.is_told_to_hover):
        _leave_out(state, "SPD")
    return None


def _casmachthr(state: State, words: list[str]) -> None:
    """CASMACHTHR threshold."""
    state.reads_mach = number(words[0] if words else "", "the threshold") > 0.1


def _of_route(state: State, words: list[str]) -> Aircraft:
    """Return the aircraft whose route changes; note one that has flown for a while."""
    aircraft = state.called(words)
    if state.has_flown(aircraft):
        state.late[aircraft.name] = None
    return aircraft


def _dest(state: State, words: list[str]) -> None:
    """DEST callsign,position,[speed]."""
    aircraft = state.called(words)
    if len(words) < 2 or not words[1]:
        return None
    point, name, rest = state.position(words[1:], aircraft.end_deg if aircraft.route else None)
    if len(rest) > 1:
        raise Skipped("expected DEST callsign,lat,lon")
    if rest and rest[0]:
        speed(rest[0])
    if state.has_flown(aircraft) and aircraft.flown_deg:
        return _leave_out(state, "DEST")
    return _of_route(state, words).go_to(name, point)


def _orig(state: State, words: list[str]) -> None:
    """ORIG callsign,position: from where it comes, which changes nothing here."""
    aircraft = state.called(words)
    if len(words) > 1 and words[1]:
        try:
            point, name, _ = state.position(words[1:], aircraft.end_deg if aircraft.route else None)
        except ConfigurationError as error:
            raise Skipped(str(error)) from None
        aircraft.come_from(name, point)


def _addwpt(state: State, words: list[str]) -> None:
    """ADDWPT callsign,position,[altitude,speed,after,before]; or callsign,FLYTURN, or callsign,TURNSPD,10."""
    aircraft = state.called(words)
    word = words[1].upper().replace("-", "") if len(words) > 1 else ""
    if word in _TURNS:
        return
    rest: list[str] = []
    if word == "TAKEOFF":
        point, name = _take_off(state, aircraft, words[2:]), f"T/O-{aircraft.name}"
    else:
        point, name, rest = state.position(words[1:], aircraft.end_deg)
        if name and "/" not in name:
            point = state.places.waypoint(name, point) or point
    if len(rest) > 4:
        raise Skipped("expected ADDWPT callsign,lat,lon,alt,spd,after,before")
    height, knots, after, before = [*rest, "", "", "", ""][:4]
    if height:
        altitude_m(height)
    if knots:
        speed(knots)
    for each in (after, before):
        if each and each != "*":
            aircraft.waypoint(each)
    _of_route(state, words).add(name, point, after.upper(), before.upper())


def _take_off(state: State, aircraft: Aircraft, words: list[str]) -> Point:
    """Return the waypoint of a take-off: 2 NM beyond the runway's threshold, or straight on."""
    runways = [each for each in aircraft.route if "/RW" in each.name]
    if words and words[0]:
        point = state.position([words[0].replace("/RWY", "/RW"), *words[1:]])[0]
        return beyond(point, state.heading_deg, _TAKE_OFF_RAD)
    if runways:
        point = state.position([runways[0].name])[0]
        return beyond(point, state.heading_deg, _TAKE_OFF_RAD)
    return beyond(aircraft.position_deg, aircraft.track_deg, _TAKE_OFF_RAD)


def _addwptmode(state: State, words: list[str]) -> None:
    """ADDWPTMODE callsign,mode,[value]: how it turns."""
    state.called(words)


def _addwaypoints(state: State, words: list[str]) -> None:
    """ADDWAYPOINTS callsign, then lat,lon,alt,spd,turn (and a value of the turn) for each waypoint."""
    aircraft, values = _of_route(state, words), words[1:]
    rows = next((size for size in (5, 6) if len(values) % size == 0), 2)
    if rows == 2:  # without places for altitude and speed
        values = [value for value in values if value and value.upper() not in _TURNS]
        if len(values) % 2 or not all(map(is_latitude, values)):
            raise Skipped("expected lat,lon,alt,spd,turn of each waypoint")
    points = [(latitude(values[at]), longitude(values[at + 1])) for at in range(0, len(values), rows)]
    for point in points:
        aircraft.add("", point)


def _after(state: State, words: list[str]) -> None:
    """AFTER callsign,waypoint,ADDWPT,position,[altitude,speed]."""
    _beside(state, words, is_after=True)


def _before(state: State, words: list[str]) -> None:
    """BEFORE callsign,waypoint,ADDWPT,position,[altitude,speed]."""
    _beside(state, words, is_after=False)


def _beside(state: State, words: list[str], is_after: bool) -> None:
    """Add a waypoint beside another one."""
    aircraft = state.called(words)
    if len(words) < 4:
        raise Skipped("expected callsign,waypoint,ADDWPT,position")
    if is_latitude(words[3]):
        raise Skipped("expected the name of a place: BlueSky reads no latitudes here")
    beside = aircraft.waypoint(words[1]).name
    point, name, _ = state.position(words[3:], aircraft.end_deg)
    after, before = (beside, "") if is_after else ("", beside)
    _of_route(state, words).add(name, point, after, before)


def _delwpt(state: State, words: list[str]) -> None:
    """DELWPT callsign,waypoint."""
    aircraft = state.called(words)
    if state.has_flown(aircraft):
        return _leave_out(state, "DELWPT")
    return aircraft.drop(words[1].upper() if len(words) > 1 else "")


def _delrte(state: State, words: list[str]) -> None:
    """DELRTE callsign."""
    aircraft = state.called(words)
    if state.has_flown(aircraft):
        return _leave_out(state, "DELRTE")
    return aircraft.drop("*")


def _direct(state: State, words: list[str]) -> None:
    """DIRECT callsign,waypoint."""
    aircraft = state.called(words)
    if state.has_flown(aircraft):
        return _leave_out(state, "DIRECT")
    aircraft.active = aircraft.waypoint(words[1] if len(words) > 1 else "")
    return None


def _order(name: str, state: State, words: list[str]) -> None:
    """Leave an order to an aircraft in flight out; following the route is what they do anyway."""
    if not (name in ("LNAV", "VNAV") and words[-1:] and words[-1].upper() in ("ON", "TRUE", "YES", "1")):
        _leave_out(state, name)


COMMANDS: dict[str, Callable[[State, list[str]], None]] = {
    "CRE": _cre,
    "CRECONFS": _creconfs,
    "DEL": _del,
    "DEST": _dest,
    "ORIG": _orig,
    "ADDWPT": _addwpt,
    "ADDWPTMODE": _addwptmode,
    "ADDWAYPOINTS": _addwaypoints,
    "AFTER": _after,
    "BEFORE": _before,
    "DELWPT": _delwpt,
    "DELRTE": _delrte,
    "DIRECT": _direct,
    "SPD": _spd,
    "CASMACHTHR": _casmachthr,
    **{name: partial(_order, name) for name in _IN_FLIGHT},
}
"""What each command does, of those that make aircraft and routes, or give orders to them."""
