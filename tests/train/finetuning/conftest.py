"""Fixtures of the fine-tuning tests."""

from pathlib import Path

import pytest
from finetuning_runs import finetuned


@pytest.fixture(scope="module")
def undisturbed(clone: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A run that was left alone, with the configuration `CONFIG` of the module that asks for it."""
    out: Path = tmp_path_factory.mktemp("undisturbed") / "run"
    finetuned(clone, out, request.module.CONFIG)
    return out
