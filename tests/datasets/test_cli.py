import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from skyclone.datasets.cli import datasets
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.writer import DatasetWriter


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(datasets, [str(argument) for argument in arguments])


def test_info_as_json_is_one_object_on_stdout(dataset: Dataset) -> None:
    result = _run("info", dataset.path, "--json")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["content_hash"] == dataset.content_hash
    assert (data["rows"], data["shards"], data["complete"]) == (dataset.rows, 3, True)
    assert result.stderr == ""


def test_info_knows_incomplete_datasets(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path, make_manifest(), range(2))
    assert json.loads(_run("info", tmp_path, "--json").stdout)["complete"] is False
    assert "complete             False" in _run("info", tmp_path).stdout


def test_verify_says_all_is_sound_or_names_what_is_not(dataset: Dataset) -> None:
    result = _run("verify", dataset.path)
    assert result.exit_code == 0
    assert "3 shards" in result.stdout
    assert "all sound" in result.stdout
    name = dataset.manifest.shards[1].name
    path = dataset.path / "shards" / name
    path.write_bytes(path.read_bytes()[:-3])
    (path.parent / "stray").touch()
    result = _run("verify", dataset.path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"{name}: cut: expected" in result.stderr
    assert "stray: foreign" in result.stderr
    assert "2 problem(s)" in result.stderr


def test_convert_writes_the_other_format(dataset: Dataset, tmp_path: Path) -> None:
    other = {"parquet": "hdf5", "hdf5": "parquet"}[dataset.manifest.format]
    result = _run("convert", dataset.path, tmp_path / "out", "--format", other)
    assert result.exit_code == 0
    assert result.stdout == ""
    converted = open_dataset(tmp_path / "out")
    assert (converted.content_hash, converted.manifest.format) == (dataset.content_hash, other)
    assert "datasets convert" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_is_no_dataset_is_an_error_for_the_front_door(tmp_path: Path, command: str) -> None:
    result = _run(command, tmp_path)
    assert isinstance(result.exception, DatasetError)  # the front door prints it and exits 1
    assert "is no dataset" in str(result.exception)


def test_wrong_use_exits_2(dataset: Dataset, tmp_path: Path) -> None:
    result = _run("convert", dataset.path, tmp_path / "out", "--format", "csv")
    assert result.exit_code == 2
    assert "'csv' is not one of 'parquet', 'hdf5'" in result.stderr
    assert _run("info").exit_code == 2


@pytest.mark.parametrize("command", ["info", "verify", "convert"])
def test_every_command_has_help(command: str) -> None:
    assert len(_run(command, "--help").stdout) > 100
