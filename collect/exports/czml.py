"""A flight as CZML, the format of Cesium: what flies where and when, as JSON.

Its form: https://github.com/AnalyticalGraphicsInc/czml-writer/wiki/CZML-Guide
"""

import json
from datetime import datetime, timedelta
from typing import Any

from .flight import Flight, Track

MARK = b'"description": "skyclone flight'
"""Stands at the beginning of each of our files."""
_COLOURS = ((78, 121, 167), (242, 142, 43), (89, 161, 79), (225, 87, 89), (118, 183, 178), (176, 122, 161))


def encode(flight: Flight) -> bytes:
    """Return the file."""
    interval = f"{_time(flight.start)}/{_time(flight.end)}"
    document = {
        "id": "document",
        "version": "1.0",
        "name": flight.title,
        "description": f"skyclone flight: {flight.title}",
        "clock": {"interval": interval, "currentTime": _time(flight.start), "multiplier": 5, "range": "LOOP_STOP"},
    }
    packets = [document, *(_packet(flight, track) for track in flight.tracks)]
    return json.dumps(packets, indent=1, allow_nan=False).encode() + b"\n"


def _packet(flight: Flight, track: Track) -> dict[str, Any]:
    """Return one aircraft: its positions, a point with its protected zone, its path, its name."""
    first, last = (flight.start + timedelta(seconds=float(track.time_s[end])) for end in (0, -1))
    colour = {"rgba": [*_COLOURS[track.number % len(_COLOURS)], 255]}
    faint = {"rgba": [*_COLOURS[track.number % len(_COLOURS)], 60]}
    positions = [
        value
        for time_s, (latitude, longitude) in zip(track.time_s.tolist(), track.place_deg.tolist(), strict=True)
        for value in (time_s, round(longitude, 8), round(latitude, 8), round(flight.altitude_m, 2))
    ]
    return {
        "id": track.callsign,
        "name": f"{track.callsign} ({track.kind})",
        "availability": f"{_time(first)}/{_time(last)}",
        "position": {
            "epoch": _time(flight.start),
            "cartographicDegrees": positions,
            "interpolationAlgorithm": "LAGRANGE",
            "interpolationDegree": 1,
        },
        "point": {"pixelSize": 8, "color": colour},
        "label": {"text": track.callsign, "font": "11pt sans-serif", "pixelOffset": {"cartesian2": [12, -12]}},
        "path": {
            "material": {"solidColor": {"color": colour}},
            "width": 2,
            "leadTime": 0,
            "trailTime": 60,
        },
        "ellipse": {  # two of them touch where separation is lost
            "semiMajorAxis": flight.zone_m / 2,
            "semiMinorAxis": flight.zone_m / 2,
            "height": flight.altitude_m,
            "material": {"solidColor": {"color": faint}},
        },
    }


def _time(when: datetime) -> str:
    """Return a time in ISO 8601."""
    return when.isoformat().replace("+00:00", "Z")
