import json
import shutil
from itertools import islice

import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.flight import fly
from skyclone.datasets.traffic.envelope import Envelope
from skyclone.train import load_policy
from skyclone.train.checkpoint import PRETRAINED
from skyclone.train.runs import envelope
from skyclone.train.tensor_file import read_tensors, write_tensors


def test_the_weights_that_ship_have_envelopes_and_see_the_reference_world_within():
    for name in ("clone", "tuned"):
        policy = load_policy(f"pretrained:{name}")
        assert policy.envelope is not None
        found = envelope.of_flights(policy, [WorldConfig(max_steps=60)], 1)
        assert len(found.nearest) == len(policy.envelope.nearest) == policy.view.intruders
        assert found.nearest[0] > 0.95 * policy.envelope.nearest[0]  # a bound of its own has room for rounding


def test_one_is_given_to_an_older_checkpoint_whose_weights_stay(tmp_path, monkeypatch):
    for suffix in ("safetensors", "json"):
        shutil.copy(PRETRAINED / f"tuned.{suffix}", tmp_path / f"best.{suffix}")
    path = tmp_path / "best.safetensors"
    contents = read_tensors(path)
    del contents.description["envelope"]
    write_tensors(path, contents.tensors, contents.description)
    (tmp_path / "best.json").unlink()
    old = load_policy(tmp_path)
    assert old.meta["envelope"] is None
    assert old.envelope is None

    monkeypatch.setattr(envelope, "open_dataset", lambda folder: folder)
    monkeypatch.setattr(envelope.Loader, "of", lambda datasets, split, **options: [])
    monkeypatch.setattr(envelope, "of_batches", lambda batches: Envelope(7 * (-9.0,), 7 * (9.0,), 12 * (9.0,)))
    monkeypatch.setattr(envelope, "EPISODES", 1)
    monkeypatch.setattr(envelope, "fly", lambda world, pilot: islice(fly(world, pilot), 25))
    torch.manual_seed(0)
    assert envelope.give(str(tmp_path), ["somewhere"]) == path
    new = load_policy(tmp_path)
    assert new.envelope is not None
    assert new.envelope.low == 7 * (-9.0,)
    assert 0 < new.envelope.nearest[0] < 0.2  # its own flights at 20, 40 and 60
    assert new.fingerprint == old.fingerprint
    assert new.meta["code"] == old.meta["code"]
    assert json.loads((tmp_path / "best.json").read_text())["envelope"] == new.meta["envelope"]


@pytest.mark.parametrize(
    ("changed", "worlds", "known"),
    [
        (
            {"aircraft": [4, 6], "surveillance": "perfect,remote-id"},
            [(4, "perfect"), (6, "perfect"), (4, "remote-id"), (6, "remote-id")],
            None,
        ),
        ({"aircraft": [], "surveillance": ""}, [(40, "ads-b")], None),
        ({"stage": "clone", "surveillance": "remote-id"}, [], "remote-id"),
    ],
)
def test_it_is_around_all_that_a_run_was_trained_under(tmp_path, monkeypatch, changed, worlds, known):
    contents = read_tensors(PRETRAINED / "tuned.safetensors")
    description = contents.description
    description["stage"] = changed.get("stage", "finetune")
    description["config"] |= {key: value for key, value in changed.items() if key != "stage"}
    description["world"] |= {"aircraft": 40, "surveillance": "ads-b"}  # of the last of its worlds
    write_tensors(tmp_path / "best.safetensors", contents.tensors, description)

    flown, perceived = [], []
    bounds = Envelope(7 * (-9.0,), 7 * (9.0,), 12 * (9.0,))
    monkeypatch.setattr(envelope, "open_dataset", lambda folder: folder)
    monkeypatch.setattr(envelope, "of_batches", lambda batches: bounds)
    monkeypatch.setattr(envelope.Loader, "of", lambda *_, perceive, **options: perceived.append(perceive))
    monkeypatch.setattr(envelope, "of_flights", lambda policy, worlds, seed: flown.extend(worlds) or bounds)
    envelope.give(str(tmp_path), ["somewhere"])
    assert [(world.aircraft, world.surveillance) for world in flown] == worlds
    assert [each and each.surveillance for each in perceived] == [known]
