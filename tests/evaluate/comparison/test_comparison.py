"""Comparing for real: small networks, few steps, killed and called again."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forked_command import Forked, command

from skyclone.collect.airspace import worlds
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets.errors import CheckpointError, SkycloneError
from skyclone.datasets.traffic.view import View, scale_of
from skyclone.evaluate.comparison import comparison
from skyclone.evaluate.comparison.comparison import compare
from skyclone.evaluate.comparison.config import CompareConfig, parse_budgets, parse_variants
from skyclone.evaluate.comparison.output import write
from skyclone.evaluate.comparison.table import tabulate
from skyclone.evaluate.evaluation import batches
from skyclone.train import load_policy
from skyclone.train.runs.run_folder import RunFolder

MODELS = "pairwise:width=8:hidden=8,pairwise:width=4:hidden=8@seed"
RATES = (1e-3, 4e-3, 1e12)  # the last one meets NaN


def plan_of(models: str = MODELS, **options: object) -> CompareConfig:
    settings = {"seeds": (0, 1), "batch_size": 128, "scenarios": 3, "bootstrap": 100, **options}
    return CompareConfig(parse_variants(models, "ego:intruders=2"), parse_budgets(6, 0), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def compared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A comparison, and what it said."""
    root: Path = tmp_path_factory.mktemp("compared") / "out"
    lines: list[str] = []
    write(root, tabulate(compare(data, root, plan_of(rates=RATES), say=lines.append)))
    return root, lines


def test_what_a_comparison_leaves(compared: tuple[Path, list[str]]) -> None:
    root, lines = compared
    names = {"compare.json", "compare.csv", "compare.md", "compare.png", "runs", "flown"}
    assert set(os.listdir(root)) == names
    result = json.loads((root / "compare.json").read_text())
    assert result["version"] == 1
    assert [row["metrics"]["steps"]["value"] for row in result["rows"]] == [6, 6]
    assert set(result["references"]) == {"none", "mvp"}
    assert len(result["sweep"]) == 6
    assert result["sweep_seed"] == 2
    for row in result["rows"]:
        losses = {each["lr"]: each["heldout_mse"] for each in result["sweep"] if each["variant"] == row["variant"]}
        assert losses.pop(1e12) is None, "a training that meets NaN stops no other"
        assert row["lr"] == min(losses, key=lambda lr: losses[lr])
        assert len(row["metrics"]["heldout_mse"]["seeds"]) == 2
        assert row["metrics"]["samples_per_processor_second"]["value"] > 0
    assert lines[0] == "Choosing learning rates: 6 trainings"
    assert lines[7] == "Training: 4 trainings"
    assert lines[-1].startswith("4 of 4 trainings done: pairwise:width=4:hidden=8@seed, 6 steps, lr ")
    assert ": held-out " in lines[-1]


def test_each_training_is_an_ordinary_run(compared: tuple[Path, list[str]]) -> None:
    root, _ = compared
    for run in json.loads((root / "compare.json").read_text())["runs"]:
        policy = load_policy(run["path"])
        assert policy.view == View.parse(run["variant"].partition("@")[2], scale_of(policy.meta["world"]))
        assert "Verdict:" in (Path(run["path"]) / "log.txt").read_text()


@pytest.fixture
def flown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first scenario of each batch that was flown since."""
    first: list[int] = []
    fly_scenarios = batches.fly_scenarios

    def record(pilot: object, config: object, seed: object, episodes: range, *rest: object) -> object:
        first.append(episodes[0])
        return fly_scenarios(pilot, config, seed, episodes, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(batches, "fly_scenarios", record)
    return first


def test_called_again_nothing_is_done_again(
    data: Path, compared: tuple[Path, list[str]], flown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = compared

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr(comparison, "Cloning", refuse)
    lines: list[str] = []
    again = tabulate(compare(data, root, plan_of(rates=RATES), say=lines.append))
    before = json.loads((root / "compare.json").read_text())
    assert [row.to_json() for row in again.rows] == before["rows"]
    assert lines == [
        "Choosing learning rates: 6 trainings, 6 of them done before",
        "Training: 4 trainings, 4 of them done before",
    ]
    assert flown == []


def test_seeds_are_added_and_what_other_code_has_made_is_made_again(
    data: Path, tmp_path: Path, flown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = MODELS.partition(",")[0]
    lines: list[str] = []
    compare(data, tmp_path, plan_of(models, seeds=(0,)), say=lines.append)
    table = tabulate(compare(data, tmp_path, plan_of(models), say=lines.append))
    assert [line for line in lines if line.startswith("Training")] == [
        "Training: 1 training",
        "Training: 2 trainings, 1 of them done before",
    ]
    assert [len(row.figures["heldout_mse"].seeds) for row in table.rows] == [2]
    assert len(flown) == 2 + 1 + 1  # none and mvp, and each network once
    flown.clear()
    lines.clear()
    first, second = (training.folder(tmp_path) for training in plan_of(models).trainings({}))
    weights = (first / "best.safetensors").read_bytes()
    (first / "code.json").unlink()  # as those before there was such a file
    (second / "summary.json").unlink()  # not even finished
    made_by = json.loads((second / "code.json").read_text())
    (second / "code.json").write_text(json.dumps({**made_by, "source_sha256": "0" * 64}))
    second.with_name("seed-1.old-1").mkdir()
    compare(data, tmp_path, plan_of(models), say=lines.append)
    why = "was trained by another version of the code or its packages: moved to"
    assert lines[:3] == [
        f"{first} {why} seed-0.old-1, and trained again",
        f"{second} {why} seed-1.old-2, and trained again",
        "Training: 2 trainings",
    ]
    assert (first.with_name("seed-0.old-1") / "best.safetensors").read_bytes() == weights
    assert (first / "best.safetensors").is_file()
    assert flown == [], "the same code flies the same weights"


def test_a_run_in_use_is_not_moved(
    data: Path, compared: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = compared
    folder = plan_of(rates=RATES).sweep()[0].folder(root)
    monkeypatch.setattr(comparison, "source_hash", lambda *modules: "0" * 64)
    with RunFolder(folder) as run:
        run.open(resume=True, say=lambda line: None)
        with pytest.raises(CheckpointError, match="is in use by process"):
            compare(data, root, plan_of(rates=RATES), say=lambda line: None)
    assert (folder / "summary.json").exists()


def test_other_settings_in_the_same_folder_are_an_error(data: Path, compared: tuple[Path, list[str]]) -> None:
    root, _ = compared
    with pytest.raises(CheckpointError, match=r"was begun with batch_size 128 \(got 64\)"):
        compare(data, root, plan_of(batch_size=64, rates=RATES), say=lambda line: None)


def test_the_table_is_made_of_the_states_which_have_a_hash(
    data: Path, compared: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(compared[0], tmp_path / "out"))

    def rows() -> list[Any]:
        table = tabulate(compare(data, root, plan_of(rates=RATES), say=lambda line: None))
        return [row.to_json() for row in table.rows]

    before = json.loads((root / "compare.json").read_text())["rows"]
    run = Path(json.loads((root / "compare.json").read_text())["runs"][0]["path"])
    folder = root / run.relative_to(compared[0])
    summary = json.loads((folder / "summary.json").read_text())
    for text in (json.dumps({**summary, "heldout_mse": 0.0, "processor_seconds": 1e-9}), "{}"):
        (folder / "summary.json").write_text(text)
        assert rows() == before
    state = folder / "last.state.safetensors"
    content = bytearray(state.read_bytes())
    content[-2] ^= 1
    state.write_bytes(content)
    again = r"Or move .* away: the same command trains it again"
    with pytest.raises(CheckpointError, match=rf"last.state.safetensors is damaged: .*{again}"):
        rows()
    state.unlink()
    with pytest.raises(
        CheckpointError, match=rf"expected last.state.safetensors beside best.safetensors, .*{again}"
    ):
        rows()


def test_a_teacher_s_name_makes_no_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote the manifest has not chosen where something is written."""
    copy = shutil.copytree(data, tmp_path / "data")
    manifest = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**manifest, "teacher": "../../../mvp"}))
    with pytest.raises(SkycloneError):
        compare(copy, tmp_path / "out", plan_of(), say=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_to_the_same_table(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = ["--data", str(data), "--models", MODELS, "--observation", "ego:intruders=2", "--steps", "150"]
    options += ["--seconds", "0", "--seeds", "1", "--batch-size", "128", "--scenarios", "3", "--bootstrap", "100"]
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    process = Forked(command, "compare", *options, "--out", str(killed), "--workers", "2")
    until = time.monotonic() + 60
    while not list(killed.glob("runs/*/*/*/*/summary.json")):
        assert time.monotonic() < until, "nothing was trained"
        time.sleep(0.05)
    process.kill()
    process.communicate()
    rows = []
    for folder in (killed, alone):
        done = Forked(command, "compare", *options, "--out", str(folder), "--json")
        rows.append(json.loads(done.communicate()[0])["rows"])
    timed = ("samples_per_second", "samples_per_processor_second", "wall_s", "processor_s")
    for table in rows:
        for row in table:
            for name in timed:
                row["metrics"].pop(name)
    assert rows[0] == rows[1]


def test_under_a_surveillance_networks_learn_and_fly_by_what_is_perceived(data: Path, tmp_path: Path) -> None:
    noise, model = "noise:position_m=20", MODELS.partition(",")[0]
    lines: list[str] = []
    plan = plan_of(model, seeds=(0,), surveillance=noise)
    found = compare(data, tmp_path / "out", plan, say=lines.append)
    assert found.world.surveillance == noise
    (training,) = found.runs
    meta = load_policy(training.folder(tmp_path / "out")).meta
    assert (meta["world"]["surveillance"], meta["config"]["labels"]) == (noise, "perceived")
    result = write(tmp_path / "out", tabulate(found))
    assert (result["surveillance"], result["labels"]) == (noise, "perceived")
    assert f"surveillance {noise}, labels: perceived; " in (tmp_path / "out" / "compare.md").read_text()
    with pytest.raises(CheckpointError, match=r"was begun with .*labels"):
        compare(data, tmp_path / "out", replace(plan, labels="truth"), say=lines.append)


def test_surveillance_is_the_dataset_s_where_none_is_given(tmp_path: Path) -> None:
    world = replace(worlds.parse("m600:surveillance=remote-id"), aircraft=3, max_steps=20)
    collect(tmp_path / "data", CollectConfig(world, episodes=24))
    model = MODELS.partition(",")[0]
    found = compare(tmp_path / "data", tmp_path / "out", plan_of(model, seeds=(0,)), say=lambda line: None)
    assert (found.plan.surveillance, found.world.surveillance) == ("remote-id", "remote-id")
    perfect = plan_of(model, seeds=(0,), surveillance="perfect")
    found = compare(tmp_path / "data", tmp_path / "perfect", perfect, say=lambda line: None, world=world)
    assert (found.plan.surveillance, found.world.surveillance) == ("perfect", "perfect")


def test_another_world_is_flown_and_views_are_on_the_scale_of_the_dataset_s(tmp_path: Path) -> None:
    world = replace(worlds.parse("enroute"), aircraft=3, max_steps=20)
    collect(tmp_path / "data", CollectConfig(world, episodes=24))
    lines: list[str] = []
    plan, here = plan_of(MODELS.partition(",")[0], seeds=(0,)), replace(world, lookahead_s=200.0)
    for _ in range(2):
        found = compare(tmp_path / "data", tmp_path / "out", plan, say=lines.append, world=here)
    assert found.world == here
    (training,) = found.runs
    assert load_policy(training.folder(tmp_path / "out")).view.length_m == world.sector_radius_m
    assert lines[0] == "Warning: Each network was trained with lookahead_s 300; here it is 200."
    assert lines[-1] == "Training: 1 training, 1 of them done before"
