import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from math import exp, log, pi
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
    quiet,
    read_metrics,
    runner,
    state,
    weights_hash,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from skyclone.collect.airspace import reward
from skyclone.collect.airspace.objective import Change, Costs
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.datasets.traffic.observation import observe_all
from skyclone.train import checkpoint, load_policy
from skyclone.train.finetuning import ppo
from skyclone.train.finetuning.config import FinetuneConfig, PPOConfig, load_config
from skyclone.train.finetuning.rollout import Crew
from skyclone.train.finetuning.run import Finetuning
from skyclone.train.runs.run_folder import TrainingError
from skyclone.train.tensor_file import read_tensors, write_tensors

CONFIG = FinetuneConfig(
    steps=600,
    envs=4,
    horizon=9,
    warmup=1,
    gate_every=2,
    gate_scenarios=4,
    anchor=0.1,
    ppo=PPOConfig(minibatch=64, epochs=2, lr=1e-3),
)
run = runner(CONFIG)


@pytest.mark.parametrize(("name", "view"), [("pairwise", "ego:intruders=3"), ("attention-additive", "seed")])
def test_before_the_first_update_the_policy_is_the_clone(tmp_path: Path, name: str, view: str) -> None:
    source = make_clone(tmp_path / "clone", name, view)
    tuning = Finetuning(source, tmp_path / "run", CONFIG, device="cpu", say=quiet)
    traffic = World(WORLD, 3, range(20)).traffic
    policy = load_policy(source)
    seen = observe_all(traffic, policy.view).flatten()
    with torch.no_grad():
        difference = (tuning.method.network(seen) - policy.network(seen)).abs().max()
    assert difference == 0


def test_what_a_run_leaves(clone: Path, undisturbed: Path) -> None:
    there = {path.name for path in undisturbed.iterdir()}
    assert there == LEFT
    rounds = read_metrics(undisturbed)
    assert [each.iteration for each in rounds] == list(range(1, len(rounds) + 1))
    assert [each.is_warmup for each in rounds] == [True] + [False] * (len(rounds) - 1)
    assert rounds[-1].steps >= CONFIG.steps > rounds[-2].steps
    assert rounds[-1].gate is not None
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert summary["steps"] == rounds[-1].steps
    assert summary["criteria"] == {"finite": True, "checkpoint_saved": True, "not_worse_than_clone": True}
    assert set(summary["seconds"]) == {"flying", "observing", "networks", "learning", "gate", "saving"}
    loaded = checkpoint.load(undisturbed)
    assert loaded.meta["stage"] == "finetune"
    assert loaded.meta["parent"]["weights_sha256"] == weights_hash(clone) == weights_hash(undisturbed, "clone")
    assert loaded.meta["world"] == replace(WORLD, reward="detour").to_json()
    assert load_config(undisturbed)[0] == CONFIG


def test_it_learns(undisturbed: Path) -> None:
    assert weights_hash(undisturbed, "last") != weights_hash(undisturbed, "clone")
    assert figures(undisturbed)[-1]["learning"]["kl_to_clone"] > 0
    assert figures(undisturbed)[0]["learning"]["kl_to_clone"] == pytest.approx(0, abs=1e-6)


def test_what_is_watched(undisturbed: Path) -> None:
    learning = {"kl", "kl_to_clone", "clip_fraction", "entropy", "std", "explained_variance", "anchor", "lr"}
    judged = {"objective", "los_events", "extra_distance", "waypoint_rate", "mean_speed_mps", "is_best", "reason"}
    judged |= {f"{name}_difference" for name in ("objective", "los_events", "extra_distance", "waypoint_rate")}
    first, *rest = figures(undisturbed)
    assert all(learning <= set(each["learning"]) for each in (first, *rest))
    assert all(judged <= set(each["gate"]) for each in rest if each["gate"])
    assert first["learning"]["entropy"] == pytest.approx(2 * (CONFIG.log_std + 0.5 + 0.5 * log(2 * pi)), rel=1e-5)
    assert first["learning"]["std"] == pytest.approx(exp(CONFIG.log_std), rel=1e-5)
    board = EventAccumulator(str(undisturbed / "tensorboard"))
    board.Reload()
    for group, name in (*(("learning", name) for name in sorted(learning)), ("gate", "objective")):
        told = [each for each in (first, *rest) if each[group]]
        shown = board.Scalars(f"{group}/{name}")
        assert [each.step for each in shown] == [each["steps"] for each in told]
        values = [each[group][name] for each in told]
        assert [each.value for each in shown] == pytest.approx(values, rel=1e-5, abs=1e-9)


def test_a_finetuned_run_can_be_finetuned(undisturbed: Path, tmp_path: Path) -> None:
    run(undisturbed, tmp_path / "again", replace(CONFIG, steps=200))
    assert checkpoint.load(tmp_path / "again").meta["parent"]["path"] == str(undisturbed)


def test_what_is_published_is_the_average(undisturbed: Path) -> None:
    tensors = state(undisturbed)
    last = checkpoint.load(undisturbed, "last").network.state_dict()
    assert all(torch.equal(weight, tensors[f"average.{name}"]) for name, weight in last.items())
    assert not any(torch.equal(weight, tensors[f"actor.network.{name}"]) for name, weight in last.items())


def test_critic_only_rounds_leave_the_policy_untouched(clone: Path, tmp_path: Path) -> None:
    run(clone, tmp_path / "run", replace(CONFIG, warmup=1000, steps=350))
    assert weights_hash(tmp_path / "run", "last") == weights_hash(clone)
    tensors = state(tmp_path / "run")
    assert tensors["actor.log_std"].tolist() == pytest.approx([CONFIG.log_std] * 2)
    assert figures(tmp_path / "run")[-1]["learning"]["actor_steps"] == 0


def test_lines_for_people(clone: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run(clone, tmp_path / "run", replace(CONFIG, steps=350), say=lines.append)
    assert lines[0].startswith("Stage 2 - pairwise on ego:intruders=3, ")
    assert "NEW BEST: the clone itself" in lines[1]
    assert lines[2].startswith("Stage 2 - Iter 1/")
    assert "critic only" in lines[2]
    assert any(line.startswith("  gate: objective ") and "(clone" in line for line in lines[2:])
    assert "learning" in lines[-1]


@pytest.mark.signals
def test_interrupted_and_resumed_it_ends_the_same(clone: Path, undisturbed: Path, tmp_path: Path) -> None:
    def press(line: str) -> None:
        if line.startswith("Stage 2 - Iter 3/"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="--resume continues from here"):
        run(clone, tmp_path / "run", say=press)
    assert len(figures(tmp_path / "run")) == 3
    run(None, tmp_path / "run", resume=True)  # what it started from is in the folder
    assert_same_end(tmp_path / "run", undisturbed)


@pytest.mark.signals
def test_where_aircraft_do_not_know_all_it_is_resumed_alike(clone: Path, tmp_path: Path) -> None:
    noise = "noise:position_m=5:latency_s=1:reception=0.7:error_s=4"
    noisy = replace(CONFIG, surveillance=noise, gate_every=4)
    run(clone, tmp_path / "whole", noisy)

    def press(line: str) -> None:
        if line.startswith("Stage 2 - Iter 3/"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(clone, tmp_path / "run", noisy, say=press)
    run(None, tmp_path / "run", noisy, resume=True)
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    world = checkpoint.load(tmp_path / "run").meta["world"]
    assert world["surveillance"] == noisy.surveillance


@pytest.mark.signals
def test_the_log_decides_nothing(clone: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Stopped, and finished: whatever becomes of the log, best and summary are those of a run left alone."""

    def press(line: str) -> None:
        if line.startswith("Stage 2 - Iter 3/"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(clone, tmp_path / "run", say=press)
    expected = json.loads((undisturbed / "summary.json").read_text())
    for text in ("rubbish", ""):
        (tmp_path / "run" / "metrics.jsonl").write_text(text)
        summary = run(clone, tmp_path / "run", resume=True)
        assert_same_end(tmp_path / "run", undisturbed)
        assert {key: summary[key] for key in ("steps", "iterations", "best_iteration", "gate", "criteria")} == {
            key: expected[key] for key in ("steps", "iterations", "best_iteration", "gate", "criteria")
        }


def test_a_run_that_is_being_trained_is_refused(clone: Path, tmp_path: Path) -> None:
    first = Finetuning(clone, tmp_path / "run", CONFIG, device="cpu", say=quiet)
    with pytest.raises(CheckpointError, match=rf"run is in use by process {os.getpid()} on "):
        run(clone, tmp_path / "run", resume=True)
    assert first.progress.iteration == 0


def test_killed_in_the_middle_and_resumed_it_ends_the_same(
    clone: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restart: Callable[[Crew], None] = Crew.restart

    def die(crew: Crew) -> None:
        restart(crew)
        if crew.steps == 23:
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Crew, "restart", die)
        with pytest.raises(MemoryError):
            run(clone, tmp_path / "run")
    run(clone, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


def test_resuming_a_finished_run_changes_nothing(undisturbed: Path, clone: Path) -> None:
    before = state(undisturbed)
    assert run(clone, undisturbed, resume=True)["steps"] >= CONFIG.steps
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(undisturbed).items())


def test_nothing_to_resume_starts_anew(clone: Path, undisturbed: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run(clone, tmp_path / "run", resume=True, say=lines.append)
    assert "Nothing to resume" in lines[0]
    assert_same_end(tmp_path / "run", undisturbed)


def clone_that_flies(folder: Path, turn: float) -> Path:
    """A clone that makes always the same turn and keeps its speed (in action units), whatever it sees."""
    world = replace(WORLD, max_steps=30)
    source = checkpoint.load(make_clone(folder))
    with torch.no_grad():
        last: Any = source.network.action[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([turn, 0.0]))
    checkpoint.save(folder / "best", source.network, source.view, {"stage": "clone", "world": world.to_json()})
    return folder


def test_a_policy_that_gets_worse_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # it begins straight to the waypoint; the reward asks for as many losses of separation and detours as possible
    def opposite(config: WorldConfig, change: Change) -> torch.Tensor:
        return -Costs()(config, change)

    monkeypatch.setitem(reward.REWARDS, "opposite", lambda: opposite)
    update = replace(CONFIG.ppo, lr=0.1, target_kl=0, average=0.0)
    wild = replace(CONFIG, reward="opposite", steps=1500, gate_every=2, anchor=0.0, ppo=update)
    clone = clone_that_flies(tmp_path / "clone", 0.0)
    summary = run(clone, tmp_path / "run", wild)
    judged = [each["gate"] for each in figures(tmp_path / "run") if each["gate"]]
    first = summary["gate"]["clone"]["objective"]
    assert judged[-1]["objective"] > first >= summary["gate"]["best"]["objective"]
    assert not any(each["is_best"] for each in judged if each["objective"] >= first)
    assert (weights_hash(tmp_path / "run") == weights_hash(clone)) is not any(each["is_best"] for each in judged)


def test_a_known_problem_is_learned_to_its_known_return(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # whoever turns by 0.3 (in action units) in each step gets 0, the most there is; others less
    def turning(config: WorldConfig, change: Change) -> torch.Tensor:
        before, after = change.before, change.after
        turn = torch.remainder(after.track_rad - before.track_rad + torch.pi, 2 * torch.pi) - torch.pi
        return -(turn / config.turn_rad - 0.3).square().masked_fill(~before.is_flying, 0.0)

    monkeypatch.setitem(reward.REWARDS, "turning", lambda: turning)
    update = PPOConfig(minibatch=128, lr=3e-3, critic_lr=3e-3, target_kl=0, discount=0.5)
    config = replace(
        CONFIG, reward="turning", steps=12_000, envs=12, log_std=-1.5, anchor=0.0, gate_every=1000, ppo=update
    )
    run(clone, tmp_path / "run", config)
    rewards = [each["rollout"]["reward"] for each in figures(tmp_path / "run")]
    assert rewards[0] < -0.1
    assert rewards[-1] > -0.06  # exploring with a standard deviation of 0.22 costs 0.05 by itself


LIFTED = (1e-9, 1e9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("warmup", "std", "bounds", "collapses"),
    [(0, 0.6, LIFTED, True), (8, 0.6, LIFTED, True), (8, 0.6, ppo.STD, False), (8, 0.05, LIFTED, False)],
)
def test_a_good_policy_collapses_when_its_standard_deviation_is_reset_and_not_bounded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warmup: int,
    std: float,
    bounds: tuple[float, float],
    collapses: bool,
) -> None:
    """The clone is at the optimum, so all that learning can do is to lose it.

    The critic's warm-up alone does not save it: what is lost, is lost to the noise, and the bounds of the noise do.
    (Without warm-up, but with the small deviation, it stays as well: the critic begins in the units of the returns,
    next to their mean.)
    """

    def turning(config: WorldConfig, change: Change) -> torch.Tensor:
        before, after = change.before, change.after
        turn = torch.remainder(after.track_rad - before.track_rad + torch.pi, 2 * torch.pi) - torch.pi
        faster = (after.speed_mps - before.speed_mps) / config.speed_change_mps
        lost = (turn / config.turn_rad - 0.3).square() + faster.square()
        return -lost.masked_fill(~before.is_flying, 0.0)

    monkeypatch.setitem(reward.REWARDS, "turning", lambda: turning)
    monkeypatch.setattr(ppo, "STD", bounds)
    update = PPOConfig(minibatch=128, lr=1e-3, critic_lr=3e-3, target_kl=0, smoothing=0.95, average=0.0)
    config = replace(
        CONFIG, reward="turning", steps=14_000, envs=8, warmup=warmup, log_std=log(std), anchor=0.0,
        gate_every=1000, gate_scenarios=2, save_every=100, ppo=update,
    )  # fmt: skip
    source = clone_that_flies(tmp_path / "clone", 0.3)
    run(source, tmp_path / "run", config)
    flown = [each["rollout"]["reward"] for each in figures(tmp_path / "run")][warmup + 1 :]
    policy = checkpoint.load(tmp_path / "run", "last")
    seen = observe_all(World(WORLD, 3, range(20)).traffic, policy.view).flatten()
    with torch.no_grad():
        away = (policy.network(seen) - torch.tensor([0.3, 0.0])).square().mean().sqrt()  # type: ignore[operator]
    if collapses:
        assert min(flown) < -0.3  # flying straight on would give -0.09
        assert away > 0.1
    else:
        assert min(flown) > -1.3 * 2 * min(std, bounds[1]) ** 2  # the noise alone costs 2 std^2
        assert away < 0.05


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_nan_stops_the_run_and_the_last_good_state_is_kept(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    calls = 0

    def broken(config: WorldConfig, change: Change) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return Costs()(config, change) * (float("nan") if calls == 22 else 1.0)

    monkeypatch.setitem(reward.REWARDS, "broken", lambda: broken)
    monkeypatch.setattr("skyclone.train.runs.gate.fly_gate", _no_gate)
    with pytest.raises(TrainingError, match=r"NaN or infinity in .* in iteration 3; .* --lr"):
        run(clone, tmp_path / "run", replace(CONFIG, reward="broken", ppo=replace(CONFIG.ppo, share=share)))
    assert len(figures(tmp_path / "run")) == 2
    assert all(torch.isfinite(tensor.double()).all() for tensor in state(tmp_path / "run").values())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["criteria"]["finite"] is False
    assert "NaN" in summary["trouble"]
    checkpoint.load(tmp_path / "run")


def _no_gate(*arguments: Any) -> Any:
    """Fly nothing: figures of four scenarios in which nothing happened."""
    from skyclone.train.runs.gate import GateFlights

    return GateFlights(*(torch.ones(4, dtype=torch.float64) for _ in GateFlights._fields))


def test_a_folder_with_a_run_is_not_touched_without_resume(clone: Path, undisturbed: Path) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in undisturbed.iterdir())
    with pytest.raises(CheckpointError, match=r"already holds a run.*--resume"):
        run(clone, undisturbed)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in undisturbed.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "was begun with seed 0 .got 1.*Resume it with"),
        ({"ppo": replace(CONFIG.ppo, lr=1.0)}, "was begun with lr 0.001 .got 1.0"),
    ],
)
def test_resuming_with_something_else(clone: Path, undisturbed: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        run(clone, undisturbed, replace(CONFIG, **change), resume=True)


def test_resuming_from_another_clone(undisturbed: Path, tmp_path: Path) -> None:
    other = make_clone(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match=r"was begun with the weights of .*got others"):
        run(other, undisturbed, resume=True)


def test_resuming_what_is_no_finetuning(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{\n "stage": "finetune", "config": {}}')
    with pytest.raises(CheckpointError, match="is damaged: expected parent in it, found only stage, config"):
        run(clone, tmp_path, resume=True)


def test_damaged_state(clone: Path, tmp_path: Path) -> None:
    run(clone, tmp_path / "run", replace(CONFIG, steps=200))
    path = tmp_path / "run" / "last.state.safetensors"
    tensors, description, _ = read_tensors(path)
    del tensors["process0.generator"]
    write_tensors(path, tensors, description)
    with pytest.raises(CheckpointError, match="does not fit this run"):
        run(clone, tmp_path / "run", replace(CONFIG, steps=200), resume=True)


def test_one_aircraft_alone(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"2 or more aircraft, got 1.*--aircraft 20"):
        run(clone, tmp_path / "run", replace(CONFIG, aircraft=(1,)))
    assert not (tmp_path / "run").exists()


def test_another_density_and_scenario_than_the_clones(clone: Path, tmp_path: Path) -> None:
    run(clone, tmp_path / "run", replace(CONFIG, aircraft=(8,), scenario="random-n", steps=200))
    world = checkpoint.load(tmp_path / "run").meta["world"]
    assert (world["aircraft"], world["scenario"]) == (8, "random-n")


@pytest.mark.parametrize("method", ["ppo", "analytic"])
def test_where_aircraft_hover_and_enter_later(clone: Path, tmp_path: Path, method: str) -> None:
    """Interrupted and resumed it ends the same; nothing becomes NaN."""
    scenario = "mix:hover=1:arrivals=1:inside=1"
    config = replace(CONFIG, method=method, scenario=scenario, aircraft=(6,), steps=400, gate_every=9)
    run(clone, tmp_path / "whole", config)
    lines = []

    def stop(line: str) -> None:
        lines.append(line)
        if len(lines) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(clone, tmp_path / "parts", config, say=stop)
    run(clone, tmp_path / "parts", config, resume=True)
    assert_same_end(tmp_path / "parts", tmp_path / "whole")
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert "NaN" not in json.dumps(summary)
