import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skyclone.collect.airspace import worlds
from skyclone.collect.airspace.objective import Costs
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.scenarios import typed
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.datasets.traffic.view import View
from skyclone.train import checkpoint, networks
from skyclone.train.finetuning.config import RAMP, FinetuneConfig, PPOConfig, check_same, save_config

CONFIG = FinetuneConfig(steps=1000, envs=4, warmup=1, ppo=PPOConfig(lr=1e-3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "expected steps of 1 or more, got 0"),
        ({"gate_scenarios": 1}, "expected gate_scenarios from 2 to"),
        ({"log_std": 5.0}, "expected log_std from -20 to 2"),
        ({"anchor": -1.0}, "expected anchor of 0 or more"),
        ({"anchor_until": 0.0}, "expected anchor_until above 0"),
        ({"reward": "fame"}, "unknown reward 'fame'. There are: seed, detour"),
        ({"reward": "detour:fame=1"}, "reward 'detour' has no parameter 'fame'"),
        ({"critic": "oracle"}, "unknown model 'oracle'"),
        ({"critic": ""}, "unknown model ''"),
        ({"processes": 0}, "expected processes from 1 to 64, got 0"),
    ],
)
def test_wrong_configuration(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(CONFIG, **wrong)


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


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    rates = [CONFIG.learning_rate(progress) for progress in (0.0, RAMP / 2, RAMP, (1 + RAMP) / 2, 1.0)]
    assert rates == pytest.approx([0.0, 0.5e-3, 1e-3, 0.5e-3, 0.0])


def test_the_gate_counts_what_the_reward_does() -> None:
    assert replace(CONFIG, reward="detour:path=3:margin=1.2").costs == Costs(path=3.0, margin=1.2)
    assert replace(CONFIG, reward="seed").costs == CONFIG.costs == Costs()


def test_whatever_the_clone_flew_in_fine_tuning_flies_embedded(tmp_path: Path) -> None:
    """The gate flies while the crew flies: two worlds at once, and there is only one BlueSky."""
    network = networks.make("pairwise", View.parse("ego:intruders=4"), seed=0, width=8, hidden=8)
    world = WorldConfig(aircraft=4, simulator="bluesky:simdt_s=0.1")
    checkpoint.save(tmp_path / "best", network, View.parse("ego:intruders=4"), {"world": world.to_json()})
    source = checkpoint.load(tmp_path)
    assert {world.simulator for world in FinetuneConfig().worlds(source)} == {"embedded"}
    assert [world.aircraft for world in FinetuneConfig().worlds(source)] == [4]


def test_another_world_than_the_clone_s(clone: Path) -> None:
    loaded = checkpoint.load(clone)
    world = worlds.parse("m600:protected_zone_m=50:aircraft=7:reward=seed:scenario=circle")
    config = FinetuneConfig(world=world)
    assert FinetuneConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert "world" not in FinetuneConfig().to_json(), "runs without one are as before"
    assert config.worlds(loaded) == [replace(world, reward="detour")]
    found = replace(config, aircraft=(3, 4), scenario="crossing").worlds(loaded)
    assert found == [replace(world, reward="detour", aircraft=n, scenario="crossing") for n in (3, 4)]
    data = config.to_json()
    data["world"]["step_s"] = -1
    with pytest.raises(ConfigurationError, match="expected step_s above 0, got -1"):
        FinetuneConfig.from_json(data)
    with pytest.raises(ConfigurationError, match="expected a JSON object, got 3"):
        FinetuneConfig.from_json({**data, "world": 3})


def test_a_run_goes_on_in_its_world_only(clone: Path, tmp_path: Path) -> None:
    origin = {"path": str(clone), "weights_sha256": "a"}
    config = FinetuneConfig(world=WorldConfig(protected_zone_m=50.0))
    save_config(tmp_path, config, origin)
    check_same(tmp_path, config, origin)
    for other in (FinetuneConfig(), FinetuneConfig(world=WorldConfig())):
        with pytest.raises(CheckpointError, match="was begun with world "):
            check_same(tmp_path, other, origin)


def test_seeing_more_keeps_the_clone_s_scale(tmp_path: Path) -> None:
    view = View("ego", 4, 5000.0, 30.0, bound=3.0)
    checkpoint.save(tmp_path / "best", networks.make("pairwise", view, width=8, hidden=8), view, {})
    loaded = checkpoint.load(tmp_path)
    assert FinetuneConfig(observation="ego:intruders=9").view(loaded) == replace(view, intruders=9)
    with pytest.raises(ConfigurationError, match=r"only the number of intruders may differ"):
        FinetuneConfig(observation="ego:length_m=935").view(loaded)


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
