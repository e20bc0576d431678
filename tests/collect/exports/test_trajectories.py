"""The table in the columns of the library `traffic`: it reads Parquet by pandas."""

import io
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from skyclone.collect.exports import trajectories
from skyclone.collect.exports.flight import Flight, Track


def two() -> Flight:
    """Return two aircraft, one of which enters two seconds later."""
    zero, places = np.zeros(2), np.array([[52.0, 4.0 + i / 10] for i in range(3)])
    rest = (places, np.full(3, 90.0), np.full(3, 9.0), zero, zero)
    tracks = tuple(Track(n, f"SC{n:03d}", "M600", np.arange(3.0) + 2 * n, *rest) for n in range(2))
    return Flight("two", datetime(2026, 3, 1, 12, tzinfo=UTC), 1.0, 100.0, 30.0, tracks)


def test_columns_and_units() -> None:
    table = trajectories.table(two())
    assert table.column_names == [
        *("timestamp", "icao24", "callsign", "flight_id", "typecode", "latitude", "longitude", "altitude"),
        *("groundspeed", "track", "vertical_rate", "onground"),
    ]
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    rows = table.to_pylist()
    assert len(rows) == 6
    assert rows[3]["timestamp"].isoformat() == "2026-03-01T12:00:02+00:00"
    assert (rows[3]["icao24"], rows[3]["callsign"], rows[3]["typecode"]) == ("000001", "SC001", "M600")
    assert rows[0]["altitude"] == pytest.approx(98.4252, abs=1e-3)  # 30 m
    assert rows[0]["groundspeed"] == pytest.approx(17.4946, abs=1e-3)  # 9 m/s


def test_pandas_reads_it() -> None:
    pandas = pytest.importorskip("pandas")
    data = trajectories.encode(two())
    frame = pandas.read_parquet(io.BytesIO(data))
    assert str(frame.timestamp.dt.tz) == "UTC"
    assert frame.groupby("flight_id").size().to_dict() == {"SC000": 3, "SC001": 3}
    assert trajectories.KEY in pq.read_metadata(io.BytesIO(data)).metadata
