from collections.abc import Callable
from pathlib import Path

import pytest

from skyclone.datasets.conversion import convert
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.arithmetic import OtherArithmetic
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.shards import write_shard
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.traffic.record import Table


def test_there_and_back_keeps_every_byte(dataset: Dataset, tmp_path: Path) -> None:
    other = {"parquet": "hdf5", "hdf5": "parquet"}[dataset.manifest.format]
    rows: list[int] = []
    there = convert(dataset, tmp_path / "there", other, progress=rows.append)
    back = convert(open_dataset(tmp_path / "there"), tmp_path / "back", dataset.manifest.format)
    assert there.content_hash == back.content_hash == dataset.content_hash
    assert back == dataset.manifest  # bytes and hashes of every shard included
    assert sum(rows) == dataset.rows
    assert open_dataset(tmp_path / "there").verify() == []


def test_a_conversion_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    convert(dataset, tmp_path / "out", "hdf5")
    (tmp_path / "out" / "shards" / "00001.h5").unlink()
    rows: list[int] = []
    convert(dataset, tmp_path / "out", "hdf5", progress=rows.append)
    assert rows == [dataset.manifest.shards[1].rows]


def test_a_mixture_of_arithmetics_stays_marked(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path / "data", make_manifest(arithmetic="portable-1"), range(0, 1))
    fill(tmp_path / "data", make_manifest(arithmetic="torch"), None, OtherArithmetic.KEEP)
    convert(open_dataset(tmp_path / "data"), tmp_path / "out", "hdf5")
    out = open_dataset(tmp_path / "out")
    assert [out.manifest.arithmetic_of(index) for index in range(3)] == ["portable-1", "torch", "torch"]
    assert out.verify() == []


def test_a_conversion_does_not_overwrite(
    dataset: Dataset, tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    with pytest.raises(DatasetError, match="is the dataset itself"):
        convert(dataset, dataset.path, "hdf5")
    with pytest.raises(DatasetError, match=r"unknown format 'csv'\. There are: parquet, hdf5"):
        convert(dataset, tmp_path / "out", "csv")
    fill(tmp_path / "remade", make_manifest("hdf5", arithmetic="portable-1"))
    with pytest.raises(DatasetError, match="made by 'portable-1' there, by the older arithmetic"):
        convert(dataset, tmp_path / "remade", "hdf5")
    fill(tmp_path / "other", make_manifest("hdf5", seed=4))
    with pytest.raises(DatasetError, match="holds another dataset: seed 4 there, 0 now"):
        convert(dataset, tmp_path / "other", "hdf5")


def test_a_refused_conversion_changes_nothing(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    """The dataset was made again and extended meanwhile: the older conversion is of other rows."""
    fill(tmp_path / "out", make_manifest("hdf5", arithmetic="torch"))
    fill(tmp_path / "data", make_manifest(episodes=18, arithmetic="portable-1"))
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(DatasetError, match=r"made by 'torch' there, by 'portable-1' now\. Nothing was changed"):
        convert(open_dataset(tmp_path / "data"), tmp_path / "out", "hdf5")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_what_was_made_otherwise_since_is_converted_again(
    tmp_path: Path,
    fill: Callable[..., DatasetWriter],
    make_manifest: Callable[..., Manifest],
    make_table: Callable[..., Table],
) -> None:
    manifest = make_manifest(arithmetic="torch")
    fill(tmp_path / "data", manifest)
    convert(open_dataset(tmp_path / "data"), tmp_path / "out", "hdf5")
    healed = DatasetWriter(tmp_path / "data", make_manifest(arithmetic="portable-1"), print, OtherArithmetic.KEEP)
    table = make_table(range(4, 8), seed=3)
    healed.add(write_shard(tmp_path / "data", manifest, 1, table, arithmetic="portable-1"))
    rows: list[int] = []
    dataset = open_dataset(tmp_path / "data")
    converted = convert(dataset, tmp_path / "out", "hdf5", progress=rows.append)
    assert rows == [dataset.manifest.shards[1].rows]
    assert converted.content_hash == dataset.content_hash
    assert converted.arithmetics == {"torch": 2, "portable-1": 1}
    assert open_dataset(tmp_path / "out").verify() == []
