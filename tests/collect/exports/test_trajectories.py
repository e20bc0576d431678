"""The table in the columns of the library `traffic`: it reads Parquet by pandas."""

import io

import pyarrow.parquet as pq
import pytest

from skyclone.collect.exports import trajectories
from skyclone.collect.exports.flight import Flight


def test_columns_and_units(two: Flight) -> None:
    table = trajectories.table(two)
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


def test_pandas_reads_it(two: Flight) -> None:
    pandas = pytest.importorskip("pandas")
    data = trajectories.encode(two)
    frame = pandas.read_parquet(io.BytesIO(data))
    assert str(frame.timestamp.dt.tz) == "UTC"
    assert frame.groupby("flight_id").size().to_dict() == {"SC000": 3, "SC001": 3}
    assert trajectories.KEY in pq.read_metadata(io.BytesIO(data)).metadata
