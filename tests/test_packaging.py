"""The import name is `skyclone` alone, and every package of the repo is installed."""

import configparser
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    floors = ("collect", "datasets", "train", "evaluate")
    folders = [ROOT] + [path.parent for floor in floors for path in (ROOT / floor).rglob("__init__.py")]
    expected = {".".join(("skyclone", *folder.relative_to(ROOT).parts)) for folder in folders}
    assert listed == expected


def test_nobody_elses_datasets_is_ours(tmp_path: Path) -> None:
    names = ("datasets", "evaluate", "collect", "train")
    code = f"import importlib.util as u; print([u.find_spec(n) for n in {names}])"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(ROOT) not in found.stdout


def test_imports_run_one_way() -> None:
    """datasets <- collect <- train <- evaluate <- cli."""
    floors = ("datasets", "collect", "train", "evaluate")
    for number, floor in enumerate(floors):
        for module in (ROOT / floor).rglob("*.py"):
            text = module.read_text()
            for above in floors[number + 1 :]:
                assert f"from ..{above}" not in text, f"{module} imports {above}"
                assert f"from ...{above}" not in text, f"{module} imports {above}"
                assert f"skyclone.{above} import" not in text, f"{module} imports {above}"
