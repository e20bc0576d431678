"""Fixtures of the evaluation's tests: hand-made steps and figures, small runs, one small evaluation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flown_steps import step_of, traffic_of

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import Figures
from skyclone.datasets.traffic.view import View
from skyclone.evaluate.evaluation.config import EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import Loaded, load_all
from skyclone.evaluate.evaluation.evaluation import Evaluation, evaluate
from skyclone.evaluate.report import content
from skyclone.evaluate.report.content import Report
from skyclone.evaluate.report.learning_curves import Curve
from skyclone.train import checkpoint, networks


@pytest.fixture(scope="session")
def figures_of() -> Callable[..., Figures]:
    """Return a function that makes figures of S scenarios; what is not named is zero."""

    def make(scenarios: int, **columns: object) -> Figures:
        names = [name for name in Figures.__dataclass_fields__ if name != "nearest_m"]
        filled = {name: np.broadcast_to(np.array(columns.get(name, 0.0), float), (scenarios,)) for name in names}
        return Figures(**filled, nearest_m=np.full((scenarios, 2), np.inf))

    return make


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Return a function that saves an untrained network as a run."""

    def make(folder: Path, seed: int = 0, view: str = "ego:intruders=4", **meta: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        network = networks.make("pairwise", View.parse(view), seed=seed, width=8, hidden=8)
        with torch.no_grad():
            network.action[-1].weight.mul_(0.02)  # nearly straight flights end soon
            network.action[-1].bias.zero_()
        checkpoint.save(folder / "best", network, View.parse(view), {"stage": "clone", **meta})
        return folder

    return make


@pytest.fixture(scope="session")
def evaluated(
    make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evaluation, dict[str, Loaded]]:
    """One evaluation of everybody: none, mvp and two untrained networks, 6 scenarios of 6 aircraft."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [str(make_run(folder / name, seed)) for seed, name in enumerate(("clone", "tuned"))]
    contenders = tuple(name_all(runs, "none,mvp"))
    world = WorldConfig(aircraft=6, sector_radius_m=500.0, sector_area_m2=4e5, max_steps=120)
    plan = EvaluationConfig(contenders, world, scenarios=6, batch=4, bootstrap=200)
    loaded = load_all(plan)
    return evaluate(plan, loaded), loaded


__all__ = ["step_of", "traffic_of"]


@pytest.fixture(scope="session")
def report(evaluated: tuple[Evaluation, dict[str, Loaded]]) -> Report:
    """The report on `evaluated`: two scenarios for the attention and the replay, learning curves of one run."""
    evaluation, loaded = evaluated
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(content, "WATCHED_SCENARIOS", 2)
        patched.setattr(content, "REPLAYED_SCENARIOS", 2)
        made = content.gather(evaluation, loaded, "skyclone evaluate a b", "2030-01-01 12:00 UTC")
    run = next(iter(made.attention))
    curves = {run: {"imitation": [Curve("training", [1.0, 2.0], [0.5, 0.1], "iteration", "loss")]}}
    return replace(made, curves=curves, code="skyclone 0.0.1; torch 1.0")


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no plot of a report or a training: `test_from_runs_to_a_report` and the tests of the page do."""
    for module in ("plots", "attention_plots"):
        monkeypatch.setattr(f"skyclone.evaluate.report.{module}.to_svg", lambda figure, name: "<svg></svg>")
    monkeypatch.setattr("skyclone.train.cloning.plots.losses", lambda history, kind: b"")
