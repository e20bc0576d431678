"""Small made-up tables and datasets, without a world: fast, and free of torch."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.files import hdf5, parquet
from skyclone.datasets.files.arithmetic import OtherArithmetic
from skyclone.datasets.files.manifest import Manifest, save_manifest
from skyclone.datasets.files.shards import write_shard
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.traffic.record import COLUMNS, Table

CODECS = {"parquet": parquet, "hdf5": hdf5}


def _table(
    episodes: range, seed: int = 0, aircraft: int = 4, steps: int = 5, hovering: Sequence[int] = ()
) -> Table:
    """Make a table that follows the record; the values of an episode depend on (seed, episode) only."""
    parts: list[Table] = []
    for episode in episodes:
        random = np.random.default_rng((seed, episode))
        flying = np.ones((steps, aircraft), bool)
        for number in range(1, aircraft):  # some end earlier; the first flies to the end
            flying[int(random.integers(1, steps + 1)) :, number] = False
        step, number = np.nonzero(flying)
        rows = len(step)
        part: Table = {"episode": np.full(rows, episode, np.int32), "step": step, "aircraft": number}
        for column in COLUMNS[3:]:
            part[column.name] = random.uniform(-1, 1, rows)
        part["conflicts"] = random.integers(0, 3, rows)
        part["outcome"] = random.integers(0, 4, rows)
        for name in ("tcpa_s", "dcpa_m"):
            part[name][part["conflicts"] == 0] = np.nan
        for name in ("waypoint_east_m", "waypoint_north_m"):
            part[name][np.isin(number, hovering)] = np.nan
        parts.append(part)
    return {
        column.name: np.concatenate([part[column.name] for part in parts]).astype(column.dtype)
        for column in COLUMNS
    }


def _manifest(format: str = "parquet", episodes: int = 10, **changes: object) -> Manifest:
    """Make the manifest of a dataset with 4 episodes a shard and no shards yet."""
    fields: dict = {
        "world": {"aircraft": 4, "step_s": 1.0},
        "scenario": "sector",
        "teacher": "mvp",
        "pilot": "teacher",
        "noise": 0.0,
        "seed": 0,
        "episodes_per_shard": 4,
        "code": "0.1.0+test",
        "packages": {"python": "3.11"},
    }
    return Manifest(format=format, episodes=episodes, **{**fields, **changes})


def _fill(
    folder: Path,
    manifest: Manifest,
    shards: range | None = None,
    other: OtherArithmetic = OtherArithmetic.REFUSE,
    hovering: Sequence[int] = (),
) -> DatasetWriter:
    """Make the missing shards of a dataset as the collector does."""
    lines: list[str] = []
    writer = DatasetWriter(folder, manifest, lines.append, other, shards)
    writer.lines = lines  # type: ignore[attr-defined]
    writer.made = writer.missing(shards or range(writer.manifest.shard_count))  # type: ignore[attr-defined]
    for index in writer.made:  # type: ignore[attr-defined]
        table = _table(writer.manifest.shard_episodes(index), manifest.seed, hovering=hovering)
        figures = {"conflicts": 3.0, "episodes": float(len(writer.manifest.shard_episodes(index)))}
        writer.add(write_shard(folder, writer.manifest, index, table, figures, manifest.arithmetic))
    writer.finish("skyclone collect")
    return writer


def _restamp(dataset: Dataset, index: int, change: Callable[[dict[str, Any]], object]) -> Dataset:
    """Change the stamp in a shard's file, and the manifest so that it matches: its sizes, hashes and figures."""
    entry = dataset.manifest.entry(index)
    assert entry is not None
    path = dataset.path / "shards" / entry.name
    codec = CODECS[dataset.manifest.format]
    table, text = codec.decode(path.read_bytes())
    stamp = json.loads(text)
    change(stamp)
    data = codec.encode(table, json.dumps(stamp))
    path.write_bytes(data)
    found = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "figures": stamp["figures"]}
    save_manifest(dataset.path, dataset.manifest.with_shards([replace(entry, **found)]))
    return open_dataset(dataset.path)


@pytest.fixture
def restamp() -> Callable[..., Dataset]:
    return _restamp


@pytest.fixture
def make_table() -> Callable[..., Table]:
    return _table


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    return _manifest


@pytest.fixture
def fill() -> Callable[..., DatasetWriter]:
    return _fill


@pytest.fixture(params=["parquet", "hdf5"])
def format(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a format is run with each of them."""
    return str(request.param)


@pytest.fixture
def dataset(tmp_path: Path, format: str) -> Dataset:
    """A complete dataset of 10 episodes in 3 shards."""
    _fill(tmp_path / "data", _manifest(format))
    return open_dataset(tmp_path / "data")
