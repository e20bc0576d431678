"""Every network and every view, on one dataset: it trains, resumes, flies, is saved and loaded."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.flying.flight import fly
from skyclone.collect.flying.world import World
from skyclone.datasets import Dataset, open_dataset
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.view import View
from skyclone.train import checkpoint, load_policy, networks
from skyclone.train.cloning import run as cloning
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.run import Cloning
from skyclone.train.finetuning.critic import Critic

VIEWS = ("seed", "ego:intruders=8", "cpa")
TRAINED = {
    *((model, VIEWS[index % len(VIEWS)]) for index, model in enumerate(networks.NAMES)),  # each network, each view
    *(("attention-additive", view) for view in VIEWS),
}
CONFIG = CloningConfig(epochs=2, batch_size=512, schedule="cosine", lr=1e-2, heldout=0.3)


def small(name: str) -> str:
    """A small version of a network, as on the command line: quick, whatever its parameters are."""
    sizes = {"hidden": 8, "width": 8, "head_size": 4, "state_size": 4}
    settings = networks.make(name, View()).settings
    return ":".join([name, *(f"{key}={size}" for key, size in sizes.items() if hasattr(settings, key))])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """12 episodes of 20 aircraft and at most 15 steps: 3,600 rows."""
    folder: Path = tmp_path_factory.mktemp("twenty") / "mvp"
    collect(folder, CollectConfig(WorldConfig(aircraft=20, max_steps=15), episodes=12, episodes_per_shard=6))
    return open_dataset(folder)


def run(data: Dataset, out: Path, model: str, view: str, epochs: int = 2, **options: Any) -> dict[str, Any]:
    config = replace(CONFIG, model=small(model), observation=view, epochs=epochs)
    return Cloning([data], out, config, device="cpu", say=lambda line: None, **options).train()


def hashes(out: Path) -> list[str]:
    return [checkpoint.load(out, which).meta["weights_sha256"] for which in ("best", "last")]


class Killed(BaseException):
    """Stands in for `kill -9`: nothing catches it."""


@pytest.mark.parametrize(("model", "view"), sorted(TRAINED))
def test_trains_on_the_same_dataset_and_flies(data: Dataset, tmp_path: Path, model: str, view: str) -> None:
    before = {path: path.read_bytes() for path in Path(str(data.path)).rglob("*") if path.is_file()}
    summary = run(data, tmp_path / "run", model, view)
    assert {path: path.read_bytes() for path in before} == before, "no variant writes into the dataset"
    first, second = (json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert second["train_loss"] < first["train_loss"]
    policy = load_policy(tmp_path / "run")
    has_attention = hasattr(policy.network.settings, "heads")
    assert (summary["attention_sharpness"] is not None) == has_attention
    assert "all attention equal" not in summary["diagnosis"] or has_attention
    assert (policy.network.spec["name"], str(policy.view)) == (model, view)
    for aircraft in (1, 5, 60):
        world = World(WorldConfig(aircraft=aircraft, max_steps=3), 7, range(2))
        actions = [record.action for record in fly(world, policy.pilot)]
        assert len(actions) == 3
        assert all(torch.isfinite(action).all() and (action.abs() <= 1).all() for action in actions)
        assert actions[0].std() > 0


@pytest.mark.parametrize("model", networks.NAMES)
def test_killed_in_mid_epoch_and_resumed_ends_bit_equal(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    view = "ego:intruders=5"
    run(data, tmp_path / "run", model, view, epochs=1)
    step, calls = Cloning._step, iter(range(100))

    def dying(self: Cloning, batch: Any) -> None:
        if next(calls) == 3:  # one batch after the last state saved
            raise Killed
        step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(cloning, "SAVE_EVERY", 2)
        patch.setattr(Cloning, "_step", dying)
        with pytest.raises(Killed):
            run(data, tmp_path / "killed", model, view, epochs=1)
    run(data, tmp_path / "killed", model, view, epochs=1, resume=True)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "run")


@pytest.mark.parametrize("model", networks.NAMES)
def test_serves_as_a_critic(model: str) -> None:
    view = View.parse("ego:intruders=8")
    name, parameters = networks.parse(small(model))
    clone = networks.make(name, view, **parameters)
    critic = Critic(view, clone.spec, seed=1)
    seen = observe_all(World(WorldConfig(aircraft=6), 0, range(4)).traffic, view).flatten()
    target = torch.linspace(-1, 1, 24)
    critic.calibrate(target)
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = critic.losses(seen, target).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert critic(seen).shape == (24,)
    assert losses[-1] < 0.95 * losses[0]


def test_the_example_in_the_docs_is_a_network_like_the_others(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take the file out of the text, register it, and train, resume, fly and save it."""
    text = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    (tmp_path / "distance.py").write_text(source)
    spec = importlib.util.spec_from_file_location("skyclone.train.networks.distance", tmp_path / "distance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(networks._NETWORKS, "attention-distance", module.DistanceNetwork)

    test_trains_on_the_same_dataset_and_flies(data, tmp_path / "train", "attention-distance", "ego:intruders=8")
    test_killed_in_mid_epoch_and_resumed_ends_bit_equal(data, tmp_path / "kill", monkeypatch, "attention-distance")
    one, two = (networks.make(*parsed[:1], View(), **parsed[1]) for parsed in [
        networks.parse("attention-distance:heads=1"), networks.parse("attention-distance:heads=2:hidden=16"),
    ])  # fmt: skip
    assert [network.nearness.numel() for network in (one, two)] == [1, 2]  # type: ignore[operator, union-attr]


def test_the_table_in_the_docs_names_every_network() -> None:
    text = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
    named = re.findall(r"^\| `([a-z-]+)", text, flags=re.M)
    assert sorted(named) == sorted(networks.NAMES)
