from collections.abc import Callable
from pathlib import Path

import pytest

from skyclone.datasets.conversion import convert
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.arithmetic import OtherArithmetic
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.writer import DatasetWriter


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
