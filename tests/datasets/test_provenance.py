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
    monkeypatch.setattr(provenance, "_ROOT", tmp_path / "skyclone")
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


def test_any_change_of_what_a_module_imports_is_other_source(tmp_path, monkeypatch):
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def hashed() -> str:
        return provenance.source_hash.__wrapped__("floor.room.top")

    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    write("floor/room/top.py", "from . import beside\nimport os\n\ndef late():\n    from ..deep import world\n")
    for name in ("floor/__init__.py", "floor/room/beside.py", "floor/deep/world.py", "floor/room/alone.py"):
        write(name, "")
    files = {path.relative_to(tmp_path).as_posix() for path in provenance.source_files("floor.room.top")}
    assert files == {"floor/__init__.py", "floor/room/top.py", "floor/room/beside.py", "floor/deep/world.py"}
    seen = [hashed()]
    write("floor/room/alone.py", "PICTURES = 1")
    assert hashed() == seen[0]
    for name in ("floor/__init__.py", "floor/deep/world.py"):
        write(name, "R = 101")
        assert hashed() not in seen
        seen.append(hashed())
