from typing import Any

import pytest

from skyclone.train.health import diagnose, judge
from skyclone.train.heldout import HeldOut
from skyclone.train.monitor import Iteration
from skyclone.train.summary import best_of, summarise, verdict_lines

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
        (iterations(0.069, 0.068, 0.069), "A constant action would reach 0.07: nothing was learned"),
        (iterations(0.05, 0.03, 0.031, train=0.005), "learns the episodes by heart"),
        (iterations(0.06, 0.04, 0.02), "still falling at the end"),
        (
            iterations(0.05, 0.0501, 0.0502, mse_conflict=0.4),
            r"error lies in the conflicts \(0.4 there, 0.003 else",
        ),
        (iterations(0.02, 0.0201, 0.0202, mse_conflict=None), "try a larger network"),
    ],
)
def test_loss_stays_high(history: list[Iteration], words: str) -> None:
    found = diagnose(history, TIMES)
    assert list(found) == ["loss stays high"]
    assert words.split("\\")[0] in found["loss stays high"]


def test_oscillates() -> None:
    assert list(diagnose(iterations(0.008, 0.004, 0.008, 0.004, 0.009, 0.004, 0.008), TIMES)) == ["oscillates"]
    assert diagnose(iterations(0.009, 0.008, 0.0081, 0.007, 0.0069, 0.0068), TIMES) == {}


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
