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
from click.testing import CliRunner
from finetuning_runs import (
    LEFT,
    WORLD,
    assert_same_end,
    figures,
    finetuned,
    make_clone,
    quiet,
    read_metrics,
    state,
    weights_hash,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from skyclone.collect.airspace import reward
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import typed
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.state import Traffic
from skyclone.datasets.traffic.view import View
from skyclone.train import checkpoint, load_policy, networks
from skyclone.train.finetuning.cli import finetune
from skyclone.train.finetuning.config import FinetuneConfig, load_config
from skyclone.train.finetuning.ppo import PPOConfig
from skyclone.train.finetuning.rollout import Crew
from skyclone.train.finetuning.run import Finetuning
from skyclone.train.runs.run_folder import TrainingError
from skyclone.train.tensor_file import read_tensors, write_tensors

CONFIG = FinetuneConfig(
    steps=1000,
    envs=4,
    horizon=16,
    warmup=1,
    gate_every=2,
    gate_scenarios=4,
    anchor=0.1,
    ppo=PPOConfig(minibatch=64, epochs=2, lr=1e-3),
)


def run(source: Path | None, out: Path, config: FinetuneConfig = CONFIG, **options: Any) -> dict[str, Any]:
    return finetuned(source, out, config, **options)


@pytest.fixture(scope="module")
def undisturbed(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    out: Path = tmp_path_factory.mktemp("undisturbed") / "run"
    run(clone, out)
    return out


@pytest.mark.parametrize(("name", "view"), [("pairwise", "ego:intruders=3"), ("attention-additive", "seed")])
def test_before_the_first_update_the_policy_is_the_clone(tmp_path: Path, name: str, view: str) -> None:
    source = make_clone(tmp_path / "clone", name, view)
    tuning = Finetuning(source, tmp_path / "run", CONFIG, device="cpu", say=quiet)
    traffic = World(WORLD, 3, range(20)).traffic
    policy = load_policy(source)
    seen = observe_all(traffic, policy.view).flatten()
    with torch.no_grad():
        difference = (tuning.method.network(seen) - policy.network(seen)).abs().max()
    assert difference < 1e-6
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
    assert loaded.meta["world"] == replace(WORLD, reward="separation").to_json()
    assert load_config(undisturbed)[0] == CONFIG


def test_it_learns(undisturbed: Path) -> None:
    assert weights_hash(undisturbed, "last") != weights_hash(undisturbed, "clone")
    assert figures(undisturbed)[-1]["learning"]["kl_to_clone"] > 0
    assert figures(undisturbed)[0]["learning"]["kl_to_clone"] == pytest.approx(0, abs=1e-6)


def test_what_is_watched(undisturbed: Path) -> None:
    learning = {"kl", "kl_to_clone", "clip_fraction", "entropy", "std", "explained_variance", "anchor", "lr"}
    judged = {"los_events", "extra_distance", "waypoint_rate", "mean_speed_mps", "is_best", "los_events_difference"}
    first, *rest = figures(undisturbed)
    assert all(learning <= set(each["learning"]) for each in (first, *rest))
    assert all(judged <= set(each["gate"]) for each in rest if each["gate"])
    assert first["learning"]["entropy"] == pytest.approx(2 * (CONFIG.log_std + 0.5 + 0.5 * log(2 * pi)), rel=1e-5)
    assert first["learning"]["std"] == pytest.approx(exp(CONFIG.log_std), rel=1e-5)
    board = EventAccumulator(str(undisturbed / "tensorboard"))
    board.Reload()
    for group, name in (*(("learning", name) for name in sorted(learning)), ("gate", "los_events")):
        told = [each for each in (first, *rest) if each[group]]
        shown = board.Scalars(f"{group}/{name}")
        assert [each.step for each in shown] == [each["steps"] for each in told]
        values = [each[group][name] for each in told]
        assert [each.value for each in shown] == pytest.approx(values, rel=1e-5, abs=1e-9)


def test_a_finetuned_run_can_be_finetuned(undisturbed: Path, tmp_path: Path) -> None:
    run(undisturbed, tmp_path / "again", replace(CONFIG, steps=200))
    assert checkpoint.load(tmp_path / "again").meta["parent"]["path"] == str(undisturbed)


def test_critic_only_rounds_leave_the_policy_untouched(clone: Path, tmp_path: Path) -> None:
    run(clone, tmp_path / "run", replace(CONFIG, warmup=1000))
    assert weights_hash(tmp_path / "run", "last") == weights_hash(clone)
    tensors = state(tmp_path / "run")
    assert tensors["actor.log_std"].tolist() == pytest.approx([CONFIG.log_std] * 2)
    assert figures(tmp_path / "run")[-1]["learning"]["actor_steps"] == 0


def test_lines_for_people(clone: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    run(clone, tmp_path / "run", say=lines.append)
    assert lines[0].startswith("Stage 2 - pairwise on ego:intruders=3, ")
    assert "NEW BEST: the clone itself" in lines[1]
    assert lines[2].startswith("Stage 2 - Iter 1/")
    assert "critic only" in lines[2]
    assert any(line.startswith("  gate: LoS") and "(clone" in line for line in lines[2:])
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
        if crew.steps == 40:
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


def test_a_policy_that_gets_worse_is_not_published(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a reward that asks for the opposite: as many losses of separation and detours as possible
    def opposite(*arguments: Any) -> torch.Tensor:
        return -reward.separation_reward(*arguments)

    monkeypatch.setitem(reward.REWARDS, "opposite", opposite)
    wild = replace(
        CONFIG, reward="opposite", steps=2000, gate_every=1, ppo=replace(CONFIG.ppo, lr=0.1, target_kl=0)
    )
    summary = run(clone, tmp_path / "run", wild)
    best, first = summary["gate"]["best"], summary["gate"]["clone"]
    assert best["los_events"] <= first["los_events"]
    assert best["waypoint_rate"] >= first["waypoint_rate"]
    judged = [each["gate"] for each in figures(tmp_path / "run") if each["gate"]]
    assert any(not each["is_best"] for each in judged)
    published = sum(each["is_best"] for each in judged)
    assert (weights_hash(tmp_path / "run") == weights_hash(clone)) is (published == 0)


def test_a_known_problem_is_learned_to_its_known_return(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # whoever turns by 0.3 (in action units) in each step gets 0, the most there is; others less
    def turning(config: WorldConfig, before: Traffic, after: Traffic, *rest: Any) -> torch.Tensor:
        turn = torch.remainder(after.track_rad - before.track_rad + torch.pi, 2 * torch.pi) - torch.pi
        return -(turn / config.turn_rad - 0.3).square().masked_fill(~before.is_flying, 0.0)

    monkeypatch.setitem(reward.REWARDS, "turning", turning)
    update = PPOConfig(minibatch=128, lr=3e-3, critic_lr=3e-3, target_kl=0, discount=0.5)
    config = replace(CONFIG, reward="turning", steps=12_000, log_std=-1.5, anchor=0.0, gate_every=1000, ppo=update)
    run(clone, tmp_path / "run", config)
    rewards = [each["rollout"]["reward"] for each in figures(tmp_path / "run")]
    assert rewards[0] < -0.1
    assert rewards[-1] > -0.06  # exploring with a standard deviation of 0.22 costs 0.05 by itself


def clone_at_its_best(folder: Path) -> Path:
    """A clone that turns by 0.3 and keeps its speed (in action units), whatever it sees."""
    source = checkpoint.load(make_clone(folder))
    with torch.no_grad():
        last: Any = source.network.action[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.3, 0.0]))
    checkpoint.save(folder / "best", source.network, source.view, {"stage": "clone", "world": WORLD.to_json()})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("warmup", "std", "collapses"), [(0, 0.6, True), (8, 0.6, True), (8, 0.05, False)])
def test_a_good_policy_collapses_when_its_standard_deviation_is_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: int, std: float, collapses: bool
) -> None:
    """The clone is at the optimum, so all that learning can do is to lose it.

    The critic's warm-up alone does not save it: what is lost, is lost to the noise. (Without warm-up, but with the
    small deviation, it stays as well: the critic begins in the units of the returns, next to their mean.)
    """

    def turning(config: WorldConfig, before: Traffic, after: Traffic, *rest: Any) -> torch.Tensor:
        turn = torch.remainder(after.track_rad - before.track_rad + torch.pi, 2 * torch.pi) - torch.pi
        change = (after.speed_mps - before.speed_mps) / config.speed_change_mps
        lost = (turn / config.turn_rad - 0.3).square() + change.square()
        return -lost.masked_fill(~before.is_flying, 0.0)

    monkeypatch.setitem(reward.REWARDS, "turning", turning)
    update = PPOConfig(minibatch=128, lr=1e-3, critic_lr=3e-3, target_kl=0, smoothing=0.95)
    config = replace(
        CONFIG, reward="turning", steps=14_000, envs=8, warmup=warmup, log_std=log(std), anchor=0.0,
        gate_every=1000, gate_scenarios=2, save_every=100, ppo=update,
    )  # fmt: skip
    source = clone_at_its_best(tmp_path / "clone")
    run(source, tmp_path / "run", config)
    flown = [each["rollout"]["reward"] for each in figures(tmp_path / "run")]
    policy = checkpoint.load(tmp_path / "run", "last")
    seen = observe_all(World(WORLD, 3, range(20)).traffic, policy.view).flatten()
    with torch.no_grad():
        away = (policy.network(seen) - torch.tensor([0.3, 0.0])).square().mean().sqrt()  # type: ignore[operator]
    if collapses:
        assert min(flown) < -0.3  # flying straight on would give -0.09
        assert away > 0.1
    else:
        assert min(flown) > -0.02  # the noise alone costs 2 * 0.05^2
        assert away < 0.05


def test_nan_stops_the_run_and_the_last_good_state_is_kept(
    clone: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def broken(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return reward.separation_reward(*arguments) * (float("nan") if calls == 40 else 1.0)

    monkeypatch.setitem(reward.REWARDS, "broken", broken)
    monkeypatch.setattr("skyclone.train.runs.gate.fly_gate", _no_gate)
    with pytest.raises(TrainingError, match=r"NaN or infinity in policy_loss, value_loss.* --lr"):
        run(clone, tmp_path / "run", replace(CONFIG, reward="broken"))
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
    del tensors["generator"]
    write_tensors(path, tensors, description)
    with pytest.raises(CheckpointError, match="does not fit this run"):
        run(clone, tmp_path / "run", replace(CONFIG, steps=200), resume=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "expected steps of 1 or more, got 0"),
        ({"gate_scenarios": 1}, "expected gate_scenarios from 2 to"),
        ({"log_std": 5.0}, "expected log_std from -20 to 2"),
        ({"anchor": -1.0}, "expected anchor of 0 or more"),
        ({"anchor_until": 0.0}, "expected anchor_until above 0"),
        ({"reward": "fame"}, "unknown reward 'fame'. There are: seed, separation"),
        ({"critic": "oracle"}, "unknown model 'oracle'"),
    ],
)
def test_wrong_configuration(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(CONFIG, **wrong)


def test_one_aircraft_alone(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"2 or more aircraft, got 1.*--aircraft 20"):
        run(clone, tmp_path / "run", replace(CONFIG, aircraft=(1,)))
    assert not (tmp_path / "run").exists()


def test_another_density_and_scenario_than_the_clones(clone: Path, tmp_path: Path) -> None:
    run(clone, tmp_path / "run", replace(CONFIG, aircraft=(8,), scenario="random-n", steps=200))
    world = checkpoint.load(tmp_path / "run").meta["world"]
    assert (world["aircraft"], world["scenario"]) == (8, "random-n")


def test_anchor_decays_to_nothing() -> None:
    config = replace(CONFIG, anchor=0.4, anchor_until=0.5)
    assert [config.anchor_weight(progress) for progress in (0.0, 0.25, 0.5, 1.0)] == [0.4, 0.2, 0.0, 0.0]


def test_configuration_survives_json() -> None:
    assert FinetuneConfig.from_json(json.loads(json.dumps(CONFIG.to_json()))) == CONFIG
    with pytest.raises(ConfigurationError, match=r"unknown keys \['colour'\]"):
        FinetuneConfig.from_json({**CONFIG.to_json(), "colour": 1})
    data = CONFIG.to_json()
    del data["ppo"]["clip"]
    with pytest.raises(ConfigurationError, match=r"missing keys \['clip'\]"):
        FinetuneConfig.from_json(data)


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(finetune, [str(each) for each in arguments])


def test_command(clone: Path, tmp_path: Path) -> None:
    small = ("--envs", 2, "--horizon", 8, "--gate-scenarios", 2, "--warmup", 1, "--minibatch", 64, "--lr", 0.001)
    out = tmp_path / "run"
    done = invoke("--from", clone, "--out", out, "--steps", 100, "--threads", 1, *small)
    assert done.exit_code == 0, done.output
    assert "Stage 2 - Iter 1/" in done.output
    assert f"Next: skyclone evaluate {clone} {out}" in done.output
    config, _ = load_config(out)
    assert (config.steps, config.envs, config.ppo.lr) == (100, 2, 0.001)
    again = invoke("--out", out, "--resume")  # everything else comes from the run
    assert again.exit_code == 0, again.output
    assert "Going on after iteration" in again.output


def test_command_without_a_start(tmp_path: Path) -> None:
    done = invoke("--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "Missing option '--from'" in done.output


def test_command_from_nothing(tmp_path: Path) -> None:
    done = invoke("--from", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert isinstance(done.exception, CheckpointError)
    assert "expected a trained network" in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_options_default_to_the_configuration() -> None:
    ppo, analytic = FinetuneConfig.of("ppo"), FinetuneConfig.of("analytic")
    methods = ({**vars(ppo), **vars(ppo.ppo)}, {**vars(analytic), **vars(analytic.analytic)})
    of_both = {key for method in methods for key in method} - {"ppo", "analytic"}
    for parameter in finetune.params:
        defaults = [method[parameter.name] for method in methods if parameter.name in method]
        if parameter.name in ("aircraft", "costs"):  # text
            assert parameter.default == ""
        elif defaults and parameter.name != "method" and "; analytic" not in str(parameter.help):
            assert {parameter.default} == set(defaults), parameter.name
        elif defaults and parameter.name != "method":
            assert f"[default: {defaults[0]}; analytic {defaults[1]}]" in str(parameter.help)
    assert of_both <= {parameter.name for parameter in finetune.params}


def test_whatever_the_clone_flew_in_fine_tuning_flies_embedded(tmp_path: Path) -> None:
    """The gate flies while the crew flies: two worlds at once, and there is only one BlueSky."""
    network = networks.make("pairwise", View.parse("ego:intruders=4"), seed=0, width=8, hidden=8)
    world = WorldConfig(aircraft=4, simulator="bluesky:simdt_s=0.1")
    checkpoint.save(tmp_path / "best", network, View.parse("ego:intruders=4"), {"world": world.to_json()})
    source = checkpoint.load(tmp_path)
    assert {world.simulator for world in FinetuneConfig().worlds(source)} == {"embedded"}
    assert [world.aircraft for world in FinetuneConfig().worlds(source)] == [4]


def test_a_checkpoint_names_no_files_to_open(clone: Path, tmp_path: Path) -> None:
    """Only who types a file's name has it opened; a run that was begun so goes on so."""
    secret = tmp_path / "secret.scn"
    secret.write_text("00:00:00.00>CRE A,M600,52,4.37,0,100,17\n00:00:00.00>DEST A 52.005 4.37\n")
    loaded = checkpoint.load(clone)
    pinned = typed(f"file:{secret}")
    for scenario in (f"file:{secret}", pinned):
        world = {**loaded.meta["world"], "scenario": scenario}
        checkpoint.save(tmp_path / "best", loaded.network, loaded.view, {"world": world})
        source = checkpoint.load(tmp_path)
        with pytest.raises(ConfigurationError, match=r"was trained on 'file:.*, and a checkpoint opens no other"):
            FinetuneConfig().worlds(source)
        (world,) = FinetuneConfig(scenario=f"file:{secret}").worlds(source)
        assert world.scenario == pinned, "what is typed is pinned to what is in the files"
        assert FinetuneConfig(scenario="circle").worlds(source)[0].scenario == "circle"
    assert FinetuneConfig().worlds(source, is_begun=True)[0].scenario == pinned
