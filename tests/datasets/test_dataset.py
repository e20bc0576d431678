import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skyclone.datasets import open_dataset
from skyclone.datasets.dataset import Dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.traffic.record import COLUMN_NAMES, Table, check_table, content_hash


def test_all_shards_make_one_table(dataset: Dataset, make_table: Callable[..., Table]) -> None:
    table, expected = dataset.table(), make_table(range(10))
    check_table(table)
    assert content_hash(table) == content_hash(expected)
    assert list(table) == list(COLUMN_NAMES)
    assert dataset.rows == len(table["step"])
    assert dataset.episodes == 10
    assert dataset.shards == [0, 1, 2]
    assert np.array_equal(np.concatenate([part["reward"] for part in dataset.tables()]), table["reward"])
    assert str(dataset.path) in repr(dataset)


def test_the_content_hash_knows_no_format(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    hashes = {}
    for format, seed in (("parquet", 0), ("hdf5", 0), ("parquet", 1)):
        fill(tmp_path / f"{format}{seed}", make_manifest(format, seed=seed))
        hashes[format, seed] = open_dataset(tmp_path / f"{format}{seed}").content_hash
    assert hashes["parquet", 0] == hashes["hdf5", 0] != hashes["parquet", 1]


def test_a_sound_dataset_has_no_problems(dataset: Dataset) -> None:
    (dataset.path / "shards" / ".skyclone-0123456789abcdef.tmp").write_bytes(b"")  # of a run going on
    assert dataset.verify() == []


def test_verify_names_each_problem(
    tmp_path: Path, format: str, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path, make_manifest(format, episodes=28))
    dataset = open_dataset(tmp_path)
    paths = [tmp_path / "shards" / entry.name for entry in dataset.manifest.shards]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    flipped = bytearray(paths[2].read_bytes())
    flipped[60] ^= 4
    paths[2].write_bytes(flipped)
    os.replace(paths[4], tmp_path / "spare")
    os.replace(paths[5], paths[4])
    os.replace(tmp_path / "spare", paths[5])
    paths[6].rename(tmp_path / "shards" / "shard-6")
    found = {(problem.shard, problem.what) for problem in dataset.verify()}
    assert found == {
        (paths[0].name, "missing"),
        (paths[1].name, "cut"),
        (paths[2].name, "altered"),
        (paths[4].name, "swapped"),
        (paths[5].name, "swapped"),
        (paths[6].name, "missing"),
        ("shard-6", "foreign"),
    }


def test_verify_knows_shards_that_are_not_there_yet(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path, make_manifest(), range(1, 2))
    fill(tmp_path / "other", make_manifest())
    (tmp_path / "other" / "shards" / "00002.parquet").rename(tmp_path / "shards" / "00002.parquet")
    found = [(problem.shard, problem.what) for problem in open_dataset(tmp_path, allow_incomplete=True).verify()]
    assert found == [("00000.parquet and others", "missing"), ("00002.parquet", "unlisted")]


def test_an_incomplete_dataset_is_not_opened_unasked(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path, make_manifest(), range(0, 1))
    with pytest.raises(DatasetError, match=r"is incomplete: expected 3 shards, got 1\. Run the `skyclone collect`"):
        open_dataset(tmp_path)
    part = open_dataset(tmp_path, allow_incomplete=True)
    assert set(part.table()["episode"].tolist()) == {0, 1, 2, 3}


def test_a_missing_or_cut_shard_is_noticed_on_opening(dataset: Dataset) -> None:
    path = dataset.path / "shards" / dataset.manifest.shards[2].name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=rf"shard {path.name}: expected \d+ bytes, got \d+\. The same `skyclone"):
        open_dataset(dataset.path)
    path.unlink()
    with pytest.raises(DatasetError, match=rf"shard {path.name} is missing"):
        open_dataset(dataset.path)


def test_what_is_no_dataset_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no dataset: there is no such folder"):
        open_dataset(tmp_path / "nothing")


def test_a_notebook_shows_what_is_in_it(dataset: Dataset) -> None:
    text = dataset._repr_html_()
    for part in (str(dataset.path), f"{dataset.rows:,}", "of 10 episodes", "3 shards", dataset.content_hash[:16]):
        assert part in text
    assert "incomplete" not in text


def test_a_notebook_says_that_shards_are_missing_and_escapes_names(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path, make_manifest(teacher="<b>mvp</b>", scenario="<i>"))
    dataset = open_dataset(tmp_path)
    incomplete = Dataset(dataset.path, replace(dataset.manifest, shards=dataset.manifest.shards[:1]))
    assert "incomplete: 1 of 3 shards" in incomplete._repr_html_()
    assert "&lt;b&gt;mvp&lt;/b&gt;" in incomplete._repr_html_()
    assert "<i>" not in incomplete._repr_html_()
