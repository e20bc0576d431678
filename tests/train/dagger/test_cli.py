import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from skyclone.datasets import Dataset
from skyclone.datasets.errors import CheckpointError
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.run import Cloning
from skyclone.train.dagger.cli import dagger


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(dagger, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def clone(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weak clone."""
    out: Path = tmp_path_factory.mktemp("clone") / "run"
    config = CloningConfig(model="pairwise:width=8:hidden=8", observation="ego:intruders=4", epochs=1)
    Cloning([small_dataset], out, config, device="cpu", say=lambda line: None).train()
    return out


def test_dagger_and_resume(small_dataset: Dataset, clone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ("--rounds", 1, "--episodes", 3, "--probe", 2, "--gate-scenarios", 2, "--beta", 0.5)
    result = invoke("--from", clone, "--data", small_dataset.path, "--out", out, *small)
    assert result.exit_code == 0, result.exception
    assert "Round 1/1 | held-out " in result.stderr
    assert "visited by itself" in result.stderr
    assert f"Next: skyclone evaluate {out}/clone.safetensors {out}" in result.stderr
    assert json.loads((out / "config.json").read_text())["config"]["beta"] == 0.5
    manifest = json.loads((out / "rounds/1/data/dataset.json").read_text())
    assert manifest["pilot"].endswith("+0.5 teacher")
    again = invoke("--out", out, "--resume")
    assert again.exit_code == 0, again.exception
    different = invoke("--out", out, "--resume", "--rounds", 2)
    assert isinstance(different.exception, CheckpointError)
    assert "was begun with rounds 1 (got 2)" in str(different.exception)


def test_wrong_use(small_dataset: Dataset, clone: Path, tmp_path: Path) -> None:
    missing = invoke("--data", small_dataset.path, "--out", tmp_path / "run")
    assert (missing.exit_code, "Missing option '--from'" in missing.stderr) == (2, True)
    missing = invoke("--from", clone, "--out", tmp_path / "run")
    assert (missing.exit_code, "Missing option '--data'" in missing.stderr) == (2, True)
    nowhere = invoke("--from", tmp_path / "nowhere", "--data", small_dataset.path, "--out", tmp_path / "run")
    assert isinstance(nowhere.exception, CheckpointError)
    assert "expected a trained network at" in str(nowhere.exception)
    assert not (tmp_path / "run").exists()
