"""Runs that an older version began go on: one of each stage, stopped by Ctrl-C, made at commit 4879f76.

Their files hold no hash and no history; `before/data` is what they learned from.
"""

import json
import shutil
from pathlib import Path

import pytest

from skyclone.datasets import Dataset, open_dataset
from skyclone.train import checkpoint, load_policy
from skyclone.train.cloning.config import load_config as load_cloning_config
from skyclone.train.cloning.run import Cloning
from skyclone.train.dagger.config import load_config as load_dagger_config
from skyclone.train.dagger.run import Dagger
from skyclone.train.finetuning.config import load_config as load_finetune_config
from skyclone.train.finetuning.run import Finetuning
from skyclone.train.tensor_file import read_tensors

BEFORE = Path(__file__).parent / "before"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A copy of them."""
    shutil.copytree(BEFORE, tmp_path / "before")
    return tmp_path / "before"


@pytest.fixture
def data(before: Path) -> list[Dataset]:
    return [open_dataset(before / "data")]


def quiet(line: str) -> None:
    """Say nothing."""


def test_its_checkpoints_load() -> None:
    paths = sorted(BEFORE.rglob("best.safetensors"))
    assert len(paths) == 3
    for path in paths:
        assert not read_tensors(path).is_checked
        assert load_policy(path).fingerprint == checkpoint.load(path).meta["weights_sha256"][:16]


def test_a_cloning_run(before: Path, data: list[Dataset]) -> None:
    log = (before / "clone" / "metrics.jsonl").read_text()
    run = Cloning(
        data, before / "clone", load_cloning_config(before / "clone")[0], resume=True, device="cpu", say=quiet
    )
    assert run.progress.epoch == 2
    summary = run.train()
    assert summary["iterations"] == 3
    assert summary["criteria"]["checkpoint_saved"]
    assert (before / "clone" / "metrics.jsonl").read_text().startswith(log)
    assert read_tensors(before / "clone" / "last.state.safetensors").is_checked


def test_a_finetuning_run(before: Path) -> None:
    log = (before / "tuned" / "metrics.jsonl").read_text()
    config = load_finetune_config(before / "tuned")[0]
    run = Finetuning(None, before / "tuned", config, resume=True, device="cpu", say=quiet)
    assert run.progress.iteration == 2
    summary = run.train()
    assert summary["steps"] >= config.steps
    assert summary["iterations"] > 2
    assert (before / "tuned" / "metrics.jsonl").read_text().startswith(log)


def test_a_dagger_run(before: Path, data: list[Dataset]) -> None:
    measured = (before / "dagger/rounds/1/measured.safetensors").read_bytes()
    config = load_dagger_config(before / "dagger")[0]
    summary = Dagger(None, data, before / "dagger", config, resume=True, device="cpu", say=quiet).train()
    assert [each["round"] for each in summary["rounds"]] == [0, 1, 2]
    assert (before / "dagger/rounds/1/measured.safetensors").read_bytes() == measured
    assert read_tensors(before / "dagger/rounds/2/measured.safetensors").is_checked


def test_a_damaged_log_is_no_obstacle(before: Path, data: list[Dataset]) -> None:
    path = before / "clone" / "metrics.jsonl"
    path.write_text(path.read_text()[40:])
    summary = Cloning(
        data, before / "clone", load_cloning_config(before / "clone")[0], resume=True, device="cpu", say=quiet
    ).train()
    assert summary["iterations"] == 2, "what is left of it"
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 2
