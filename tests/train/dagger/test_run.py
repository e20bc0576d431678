"""DAgger on a small dataset: what each round leaves, and that nothing is lost or done twice."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from skyclone.collect.airspace import worlds
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import Dataset, open_dataset
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.datasets.traffic.view import View
from skyclone.train import checkpoint, load_policy, networks
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.run import Cloning
from skyclone.train.dagger import run as dagger
from skyclone.train.dagger.config import DaggerConfig, load_config, save_config
from skyclone.train.dagger.run import Dagger
from skyclone.train.runs.run_folder import TrainingError
from skyclone.train.tensor_file import read_tensors, write_tensors

CLONE = CloningConfig(
    model="pairwise:width=8:hidden=8", observation="ego:intruders=4", epochs=2, batch_size=512, lr=4e-3
)
CONFIG = DaggerConfig(rounds=2, episodes=4, batch_size=512, probe=3, gate_scenarios=2, control=True)


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 episodes of 10 aircraft and at most 20 steps: each round, and its gate, flies as many."""
    folder: Path = tmp_path_factory.mktemp("data") / "mvp"
    collect(folder, CollectConfig(WorldConfig(aircraft=10, max_steps=20), episodes=24, episodes_per_shard=8))
    return open_dataset(folder)


@pytest.fixture(scope="module")
def clone(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weak clone."""
    out: Path = tmp_path_factory.mktemp("clone") / "run"
    Cloning([small_dataset], out, CLONE, device="cpu", say=quiet).train()
    return out


def run(
    clone: Path | None, data: Dataset, out: Path, config: DaggerConfig = CONFIG, **options: Any
) -> dict[str, Any]:
    return Dagger(clone, [data], out, config, device="cpu", **{"say": quiet, **options}).train()


def weights(folder: Path, which: str = "last") -> str:
    return str(checkpoint.load(folder, which).meta["weights_sha256"])


@pytest.fixture(scope="module")
def undisturbed(clone: Path, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    out: Path = tmp_path_factory.mktemp("undisturbed") / "run"
    run(clone, small_dataset, out)
    return out


def test_each_round_is_a_point_on_the_board(undisturbed: Path) -> None:
    events = EventAccumulator(str(undisturbed / "tensorboard"))
    events.Reload()
    rounds = json.loads((undisturbed / "summary.json").read_text())["rounds"]
    for name, part, key in (("visited/mse_conflict", "visited", "mse_conflict"), ("heldout/mse", "heldout", "mse")):
        points = [(each.step, each.value) for each in events.Scalars(name)]
        assert points == [(each["round"], pytest.approx(each[part][key])) for each in rounds]
    assert (undisturbed / "rounds/1/run/tensorboard").is_dir()


def test_what_a_run_leaves(undisturbed: Path, clone: Path, small_dataset: Dataset) -> None:
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert {"heldout_mse", "heldout_mse_conflict", "heldout_mse_free", "attention_sharpness"} <= set(summary)
    assert [each["round"] for each in summary["rounds"]] == [0, 1, 2]
    assert {"visited_mse_conflict", "common_mse_conflict", "los_events"} == set(summary["against_control"])
    errors = [each["visited"]["mse_conflict"] for each in summary["rounds"]]
    assert summary["best_round"] == errors.index(min(errors))
    assert summary["rounds"][0]["visited"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    for folder in (undisturbed, undisturbed / "control"):
        policy = load_policy(folder)
        assert policy.meta["stage"] == "dagger"
        assert policy.meta["parent"]["weights_sha256"] == weights(clone, "best")
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    assert checkpoint.load(undisturbed / "clone.safetensors").meta["weights_sha256"] == weights(clone, "best")
    assert load_config(undisturbed)[0] == CONFIG


def test_each_round_is_an_ordinary_dataset_flown_by_the_student_before(undisturbed: Path) -> None:
    flown_by = [undisturbed / "clone.safetensors", undisturbed / "rounds/1/run/last.safetensors"]
    seeds = set()
    for number, student in enumerate(flown_by, 1):
        data = open_dataset(undisturbed / f"rounds/{number}/data")
        assert data.verify() == []
        fingerprint = load_policy(student).fingerprint
        assert data.manifest.pilot == f"student-{number - 1}#{fingerprint}"
        assert data.manifest.teacher == "mvp"
        assert data.episodes == CONFIG.episodes
        seeds.add(data.manifest.seed)
        probe = open_dataset(undisturbed / f"rounds/{number}/probe").manifest
        assert probe.seed == CONFIG.seed_of(0)
        seeds.add(probe.seed)
    assert len(seeds) == 3, "no round shares scenarios with another, or with the probe"


def test_each_round_goes_on_from_the_one_before_and_the_control_has_as_many_steps(undisturbed: Path) -> None:
    for folder in (undisturbed, undisturbed / "control"):
        before = undisturbed / "clone.safetensors"
        for number in (1, 2):
            last = folder / f"rounds/{number}/run"
            parent = checkpoint.load(last, "last").meta["parent"]
            assert parent["weights_sha256"] == checkpoint.load(before).meta["weights_sha256"]
            before = last / "last.safetensors"
    for number in (1, 2):
        steps = [
            json.loads((folder / f"rounds/{number}/run/summary.json").read_text())["batches"]
            for folder in (undisturbed, undisturbed / "control")
        ]
        assert steps[0] == steps[1] > 0
    data = [
        [each["path"] for each in checkpoint.load(folder / "rounds/2/run").meta["datasets"]]
        for folder in (undisturbed, undisturbed / "control")
    ]
    assert (len(data[0]), len(data[1])) == (3, 1)


def test_killed_anywhere_it_ends_with_the_same_weights(
    undisturbed: Path, clone: Path, small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the second round's student is measured; then called again without naming what it began with."""
    out, calls = tmp_path / "run", []
    fly = dagger.gate.fly_gate

    def die(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fly(*arguments)

    monkeypatch.setattr(dagger.gate, "fly_gate", die)
    with pytest.raises(KeyboardInterrupt):
        run(clone, small_dataset, out)
    run(None, small_dataset, out, resume=True)
    assert len(calls) == 6, "what was measured before was measured again"
    for folder in ("", "control"):
        for which in ("best", "last"):
            assert weights(out / folder, which) == weights(undisturbed / folder, which)


def test_what_an_older_version_measured_is_measured_again(
    undisturbed: Path, clone: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    """The gate counted less then."""
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out)
    file = out / "rounds" / "1" / "measured.safetensors"
    tensors, description, _ = read_tensors(file)
    write_tensors(file, {name: each for name, each in tensors.items() if name != "flown.path"}, description)
    summary = run(clone, small_dataset, out, resume=True)
    assert summary["rounds"] == json.loads((undisturbed / "summary.json").read_text())["rounds"]
    assert read_tensors(file)[0].keys() == tensors.keys()


def test_a_round_that_met_nan_is_not_taken_for_done(
    clone: Path, small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def fail(*arguments: Any) -> Any:
        raise TrainingError("expected a finite loss")

    with monkeypatch.context() as patched:
        patched.setattr(Cloning, "_end_iteration", fail)
        for resume in (False, True):
            with pytest.raises(TrainingError, match="expected a finite loss"):
                run(clone, small_dataset, out, resume=resume)
            assert (out / "rounds/1/run/summary.json").exists()
            assert not (out / "rounds/1/measured.safetensors").exists()


@pytest.mark.parametrize("damage", [b"", b"[" * 200_000, b"{}", b'{"batches": [], "criteria": {"finite": 1}}'])
def test_a_damaged_summary_of_a_round_is_written_again(
    undisturbed: Path, small_dataset: Dataset, tmp_path: Path, damage: bytes
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    path = tmp_path / "run" / "rounds" / "1" / "run" / "summary.json"
    before = json.loads(path.read_bytes())
    path.write_bytes(damage)
    run(None, small_dataset, tmp_path / "run", resume=True)
    assert json.loads(path.read_bytes())["batches"] == before["batches"]
    assert weights(tmp_path / "run") == weights(undisturbed)


def test_the_copy_of_another_parent_is_not_taken_over(
    clone: Path, small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run killed before its config.json leaves no more than a copy of its parent; the next has its own."""
    other, out = tmp_path / "other", tmp_path / "run"
    Cloning([small_dataset], other, replace(CLONE, seed=1), device="cpu", say=quiet).train()

    def die(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(dagger, "save_config", die)
        with pytest.raises(KeyboardInterrupt):
            run(other, small_dataset, out)
    assert weights(out / "clone.safetensors") == weights(other, "best")
    Dagger(clone, [small_dataset], out, CONFIG, device="cpu", say=quiet)
    assert weights(out / "clone.safetensors") == weights(clone, "best")


def test_a_run_that_is_being_trained_is_refused(clone: Path, small_dataset: Dataset, tmp_path: Path) -> None:
    first = Dagger(clone, [small_dataset], tmp_path / "run", CONFIG, device="cpu", say=quiet)
    with pytest.raises(CheckpointError, match=rf"run is in use by process {os.getpid()} on "):
        run(clone, small_dataset, tmp_path / "run", resume=True)
    assert first.origin["path"] == str(clone)


def test_a_flipped_bit_in_what_was_measured_is_found(
    undisturbed: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    path = tmp_path / "run" / "rounds" / "1" / "measured.safetensors"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"measured.safetensors is damaged: .* Delete it: the same command"):
        run(None, small_dataset, tmp_path / "run", resume=True)
    path.unlink()
    run(None, small_dataset, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(undisturbed)


def test_a_finished_run_resumed_does_nothing(
    undisturbed: Path, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights(undisturbed)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("this was done before")

    for name in ("Cloning", "visit", "load_policy"):
        monkeypatch.setattr(dagger, name, refuse)
    summary = run(None, small_dataset, undisturbed, resume=True)
    assert weights(undisturbed) == before
    assert len(summary["rounds"]) == 3


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({}, {}, "already holds a run. Continue it with --resume, or choose another --out"),
        ({"resume": True}, {"lr": 0.1}, r"was begun with lr 0.002 \(got 0.1\)"),
    ],
)
def test_a_run_is_not_written_over(
    undisturbed: Path, clone: Path, small_dataset: Dataset, options: Any, changes: Any, message: str
) -> None:
    config = DaggerConfig(**{**CONFIG.to_json(), **changes})
    with pytest.raises(CheckpointError, match=message):
        run(clone, small_dataset, undisturbed, config, **options)


def test_other_weights_cannot_go_on(undisturbed: Path, small_dataset: Dataset) -> None:
    with pytest.raises(CheckpointError, match=r"begun with the weights of .* \(got others"):
        run(undisturbed / "last.safetensors", small_dataset, undisturbed, resume=True)


def test_the_rounds_share_is_shared_out(undisturbed: Path, small_dataset: Dataset) -> None:
    one = Dagger(None, [small_dataset], undisturbed, CONFIG, resume=True, say=quiet)
    assert one._mix(1) == "0.5,0.5"
    assert one._mix(2) == "0.5,0.25,0.25"
    saved = json.loads((undisturbed / "rounds/2/run/config.json").read_text())
    assert saved["config"]["mix"] == "0.5,0.25,0.25"


def test_beta_decays_from_the_original_data() -> None:
    assert [DaggerConfig(beta=0.5).beta_of(number) for number in (0, 1, 2)] == [1.0, 0.5, 0.25]
    assert DaggerConfig().beta_of(1) == 0.0
    seeds = {DaggerConfig(seed=seed).seed_of(number) for seed in range(3) for number in range(101)}
    assert len(seeds) == 303


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 0}, "expected rounds from 1 to 100, got 0"),
        ({"rounds": 101}, "expected rounds from 1 to 100, got 101"),
        ({"episodes": 1}, "expected episodes from 2 to 1,048,576"),
        ({"share": 1.0}, "expected share above 0 and below 1, got 1.0. Use --share 0.5"),
        ({"beta": 1.0}, "expected beta of 0 or more and below 1, got 1.0. With 1 the policy never flies"),
        ({"lr": 0.0}, "expected lr above 0, got 0"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
    ],
)
def test_wrong_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DaggerConfig(**change)


def test_a_damaged_or_foreign_configuration(tmp_path: Path, clone: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no DAgger run: expected config\.json in it"):
        load_config(tmp_path)
    with pytest.raises(CheckpointError, match="holds a run of the stage 'clone', expected one of DAgger"):
        load_config(clone)
    save_config(tmp_path, CONFIG, [], {"path": "clone", "weights_sha256": "0"})
    assert load_config(tmp_path) == (CONFIG, [], {"path": "clone", "weights_sha256": "0"})
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"share"', '"portion"'))
    with pytest.raises(CheckpointError, match=r"is damaged: .* missing keys \['share'\]"):
        load_config(tmp_path)
    assert set(os.listdir(tmp_path)) == {"config.json"}


def test_in_traffic_that_hovers_and_arrives(clone: Path, tmp_path: Path) -> None:
    """Rounds of it are learned from and measured, and nothing becomes NaN."""
    world = WorldConfig(aircraft=6, max_steps=40, scenario="mix:hover=1:arrivals=1")
    collect(tmp_path / "data", CollectConfig(world, episodes=30, episodes_per_shard=10))
    config = replace(CONFIG, rounds=1, control=False)
    summary = run(clone, open_dataset(tmp_path / "data"), tmp_path / "run", config)
    made = open_dataset(tmp_path / "run" / "rounds" / "1" / "data")
    assert np.isnan(made.table()["waypoint_east_m"]).any()
    assert all(np.isfinite(each["visited"]["mse_conflict"]) for each in summary["rounds"])
    assert "NaN" not in json.dumps(summary)


def test_a_policy_of_another_scale_keeps_its_own(tmp_path: Path) -> None:
    """In a world where `ego` would mean other numbers than the policy's."""
    world = replace(worlds.parse("enroute"), aircraft=4, max_steps=12)
    collect(tmp_path / "data", CollectConfig(world, episodes=24))
    view = View("ego", 3)
    (tmp_path / "clone").mkdir()
    network = networks.make("pairwise", view, width=8, hidden=8)
    checkpoint.save(
        tmp_path / "clone" / "best", network, view, {"world": WorldConfig().to_json(), "stage": "clone"}
    )
    lines: list[str] = []
    once = replace(CONFIG, rounds=1, control=False)
    run(tmp_path / "clone", open_dataset(tmp_path / "data"), tmp_path / "run", once, say=lines.append)
    assert load_policy(tmp_path / "run").view == view
    assert any("was trained with protected_zone_m 100, lookahead_s 15, " in line for line in lines)


def test_under_surveillance_policies_perceive_and_labels_are_the_chosen_ones(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    learned = replace(CLONE, epochs=1, surveillance="remote-id", labels="perceived")
    Cloning([small_dataset], tmp_path / "clone", learned, device="cpu", say=quiet).train()
    config = replace(CONFIG, rounds=1, control=False)
    run(tmp_path / "clone", small_dataset, tmp_path / "run", config)
    meta = checkpoint.load(tmp_path / "run", "last").meta
    assert (meta["world"]["surveillance"], meta["config"]["labels"]) == ("remote-id", "perceived"), "as the clone"
    flown = open_dataset(tmp_path / "run/rounds/1/data")
    assert flown.manifest.world["surveillance"] == "remote-id"
    config = replace(config, surveillance="perfect", labels="truth")
    run(tmp_path / "clone", small_dataset, tmp_path / "other", config)
    assert checkpoint.load(tmp_path / "other", "last").meta["world"] == small_dataset.manifest.world
    measured = [read_tensors(tmp_path / name / "rounds/0/measured.safetensors")[1] for name in ("run", "other")]
    assert measured[0]["heldout"]["mse"] != measured[1]["heldout"]["mse"]
    with pytest.raises(ConfigurationError, match=r"unknown labels 'heard'\. There are: truth, perceived"):
        replace(config, labels="heard")
