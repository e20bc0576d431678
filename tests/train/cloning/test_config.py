import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skyclone.datasets.errors import CheckpointError, SkycloneError
from skyclone.train import networks
from skyclone.train.cloning.config import CloningConfig, load_config, recipes, save_config


def test_round_trip_through_the_file(tmp_path: Path) -> None:
    config = CloningConfig(model="pairwise:width=32", observation="cpa:intruders=4", max_seconds=60.0)
    save_config(tmp_path, config, [{"path": "data", "content_hash": "0"}])
    assert load_config(tmp_path) == (config, [{"path": "data", "content_hash": "0"}])


def test_defaults_are_the_contract() -> None:
    config = CloningConfig()
    assert (config.model, config.observation, config.epochs, config.batch_size, config.lr, config.seed) == (
        "attention-additive",
        "seed",
        20,
        1024,
        1e-3,
        0,
    )


def test_observation_is_written_one_way() -> None:
    assert CloningConfig(observation="ego:length_m=935:intruders=8").observation == "ego:intruders=8:length_m=935.0"
    world = {"sector_radius_m": 500.0, "max_speed_mps": 18.0}
    scaled = CloningConfig(observation="ego:intruders=8").scaled(world)
    assert scaled.observation == "ego:intruders=8:length_m=500.0"
    assert scaled.scaled(world) == scaled, "a run that goes on says the same"
    given = CloningConfig(observation="ego:length_m=935").scaled(world)
    assert given.view.length_m == given.scaled(world).view.length_m == 935.0


def test_cosine_goes_from_the_rate_to_zero_and_constant_stays() -> None:
    cosine = CloningConfig(lr=0.4, schedule="cosine")
    assert [cosine.learning_rate(done) for done in (0.0, 0.5, 1.0, 1.2)] == pytest.approx([0.4, 0.2, 0.0, 0.0])
    assert replace(cosine, schedule="constant").learning_rate(0.9) == 0.4


def test_cooldown_stays_for_half_of_the_run_and_goes_down_to_zero() -> None:
    cooldown = CloningConfig(lr=0.4, schedule="cooldown")
    rates = [cooldown.learning_rate(done) for done in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.2)]
    assert rates == pytest.approx([0.4, 0.4, 0.4, 0.2, 0.08, 0.0, 0.0])


# --- recipes ---


def test_every_network_has_a_recipe_and_nothing_else_has() -> None:
    assert set(recipes()) == set(networks.NAMES)


@pytest.mark.parametrize("name", networks.NAMES)
def test_a_recipe_is_a_config(name: str) -> None:
    config = CloningConfig.of(name)
    assert config.model == name
    assert not {"model", "seed", "heldout"} & set(recipes()[name]), "what is no matter of the network"
    fields = {key: value for key, value in config.to_json().items() if key in recipes()[name]}
    assert fields == recipes()[name]
    others = {key: value for key, value in config.to_json().items() if key not in fields and key != "model"}
    usual = CloningConfig().to_json()
    assert others == {key: usual[key] for key in others}
    assert config.network().spec["name"] == name


def test_a_network_with_parameters_has_the_recipe_of_its_kind() -> None:
    model = "pairwise:width=96:hidden=32"
    assert CloningConfig.of(model) == replace(CloningConfig.of("pairwise"), model=model)


def test_what_is_no_network_has_no_recipe() -> None:
    for model in ("mpl", "", "pairwise:wide=3"):
        with pytest.raises(SkycloneError, match=r"unknown model|no parameter 'wide'"):
            CloningConfig.of(model)


# --- what cannot be ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "mpl"}, f"unknown model 'mpl'. There are: {', '.join(networks.NAMES)}"),
        ({"observation": "sead"}, "unknown observation 'sead'. There are: seed, ego, cpa"),
        ({"schedule": "linear"}, "unknown schedule 'linear'. There are: constant, cosine, cooldown"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'. There are: adamw, muon"),
        ({"epochs": 0}, "expected epochs of 1 or more, got 0"),
        ({"batch_size": -1}, "expected batch_size of 1 or more, got -1"),
        ({"lr": 0.0}, "expected lr above 0, got 0"),
        ({"lr": float("nan")}, "expected lr above 0, got nan"),
        ({"max_seconds": 0.0}, "expected max_seconds above 0"),
        ({"weight_decay": -0.1}, "expected weight_decay of 0 or more"),
        ({"heldout": 1.0}, "expected heldout above 0 and below 1"),
        ({"seed": -1}, "expected seed of 0 or more"),
        ({"conflict_weight": 0.0}, "expected conflict_weight above 0 and up to"),
        ({"mix": "1,x"}, "expected a mix such as 1,3, got '1,x'"),
        ({"mix": "1,0"}, "expected a mix of shares above 0"),
        ({"surveillance": "radar"}, "unknown surveillance 'radar'. There are: perfect, noise, ads-b, remote-id"),
        ({"labels": "heard"}, "unknown labels 'heard'. There are: truth, perceived"),
    ],
)
def test_wrong_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SkycloneError, match=message.replace(".", r"\.")):
        CloningConfig(**change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"holds no cloning run: expected config.json in it. Leave out --resume"),
        ("{", "config.json is damaged"),
        ('{"stage": "finetune"}', "holds a run of the stage 'finetune', expected one of cloning"),
        ("[]", "config.json is damaged"),
        (json.dumps({"stage": "clone", "config": {}, "datasets": []}), "missing keys"),
        (
            json.dumps({"stage": "clone", "config": {**CloningConfig().to_json(), "colour": 1}, "datasets": []}),
            r"unknown keys \['colour'\]",
        ),
    ],
)
def test_wrong_file(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_config(tmp_path)


def test_datasets_without_their_hash_are_told(tmp_path: Path) -> None:
    save_config(tmp_path, CloningConfig(), [{"path": "data"}])
    with pytest.raises(CheckpointError, match="is damaged: expected path and content_hash in datasets"):
        load_config(tmp_path)
