"""A flight as BlueSky's scenario file, which plays it back.

Each aircraft is created where it starts, moved at every step to where it was, and given the heading and the speed
that were flown for; so what BlueSky integrates in between is flown by its own autopilot, and no error adds up.
"""

from ...datasets.console import printable
from ..airspace.units import FOOT_M, KNOT_MPS, NAUTICAL_MILE_M
from ..scenarios.scn.atmosphere import calibrated_of_true
from .flight import Flight, Track

MARK = b"# skyclone flight"
"""The beginning of each of our files."""


def encode(flight: Flight) -> bytes:
    """Return the file. Winds are not in it: speeds over ground are flown as airspeeds."""
    lines = [
        MARK.decode() + f": {' '.join(printable(flight.title).split())}",  # of one line, whatever is in it
        "# CASMACHTHR 0: no speed is a Mach number; RESO OFF: what was flown is flown",
        *(f"{_stamp(0.0)}>{command}" for command in ("CASMACHTHR 0", "RESO OFF")),
        f"{_stamp(0.0)}>ZONER {flight.zone_m / NAUTICAL_MILE_M:.6f}",
    ]
    commands = [each for track in flight.tracks for each in _commands(track, flight.altitude_m)]
    commands.sort(key=lambda each: each[0])  # of one time in the order of the aircraft
    lines += [f"{_stamp(time_s)}>{text}" for time_s, text in commands]
    return "\n".join(lines).encode() + b"\n"


def _commands(track: Track, altitude_m: float) -> list[tuple[float, str]]:
    """Return the commands for one aircraft, with their times."""
    height = f"{altitude_m / FOOT_M:.1f}"
    found: list[tuple[float, str]] = []
    for number, time_s in enumerate(track.time_s.tolist()):
        place = f"{track.place_deg[number, 0]:.7f},{track.place_deg[number, 1]:.7f}"
        heading, speed = f"{track.track_deg[number]:.3f}", _knots(track.speed_mps[number], altitude_m)
        if number == 0:
            found.append((time_s, f"CRE {track.callsign},{track.kind},{place},{heading},{height},{speed}"))
        else:
            found.append((time_s, f"MOVE {track.callsign},{place},{height},{heading},{speed}"))
        if number < len(track.to_track_deg):
            found.append((time_s, f"HDG {track.callsign},{track.to_track_deg[number]:.3f}"))
            found.append((time_s, f"SPD {track.callsign},{_knots(track.to_speed_mps[number], altitude_m)}"))
    found.append((float(track.time_s[-1]), f"DEL {track.callsign}"))
    return found


def _knots(speed_mps: float, altitude_m: float) -> str:
    """Return a speed as BlueSky reads it, calibrated: between 0.1 and 1 it would take it for a Mach number."""
    knots = calibrated_of_true(float(speed_mps), altitude_m) / KNOT_MPS
    if 0.1 < knots < 1.0:
        knots = 1.0 if knots > 0.5 else 0.1
    return f"{knots:.4f}"


def _stamp(time_s: float) -> str:
    """Return a time as BlueSky reads it."""
    minutes, seconds = divmod(time_s, 60.0)
    return f"{int(minutes) // 60:02d}:{int(minutes) % 60:02d}:{seconds:05.2f}"
