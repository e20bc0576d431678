"""The stages of the Makefile, with a stand-in for `skyclone` that ends as it is told to."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """\
out=$(echo "$*" | sed 's/.*--out \\([^ ]*\\).*/\\1/')
echo "$1 in $([ -e $out/config.json ] && echo old || echo new) $out" >> calls
mkdir -p $out
[ -e $out/config.json ] || echo "$*" > $out/config.json
case $1 in collect) left=README.md;; evaluate) left=report.html;; *) left=summary.json;; esac
echo "$1" > $out/$left
test "$1" != "$(cat fails)"
"""
Make = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Run the Makefile in a folder of its own, where everything is installed and the stage `fails` fails."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt", "fails", "calls"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    (tmp_path / "stand-in").write_text(STAND_IN)

    def run(*arguments: str, fails: str = "", skyclone: str = "sh ./stand-in") -> subprocess.CompletedProcess[str]:
        (tmp_path / "fails").write_text(fails)
        (tmp_path / "calls").write_text("")
        _make_older(tmp_path)
        command = ["make", *arguments, f"SKYCLONE={skyclone}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def _make_older(folder: Path) -> None:
    """Put what is there a minute into the past: no test waits for the clock's next tick."""
    for path in folder.rglob("*"):
        was = path.stat().st_mtime_ns - 60_000_000_000
        os.utime(path, ns=(was, was))


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/*.20*"))


def test_each_stage_is_done_once(make: Make, tmp_path: Path) -> None:
    assert make("all").returncode == 0
    stages = ["collect in new data/mvp", "train in new runs/clone", "finetune in new runs/tuned"]
    assert calls(tmp_path) == [*stages, "evaluate in new report"]
    assert make("all").returncode == 0
    assert calls(tmp_path) == []


def test_a_deleted_run_is_made_again(make: Make, tmp_path: Path) -> None:
    make("train-bc")
    shutil.rmtree(tmp_path / "runs" / "clone")
    make("train-bc")
    assert calls(tmp_path) == ["train in new runs/clone"]


@pytest.mark.parametrize(
    ("stage", "target", "left"),
    [
        ("collect", "dataset", "data/mvp/README.md"),
        ("train", "train-bc", "runs/clone/summary.json"),
        ("finetune", "finetune", "runs/tuned/summary.json"),
        ("evaluate", "evaluate", "report/report.html"),
    ],
)
def test_what_a_failing_stage_wrote_stays_and_the_stage_is_not_done(
    make: Make, tmp_path: Path, stage: str, target: str, left: str
) -> None:
    assert make(target, fails=stage).returncode != 0
    assert (tmp_path / left).exists()
    assert make(target).returncode == 0
    assert calls(tmp_path) == [f"{stage} in old {Path(left).parent}"], "it goes on, and what came before is done"
    assert not aside(tmp_path)


def test_what_a_failing_collect_left_is_older_than_its_recipe(make: Make, tmp_path: Path) -> None:
    """Also where the clock has not moved on between the two."""
    make("dataset", fails="collect")
    left, recipe = (tmp_path / name for name in ("data/mvp/README.md", "data/mvp.recipe"))
    assert left.stat().st_mtime_ns < recipe.stat().st_mtime_ns - 10**9


@pytest.mark.parametrize("fails", ["", "train"])
def test_a_run_of_another_recipe_is_moved_aside_finished_or_not(make: Make, tmp_path: Path, fails: str) -> None:
    make("train-bc", "TRAIN=--lr 0.05", fails=fails)
    done = make("train-bc", "TRAIN=--lr 0.01")
    assert calls(tmp_path) == ["train in new runs/clone"]
    (old,) = aside(tmp_path)
    assert "--lr 0.05" in (old / "config.json").read_text()
    assert "--lr 0.01" in (tmp_path / "runs" / "clone" / "config.json").read_text()
    assert f"Moved runs/clone to {old.relative_to(tmp_path)}" in done.stderr


def test_a_run_on_another_input_is_moved_aside(make: Make, tmp_path: Path) -> None:
    make("finetune", fails="finetune")
    assert make("finetune", "TRAIN=--lr 0.01").returncode == 0
    assert calls(tmp_path) == ["train in new runs/clone", "finetune in new runs/tuned"]
    assert [path.name.split(".")[0] for path in aside(tmp_path)] == ["clone", "tuned"]


def test_a_finished_run_of_an_older_makefile_is_recognised(make: Make, tmp_path: Path) -> None:
    """It has no mark of being done: the command, told to go on, finds nothing to do."""
    make("train-bc")
    (tmp_path / "runs" / "clone" / ".done").unlink()
    assert make("train-bc").returncode == 0
    assert calls(tmp_path) == ["train in old runs/clone"]
    assert not aside(tmp_path)


def test_the_demo_is_the_command_that_needs_no_make(make: Make, tmp_path: Path) -> None:
    assert make("demo").returncode == 0
    assert calls(tmp_path) == ["demo in new demo"]
    assert (tmp_path / "demo" / "config.json").read_text() == "demo --out demo\n", "its sizes stand nowhere else"


@pytest.mark.slow
def test_a_real_run_stopped_and_begun_with_another_learning_rate(make: Make, tmp_path: Path) -> None:
    skyclone = f"{sys.executable} -m skyclone"
    small = ("COLLECT=--episodes 24 --aircraft 3 --workers 1",)
    train = "TRAIN=--model mlp:hidden=8 --epochs 2 --batch-size 64 --device cpu --lr"
    done = make("train-bc", *small, f"{train} 1e12 --schedule constant", skyclone=skyclone)
    assert "not finite" in done.stdout + done.stderr
    assert "not finite" in (tmp_path / "runs" / "clone" / "summary.json").read_text(), "the diagnosis stays"
    done = make("train-bc", *small, f"{train} 0.01", skyclone=skyclone)
    assert done.returncode == 0, done.stderr
    (old,) = aside(tmp_path)
    assert '"lr": 0.01' in (tmp_path / "runs" / "clone" / "config.json").read_text()
    assert '"lr": 1000000000000.0' in (old / "config.json").read_text()
    assert make("train-bc", *small, f"{train} 0.01", skyclone=skyclone).stdout.count("skyclone") == 0


def test_a_world_is_handed_to_what_flies(make: Make, tmp_path: Path) -> None:
    make("all", "WORLD=enroute:aircraft=9")
    for folder, has in (("data/mvp", True), ("runs/clone", False), ("runs/tuned", False), ("report", True)):
        command = (tmp_path / folder / "config.json").read_text()
        assert ("--world enroute:aircraft=9" in command) is has, command
