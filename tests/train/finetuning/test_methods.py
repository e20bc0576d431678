"""What both methods share: runs at several densities or with another view, and the command line of both."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from finetuning_runs import figures, quiet, runner

from skyclone.collect.airspace.objective import Costs
from skyclone.collect.surveillance.config import PERFECT
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.observation import Observation
from skyclone.train import checkpoint
from skyclone.train.finetuning.cli import finetune
from skyclone.train.finetuning.config import AnalyticConfig, FinetuneConfig, PPOConfig, load_config
from skyclone.train.finetuning.methods import KL_ROWS, thinned
from skyclone.train.finetuning.rollout import TRAINING_EPISODES
from skyclone.train.finetuning.run import Finetuning

CONFIG = FinetuneConfig(
    method="analytic",
    steps=700,
    envs=4,
    gate_every=5,
    gate_scenarios=4,
    save_every=3,
    analytic=AnalyticConfig(window=8, lr=3e-3),
)
run = runner(CONFIG)


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 5000])
def test_the_distance_to_the_clone_is_measured_on_some_rows_of_all_the_rollout(rows: int) -> None:
    numbers = torch.arange(float(rows))
    seen, action = thinned(Observation(*(numbers.unsqueeze(-1) for _ in range(3))), numbers.unsqueeze(-1))
    assert all(torch.equal(part, action) for part in seen)
    assert len(action) == rows if rows <= KL_ROWS else KL_ROWS / 2 < len(action) <= KL_ROWS
    assert not rows or action[-1] > rows - 1 - -(-rows // KL_ROWS)


# --- several densities ---


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
    assert [(each["aircraft"], each["surveillance"]) for each in last["by_world"]] == [(3, PERFECT), (6, PERFECT)]
    both = sum(each["los_events"] for each in last["by_world"]) / 2  # two scenarios each
    assert last["los_events"] == pytest.approx(both)


def test_no_two_crews_fly_the_same_episodes(clone: Path, tmp_path: Path) -> None:
    tuning = Finetuning(clone, tmp_path / "run", replace(CONFIG, aircraft=(3, 6)), device="cpu", say=quiet)
    one, other = (set(crew.world.episodes) for crew in tuning.method.crews)
    assert min(one) == TRAINING_EPISODES
    assert not one & other


def test_several_surveillances_take_turns_with_each_number_of_aircraft(clone: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, aircraft=(3, 6), surveillance="perfect, remote-id:reception=0.5", gate_scenarios=8)
    tuning = Finetuning(clone, tmp_path / "run", config, device="cpu", say=quiet)
    worlds = [(crew.world.config.aircraft, crew.world.config.surveillance) for crew in tuning.method.crews]
    qualities = ("perfect", "remote-id:reception=0.5")
    assert worlds == [(count, quality) for quality in qualities for count in (3, 6)]


def test_too_few_gate_scenarios_for_the_densities(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError,
        match="2 or more gate scenarios for each number of aircraft and surveillance, got 3 for 2",
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
    config = replace(CONFIG, aircraft=(20, 40), reward="detour:path=3.0", analytic=AnalyticConfig(window=3))
    assert FinetuneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    data = config.to_json()
    data["analytic"]["fame"] = 1
    with pytest.raises(ConfigurationError, match=r"unknown keys \['fame'\]"):
        FinetuneConfig.from_json(data)


def test_unknown_method() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown method 'luck'\. There are: ppo, analytic"):
        FinetuneConfig.of("luck")
    with pytest.raises(ConfigurationError, match="unknown method 'luck'"):
        replace(CONFIG, method="luck")


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(finetune, [str(each) for each in arguments])


def test_command(clone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ("--method", "analytic", "--envs", 2, "--window", 6, "--aircraft", "3,4", "--gate-scenarios", 4)
    done = invoke(
        "--from", clone, "--out", out, "--steps", 100, *small, "--reward", "detour:path=2:margin=1.2", "--lr", 0.01
    )
    assert done.exit_code == 0, done.output
    config, _ = load_config(out)
    assert (config.method, config.steps, config.envs, config.aircraft) == ("analytic", 100, 2, (3, 4))
    assert config.gate_every == 200  # the method's own default
    assert config.analytic == AnalyticConfig(lr=0.01, window=6)
    assert config.costs == Costs(path=2.0, margin=1.2)
    assert config.ppo == PPOConfig()
    again = invoke("--out", out, "--resume")
    assert again.exit_code == 0, again.output
    assert "Going on after iteration" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clip", 0.1, "--method", "analytic"), "--clip: for --method ppo only, got --method analytic"),
        (("--window", 3, "--damping", 1), "--window, --damping: for --method analytic only, got --method ppo"),
        (("--processes", 2, "--method", "analytic"), "--processes: for --method ppo only, got --method analytic"),
        (("--aircraft", "few"), "expected numbers such as 20 or 20,40,60, got 'few'"),
        (("--method", "luck"), "'luck' is not one of"),
    ],
)
def test_wrong_use(clone: Path, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    done = invoke("--from", clone, "--out", tmp_path / "run", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
