from dataclasses import replace

import pytest
import torch

from skyclone.datasets import Dataset
from skyclone.datasets.loading.snapshots import Snapshots
from skyclone.datasets.loading.streaming import Stream
from skyclone.train.cloning import batches as material
from skyclone.train.cloning.config import CloningConfig

CPU = torch.device("cpu")
CONFIG = CloningConfig(observation="ego:intruders=4", batch_size=512)


def test_every_row_is_learned_from_or_held_out(small_dataset: Dataset) -> None:
    lines: list[str] = []
    read = material.read([small_dataset], CONFIG, CPU, (0, 1), lines.append)
    rows = sum(shard.rows for shard in small_dataset.manifest.shards)
    assert read.training.rows + read.heldout.rows == rows
    assert {len(batch.action) for batch in list(read.training)[:-1]} == {512}
    assert sum(len(batch.action) for batch in read.heldout) == read.heldout.rows
    assert not lines


@pytest.mark.parametrize("stream", [False, True])
def test_of_many_held_out_rows_some_shards_are_enough(
    small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    config, lines = replace(CONFIG, heldout=0.5, stream=stream), []
    everything = material.read([small_dataset], config, CPU, (0, 1), lines.append)
    assert not lines
    monkeypatch.setattr(material, "ENOUGH_HELDOUT", int(small_dataset.rows / 4))
    read = material.read([small_dataset], config, CPU, (0, 1), lines.append)
    assert "on one shard in 2" in lines[0]
    assert read.training.rows == everything.training.rows
    of = {row for index in small_dataset.shards[::2] for row in small_dataset.table(index)["teacher_turn"].tolist()}
    found = [turn for batch in read.heldout for turn in batch.action[:, 0].tolist()]
    assert 0 < len(found) < everything.heldout.rows
    assert set(found) <= of


def test_the_parts_of_several_processes_are_the_whole(small_dataset: Dataset) -> None:
    whole = material.read([small_dataset], CONFIG, CPU, (0, 1), print).training
    parts = [material.read([small_dataset], CONFIG, CPU, (rank, 2), print).training for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == len(whole)
    for batch, one, other in zip(whole, *parts, strict=True):
        joined = torch.cat((one.action, other.action))
        assert sorted(joined[:, 0].tolist()) == sorted(batch.action[:, 0].tolist())


def test_data_settle_if_they_fit(small_dataset: Dataset) -> None:
    parts = [Snapshots.of(small_dataset, split) for split in ("train", "heldout")]
    needed = sum(part.bytes for part in parts)
    lines: list[str] = []
    there = material.settle_data(parts, torch.device("meta"), 2 * needed, lines.append)
    assert {part.device.type for part in there} == {"meta"}
    assert [len(part) for part in there] == [len(part) for part in parts]
    assert not lines
    here = material.settle_data(parts, torch.device("meta"), needed, lines.append)
    assert [one is other for one, other in zip(here, parts, strict=True)] == [True, True]
    assert len(lines) == 1
    assert "GB and meta has 0.0 GB free: they stay in the computer's memory" in lines[0]


def test_a_stream_says_why_it_stays_away(small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's kind is all that is make-believe here."""
    lines: list[str] = []
    stream = Stream.of([small_dataset], "train", 0.1)
    assert material.settled([stream], CPU, lines.append) == [stream]
    assert lines == ["--stream: the data stay on the disk, and each batch's rows cross over to the GPU."]
    store = Snapshots.of(small_dataset, "train", 0.1)
    monkeypatch.setattr(material, "free_memory", lambda device: 10**12)
    assert material.settled([store], CPU, lines.append) == [store], "it is there"
    assert len(lines) == 1
    monkeypatch.setattr(material, "free_memory", lambda device: 1000)
    assert material.settled([store], CPU, lines.append) == [store]
    assert "they stay in the computer's memory, and each batch's rows cross over." in lines[-1]
