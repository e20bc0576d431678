"""Runs of analytic fine-tuning, and runs at several densities or with another view, by either method."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from finetuning_runs import (
    LEFT,
    assert_same_end,
    figures,
    finetuned,
    make_clone,
    quiet,
    read_metrics,
    state,
    weights_hash,
)

from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.datasets.traffic.observation import Observation
from skyclone.train import checkpoint, load_policy
from skyclone.train.finetuning import analytic
from skyclone.train.finetuning.analytic import AnalyticConfig, Costs
from skyclone.train.finetuning.cli import finetune
from skyclone.train.finetuning.config import FinetuneConfig, load_config
from skyclone.train.finetuning.methods import KL_ROWS, thinned
from skyclone.train.finetuning.ppo import PPOConfig
from skyclone.train.finetuning.rollout import TRAINING_EPISODES, Crew
from skyclone.train.finetuning.run import Finetuning
from skyclone.train.runs.confidence_intervals import normal_interval
from skyclone.train.runs.gate import fly_gate
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


def run(source: Path | None, out: Path, config: FinetuneConfig = CONFIG, **options: Any) -> dict[str, Any]:
    return finetuned(source, out, config, **options)


@pytest.fixture(scope="module")
def undisturbed(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    out: Path = tmp_path_factory.mktemp("undisturbed") / "run"
    run(clone, out)
    return out


def test_what_a_run_leaves(clone: Path, undisturbed: Path) -> None:
    there = {path.name for path in undisturbed.iterdir()}
    assert there == LEFT
    rounds = read_metrics(undisturbed)
    assert [each.iteration for each in rounds] == list(range(1, len(rounds) + 1))
    assert rounds[-1].steps >= CONFIG.steps > rounds[-2].steps
    terms = [sum(each.learning[name] for name in analytic.TERMS) for each in rounds]
    assert [each.learning["cost"] for each in rounds] == pytest.approx(terms, rel=1e-4)
    assert rounds[0].learning["distance_to_clone"] == pytest.approx(0, abs=1e-6)
    assert rounds[-1].learning["distance_to_clone"] > 1e-3
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert set(summary["seconds"]) == {"flying", "networks", "learning", "gate", "saving"}
    loaded = checkpoint.load(undisturbed)
    assert (loaded.meta["stage"], loaded.meta["config"]["method"]) == ("finetune", "analytic")
    assert loaded.meta["parent"]["weights_sha256"] == weights_hash(clone) == weights_hash(undisturbed, "clone")
    assert load_config(undisturbed)[0] == CONFIG


def test_it_improves_what_it_minimises(clone: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=3000, gate_every=1000, gate_scenarios=2)
    run(clone, tmp_path / "run", config)
    costs = [each["learning"]["cost"] for each in figures(tmp_path / "run")]
    assert sum(costs[-8:]) < 0.5 * sum(costs[:8])


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 5000])
def test_the_distance_to_the_clone_is_measured_on_some_rows_of_all_the_rollout(rows: int) -> None:
    numbers = torch.arange(float(rows))
    seen, action = thinned(Observation(*(numbers.unsqueeze(-1) for _ in range(3))), numbers.unsqueeze(-1))
    assert all(torch.equal(part, action) for part in seen)
    assert len(action) == rows if rows <= KL_ROWS else KL_ROWS / 2 < len(action) <= KL_ROWS
    assert not rows or action[-1] > rows - 1 - -(-rows // KL_ROWS)


@pytest.mark.parametrize(("name", "view"), [("attention-additive", "seed"), ("pairwise", "cpa:intruders=2")])
def test_any_variant_and_view(tmp_path: Path, name: str, view: str) -> None:
    source = make_clone(tmp_path / "clone", name, view)
    run(source, tmp_path / "run", replace(CONFIG, steps=200, gate_scenarios=2))
    assert weights_hash(tmp_path / "run", "last") != weights_hash(source)


def test_lines_for_people(clone: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run(clone, tmp_path / "run", replace(CONFIG, aircraft=(3, 5), steps=300), say=lines.append)
    assert "; analytic, 3, 5 aircraft, cpu" in lines[0]
    told = [line for line in lines if line.startswith("Stage 2 - Iter ")]
    assert told[0].startswith("Stage 2 - Iter 3/")  # every third one
    assert "| 3 aircraft | cost " in told[0]
    assert any(line.startswith("  gate: LoS") for line in lines[2:])


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


@pytest.mark.parametrize("aircraft", [(), (3, 5)])
def test_killed_between_two_saves_and_resumed_it_ends_the_same(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aircraft: tuple[int, ...]
) -> None:
    config = replace(CONFIG, aircraft=aircraft)
    run(clone, tmp_path / "undisturbed", config)
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
    assert_same_end(tmp_path / "run", tmp_path / "undisturbed")


def test_a_policy_that_gets_worse_is_not_published(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the opposite is asked for: as much detour as possible
    step_costs = analytic.step_costs

    def opposite(*arguments: Any) -> dict[str, torch.Tensor]:
        return {name: -term for name, term in step_costs(*arguments).items()}

    monkeypatch.setattr(analytic, "step_costs", opposite)
    costs = Costs(proximity=0, predicted=0, outside=0, speed=0, pace=0, effort=0)
    wild = replace(CONFIG, gate_every=2, analytic=AnalyticConfig(window=8, lr=0.02, costs=costs))
    summary = run(clone, tmp_path / "run", wild)
    best, first = summary["gate"]["best"], summary["gate"]["clone"]
    assert best["los_events"] <= first["los_events"]
    assert best["waypoint_rate"] >= first["waypoint_rate"]
    judged = [each["gate"] for each in figures(tmp_path / "run") if each["gate"]]
    assert not judged[-1]["is_best"]
    assert judged[-1]["extra_distance"] > first["extra_distance"]
    published = sum(each["is_best"] for each in judged)
    assert (weights_hash(tmp_path / "run") == weights_hash(clone)) is (published == 0)


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


# --- several densities ---


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
    first = flights[0].figures()
    assert len(flights) > 1
    for flown in flights[1:]:
        assert flown.figures()["los_events"] <= first["los_events"]
        assert flown.figures()["waypoint_rate"] >= first["waypoint_rate"]
        is_safer = normal_interval((flown.los_events - flights[0].los_events).numpy()).high < 0
        assert is_safer or flown.figures()["extra_distance"] <= first["extra_distance"]


@pytest.mark.parametrize("method", ["ppo", "analytic"])
def test_several_densities_take_turns(clone: Path, tmp_path: Path, method: str) -> None:
    update = PPOConfig(minibatch=64, epochs=1)
    config = replace(CONFIG, method=method, aircraft=(3, 6), horizon=8, warmup=0, steps=400, ppo=update)
    tuning = Finetuning(clone, tmp_path / "run", config, device="cpu", say=quiet)
    flown: list[int] = []
    for crew in tuning.method.crews:
        step = crew.world.step

        def note(action: torch.Tensor, step: Callable[..., Any] = step) -> Any:
            flown.append(action.shape[1])
            return step(action)

        crew.world.step = note  # type: ignore[method-assign]
    tuning.train()
    assert flown[:32] == [3] * 8 + [6] * 8 + [3] * 8 + [6] * 8
    last = figures(tmp_path / "run")[-1]["gate"]
    assert set(last["by_aircraft"]) == {"3", "6"}
    both = sum(each["los_events"] for each in last["by_aircraft"].values()) / 2  # two scenarios each
    assert last["los_events"] == pytest.approx(both)


def test_no_two_crews_fly_the_same_episodes(clone: Path, tmp_path: Path) -> None:
    tuning = Finetuning(clone, tmp_path / "run", replace(CONFIG, aircraft=(3, 6)), device="cpu", say=quiet)
    one, other = (set(crew.world.episodes) for crew in tuning.method.crews)
    assert min(one) == TRAINING_EPISODES
    assert not one & other


def test_too_few_gate_scenarios_for_the_densities(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="2 or more gate scenarios for each number of aircraft, got 3 for 2"
    ):
        run(clone, tmp_path / "run", replace(CONFIG, aircraft=(3, 6), gate_scenarios=3))


# --- another view ---


def test_more_intruders_than_the_clone_sees(clone: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = replace(CONFIG, observation="ego:intruders=4", steps=300)
    tuning = Finetuning(clone, tmp_path / "run", config, device="cpu", say=lines.append)
    tuning.train()
    assert "Sees ego:intruders=4 instead of the clone's ego:intruders=3" in lines[1]
    assert checkpoint.load(tmp_path / "run", "clone").view.intruders == 3
    assert checkpoint.load(tmp_path / "run", "last").view.intruders == 4
    # the best is the clone as it was until something better is published
    best = checkpoint.load(tmp_path / "run")
    assert best.view.intruders == (4 if tuning.progress.best_iteration else 3)


@pytest.mark.parametrize("observation", ["seed", "cpa:intruders=3", "ego:length_m=100"])
def test_another_view_needs_another_clone(clone: Path, tmp_path: Path, observation: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"only the number of intruders may differ, as in 'ego:intruders=12'"
    ):
        run(clone, tmp_path / "run", replace(CONFIG, observation=observation))
    assert not (tmp_path / "run").exists()


# --- configuration and command ---


def test_configuration_survives_json() -> None:
    config = replace(CONFIG, aircraft=(20, 40), analytic=AnalyticConfig(costs=Costs(path=3.0)))
    assert FinetuneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    data = config.to_json()
    data["analytic"]["costs"]["fame"] = 1
    with pytest.raises(ConfigurationError, match=r"unknown keys \['fame'\]"):
        FinetuneConfig.from_json(data)


def test_unknown_method() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown method 'luck'\. There are: ppo, analytic"):
        FinetuneConfig.of("luck")
    with pytest.raises(ConfigurationError, match="unknown method 'luck'"):
        replace(CONFIG, method="luck")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"analytic": replace(CONFIG.analytic, costs=Costs(path=9.0))}, "was begun with path 1.0 .got 9.0"),
        ({"analytic": replace(CONFIG.analytic, lr=1.0)}, "was begun with lr 0.003 .got 1.0"),
        ({"method": "ppo"}, "was begun with method analytic .got ppo"),
        ({"aircraft": (3,)}, r"was begun with aircraft \(\) .got \(3,\)"),
    ],
)
def test_resuming_with_something_else(clone: Path, undisturbed: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        run(clone, undisturbed, replace(CONFIG, **change), resume=True)


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(finetune, [str(each) for each in arguments])


def test_command(clone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ("--method", "analytic", "--envs", 2, "--window", 6, "--aircraft", "3,4", "--gate-scenarios", 4)
    done = invoke(
        "--from", clone, "--out", out, "--steps", 100, *small, "--costs", "path=2:margin=1.2", "--lr", 0.01
    )
    assert done.exit_code == 0, done.output
    config, _ = load_config(out)
    assert (config.method, config.steps, config.envs, config.aircraft) == ("analytic", 100, 2, (3, 4))
    assert config.gate_every == 200  # the method's own default
    assert config.analytic == AnalyticConfig(lr=0.01, window=6, costs=Costs(path=2.0, margin=1.2))
    assert config.ppo == PPOConfig()
    again = invoke("--out", out, "--resume")
    assert again.exit_code == 0, again.output
    assert "Going on after iteration" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clip", 0.1, "--method", "analytic"), "--clip: for --method ppo only, got --method analytic"),
        (("--window", 3, "--costs", "path=2"), "--window, --costs: for --method analytic only, got --method ppo"),
        (("--aircraft", "few"), "expected numbers such as 20 or 20,40,60, got 'few'"),
        (("--method", "luck"), "'luck' is not one of"),
    ],
)
def test_wrong_use(clone: Path, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    done = invoke("--from", clone, "--out", tmp_path / "run", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
