import re
import subprocess
from pathlib import Path

import pytest

from skyclone.datasets import provenance


@pytest.fixture(autouse=True)
def _forget() -> None:
    provenance.code_version.cache_clear()


def test_in_a_checkout_the_commit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"rev-parse": "0123456789ab", "status": " M cli.py"}
    monkeypatch.setattr(provenance, "_git", lambda command, *rest: answers[command])
    assert re.fullmatch(r"\d+\.\d+\.\d+\+0123456789ab\.dirty", provenance.code_version())
    provenance.code_version.cache_clear()
    answers["status"] = ""
    assert provenance.code_version().endswith("+0123456789ab")


def test_outside_a_checkout_or_without_git_the_release_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "skyclone" / "datasets" / "provenance.py"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", provenance.code_version())

    def absent(*arguments: object, **options: object) -> None:
        raise FileNotFoundError("git")

    provenance.code_version.cache_clear()
    (tmp_path / "skyclone" / ".git").mkdir(parents=True)
    monkeypatch.setattr(subprocess, "run", absent)
    assert re.fullmatch(r"\d+\.\d+\.\d+", provenance.code_version())


def test_the_packages_that_shape_a_dataset_are_named() -> None:
    assert set(provenance.package_versions()) == {"python", "torch", "numpy", "pyarrow", "h5py"}
    assert "not installed" not in provenance.package_versions().values()
