import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from skyclone.datasets.errors import CheckpointError
from skyclone.datasets.traffic.view import View
from skyclone.train import checkpoint, networks
from skyclone.train.tensor_file import read_tensors, weights_hash, write_tensors

VIEW = View.parse("ego:intruders=8")
META = {"stage": "clone", "world": {"aircraft": 20}, "metrics": {"heldout_mse": 0.5}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "best", networks.make("pairwise", VIEW, seed=3, width=8), VIEW, META)
    return tmp_path


def rewrite(run: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> None:
    """Write the checkpoint again with some of its description, or its tensors, changed."""
    saved = read_tensors(run / "best.safetensors")
    write_tensors(run / "best.safetensors", tensors or saved.tensors, {**saved.description, **changes})
    (run / "best.json").unlink()


@pytest.mark.parametrize("name", networks.NAMES)
def test_round_trip(name: str, tmp_path: Path) -> None:
    network = networks.make(name, VIEW, seed=5, hidden=8)
    checkpoint.save(tmp_path / "last", network, VIEW, META)
    loaded = checkpoint.load(tmp_path, which="last", view=VIEW)
    assert loaded.view == VIEW
    assert loaded.network.spec == network.spec
    assert not loaded.network.training
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], tensor)
    assert {key: loaded.meta[key] for key in META} == META
    assert loaded.meta["parent"] is None
    assert loaded.meta["code"].startswith("0.")
    assert json.loads((tmp_path / "last.json").read_text())["network"] == network.spec
    assert sorted(os.listdir(tmp_path)) == ["last.json", "last.safetensors"], "no temporary files are left"


def test_load_accepts_the_file_itself(run: Path) -> None:
    assert checkpoint.load(run / "best.safetensors").path == run / "best.safetensors"
    assert checkpoint.load(str(run)).path == run / "best.safetensors"


def test_saving_twice_gives_the_same_bytes(run: Path) -> None:
    before = (run / "best.safetensors").read_bytes()
    checkpoint.save(run / "best", networks.make("pairwise", VIEW, seed=3, width=8), VIEW, META)
    assert (run / "best.safetensors").read_bytes() == before


def test_unknown_meta_is_refused(tmp_path: Path) -> None:
    network = networks.make("pairwise", VIEW)
    with pytest.raises(CheckpointError, match=r"a checkpoint has no \['colour'\]. There are: stage, world"):
        checkpoint.save(tmp_path / "best", network, VIEW, {"colour": "red"})
    with pytest.raises(CheckpointError, match="can be written as JSON"):
        checkpoint.save(tmp_path / "best", network, VIEW, {"metrics": {"mse": float("nan")}})
    assert not os.listdir(tmp_path)


def test_another_observation_is_an_error(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"trained on the observation 'ego:intruders=8', got 'seed'. Use it"):
        checkpoint.load(run, view=View())


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere", r"expected a trained network at .*nowhere.*there is no such folder. Train one with"),
        (".", r"expected a trained network at .*there is no such file. Train one with"),
        ("pretrained:best", r"no pretrained weights 'best'. There are: "),
    ],
)
def test_nothing_there(tmp_path: Path, where: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(where if where.startswith("pretrained") else tmp_path / where)


def test_a_folder_above_runs_names_them(tmp_path: Path) -> None:
    """As somebody means who evaluates what `skyclone demo` left."""
    for name in ("clone", "tuned"):
        (tmp_path / "demo" / "runs" / name).mkdir(parents=True)
        (tmp_path / "demo" / "runs" / name / "best.safetensors").touch()
    runs = [str(tmp_path / "demo" / "runs" / name) for name in ("clone", "tuned")]
    for above in ("demo", "demo/runs"):
        with pytest.raises(CheckpointError) as caught:
            checkpoint.find(tmp_path / above)
        assert str(caught.value).endswith(f"Below it there are {', '.join(runs)}: name a run's own folder.")
    with pytest.raises(CheckpointError, match=r"no such file\. Train one with"):
        checkpoint.find(tmp_path / "demo", "last")
    for number in range(5):
        (tmp_path / "many" / f"{number}").mkdir(parents=True)
        (tmp_path / "many" / f"{number}" / "best.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"many/3, 1 more: name a run's own folder"):
        checkpoint.find(tmp_path / "many")


def test_pretrained_weights_are_found_by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PRETRAINED", run)
    assert checkpoint.load("pretrained:best").view == VIEW
    with pytest.raises(CheckpointError, match=r"no pretrained weights '../best'. There are: best\."):
        checkpoint.load("pretrained:../best")


def test_cut_file(run: Path) -> None:
    path = run / "best.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"expected safetensors written by skyclone, could not read it"):
        checkpoint.load(run)


def test_flipped_bit(run: Path) -> None:
    path = run / "best.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged: its tensors and description do not have the hash"):
        checkpoint.load(run)


def test_foreign_files_and_pickles_are_never_loaded(run: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(run / "exploded"),)

    path = run / "best.safetensors"
    for data in (pickle.dumps(Bomb()), b"", b"rubbish"):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="expected safetensors written by skyclone"):
            checkpoint.load(run)
    assert not (run / "exploded").exists()
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="expected safetensors written by skyclone"):
        checkpoint.load(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "expected a checkpoint of format version 1, got 2"),
        ({"colour": "red"}, r"unknown keys \['colour'\]"),
        (
            {"observation": View().to_json() | {"colour": 1}},
            "does not fit the network|observation: missing keys none",
        ),
        ({"observation": View("cpa").to_json()}, "weights do not fit the network it names"),
        ({"network": {"name": "mpl", "parameters": {}}}, "unknown model 'mpl'"),
        ({"network": {"name": "pairwise", "parameters": {"depth": 3}}}, "no parameter 'depth'"),
        ({"network": {"name": "pairwise", "parameters": {"width": 9}}}, "weights do not fit the network it names"),
        ({"network": None}, "weights do not fit the network it names"),
    ],
)
def test_edited_description(run: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(run, **changes)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(run)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(run: Path) -> None:
    before = (run / "best.safetensors").read_bytes()
    loaded = checkpoint.load(run)
    with torch.no_grad():
        next(loaded.network.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(CheckpointError, match=r"expected finite weights, got NaN .* nothing was saved to .*best"):
        checkpoint.save(run / "best", loaded.network, VIEW, META)
    assert (run / "best.safetensors").read_bytes() == before
    weights = loaded.network.state_dict()
    rewrite(run, weights, weights_sha256=weights_hash(weights))
    with pytest.raises(CheckpointError, match=r"expected finite weights, got NaN or infinity in \["):
        checkpoint.load(run)


def test_edited_copy_is_noticed(run: Path) -> None:
    path = run / "best.json"
    path.write_text(path.read_text().replace('"intruders": 8', '"intruders": 9'))
    with pytest.raises(CheckpointError, match="was changed: it is only a copy of the description inside"):
        checkpoint.load(run)
    for damage in ("{", "[" * 200_000):
        path.write_text(damage)
        with pytest.raises(CheckpointError, match=r"best.json is damaged: .* Delete it: the weights hold a copy"):
            checkpoint.load(run)


def test_a_changed_description_is_found_with_and_without_its_copy(run: Path) -> None:
    """A number that fits as well as the right one: the network would fly, and lose separation."""
    path = run / "best.safetensors"
    path.write_bytes(path.read_bytes().replace(b'length_m\\": 935', b'length_m\\": 135'))
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"best.safetensors is damaged: .* Take it from a backup"):
            checkpoint.load(run)
        (run / "best.json").unlink(missing_ok=True)


def test_of_files_without_a_hash_it_is_not_known_which_was_changed(run: Path) -> None:
    path = run / "best.safetensors"
    tensors, description, _ = read_tensors(path)
    description["observation"]["length_m"] = 135.0
    path.write_bytes(save(tensors, metadata={"skyclone": json.dumps(description)}))  # as older versions wrote it
    with pytest.raises(CheckpointError, match=r"best.json differ: one of them was .* Take both from a backup"):
        checkpoint.load(run)


def test_crash_between_the_weights_and_their_copy_loses_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = checkpoint.publish

    def crash_at_json(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        publish(path, data)

    monkeypatch.setattr(checkpoint, "publish", crash_at_json)
    newer = networks.make("pairwise", VIEW, seed=9)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(run / "best", newer, VIEW, META)
    loaded = checkpoint.load(run)
    assert torch.equal(loaded.network.state_dict()["pair.weight"], newer.state_dict()["pair.weight"])
    assert loaded.network.spec == newer.spec
