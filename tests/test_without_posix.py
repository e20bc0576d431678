"""Windows, as far as it can be simulated: see shared/without_posix/sitecustomize.py."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIMULATION = Path(__file__).parent / "shared" / "without_posix"

IMPORT_ALL = """
import importlib, os, sys
assert os.unlink.__module__ == "sitecustomize", "the simulation is not active"
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    paths = [str(SIMULATION), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def modules() -> list[str]:
    """Every module of the package, but those that need extras or are made for others to import."""
    found = []
    for floor in ("datasets", "collect", "train", "evaluate"):
        for path in sorted((ROOT / floor).rglob("*.py")):
            if path.stem == "stable_baselines" and find_spec("stable_baselines3") is None:
                continue  # `make test-slow` has it
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(("skyclone", *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return [*found, "skyclone.cli", "skyclone.demo", "skyclone.smoke"]


@pytest.mark.slow
def test_every_module_can_be_imported() -> None:
    done = run("-c", IMPORT_ALL, *modules())
    assert done.returncode == 0, done.stderr


AND_THEN = """
from skyclone.cli import main
main(["datasets", "verify", "data"])
main(["datasets", "convert", "data", "other", "--format", "hdf5"])
main(["datasets", "export-minari", "data", "skyclone/mvp-v0"])
"""


@pytest.mark.slow
def test_a_dataset_is_collected_by_workers_verified_converted_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    small = ("--episodes", "4", "--episodes-per-shard", "1", "--aircraft", "3", "--workers", "2")
    made = run("-m", "skyclone", "collect", "--out", "data", *small, cwd=tmp_path)
    assert (made.returncode, "4 shards made" in made.stderr) == (0, True), made.stderr
    used = run("-c", AND_THEN, cwd=tmp_path)
    assert used.returncode == 0, used.stderr
    assert "all sound" in used.stdout
    assert not list(tmp_path.rglob(".skyclone*"))


@pytest.mark.slow
def test_all_stages_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / """Frau Müller's "Daten" (neu)\\größer %TEMP%"""
    folder.mkdir()
    done = run("-m", "skyclone", "demo", "--small", "--out", "für mich", cwd=folder)
    assert done.returncode == 0, done.stderr
    out = folder / "für mich"
    assert str(out / "report" / "report.html") in done.stderr
    assert (out / "report" / "report.html").is_file()
    assert "skyclone collect --out" in (out / "data" / "README.md").read_text(encoding="utf-8")
