import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from skyclone.datasets import Dataset
from skyclone.datasets.errors import CheckpointError, ConfigurationError, DatasetError, ObservationError
from skyclone.train.cloning.cli import train

SMALL = ("--model", "pairwise:width=8:hidden=8", "--observation", "ego:intruders=4", "--batch-size", 512)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(train, [str(argument) for argument in arguments])


def test_a_dataset_that_was_moved_is_named_anew(small_dataset: Dataset, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(small_dataset.path, data)
    assert invoke("--data", data, "--out", out, *SMALL, "--epochs", 1).exit_code == 0
    moved = data.rename(tmp_path / "moved")
    error = invoke("--out", out, "--resume").exception
    assert str(error) == f"the run's dataset is no longer at {data}. If it was moved, say where: --data DIR"
    assert invoke("--data", moved, "--out", out, "--resume").exit_code == 0


def test_train_resume_and_more(small_dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = invoke("--data", small_dataset.path, "--out", out, *SMALL, "--epochs", 2)
    assert result.exit_code == 0, result.exception
    assert "Stage 1 - Iter 2/2 | Imitation Loss: " in result.stderr
    assert f"Next: skyclone evaluate {out}" in result.stderr
    assert json.loads((out / "config.json").read_text())["config"]["epochs"] == 2

    again = invoke("--out", out, "--resume")
    assert again.exit_code == 0, again.exception
    assert "Going on from iteration 2, finished." in again.stderr

    for extra in (("--lr", 0.5), ("--observation", "seed")):
        different = invoke("--data", small_dataset.path, "--out", out, *SMALL, *extra, "--resume")
        assert isinstance(different.exception, CheckpointError)
        assert f"got {extra[1]}" in str(different.exception)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ["--model", "mpl"],
            ConfigurationError,
            "unknown model 'mpl'. There are: attention-additive, attention-dot, ",
        ),
        (["--observation", "sead"], ObservationError, "unknown observation 'sead'. There are: seed, ego, cpa"),
        (["--device", "tpu9"], ConfigurationError, "no device 'tpu9'. There are: cpu"),
        (["--epochs", "0"], ConfigurationError, "expected epochs of 1 or more"),
    ],
)
def test_wrong_values(
    small_dataset: Dataset, tmp_path: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    result = invoke("--data", small_dataset.path, "--out", tmp_path / "run", *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_wrong_use(tmp_path: Path) -> None:
    assert invoke("--out", tmp_path / "run").exit_code == 2
    assert "Missing option '--data'" in invoke("--out", tmp_path / "run").stderr
    assert invoke("--out", tmp_path / "run", "--epochs", "many").exit_code == 2
    result = invoke("--data", tmp_path, "--out", tmp_path / "run")
    assert isinstance(result.exception, DatasetError)
    assert "is no dataset" in str(result.exception)


def test_no_permission(small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = invoke("--data", small_dataset.path, "--out", tmp_path / "run", *SMALL, "--epochs", 1)
    assert isinstance(result.exception, PermissionError)
