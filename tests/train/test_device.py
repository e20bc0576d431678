from pathlib import Path

import pytest
import torch

from skyclone.datasets import Dataset
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.snapshots import Snapshots
from skyclone.train import cloning
from skyclone.train.cloning import Cloning
from skyclone.train.configuration import CloningConfig
from skyclone.train.device import choose_device, settle_data, torch_threads


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ConfigurationError, match=r"no device 'abacus'. There are: cpu.* Use --device auto."):
        choose_device("abacus")


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(2):
        assert torch.get_num_threads() == 2
    with torch_threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_data_settle_if_they_fit(small_dataset: Dataset) -> None:
    parts = [Snapshots.of(small_dataset, split) for split in ("train", "heldout")]
    needed = sum(part.bytes for part in parts)
    lines: list[str] = []
    there = settle_data(parts, torch.device("meta"), 2 * needed, lines.append)
    assert {part.device.type for part in there} == {"meta"}
    assert [len(part) for part in there] == [len(part) for part in parts]
    assert not lines
    here = settle_data(parts, torch.device("meta"), needed, lines.append)
    assert [one is other for one, other in zip(here, parts, strict=True)] == [True, True]
    assert len(lines) == 1
    assert "GB and meta has 0.0 GB free: they stay in the computer's memory" in lines[0]


def test_a_stream_says_why_it_stays_away(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device's kind is all that is make-believe here."""
    lines: list[str] = []
    run = Cloning([small_dataset], tmp_path / "run", CloningConfig(stream=True), device="cpu", say=lines.append)
    assert run._settled([run.loader.source]) == [run.loader.source]
    assert lines == ["--stream: the data stay on the disk, and each batch's rows cross over to the GPU."]
    settled = Cloning([small_dataset], tmp_path / "other", CloningConfig(), device="cpu", say=lines.append)
    monkeypatch.setattr(cloning, "free_memory", lambda device: 10**12)
    assert settled._settled([settled.loader.source]) == [settled.loader.source], "it is there"
    monkeypatch.setattr(cloning, "free_memory", lambda device: 1000)
    settled._settled([settled.loader.source])
    assert "they stay in the computer's memory, and each batch's rows cross over." in lines[-1]
