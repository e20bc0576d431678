"""The configs that lie on disk: whatever is written there, it is read or refused in our words."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyclone.collect.airspace.objective import Costs
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets.config import Config
from skyclone.datasets.errors import CheckpointError, SkycloneError
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.dagger.config import DaggerConfig
from skyclone.train.finetuning.config import AnalyticConfig, FinetuneConfig, PPOConfig
from skyclone.train.runs import config_file

KINDS: list[type[Config]] = [
    *(
        WorldConfig,
        View,
        CollectConfig,
        CloningConfig,
        DaggerConfig,
        FinetuneConfig,
        PPOConfig,
        AnalyticConfig,
        Costs,
    ),
    *(network.Parameters for network in networks._NETWORKS.values()),
]
WRITTEN_BEFORE = {
    CloningConfig: """
        {"model": "attention-additive", "observation": "seed", "epochs": 20, "batch_size": 1024, "lr":
        0.001, "schedule": "constant", "weight_decay": 0.0, "gradient_clip": 1.0, "seed": 0, "heldout": 0.1,
        "max_seconds": null, "max_processor_seconds": null, "max_batches": null, "threads": 1,
        "conflict_weight": 1.0, "mix": "", "stream": false}
    """,
    DaggerConfig: """
        {"rounds": 3, "episodes": 256, "epochs": 1, "batch_size": 1024, "lr": 0.002, "schedule": "cosine",
        "share": 0.5, "conflict_weight": 1.0, "beta": 0.0, "probe": 64, "gate_scenarios": 128, "seed": 0,
        "threads": 1, "control": false}
    """,
    FinetuneConfig: """
        {"method": "analytic", "steps": 700, "envs": 4, "horizon": 16, "seed": 1, "warmup": 6, "log_std": -2.5,
        "anchor": 0.1, "anchor_until": 0.5, "critic": "thresholds:width=32:hidden=64:heads=2:head_size=8",
        "processes": 2, "reward": "detour:path=2.0:margin=1.15", "observation": "ego:intruders=12", "aircraft": [20,
        40], "scenario": "", "gate_every": 20, "gate_scenarios": 128, "save_every": 1, "threads": 1, "ppo": {"lr":
        0.002, "critic_lr": 0.0005, "epochs": 3, "share": 0.5, "limit": 10.0, "minibatch": 2048, "clip": 0.2,
        "entropy": 0.0, "target_kl": 0.2, "gradient_norm": 0.5, "discount": 0.9, "smoothing": 0.9, "average":
        0.998}, "analytic": {"lr": 0.0003, "window": 14, "damping": 0.75, "gradient_norm": 0.5}}
    """,
    WorldConfig: """
        {"aircraft": 20, "scenario": "sector", "cruise_mps": 9.0, "min_speed_mps": 0.0, "max_speed_mps":
        18.0, "acceleration_mps2": 3.5, "bank_rad": 0.4363323129985824, "sector_radius_m": 935.0,
        "sector_area_m2": 2572428.0, "start_separation_m": 125.0, "step_s": 1.0, "max_steps": 300,
        "protected_zone_m": 100.0, "lookahead_s": 15.0, "turn_rad": 0.7853981633974483, "speed_change_mps":
        1.714814814814815, "waypoint_radius_m": 18.52, "outside_m": 50.0, "reward": "seed"}
    """,
    View: """
        {"name": "seed", "intruders": null, "length_m": 935.0, "speed_mps": 18.0, "protected_zone_m": 100.0,
        "lookahead_s": 15.0, "bound": 2.2}
    """,  # without a bound: `View.stored`
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.sampled_from(
        [1e308, -0.0, 1e-308, "seed", "ego:intruders=" + "9" * 400, "mvp:margin=nan", "random-n:low=nan", "1,1e308"]
    )
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", WRITTEN_BEFORE, ids=lambda kind: kind.__name__)
def test_what_was_written_before_is_read_and_written_again(kind: type[Config]) -> None:
    data = json.loads(WRITTEN_BEFORE[kind])
    assert json.dumps(kind.from_json(data).to_json()) == json.dumps(data)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_value_of_any_field_makes_a_config_or_our_error(kind: type[Config], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([field.name for field in fields(kind)]))
    value = data.draw(JSON)
    try:
        config = kind.from_json({**json.loads(json.dumps(kind().to_json())), name: value})
    except SkycloneError:
        return
    text = json.dumps(config.to_json(), allow_nan=False, ensure_ascii=False)
    assert kind.from_json(json.loads(text.encode())) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"stage": "clone", "config": {"epochs": ' + "9" * 400 + "}}", "beyond 64 bits"),
        ('{"stage": "clone", "config": {"lr": Infinity}}', "Infinity, which is no number"),
        ('{"stage": "clone", "config": 3, "datasets": []}', "expected a JSON object, got 3"),
        (
            json.dumps({"stage": "clone", "config": CloningConfig().to_json() | {"lr": "1"}}),
            r"config\.json is damaged",
        ),
    ],
)
def test_altered_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / config_file.CONFIG_NAME).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        config_file.load(tmp_path, "clone", CloningConfig.from_json)


@pytest.mark.parametrize(
    "described", [5, None, "ab", [5], [None], [{"path": 5, "content_hash": "a"}], [{"path": "a"}]]
)
def test_altered_datasets(tmp_path: Path, described: Any) -> None:
    config_file.save(tmp_path, "clone", CloningConfig().to_json(), datasets=described)
    with pytest.raises(CheckpointError, match=r"config\.json is damaged: .* Choose another folder"):
        config_file.load(tmp_path, "clone", CloningConfig.from_json, "datasets")
