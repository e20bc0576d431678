"""pandas, Polars and DuckDB read the shards as they are: the queries of the documentation, run."""

import ast
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.writer import DatasetWriter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dataset(tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]) -> Dataset:
    """A Parquet dataset of 10 episodes in 3 shards."""
    fill(tmp_path / "data", make_manifest("parquet"))
    return open_dataset(tmp_path / "data")


def test_units_are_in_the_metadata(dataset: Dataset) -> None:
    units = run("import pyarrow", dataset)
    assert (units["nearest_m"], units["track_rad"], units["speed_mps"]) == ("m", "rad", "m/s")
    fields = pq.read_schema(dataset.path / "shards" / dataset.manifest.shard_name(0))
    assert fields.field("outcome").metadata[b"meaning"] == (
        b"after this step: 0 flying, 1 waypoint, 2 left_sector, 3 time_limit"
    )


def test_pandas_counts_conflicts_per_step(dataset: Dataset) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    found = run("import pandas", dataset)
    table = dataset.table()
    assert set(found.index) == set(table["step"].tolist())
    for step, mean in found.items():
        assert mean == pytest.approx(table["conflicts"][table["step"] == step].mean())


def test_polars_says_how_near_the_nearest_is(dataset: Dataset) -> None:
    pytest.importorskip("polars", reason="Polars is not installed")
    found = run("import polars", dataset)
    expected = np.nanquantile(dataset.table()["nearest_m"].astype(np.float64), (0.01, 0.5, 0.99))
    np.testing.assert_allclose(found.row(0), expected, rtol=1e-5)


def test_duckdb_makes_a_histogram_of_the_labels(dataset: Dataset) -> None:
    pytest.importorskip("duckdb", reason="DuckDB is not installed")
    found = run("import duckdb", dataset)
    table = dataset.table()
    expected = Counter(
        zip((table["conflicts"] > 0).tolist(), np.floor(table["teacher_turn"] * np.float32(5)).astype(int).tolist())
    )
    assert {(bool(flag), round(turn * 5)): rows for flag, turn, rows in found} == expected


def test_fastparquet_reads_them(dataset: Dataset) -> None:
    fastparquet = pytest.importorskip("fastparquet", reason="fastparquet is not installed")
    path = dataset.path / "shards" / dataset.manifest.shard_name(0)
    with open(path, "rb") as file:  # of a name it leaves the file open
        frame, table = fastparquet.ParquetFile(file).to_pandas(), dataset.table(0)
    for name, values in table.items():
        np.testing.assert_array_equal(frame[name].to_numpy(), values, err_msg=name)


def run(beginning: str, dataset: Dataset) -> Any:
    """Run the snippet of `docs/datasets.md` that begins so, on a dataset; return its last expression."""
    text = (ROOT / "docs" / "datasets.md").read_text().replace("data/mvp", str(dataset.path))
    (snippet,) = [
        each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if each.startswith(beginning)
    ]
    *statements, last = ast.parse(snippet).body
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(ast.Module(statements, []), "datasets.md", "exec"), names)
    return eval(compile(ast.Expression(last.value), "datasets.md", "eval"), names)
