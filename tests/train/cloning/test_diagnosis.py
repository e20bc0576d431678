import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skyclone.datasets import Dataset
from skyclone.datasets.errors import CheckpointError
from skyclone.datasets.loading.loader import Batch, Loader
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.record import Table
from skyclone.train import checkpoint, networks
from skyclone.train.cloning import run as cloning
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.diagnosis import diagnose, judge
from skyclone.train.cloning.heldout import HeldOut
from skyclone.train.cloning.iteration import Iteration
from skyclone.train.cloning.run import Cloning
from skyclone.train.cloning.summary import best_of, summarise, verdict_lines
from skyclone.train.cloning.update import Updater
from skyclone.train.networks.network import Network, Output, Parameters, action_layers
from skyclone.train.runs.run_folder import TrainingError

SOUND = {
    "mse": 0.005,
    "mse_conflict": 0.02,
    "mse_free": 0.003,
    "sharpness": 0.7,
    "uniform_sharpness": 0.1,
    "spread": 0.07,
    "rows": 100,
}


def iterations(
    *losses: float, train: float | None = None, rate: float = 60_000.0, **figures: Any
) -> list[Iteration]:
    return [
        Iteration(
            iteration=number,
            batches=10 * number,
            train_loss=loss if train is None else train,
            heldout=HeldOut(**{**SOUND, **figures, "mse": loss}),
            learning_rate=1e-3,
            samples_per_second=rate,
            gradient_norm=0.1,
            weight_norms={},
            gradient_norms={},
            seconds=float(number),
        )
        for number, loss in enumerate(losses, 1)
    ]


TIMES = {"loading": 1.0, "forward and backward": 9.0}


def test_a_sound_run_has_no_diagnosis() -> None:
    history = iterations(0.02, 0.008, 0.005)
    assert diagnose(history, TIMES) == {}
    assert all(judge(best_of(history), is_finite=True, is_saved=True).values())


@pytest.mark.parametrize(
    ("figures", "criterion"),
    [
        ({"mse": 0.01}, "heldout_loss"),
        ({"sharpness": 0.5}, "attention_sharpness"),
        ({"sharpness": None}, "attention_sharpness"),
    ],
)
def test_the_bars_themselves_are_not_reached(figures: dict[str, float], criterion: str) -> None:
    mse = figures.pop("mse", 0.005)
    criteria = judge(best_of(iterations(mse, **figures)), is_finite=True, is_saved=True)
    assert [name for name, holds in criteria.items() if not holds] == [criterion]


def test_without_any_iteration_nothing_is_reached_but_what_is_said() -> None:
    assert judge(None, is_finite=False, is_saved=False) == dict.fromkeys(
        ("heldout_loss", "attention_sharpness", "finite", "checkpoint_saved"), False
    )


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (iterations(0.9, 0.7, 0.5), "A constant action would reach 0.07: --lr is too high. Try a tenth of it."),
        (iterations(0.069, 0.068, 0.069), "A constant action would reach 0.07: nothing was learned"),
        (iterations(0.05, 0.03, 0.031, train=0.005), "memorises the episodes"),
        (iterations(0.06, 0.04, 0.02), "still falling at the end"),
        (
            iterations(0.05, 0.0501, 0.0502, mse_conflict=0.4),
            r"error is in the conflicts \(0.4 there, 0.003 elsewhere",
        ),
        (iterations(0.02, 0.0201, 0.0202, mse_conflict=None), "try a larger network"),
    ],
)
def test_loss_stays_high(history: list[Iteration], words: str) -> None:
    found = diagnose(history, TIMES)
    assert list(found) == ["loss stays high"]
    assert words.split("\\")[0] in found["loss stays high"]


@pytest.mark.parametrize(
    ("losses", "does"),
    [
        ((0.008, 0.004, 0.008, 0.004, 0.009, 0.004, 0.008), True),
        ((0.004, 0.0045, 0.004, 0.0045, 0.004, 0.0045, 0.004), True),  # by an eighth at a time
        ((0.004, 0.0043, 0.004, 0.0043, 0.004, 0.0043, 0.004), False),  # by less than a tenth
        ((0.009, 0.008, 0.0081, 0.007, 0.0069, 0.0068), False),
        ((0.064, 0.032, 0.016, 0.008, 0.004, 0.002, 0.001), False),  # by half at a time, but one way
        ((0.9, 0.1, 0.8, 0.0042, 0.0041, 0.004, 0.0039, 0.004, 0.0041), False),  # at the beginning only
        ((0.008, 0.004, 0.008, 0.004, 0.008), False),  # too short to say
    ],
)
def test_oscillates(losses: tuple[float, ...], does: bool) -> None:
    assert list(diagnose(iterations(*losses), TIMES)) == ["oscillates"] * does


def test_not_finite() -> None:
    found = diagnose([], {}, "expected a finite loss, got nan in batch 3 of iteration 1")
    assert "batch 3 of iteration 1. Try a tenth of --lr" in found["not finite"]


def test_all_attention_equal() -> None:
    found = diagnose(iterations(0.005, sharpness=0.12), TIMES)
    assert list(found) == ["all attention equal"]
    assert "0.12 where looking at all intruders alike gives 0.10" in found["all attention equal"]
    assert diagnose(iterations(0.005, sharpness=None, uniform_sharpness=None), TIMES) == {}


def test_slow() -> None:
    assert "samples/s. Try" in diagnose(iterations(0.005, rate=700.0), TIMES)["slow"]
    waiting = diagnose(iterations(0.005), {"loading": 20.0, "forward and backward": 9.0})
    assert "loading took 20 s, learning 9 s" in waiting["slow"]


def test_summary_is_of_the_best_iteration() -> None:
    history = iterations(0.02, 0.012, 0.013, mse_conflict=0.05)
    summary = summarise(history, TIMES, is_saved=True, trouble=None)
    assert summary["heldout_mse"] == 0.012
    assert summary["best_iteration"] == 2
    assert summary["attention_sharpness"] == 0.7
    assert summary["criteria"] == {
        "heldout_loss": False,
        "attention_sharpness": True,
        "finite": True,
        "checkpoint_saved": True,
    }
    lines = verdict_lines(summary)
    assert lines[1] == "  NO  held-out loss < 0.01 (0.012)"
    assert lines[2] == "  yes attention sharpness > 0.5 (0.7)"
    assert lines[-1].startswith("Diagnosis, loss stays high: ")


def test_nobody_is_told_to_try_what_was_tried() -> None:
    history = iterations(0.05, 0.0501, 0.0502, mse_conflict=0.4)
    assert "try --model thresholds" in diagnose(history, TIMES)["loss stays high"]
    assert "try a wider network" in diagnose(history, TIMES, model="thresholds:width=16")["loss stays high"]


def test_where_labels_know_more_than_aircraft_the_loss_has_a_floor() -> None:
    history = iterations(0.05, 0.0501, 0.0502, mse_conflict=0.4)
    assert "no network can learn" in diagnose(history, TIMES, labels_know_more=True)["loss stays high"]
    assert "no network can learn" not in diagnose(history, TIMES)["loss stays high"]
    assert diagnose(iterations(0.005), TIMES, labels_know_more=True) == {}


def test_a_network_without_attention_is_called_so() -> None:
    history = iterations(0.005, sharpness=None)
    assert diagnose(history, TIMES) == {}
    summary = summarise(history, TIMES, is_saved=True, trouble=None)
    assert summary["has_attention"] is False
    assert summary["criteria"]["attention_sharpness"] is False
    assert "  NO  attention sharpness > 0.5 (this network has no attention)" in verdict_lines(summary)
    nobody_around = summarise(
        iterations(0.005, sharpness=None, uniform_sharpness=None), TIMES, is_saved=True, trouble=None
    )
    assert nobody_around["has_attention"] is True
    assert "  NO  attention sharpness > 0.5" in verdict_lines(nobody_around)


# --- each trouble, provoked in a real run ---------------------------------------------------------

LEARNS = CloningConfig(
    model="pairwise:width=16:hidden=32", observation="ego:intruders=2", lr=0.02, epochs=6, batch_size=256,
    schedule="cosine", heldout=0.4,
)  # fmt: skip


def point_to_the_nearest(table: Table) -> None:
    """Make labels that can be learned at once, but only by who looks at the nearest intruder."""
    snapshot = table["episode"].astype(np.int64) * 1000 + table["step"]
    starts = np.flatnonzero(np.diff(snapshot, prepend=-1))
    for rows in np.split(np.arange(len(snapshot)), starts[1:]):
        east, north, track = (table[name][rows] for name in ("east_m", "north_m", "track_rad"))
        away_east, away_north = east - east[:, None], north - north[:, None]  # of j from i
        distance = np.hypot(away_east, away_north) + np.diag(np.full(len(rows), np.inf))
        one, other = np.arange(len(rows)), distance.argmin(1)
        angle = np.arctan2(away_east[one, other], away_north[one, other]) - track
        table["teacher_turn"][rows] = 0.3 * np.sin(angle) * (len(rows) > 1)
        table["teacher_speed"][rows] = 0.3 * np.cos(angle) * (len(rows) > 1)


@pytest.fixture(scope="module")
def easy(small_dataset: Dataset, relabelled: Any, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    data: Dataset = relabelled(small_dataset, tmp_path_factory.mktemp("easy") / "data", point_to_the_nearest)
    return data


@pytest.fixture
def processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run measure its own speed, not that of a busy machine."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)


def run(data: Dataset, out: Path, config: CloningConfig) -> dict[str, Any]:
    return Cloning([data], out, config, device="cpu", say=lambda line: None).train()


def test_a_healthy_run_has_no_trouble(easy: Dataset, tmp_path: Path, processor_time: None) -> None:
    summary = run(easy, tmp_path / "run", LEARNS)
    assert summary["diagnosis"] == {}
    assert all(summary["criteria"].values()), summary


def test_constant_labels_leave_all_attention_equal(
    small_dataset: Dataset, relabelled: Any, tmp_path: Path, processor_time: None
) -> None:
    def make_constant(table: Table) -> None:
        table["teacher_turn"][:], table["teacher_speed"][:] = 0.25, -0.5

    data = relabelled(small_dataset, tmp_path / "data", make_constant)
    config = CloningConfig(model="attention-additive:hidden=16", epochs=2, lr=0.01, batch_size=256, heldout=0.5)
    summary = run(data, tmp_path / "run", config)
    assert list(summary["diagnosis"]) == ["all attention equal"]
    assert "Do the labels depend on the intruders at all?" in summary["diagnosis"]["all attention equal"]
    assert summary["criteria"]["heldout_loss"]
    assert not summary["criteria"]["attention_sharpness"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": 1e-7, "epochs": 2}, "A constant action would reach"),
        ({"model": "pairwise:width=4:hidden=4", "lr": 2e-3, "epochs": 3, "schedule": "constant"}, "still falling"),
    ],
)
def test_too_small_steps_or_too_few_of_them_leave_the_loss_high(
    easy: Dataset, tmp_path: Path, processor_time: None, changes: dict[str, Any], words: str
) -> None:
    summary = run(easy, tmp_path / "run", replace(LEARNS, **changes))
    assert "loss stays high" in summary["diagnosis"]
    assert words in summary["diagnosis"]["loss stays high"]
    assert not {"oscillates", "slow", "not finite"} & set(summary["diagnosis"])


def test_a_run_whose_loss_goes_up_and_down_oscillates(
    easy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processor_time: None
) -> None:
    """The losses are made up: how a real run oscillates depends on the last digit of every sum."""
    losses = iter((0.008, 0.004) * 4)
    monkeypatch.setattr(cloning, "measure", lambda *arguments: HeldOut(**{**SOUND, "mse": next(losses)}))
    summary = run(easy, tmp_path / "run", replace(LEARNS, epochs=8))
    assert list(summary["diagnosis"]) == ["oscillates"]
    assert summary["heldout_mse"] == 0.004


def test_a_slow_loader_is_found_out(easy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, waited = Loader.__iter__, 0.0

    def slow(self: Loader) -> Iterator[Batch]:
        nonlocal waited
        for batch in original(self):
            waited += 100.0
            yield batch

    monkeypatch.setattr(Loader, "__iter__", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: time.process_time() + waited)
    summary = run(easy, tmp_path / "run", replace(LEARNS, epochs=1, batch_size=2000))
    assert "the network waits for its data" in summary["diagnosis"]["slow"]


def test_tiny_batches_are_slow(easy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skyclone.train.runs.envelope.ROWS", 50)  # seen in batches of one too
    summary = run(easy, tmp_path / "run", replace(LEARNS, epochs=1, batch_size=1, max_batches=50, heldout=0.05))
    assert "samples/s. Try a larger --batch-size" in summary["diagnosis"]["slow"]


@pytest.mark.parametrize("place", ["label", "weights"])
@pytest.mark.parametrize("looks_every", [1, 50])
def test_nan_stops_the_run_with_the_weights_before_it(
    easy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, looks_every: int
) -> None:
    """However seldom the run looks, as on a GPU."""
    trainer = Cloning([easy], tmp_path / "run", replace(LEARNS, epochs=2), device="cpu", say=lambda line: None)
    trainer._check_every = looks_every
    batches = len(trainer.loader)
    bad = batches + 3  # the third of the second iteration
    original, before, calls = Updater.update, {}, 0

    def spoiled(self: Updater, batch: Batch, rows: int, learning_rate: float) -> None:
        nonlocal calls
        calls += 1
        if calls == bad:
            before.update({name: value.clone() for name, value in trainer.network.state_dict().items()})
            spoil(batch)
        original(self, batch, rows, learning_rate)

    def spoil(batch: Batch) -> None:
        if place == "label":
            batch.action[7, 1] = torch.nan
        else:
            batch.observation.ownship[0, 0] = torch.inf

    monkeypatch.setattr(Updater, "update", spoiled)
    with pytest.raises(TrainingError, match=r"got \S+ and \S+ in batch 3 of iteration 2; stopped, with"):
        trainer.train()
    assert calls == (bad if looks_every == 1 else bad + min(looks_every - bad % looks_every, batches - 3))
    last = checkpoint.load(tmp_path / "run", "last").network.state_dict()
    assert before.keys() == last.keys()
    assert all(torch.equal(before[name], last[name]) for name in last)
    assert checkpoint.load(tmp_path / "run", "best").meta["metrics"]["iteration"] == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert list(summary["criteria"].items())[2:] == [("finite", False), ("checkpoint_saved", True)]
    assert "in batch 3 of iteration 2" in summary["diagnosis"]["not finite"]


def test_an_infinite_heldout_loss_stops_the_run_too(
    easy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch an iteration: the training loss is still that of before the update that went too far."""
    config = replace(LEARNS, lr=1e12, batch_size=100_000, epochs=3, schedule="constant")
    with pytest.raises(TrainingError, match=r"expected a finite held-out loss, got \S+ after iteration 1; stopped"):
        run(easy, tmp_path / "run", config)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "finite held-out loss" in summary["diagnosis"]["not finite"]
    assert summary["criteria"] == {
        "heldout_loss": False,
        "attention_sharpness": False,
        "finite": False,
        "checkpoint_saved": False,
    }
    with pytest.raises(CheckpointError, match="expected a trained network at"):
        checkpoint.load(tmp_path / "run", "last")


class Blind(Network):
    """Averages the intruders: no attention, H = 0, as `deepsets`, `mlp` and `lstm`."""

    name = "blind"

    def __init__(self, view: Any, parameters: Parameters) -> None:
        super().__init__(view, parameters)
        self.action = action_layers(view.ownship_features + view.intruder_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        action = self.action(torch.cat((observation.ownship, observation.intruders.mean(1)), 1))
        rows, count = observation.is_present.shape
        return (action, action.new_zeros((rows, 0, count))) if with_attention else action


def test_a_network_without_attention_trains_and_is_judged(
    easy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processor_time: None
) -> None:
    monkeypatch.setitem(networks._NETWORKS, "blind", Blind)
    lines: list[str] = []
    config = CloningConfig(model="blind:hidden=8", observation="ego:intruders=4", epochs=2, heldout=0.5)
    summary = Cloning([easy], tmp_path / "run", config, device="cpu", say=lines.append).train()
    assert summary["attention_sharpness"] is None
    assert summary["has_attention"] is False
    assert summary["criteria"]["attention_sharpness"] is False
    assert set(summary["diagnosis"]) <= {"loss stays high"}
    assert any("| sharpness none |" in line for line in lines)
    assert "  NO  attention sharpness > 0.5 (this network has no attention)" in lines
