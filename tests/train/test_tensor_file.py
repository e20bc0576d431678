import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from skyclone.datasets.errors import CheckpointError
from skyclone.train.tensor_file import (
    not_finite,
    optimizer_tensors,
    read_tensors,
    restore_optimizer,
    weights_hash,
    write_tensors,
)

TENSORS = {"layer.weight": torch.tensor([[1.0, 2.0]]), "steps": torch.tensor(3), "is_left": torch.tensor([True])}
DESCRIPTION = {"progress": {"batches": 935, "best": 0.1, "name": "K\u00f6ln"}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", TENSORS, DESCRIPTION)
    contents = read_tensors(tmp_path / "a")
    assert contents.is_checked
    assert contents.description == DESCRIPTION
    assert weights_hash(contents.tensors) == weights_hash(TENSORS)
    before = (tmp_path / "a").read_bytes()
    write_tensors(tmp_path / "a", TENSORS, DESCRIPTION)
    assert (tmp_path / "a").read_bytes() == before


def test_files_of_older_versions_are_read_unchecked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(save(TENSORS, metadata={"skyclone": json.dumps(DESCRIPTION)}))
    contents = read_tensors(tmp_path / "a")
    assert (contents.description, contents.is_checked) == (DESCRIPTION, False)


def test_no_flipped_bit_is_read_as_something_else(tmp_path: Path) -> None:
    """Every byte of the file has one of its bits flipped: an error, or the very same content."""
    path = tmp_path / "a"
    write_tensors(path, TENSORS, DESCRIPTION)
    good, draw = path.read_bytes(), random.Random(0)
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        try:
            contents = read_tensors(path)
        except CheckpointError:
            continue
        assert DESCRIPTION.items() <= contents.description.items()  # more: the name of the hash was hit
        assert weights_hash(contents.tensors) == weights_hash(TENSORS)


@pytest.mark.parametrize(("old", "new"), [(b"935", b"135"), (b"0.1", b"0.7")])
def test_a_changed_description_is_an_error(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "a"
    write_tensors(path, TENSORS, DESCRIPTION)
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(CheckpointError, match=r"is damaged: its tensors and description do not .*\. Start again"):
        read_tensors(path, "Start again.")


def test_not_finite() -> None:
    tensors = {"good": torch.ones(2), "bad": torch.tensor([1.0, torch.inf]), "whole": torch.tensor(3)}
    assert not_finite(tensors) == ["bad"]


def test_optimizer_round_trip(tmp_path: Path) -> None:
    def trained() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)

    layer, optimizer = trained()
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    write_tensors(tmp_path / "s.safetensors", optimizer_tensors(optimizer), {"step": 3})
    other_layer, other = trained()
    other_layer.load_state_dict(layer.state_dict())
    tensors, description, _ = read_tensors(tmp_path / "s.safetensors")
    restore_optimizer(other, tensors)
    assert description == {"step": 3}
    for each, optimizer_ in ((layer, optimizer), (other_layer, other)):
        optimizer_.zero_grad()
        each(torch.ones(1, 3)).square().sum().backward()
        optimizer_.step()
    assert torch.equal(layer.weight, other_layer.weight)
