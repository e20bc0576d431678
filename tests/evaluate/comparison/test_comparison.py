"""Comparing for real: small networks, few steps, killed and called again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import Collection, collect
from skyclone.datasets.errors import CheckpointError
from skyclone.evaluate.comparison import job as compare_job
from skyclone.evaluate.comparison.comparison import compare
from skyclone.evaluate.comparison.output import write
from skyclone.evaluate.comparison.plan import ComparePlan, parse_budgets, parse_variants
from skyclone.evaluate.comparison.progress import duration
from skyclone.evaluate.comparison.table import tabulate
from skyclone.train import load_policy

MODELS = "pairwise:width=8:hidden=8,pairwise:width=4:hidden=8@seed"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 episodes of 5 aircraft and at most 40 steps, flown by the teacher."""
    folder: Path = tmp_path_factory.mktemp("compare") / "data"
    world = WorldConfig(aircraft=5, max_steps=40, sector_radius_m=500.0, sector_area_m2=4e5)
    collect(folder, Collection(world, episodes=16, episodes_per_shard=8))
    return folder


def plan_of(**options: object) -> ComparePlan:
    settings = {"seeds": (0, 1), "batch_size": 128, "scenarios": 3, "bootstrap": 100, **options}
    return ComparePlan(parse_variants(MODELS, "ego:intruders=2"), parse_budgets(6, 0), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def compared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A comparison, and what it said."""
    root: Path = tmp_path_factory.mktemp("compared") / "out"
    lines: list[str] = []
    write(root, tabulate(compare(data, root, plan_of(rates=(1e-3, 4e-3)), say=lines.append)))
    return root, lines


def test_what_a_comparison_leaves(compared: tuple[Path, list[str]]) -> None:
    root, lines = compared
    names = {"compare.json", "compare.csv", "compare.md", "compare.png", "runs", "references"}
    assert set(os.listdir(root)) == names
    result = json.loads((root / "compare.json").read_text())
    assert result["version"] == 1
    assert [row["metrics"]["steps"]["value"] for row in result["rows"]] == [6, 6]
    assert set(result["references"]) == {"none", "mvp"}
    assert len(result["sweep"]) == 4
    assert result["sweep_seed"] == 2
    for row in result["rows"]:
        losses = {each["lr"]: each["heldout_mse"] for each in result["sweep"] if each["variant"] == row["variant"]}
        assert row["lr"] == min(losses, key=lambda lr: losses[lr])
        assert len(row["metrics"]["heldout_mse"]["seeds"]) == 2
        assert row["metrics"]["samples_per_processor_second"]["value"] > 0
    assert any("10 jobs: about " in line for line in lines)
    assert any(line.startswith("[10/10] ") for line in lines)


def test_each_training_is_an_ordinary_run(compared: tuple[Path, list[str]]) -> None:
    root, _ = compared
    for run in json.loads((root / "compare.json").read_text())["runs"]:
        policy = load_policy(run["path"])
        assert str(policy.view) == run["variant"].partition("@")[2]
        assert "Verdict:" in (Path(run["path"]) / "log.txt").read_text()


def test_called_again_nothing_is_done_again(
    data: Path, compared: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = compared

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr(compare_job, "Cloning", refuse)
    monkeypatch.setattr(compare_job, "fly_scenarios", refuse)
    lines: list[str] = []
    again = tabulate(compare(data, root, plan_of(rates=(1e-3, 4e-3)), say=lines.append))
    before = json.loads((root / "compare.json").read_text())
    assert [row.to_json() for row in again.rows] == before["rows"]
    assert "10 jobs (10 of them done before): about 0 s" in lines[1]


def test_more_seeds_are_added_to_what_is_there(data: Path, tmp_path: Path) -> None:
    compare(data, tmp_path, plan_of(seeds=(0,)), say=lambda line: None)
    lines: list[str] = []
    table = tabulate(compare(data, tmp_path, plan_of(), say=lines.append))
    assert sum(line.startswith("[") for line in lines) == 2
    assert [len(row.figures["heldout_mse"].seeds) for row in table.rows] == [2, 2]


def test_other_settings_in_the_same_folder_are_an_error(data: Path, compared: tuple[Path, list[str]]) -> None:
    root, _ = compared
    with pytest.raises(CheckpointError, match=r"was begun with batch_size 128 \(got 64\)"):
        compare(data, root, plan_of(batch_size=64, rates=(1e-3, 4e-3)), say=lambda line: None)


def test_a_damaged_summary_is_named(data: Path, tmp_path: Path) -> None:
    plan = plan_of(seeds=(0,))
    compare(data, tmp_path, plan, say=lambda line: None)
    folder = plan.trainings({})[0].folder(tmp_path)
    (folder / "summary.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"is damaged .* Move .* away: the same command trains it again"):
        compare(data, tmp_path, plan, say=lambda line: None)


def test_a_training_that_meets_nan_stops_nobody(data: Path, tmp_path: Path) -> None:
    plan = plan_of(seeds=(0,), rates=(1e-3, 1e25))
    comparison = compare(data, tmp_path, plan, say=lambda line: None)
    assert set(comparison.rates.values()) == {1e-3}
    wild = [score for training, score in comparison.sweep.items() if training.lr == 1e25]
    assert wild == [None, None]


def test_times_for_people() -> None:
    assert [duration(seconds) for seconds in (40, 600, 9000)] == ["40 s", "10 min", "2.5 h"]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_to_the_same_table(data: Path, tmp_path: Path) -> None:
    options = ["--data", str(data), "--models", MODELS, "--observation", "ego:intruders=2", "--steps", "150"]
    options += ["--seconds", "0", "--seeds", "2", "--batch-size", "128", "--scenarios", "3", "--bootstrap", "100"]
    command = [sys.executable, "-m", "skyclone", "compare", *options]
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    process = subprocess.Popen([*command, "--out", str(killed), "--workers", "2"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(killed.glob("runs/*/*/*/*/summary.json")):
        assert time.monotonic() < until, "nothing was trained"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    rows = []
    for folder in (killed, alone):
        done = subprocess.run(
            [*command, "--out", str(folder), "--json"], capture_output=True, text=True, check=True
        )
        rows.append(json.loads(done.stdout)["rows"])
    timed = ("samples_per_second", "samples_per_processor_second", "wall_s", "processor_s")
    for table in rows:
        for row in table:
            for name in timed:
                row["metrics"].pop(name)
    assert rows[0] == rows[1]
