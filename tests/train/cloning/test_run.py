import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked_command
import numpy as np
import pytest
import torch
from cloning_runs import read_metrics
from forked_command import Forked
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.flying.stored_perception import StoredPerception
from skyclone.datasets import Dataset, open_dataset
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.datasets.loading import snapshots
from skyclone.datasets.loading.loader import Loader
from skyclone.datasets.loading.snapshots import is_heldout
from skyclone.train import checkpoint, load_policy
from skyclone.train.cloning import run as cloning
from skyclone.train.cloning.batches import check_split, split_of
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.heldout import measure
from skyclone.train.cloning.run import Cloning
from skyclone.train.runs.run_folder import TrainingError

CONFIG = CloningConfig(
    model="pairwise:width=8:hidden=8", observation="ego:intruders=4", epochs=3, batch_size=512, schedule="cosine"
)


@pytest.fixture(autouse=True)
def save_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloning, "SAVE_EVERY", 4)


def quiet(line: str) -> None:
    """Say nothing."""


def run(data: Dataset, out: Path, config: CloningConfig = CONFIG, **options: Any) -> dict[str, Any]:
    return Cloning([data], out, config, device="cpu", **{"say": quiet, **options}).train()


def weights(out: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(out, which).network.state_dict())


def figures(out: Path) -> list[dict[str, Any]]:
    """The metrics without what depends on the clock."""
    timed = ("samples_per_second", "seconds")
    return [{k: v for k, v in each.to_json().items() if k not in timed} for each in read_metrics(out)]


@cache
def points_left_alone(out: Path) -> dict[str, list[tuple[int, float]]]:
    """As `points`, of a run that nothing changes any more."""
    return points(out)


def points(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Everything TensorBoard shows, by tag: steps and values, without what depends on the clock."""
    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"images": 0, "histograms": 0, "scalars": 0})
    events.Reload()
    found: dict[str, list[tuple[int, float]]] = {}
    for tag in events.Tags()["scalars"]:
        if tag != "samples_per_second":
            found[tag] = [(each.step, each.value) for each in events.Scalars(tag)]
    for tag in events.Tags()["histograms"]:
        found[tag] = [(each.step, each.histogram_value.sum) for each in events.Histograms(tag)]
    for tag in events.Tags()["images"]:
        found[tag] = [(each.step, hash(each.encoded_image_string)) for each in events.Images(tag)]
    return found


@pytest.fixture(scope="module")
def undisturbed(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    out: Path = tmp_path_factory.mktemp("undisturbed") / "run"
    run(small_dataset, out)
    return out


def assert_same_end(out: Path, other: Path) -> None:
    for which in ("best", "last"):
        assert (
            checkpoint.load(out, which).meta["weights_sha256"]
            == checkpoint.load(other, which).meta["weights_sha256"]
        )
    assert figures(out) == figures(other)
    assert points(out) == points_left_alone(other)


@pytest.mark.usefixtures("plots_drawn")
def test_what_a_run_leaves(small_dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    summary = run(small_dataset, tmp_path / "run", say=lines.append)
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {
        "heldout_mse",
        "heldout_mse_conflict",
        "heldout_mse_free",
        "attention_sharpness",
        "samples_per_second",
        "criteria",
    } <= set(summary)
    assert all(isinstance(holds, bool) for holds in summary["criteria"].values())
    assert summary["criteria"]["checkpoint_saved"]
    assert summary["criteria"]["finite"]
    steps = [step for step, _ in points(tmp_path / "run")["loss/heldout"]]
    assert steps == [each["batches"] for each in figures(tmp_path / "run")]
    assert len(points(tmp_path / "run")["attention/scene"]) == 3, "at 1, 2 and the last"
    names = {"best.json", "best.safetensors", "last.json", "last.safetensors", "last.state.safetensors"}
    pictures = {"loss.png", "loss.svg"}
    assert names | pictures | {"config.json", "metrics.jsonl", "summary.json", "tensorboard"} == set(
        os.listdir(tmp_path / "run")
    )

    pattern = (
        r"Stage 1 - Iter 1/3 \| Imitation Loss: [\d.]+ \| held-out [\d.]+ \(conflict [\d.]+, free [\d.]+\) "
        r"\| sharpness 0\.\d\d \| [\d,]+ samples/s"
    )
    assert any(re.fullmatch(pattern, line) for line in lines), lines
    assert any(re.match(r"  new best: held-out [\d.]+, saved to .*best.safetensors", line) for line in lines)
    assert any(line.startswith("Where the time went: reading ") for line in lines)
    assert "Verdict:" in lines

    assert figures(tmp_path / "run")[-1]["heldout"]["mse"] < figures(tmp_path / "run")[0]["heldout"]["mse"]
    for norms in ("weight_norms", "gradient_norms"):
        assert {name: len(heads) for name, heads in figures(tmp_path / "run")[0][norms].items()} == {
            "W_q": 3,
            "W_k": 3,
            "W_v": 3,
        }
    policy = load_policy(tmp_path / "run")
    assert str(policy.view) == "ego:intruders=4"
    assert policy.meta["world"] == small_dataset.manifest.world
    assert policy.meta["teacher"] == "mvp"
    assert policy.meta["datasets"][0]["content_hash"] == small_dataset.content_hash


def test_one_dataset_serves_every_variant(small_dataset: Dataset, tmp_path: Path) -> None:
    before = small_dataset.content_hash
    for number, (model, view) in enumerate(
        (("attention-additive", "seed"), ("pairwise:width=8", "cpa:intruders=3"))
    ):
        out = tmp_path / str(number)
        run(small_dataset, out, replace(CONFIG, model=model, observation=view, epochs=1))
        assert load_policy(out).network.spec["name"] == model.split(":")[0]
    assert open_dataset(small_dataset.path).content_hash == before
    assert not small_dataset.verify()


class Killed(BaseException):
    """Stands in for `kill -9`: nothing catches it."""


def die_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Let a method of Cloning, or a function it uses, die at its so-many-th call."""
    owner: Any = Cloning if hasattr(Cloning, name) else cloning
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, dying)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("_step", 3),
        ("_step", 23),
        ("measure", 2),
        ("_iteration", 1),
        ("_save_state", 7),
        ("_finish", 1),
    ],
)
def test_killed_and_resumed_ends_bit_equal(
    small_dataset: Dataset, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    with monkeypatch.context() as patch:
        die_at(patch, name, call)
        with pytest.raises(Killed):
            run(small_dataset, tmp_path / "run")
    run(small_dataset, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


def test_killed_between_best_and_last(
    small_dataset: Dataset, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoint.save

    def dying(stem: Path, *arguments: Any) -> None:
        if stem.name == "last":
            raise Killed
        save(stem, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dying)
        with pytest.raises(Killed):
            run(small_dataset, tmp_path / "run")
    run(small_dataset, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True, "conflict_weight": 2.5, "mix": "1"},
        {"stream": True, "surveillance": "noise:reception=0.5", "labels": "perceived"},
        {"model": "pairwise:width=16:hidden=16", "optimizer": "muon", "schedule": "cooldown", "lr": 0.01},
    ],
)
def test_other_runs_are_resumed_bit_equal_as_well(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    config = replace(CONFIG, epochs=2, **change)
    run(small_dataset, tmp_path / "undisturbed", config)
    with monkeypatch.context() as patch:
        die_at(patch, "_step", 23)
        with pytest.raises(Killed):
            run(small_dataset, tmp_path / "run", config)
    run(small_dataset, tmp_path / "run", config, resume=True)
    assert_same_end(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.signals
def test_ctrl_c_saves_and_resumes(small_dataset: Dataset, tmp_path: Path, undisturbed: Path) -> None:
    def press_ctrl_c(line: str) -> None:
        if "Iter 2/3" in line:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        KeyboardInterrupt, match=r"Stopped in iteration 3 of 3; all is saved. The same command with"
    ):
        run(small_dataset, tmp_path / "run", say=press_ctrl_c)
    assert signal.getsignal(signal.SIGINT) is handler
    run(small_dataset, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


@pytest.mark.signals
@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_the_log_decides_nothing(
    small_dataset: Dataset, tmp_path: Path, undisturbed: Path, damage: bytes | None
) -> None:
    """Stopped, and finished: whatever becomes of the log, best and summary are those of a run left alone."""

    def press_ctrl_c(line: str) -> None:
        if "Iter 2/3" in line:
            os.kill(os.getpid(), signal.SIGINT)

    out, log = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(small_dataset, out, say=press_ctrl_c)
    for _ in range(2):
        if damage is None:
            log.unlink()
        else:
            log.write_bytes(log.read_bytes()[50:] + damage)
        summary = run(small_dataset, out, resume=True)
        assert_same_end(out, undisturbed)
        expected = json.loads((undisturbed / "summary.json").read_text())
        timed = ("samples_per_second", "seconds", "learning_seconds", "processor_seconds", "diagnosis")
        assert {k: v for k, v in summary.items() if k not in timed} == {
            k: v for k, v in expected.items() if k not in timed
        }


def test_a_run_that_is_being_trained_is_refused(small_dataset: Dataset, tmp_path: Path) -> None:
    first = Cloning([small_dataset], tmp_path / "run", CONFIG, device="cpu", say=quiet)
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=rf"run is in use by process {os.getpid()} on .*choose another"):
            run(small_dataset, tmp_path / "run", resume=resume)
    first.train()
    run(small_dataset, tmp_path / "run", resume=True)


def test_resuming_a_finished_run_changes_nothing(small_dataset: Dataset, undisturbed: Path) -> None:
    before = (undisturbed / "last.safetensors").read_bytes()
    lines: list[str] = []
    run(small_dataset, undisturbed, resume=True, say=lines.append)
    assert "Going on from iteration 3, finished." in lines
    assert (undisturbed / "last.safetensors").read_bytes() == before
    assert len(figures(undisturbed)) == 3


def test_a_folder_that_holds_a_run_is_not_touched(small_dataset: Dataset, undisturbed: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}

    before = contents()
    with pytest.raises(CheckpointError, match=r"already holds a run. Continue it with --resume, or choose another"):
        run(small_dataset, undisturbed)
    other = replace(CONFIG, lr=0.5, observation="seed")
    with pytest.raises(
        CheckpointError, match=r"begun with observation ego:intruders=4 \(got seed\); lr 0.001 \(got 0.5\)"
    ):
        run(small_dataset, undisturbed, other, resume=True)
    assert contents() == before


def test_resume_with_other_data_is_an_error(undisturbed: Path, tmp_path: Path) -> None:
    collect(tmp_path, CollectConfig(WorldConfig(aircraft=3, max_steps=5), episodes=20))
    with pytest.raises(CheckpointError, match=r"begun with the datasets .*mvp \(got others, or changed ones\)"):
        run(open_dataset(tmp_path), undisturbed, resume=True)


def test_resume_with_other_held_out_episodes_is_an_error(
    small_dataset: Dataset, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same datasets, split by another version."""
    copied = tmp_path / "run"
    shutil.copytree(undisturbed, copied)
    run(small_dataset, copied, resume=True)
    chosen = snapshots.is_heldout
    monkeypatch.setattr(snapshots, "is_heldout", lambda seed, *rest: chosen(seed + 2, *rest))
    with pytest.raises(CheckpointError, match=r"held out other episodes of the same datasets: .* another folder"):
        run(small_dataset, copied, resume=True)


def test_of_a_run_begun_before_splits_were_recorded_it_is_said(small_dataset: Dataset, tmp_path: Path) -> None:
    """Of merged and selected datasets alone: the split of others never changed."""
    lines: list[str] = []
    now = split_of([small_dataset], 0.1)
    check_split(tmp_path, "", now, [small_dataset], lines.append)
    assert lines == []
    merged: Any = SimpleNamespace(manifest=SimpleNamespace(parts=("of a dataset", "of another one")))
    check_split(tmp_path, now, now, [merged], lines.append)
    assert lines == []
    check_split(tmp_path, "", now, [merged], lines.append)
    assert "did not record which episodes of merged or selected datasets it held out" in lines[0]
    assert len({now, split_of([small_dataset], 0.2), split_of([small_dataset] * 2, 0.1)}) == 3


def test_nothing_to_resume_starts_from_the_beginning(small_dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    run(small_dataset, tmp_path / "new", replace(CONFIG, epochs=1), resume=True, say=lines.append)
    assert lines[0].startswith("Nothing to resume in")


def test_nan_stops_the_run_and_keeps_the_last_good_weights(small_dataset: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, lr=1e12, epochs=2, schedule="constant")
    lines: list[str] = []
    with pytest.raises(
        TrainingError, match=r"expected a finite loss and gradient, got \S+ and \S+ in batch \d+ of it"
    ):
        run(small_dataset, tmp_path / "run", config, say=lines.append)
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path / "run").values())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert not summary["criteria"]["finite"]
    assert "Try a tenth of --lr" in summary["diagnosis"]["not finite"]
    assert any(line.startswith("Diagnosis, not finite:") for line in lines)


def test_a_time_budget_ends_the_run_and_its_schedule(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on whenever it is looked at, the same on any machine."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 50)
    config = replace(CONFIG, epochs=100_000, max_seconds=1.0)
    run(small_dataset, tmp_path / "run", config)
    assert next(ticks) < 500
    last = read_metrics(tmp_path / "run")[-1]
    assert last.learning_rate < 0.1 * config.lr
    run(small_dataset, tmp_path / "run", config, resume=True)
    assert read_metrics(tmp_path / "run")[-1].batches == last.batches, "it was finished"


def test_heldout_figures_are_on_episodes_of_the_pure_teacher(small_dataset: Dataset, tmp_path: Path) -> None:
    world = WorldConfig(aircraft=10, max_steps=40)
    collect(tmp_path / "noisy", CollectConfig(world, episodes=24, episodes_per_shard=8, noise=0.3))
    noisy = open_dataset(tmp_path / "noisy")
    lines: list[str] = []
    pure = Cloning([small_dataset], tmp_path / "a", CONFIG, say=lines.append)
    both = Cloning([noisy, small_dataset], tmp_path / "b", CONFIG, say=lines.append)
    assert both.heldout.rows == pure.heldout.rows
    assert both.loader.rows > pure.loader.rows
    assert not any("pure teacher" in line for line in lines)
    Cloning([noisy], tmp_path / "c", CONFIG, say=lines.append)
    assert any("No dataset was flown by the pure teacher" in line for line in lines)


def test_a_run_under_surveillance_learns_and_is_measured_by_what_is_perceived(
    small_dataset: Dataset, tmp_path: Path, undisturbed: Path
) -> None:
    perceived = StoredPerception("remote-id", "perceived")
    config = replace(CONFIG, surveillance="remote-id", labels="perceived")
    lines: list[str] = []
    summary = run(small_dataset, tmp_path / "run", config, say=lines.append)
    assert "Surveillance remote-id; labels: perceived" in lines
    loaded = checkpoint.load(tmp_path / "run")
    assert loaded.meta["world"] == {**small_dataset.manifest.world, "surveillance": "remote-id"}
    assert loaded.meta["config"]["labels"] == "perceived"
    rows = Loader.of([small_dataset], "heldout", view=loaded.view, batch_size=4096, perceive=perceived)
    assert measure(loaded.network, rows).mse == pytest.approx(summary["heldout_mse"], rel=1e-5)
    truth = Loader.of([small_dataset], "heldout", view=loaded.view, batch_size=4096)
    assert measure(loaded.network, truth).mse != pytest.approx(summary["heldout_mse"], rel=1e-3)
    perfect = json.loads((undisturbed / "config.json").read_text())["config"]
    assert not {"surveillance", "labels"} & set(perfect), "as before"
    with pytest.raises(
        CheckpointError, match=r"begun with surveillance perfect \(got remote-id\); labels perceived"
    ):
        run(small_dataset, undisturbed, replace(config, labels="truth"), resume=True)
    run(small_dataset, tmp_path / "truth", replace(config, labels="truth", max_batches=2))
    assert json.loads((tmp_path / "truth" / "config.json").read_text())["config"]["labels"] == "truth"


def test_datasets_that_do_not_go_together(small_dataset: Dataset, tmp_path: Path) -> None:
    world = WorldConfig(aircraft=3, max_steps=5)
    collect(tmp_path / "none", CollectConfig(world, teacher="none", episodes=20))
    with pytest.raises(ConfigurationError, match="labelled by one teacher, got mvp, none"):
        Cloning([small_dataset, open_dataset(tmp_path / "none")], tmp_path / "run", CONFIG)
    with pytest.raises(ConfigurationError, match="expected one dataset or more, got none"):
        Cloning([], tmp_path / "run", CONFIG)
    with pytest.raises(ConfigurationError, match=r"no device 'cuda:7'. There are: cpu"):
        Cloning([small_dataset], tmp_path / "run", CONFIG, device="cuda:7")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"expected a folder for the run, but .*file is a file"):
        Cloning([small_dataset], tmp_path / "file", CONFIG)
    assert not (tmp_path / "run").exists()


VARIED = {
    "memory": {},
    "stream": {"stream": True},
    "weighted": {"conflict_weight": 2.5, "mix": "1"},
    "weighted stream": {"stream": True, "conflict_weight": 2.5},
}


@pytest.mark.slow
@pytest.mark.usefixtures("plots_drawn")  # as in the process that is killed
@pytest.mark.parametrize(
    ("name", "after_s"),
    [("memory", 0.0), ("weighted stream", 1.2)],  # the others: killed at any step, in this process, above
)
def test_kill_9_for_real(small_dataset: Dataset, tmp_path: Path, name: str, after_s: float) -> None:
    """Weights, figures and TensorBoard end as if nothing had happened; all runs have the cosine schedule."""
    config = replace(CONFIG, **VARIED[name])
    run(small_dataset, tmp_path / "undisturbed", config)
    code = (
        "from skyclone.train.cloning import run as cloning;"
        "from skyclone.train.cloning.config import CloningConfig; from skyclone.datasets import open_dataset;"
        "cloning.SAVE_EVERY = 1; from skyclone.train.cloning import plots;"
        "plots.attention = plots.attention.__wrapped__;"  # forks draw none
        f"config = CloningConfig(**{config.to_json()!r});"
        f"cloning.Cloning([open_dataset({str(small_dataset.path)!r})], {str(tmp_path / 'run')!r}, config).train()"
    )
    process = Forked(forked_command.code, code, stdout=tmp_path / "said.txt", stderr=subprocess.STDOUT)
    while not (tmp_path / "run" / "last.state.safetensors").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(after_s)
    process.kill()
    assert process.wait() in (0, -signal.SIGKILL)
    assert (tmp_path / "run" / "last.state.safetensors").exists()
    run(small_dataset, tmp_path / "run", config, resume=True)
    assert_same_end(tmp_path / "run", tmp_path / "undisturbed")
    assert not [each for each in os.listdir(tmp_path / "run") if each.endswith(".tmp")]


def test_begins_with_the_parents_weights(small_dataset: Dataset, undisturbed: Path, tmp_path: Path) -> None:
    cloning = Cloning(
        [small_dataset], tmp_path / "run", CONFIG, device="cpu", say=quiet, parent=undisturbed / "last.safetensors"
    )
    parent = checkpoint.load(undisturbed, "last")
    assert all(
        torch.equal(cloning.network.state_dict()[name], value) for name, value in weights(undisturbed).items()
    )
    cloning.train()
    assert checkpoint.load(tmp_path / "run").meta["parent"] == {
        "path": str(undisturbed / "last.safetensors"),
        "weights_sha256": parent.meta["weights_sha256"],
    }


def test_a_parent_of_another_kind_is_an_error(small_dataset: Dataset, undisturbed: Path, tmp_path: Path) -> None:
    other = replace(CONFIG, model="pairwise:width=16:hidden=8")
    with pytest.raises(CheckpointError, match=r"holds the network .*'width': 8.*, expected .*'width': 16"):
        run(small_dataset, tmp_path / "run", other, parent=undisturbed)
    with pytest.raises(CheckpointError, match="was trained on the observation 'ego:intruders=4', got 'seed'"):
        run(small_dataset, tmp_path / "run", replace(CONFIG, observation="seed"), parent=undisturbed)
    assert not (tmp_path / "run").exists()


def test_a_budget_of_batches_ends_the_run_and_its_schedule(small_dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    summary = run(small_dataset, tmp_path / "run", replace(CONFIG, max_batches=20), say=lines.append)
    history = read_metrics(tmp_path / "run")
    assert summary["batches"] == history[-1].batches == 20
    assert any("Iter 2/2" in line for line in lines)
    assert history[-1].learning_rate == pytest.approx(CONFIG.lr * 0.0062, rel=0.01)  # cos^2 of the last batch of 20


def test_a_budget_of_processor_time_counts_learning_alone(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "process_time", lambda: next(ticks) / 100)
    config = replace(CONFIG, epochs=10_000, max_processor_seconds=0.3)
    summary = run(small_dataset, tmp_path / "run", config)
    assert 0.3 <= summary["processor_seconds"] < 0.35
    assert summary["batches"] < 10_000


@pytest.mark.parametrize("stream", [False, True])
def test_of_hovering_aircraft_nothing_is_learned(tmp_path: Path, stream: bool) -> None:
    """In memory and streamed: held-out rows are those somebody flew, and no loss is NaN."""
    collect(tmp_path / "data", CollectConfig(WorldConfig(aircraft=6, max_steps=20, scenario="hover"), episodes=24))
    dataset = open_dataset(tmp_path / "data")
    config = CloningConfig(
        model="pairwise:width=8:hidden=8", observation="cpa:intruders=4", epochs=2, batch_size=128, stream=stream
    )
    Cloning([dataset], tmp_path / "run", config, device="cpu", say=lambda line: None).train()
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite([each["train_loss"], each["heldout"]["mse"]]).all() for each in log)
    table = dataset.table()
    heldout = np.array([is_heldout(0, episode, config.heldout) for episode in table["episode"]])
    assert log[-1]["heldout"]["rows"] == int((heldout & ~np.isnan(table["waypoint_east_m"])).sum())
