"""Runs of fine-tuning along the analytic gradient."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetuning_runs import (
    LEFT,
    WORLD,
    assert_same_end,
    figures,
    make_clone,
    read_metrics,
    runner,
    state,
    weights_hash,
)

from skyclone.collect.airspace.objective import TERMS
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.train import checkpoint, load_policy
from skyclone.train.finetuning import analytic
from skyclone.train.finetuning.config import AnalyticConfig, FinetuneConfig, load_config
from skyclone.train.finetuning.rollout import Crew
from skyclone.train.finetuning.run import Finetuning
from skyclone.train.runs.gate import MARGINS, fly_gate, judge
from skyclone.train.runs.run_folder import TrainingError

CONFIG = FinetuneConfig(
    method="analytic",
    steps=700,
    envs=4,
    gate_every=5,
    gate_scenarios=4,
    save_every=3,
    analytic=AnalyticConfig(window=8, lr=3e-3),
)
NOISE = "noise:position_m=20:error_s=5:latency_s=2:reception=0.8"
run = runner(CONFIG)


def test_what_a_run_leaves(clone: Path, undisturbed: Path) -> None:
    there = {path.name for path in undisturbed.iterdir()}
    assert there == LEFT
    rounds = read_metrics(undisturbed)
    assert [each.iteration for each in rounds] == list(range(1, len(rounds) + 1))
    assert rounds[-1].steps >= CONFIG.steps > rounds[-2].steps
    terms = [sum(each.learning[name] for name in TERMS) for each in rounds]
    assert [each.learning["cost"] for each in rounds] == pytest.approx(terms, rel=1e-4)
    assert rounds[0].learning["distance_to_clone"] == pytest.approx(0, abs=1e-6)
    assert rounds[-1].learning["distance_to_clone"] > 1e-3
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert set(summary["seconds"]) == {"flying", "networks", "learning", "gate", "saving"}
    loaded = checkpoint.load(undisturbed)
    assert (loaded.meta["stage"], loaded.meta["config"]["method"]) == ("finetune", "analytic")
    assert loaded.meta["parent"]["weights_sha256"] == weights_hash(clone) == weights_hash(undisturbed, "clone")
    assert load_config(undisturbed)[0] == CONFIG


def test_it_improves_what_it_minimises(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone", world=replace(WORLD, max_steps=30))
    config = replace(CONFIG, steps=3000, gate_every=1000, gate_scenarios=2)
    run(clone, tmp_path / "run", config)
    costs = [each["learning"]["cost"] for each in figures(tmp_path / "run")]
    assert sum(costs[-8:]) < 0.5 * sum(costs[:8])


@pytest.mark.parametrize(("name", "view"), [("attention-additive", "seed"), ("pairwise", "cpa:intruders=2")])
def test_any_variant_and_view(tmp_path: Path, name: str, view: str) -> None:
    source = make_clone(tmp_path / "clone", name, view)
    run(source, tmp_path / "run", replace(CONFIG, steps=200, gate_scenarios=2))
    assert weights_hash(tmp_path / "run", "last") != weights_hash(source)


def test_lines_for_people(clone: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run(clone, tmp_path / "run", replace(CONFIG, aircraft=(3, 5), steps=200), say=lines.append)
    assert "; analytic, 3, 5 aircraft, cpu" in lines[0]
    told = [line for line in lines if line.startswith("Stage 2 - Iter ")]
    assert told[0].startswith("Stage 2 - Iter 3/")  # every third one
    assert "| 3 aircraft | cost " in told[0]
    assert any(line.startswith("  gate: objective ") for line in lines[2:])


@pytest.mark.signals
def test_interrupted_and_resumed_it_ends_the_same(clone: Path, undisturbed: Path, tmp_path: Path) -> None:
    calls: list[Any] = []
    fly_window: Callable[..., Any] = analytic.fly_window

    def pressing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 5:  # between two saves
            os.kill(os.getpid(), signal.SIGINT)
        return fly_window(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analytic, "fly_window", pressing)
        with pytest.raises(KeyboardInterrupt, match=r"Stopped after iteration 5; all is saved"):
            run(clone, tmp_path / "run")
    assert len(figures(tmp_path / "run")) == 5
    run(None, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


@pytest.mark.parametrize(("aircraft", "surveillance"), [((), ""), ((3, 5), ""), ((), NOISE)])
def test_killed_between_two_saves_and_resumed_it_ends_the_same(
    clone: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    aircraft: tuple[int, ...],
    surveillance: str,
) -> None:
    config = replace(CONFIG, aircraft=aircraft, surveillance=surveillance)
    if surveillance:
        config = replace(config, gate_every=20)
    if config != CONFIG:
        undisturbed = tmp_path / "undisturbed"
        run(clone, undisturbed, config)
    restart: Callable[[Crew], None] = Crew.restart
    calls = []

    def die(crew: Crew) -> None:
        restart(crew)
        calls.append(crew)
        if len(calls) == 5:
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Crew, "restart", die)
        with pytest.raises(MemoryError):
            run(clone, tmp_path / "run", config)
    assert len(figures(tmp_path / "run")) == 4  # of which the state knows three
    run(clone, tmp_path / "run", config, resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


def test_a_policy_that_gets_worse_is_not_published(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the opposite is asked for: as much detour as possible
    step_costs = analytic.step_costs

    def opposite(*arguments: Any) -> dict[str, torch.Tensor]:
        return {name: -term for name, term in step_costs(*arguments).items()}

    monkeypatch.setattr(analytic, "step_costs", opposite)
    path = ":".join(["detour", *(f"{name}=0" for name in TERMS if name != "path")])
    wild = replace(CONFIG, reward=path, gate_every=2, analytic=AnalyticConfig(window=8, lr=0.02))
    summary = run(clone, tmp_path / "run", wild)
    first = summary["gate"]["clone"]
    assert {name for name, term in first["objective_terms"].items() if term} == {"path"}, "what is minimised"
    judged = [each["gate"] for each in figures(tmp_path / "run") if each["gate"]]
    assert judged[-1]["objective"] > first["objective"]
    assert judged[-1]["extra_distance"] > first["extra_distance"]
    assert not any(each["is_best"] for each in judged)
    assert (summary["best_iteration"], summary["is_better_than_clone"]) == (0, False)
    assert weights_hash(tmp_path / "run") == weights_hash(clone)


def test_nan_stops_the_run_and_the_last_good_state_is_kept(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_costs, calls = analytic.step_costs, []

    def broken(*arguments: Any) -> dict[str, torch.Tensor]:
        calls.append(1)
        terms = step_costs(*arguments)
        return {**terms, "path": terms["path"] * (float("nan") if len(calls) == 30 else 1.0)}

    monkeypatch.setattr(analytic, "step_costs", broken)
    with pytest.raises(
        TrainingError, match=r"NaN or infinity in cost, path, gradient_norm in iteration 4; .* --lr"
    ):
        run(clone, tmp_path / "run")
    assert all(torch.isfinite(tensor.double()).all() for tensor in state(tmp_path / "run").values())
    assert "NaN" in json.loads((tmp_path / "run" / "summary.json").read_text())["trouble"]
    checkpoint.load(tmp_path / "run", "last")


def test_at_no_point_is_the_published_best_worse_than_the_clone(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in the folder is flown again each time it changes, on the gate's scenarios."""
    publish, flights = Finetuning._publish, []

    def watched(self: Finetuning, name: str, *rest: Any) -> None:
        publish(self, name, *rest)
        if name == "best":
            pilot = load_policy(self.run).pilot
            flights.append(fly_gate(pilot, self.worlds[0], self.config.seed, self.config.gate_scenarios))

    monkeypatch.setattr(Finetuning, "_publish", watched)
    run(clone, tmp_path / "run", replace(CONFIG, steps=2500, gate_every=2))
    clone_flown, objectives = flights[0], [float(each.objective().mean()) for each in flights]
    assert len(flights) > 1
    assert objectives == sorted(objectives, reverse=True), "each is better than those before"
    for flown in flights[1:]:
        assert judge(flown, clone_flown, clone_flown).is_better
        per_flight, aircraft = (flown.los_events - clone_flown.los_events) / flown.aircraft, flown.aircraft.sum()
        assert per_flight.mean() <= MARGINS.los_per_flight
        assert (clone_flown.at_waypoint - flown.at_waypoint).sum() / aircraft <= MARGINS.waypoint_rate


def test_a_reward_without_a_gradient_is_refused(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"got 'seed'\. Use --reward detour, or --method ppo"):
        run(clone, tmp_path / "run", replace(CONFIG, reward="seed"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": "detour:path=9"}, "was begun with reward detour .got detour:path=9"),
        ({"analytic": replace(CONFIG.analytic, lr=1.0)}, "was begun with lr 0.003 .got 1.0"),
        ({"method": "ppo"}, "was begun with method analytic .got ppo"),
        ({"aircraft": (3,)}, r"was begun with aircraft \(\) .got \(3,\)"),
    ],
)
def test_resuming_with_something_else(clone: Path, undisturbed: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        run(clone, undisturbed, replace(CONFIG, **change), resume=True)


def test_under_surveillance_another_policy_is_learned(clone: Path, undisturbed: Path, tmp_path: Path) -> None:
    run(clone, tmp_path / "run", replace(CONFIG, surveillance=NOISE))
    assert weights_hash(tmp_path / "run", "last") != weights_hash(undisturbed, "last")
