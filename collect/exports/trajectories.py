"""A flight as a table in the columns of the library `traffic` (traffic-viz.github.io), in Parquet."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..airspace.units import FOOT_M, KNOT_MPS
from .flight import Flight

KEY = b"skyclone flight"
"""In the metadata of each of our files."""


def encode(flight: Flight) -> bytes:
    """Return the file: one row for each aircraft and moment; feet, knots and degrees, as `traffic` has them.

    `icao24` is the aircraft's number in hexadecimal, no real address.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table(flight), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def table(flight: Flight) -> pa.Table:
    """Return the table."""
    columns: dict[str, list[object]] = {
        "timestamp": [],
        **{name: [] for name in ("icao24", "callsign", "flight_id", "typecode")},
        **{name: [] for name in ("latitude", "longitude", "altitude", "groundspeed", "track", "vertical_rate")},
        "onground": [],
    }
    for track in flight.tracks:
        count = len(track.time_s)
        same = {
            "icao24": f"{track.number:06x}",
            "callsign": track.callsign,
            "flight_id": track.callsign,
            "typecode": track.kind,
            "altitude": flight.altitude_m / FOOT_M,
            "vertical_rate": 0.0,
            "onground": False,
        }
        for name, value in same.items():
            columns[name] += [value] * count
        columns["timestamp"] += [flight.start + timedelta(seconds=time_s) for time_s in track.time_s.tolist()]
        for name, values in (
            ("latitude", track.place_deg[:, 0]),
            ("longitude", track.place_deg[:, 1]),
            ("groundspeed", np.asarray(track.speed_mps) / KNOT_MPS),
            ("track", track.track_deg),
        ):
            columns[name] += values.tolist()
    made = pa.table({**columns, "timestamp": pa.array(columns["timestamp"], pa.timestamp("us", "UTC"))})
    return made.replace_schema_metadata({KEY: flight.title.encode(errors="backslashreplace")})
