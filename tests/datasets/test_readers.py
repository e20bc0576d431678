"""pandas, Polars and DuckDB read the shards as they are: the queries of the documentation, run."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.manifest import Manifest
from skyclone.datasets.writer import DatasetWriter


@pytest.fixture
def dataset(tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]) -> Dataset:
    """A Parquet dataset of 10 episodes in 3 shards."""
    fill(tmp_path / "data", make_manifest("parquet"))
    return open_dataset(tmp_path / "data")


def test_units_are_in_the_metadata(dataset: Dataset) -> None:
    fields = pq.read_schema(dataset.path / "shards" / dataset.manifest.shard_name(0))
    units = {field.name: field.metadata[b"unit"].decode() for field in fields}
    assert (units["nearest_m"], units["track_rad"], units["speed_mps"]) == ("m", "rad", "m/s")
    assert fields.field("outcome").metadata[b"meaning"] == (
        b"after this step: 0 flying, 1 waypoint, 2 left_sector, 3 time_limit"
    )


def test_pandas_counts_conflicts_per_step(dataset: Dataset) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rows = pandas.read_parquet(dataset.path / "shards", columns=["step", "conflicts"])
    found = rows.groupby("step")["conflicts"].mean()
    table = dataset.table()
    assert len(rows) == dataset.rows
    for step, mean in found.items():
        assert mean == pytest.approx(table["conflicts"][table["step"] == step].mean())


def test_polars_says_how_near_the_nearest_is(dataset: Dataset) -> None:
    polars = pytest.importorskip("polars", reason="Polars is not installed")
    levels = (0.01, 0.5, 0.99)
    nearest = polars.col("nearest_m").fill_nan(None)
    found = (
        polars.scan_parquet(dataset.path / "shards" / "*.parquet")
        .select(nearest.quantile(level, "linear").alias(f"{level}") for level in levels)
        .collect()
    )
    expected = np.nanquantile(dataset.table()["nearest_m"].astype(np.float64), levels)
    np.testing.assert_allclose(found.row(0), expected, rtol=1e-5)


def test_duckdb_makes_a_histogram_of_the_labels(dataset: Dataset) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    with duckdb.connect() as connection:
        found = connection.execute(
            f"""
            SELECT conflicts > 0 AS in_conflict, floor(teacher_turn * 5) / 5 AS turn, count(*) AS rows
            FROM '{dataset.path}/shards/*.parquet' GROUP BY ALL ORDER BY ALL
            """
        ).fetchall()
    table = dataset.table()
    expected = Counter(
        zip((table["conflicts"] > 0).tolist(), np.floor(table["teacher_turn"] * np.float32(5)).astype(int).tolist())
    )
    assert {(bool(flag), round(turn * 5)): rows for flag, turn, rows in found} == expected
