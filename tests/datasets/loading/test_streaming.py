import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from skyclone.datasets import Dataset, Loader, Snapshots, View, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files import shards
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.shards import write_shard
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.loading.loader import Batch
from skyclone.datasets.loading.mixture import Mixture
from skyclone.datasets.loading.streaming import Schedule, Stream, spans_of
from skyclone.datasets.traffic.record import Table


@pytest.fixture
def long(tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]) -> Dataset:
    """46 episodes in 12 shards, the last one short."""
    fill(tmp_path / "long", make_manifest(episodes=46))
    return open_dataset(tmp_path / "long")


def _labels(batches: Iterable[Batch]) -> list[list[float]]:
    return [batch.action[:, 0].tolist() for batch in batches]


def _stream(dataset: Dataset, **options: object) -> Loader:
    return dataset.batches(stream=True, **{"batch_size": 16, "seed": 3, "buffer_shards": 3, **options})


@pytest.mark.parametrize("buffer_shards", [1, 2, 5, 100])
@pytest.mark.parametrize("split", ["all", "train"])
def test_an_epoch_is_every_row_once(long: Dataset, buffer_shards: int, split: str) -> None:
    loader = _stream(long, buffer_shards=buffer_shards, split=split, heldout=0.3)
    store = Snapshots.of(long, split, 0.3)
    for epoch in range(2):
        loader.set_epoch(epoch)
        labels = _labels(loader)
        assert [len(batch) for batch in labels[:-1]] == [16] * (len(loader) - 1)
        assert sorted(chain.from_iterable(labels)) == sorted(store.action[:, 0].tolist())
    assert loader.rows == len(store)


def test_without_shuffling_it_is_what_lies_in_memory(dataset: Dataset, long: Dataset) -> None:
    for options in ({}, {"split": "heldout", "heldout": 0.4}):
        for datasets in ([dataset], [long, dataset]):
            streamed = Loader.of(datasets, stream=True, shuffle=False, batch_size=50, view="cpa", **options)
            memory = Loader.of(datasets, shuffle=False, batch_size=50, view="cpa", **options)
            for one, other in zip(streamed, memory, strict=True):
                for found, expected in zip(one.observation, other.observation, strict=True):
                    assert torch.equal(found, expected)
                assert torch.equal(one.action, other.action)
                assert torch.equal(one.in_conflict, other.in_conflict)


@pytest.mark.parametrize("view", ["seed", "ego:intruders=2"])
def test_a_row_is_the_same_streamed_and_in_memory(long: Dataset, view: str) -> None:
    everything = next(iter(Loader(Snapshots.of(long), View.parse(view), 10**6, shuffle=False)))
    places = {label: place for place, label in enumerate(everything.action[:, 0].tolist())}
    for batch in _stream(long, view=view, conflict_weight=2.0):
        rows = torch.tensor([places[label] for label in batch.action[:, 0].tolist()])
        for found, expected in zip(batch.observation, everything.observation, strict=True):
            # A sine at the end of a batch may differ in its last bit: the processor takes 16 at a time.
            assert torch.allclose(found.float(), expected[rows].float(), rtol=1e-5, atol=1e-6)
        assert torch.equal(batch.action, everything.action[rows])
        assert torch.equal(batch.in_conflict, everything.in_conflict[rows])


def test_the_order_is_a_function_of_seed_and_epoch(long: Dataset) -> None:
    loader, same = _stream(long), _stream(long)
    orders = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        same.set_epoch(epoch)
        orders.append(_labels(loader))
        assert _labels(same) == orders[-1]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert _labels(_stream(long, seed=4)) not in orders


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(long: Dataset, workers: int) -> None:
    alone, helped = _stream(long, batch_size=64), _stream(long, batch_size=64, workers=workers)
    for epoch in range(2):
        alone.set_epoch(epoch, start_batch=epoch)
        helped.set_epoch(epoch, start_batch=epoch)
        for one, other in zip(alone, helped, strict=True):
            assert isinstance(other, Batch)
            assert torch.equal(one.observation.intruders, other.observation.intruders)
            assert torch.equal(one.action, other.action)


@pytest.mark.parametrize("options", [{}, {"conflict_weight": 2.5}, {"buffer_shards": 1}, {"shuffle": False}])
def test_going_on_takes_the_number_of_batches_used(long: Dataset, options: dict) -> None:
    whole = _labels(_stream(long, batch_size=40, **options))
    rest = _stream(long, batch_size=40, **options)
    for used in (0, 1, len(whole) // 2, len(whole), 10**6):
        rest.set_epoch(0, start_batch=used)
        assert _labels(rest) == whole[used:]


def test_rows_in_conflict_come_as_often_as_weighted(long: Dataset) -> None:
    store = Snapshots.of(long)
    weighted = _stream(long, conflict_weight=3.0)
    labels = np.array(list(chain.from_iterable(_labels(weighted))), np.float32)
    often = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    for label, in_conflict in zip(store.action[:, 0].numpy(), store.in_conflict.tolist(), strict=True):
        assert often[label] == (3 if in_conflict else 1)
    assert weighted.rows == len(labels)
    memory = Loader(store, batch_size=16, conflict_weight=3.0)
    batch = next(iter(weighted))
    assert torch.equal(weighted.importance(batch), memory.importance(batch))


def test_only_the_shards_of_the_buffer_are_in_memory(long: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, read = _stream(long, buffer_shards=4), []
    table = Stream.table
    monkeypatch.setattr(Stream, "table", lambda stream, piece: read.append(piece) or table(stream, piece))
    seen: list[set[int]] = []
    of = {
        label: int(episode) // 4
        for label, episode in zip(long.table()["teacher_turn"], long.table()["episode"], strict=True)
    }
    for batch in loader:
        seen.append({of[label] for label in batch.action[:, 0].numpy()})
    assert sorted(set(read)) == list(range(12))
    assert len(read) == 12 + 3  # three shards reach over the seam
    assert max(len(shards) for shards in seen) <= 5  # a batch may lie in two slots
    assert np.mean([len(shards) for shards in seen]) > 3


@pytest.mark.parametrize(("buffer_shards", "episodes"), [(1, 4), (4, 16), (12, 46)])
def test_the_shuffle_is_as_good_as_its_buffer_allows(long: Dataset, buffer_shards: int, episodes: int) -> None:
    table = long.table()
    place = {label: number for number, label in enumerate(table["teacher_turn"])}
    loader = _stream(long, buffer_shards=buffer_shards)
    rows = len(place)
    displacement, correlation, distinct = [], [], []
    for epoch in range(8):
        loader.set_epoch(epoch)
        batches = [[place[label] for label in batch.action[:, 0].numpy()] for batch in loader]
        order = np.array(list(chain.from_iterable(batches)))
        displacement.append(np.abs(order - np.arange(rows)).mean() / rows)
        correlation.append(np.corrcoef(order, np.arange(rows))[0, 1])
        distinct += [len(np.unique(table["episode"][batch])) for batch in batches[:-1]]
    assert np.mean(displacement) == pytest.approx(1 / 3, abs=0.06)  # uniform: 1/3
    assert abs(np.mean(correlation)) < 0.25  # uniform: 0; here 12 shards in 8 random orders
    uniform = episodes * (1 - (1 - 1 / episodes) ** 16)  # distinct episodes among 16 rows of so many
    assert np.mean(distinct) == pytest.approx(uniform, rel=0.2)  # a batch may lie in two slots


def test_the_buffer_goes_to_what_is_drawn(long: Dataset) -> None:
    def spans(buffer: int, sizes: list[int], drawn: list[int]) -> list[int]:
        return spans_of(buffer, np.array(sizes), np.array(drawn)).tolist()

    assert spans(16, [100], [7]) == [16]
    assert spans(16, [10], [7]) == [10]
    assert spans(16, [100, 100], [3, 1]) == [12, 4]
    assert spans(16, [100, 4], [1, 1]) == [12, 4]  # what the small one cannot use
    assert spans(2, [9, 9, 9], [1, 1, 1]) == [1, 1, 1]


def test_every_slot_deals_about_the_same(long: Dataset) -> None:
    schedule = Schedule(Stream.of(long, buffer_shards=4), Mixture(), 0, 0, True)
    dealt = np.array([schedule.dealt(slot).sum() for slot in range(schedule.slots + 1)])
    assert dealt[0] == 0
    assert dealt[-1] == schedule.rows == long.rows
    assert np.diff(dealt).max() < 2 * np.diff(dealt).min()
    for row in (0, 1, int(dealt[3]) - 1, int(dealt[3]), schedule.rows - 1):
        slot, place = schedule.slot_of(row)
        assert dealt[slot] <= row < dealt[slot + 1]
        assert place == row - dealt[slot]


def test_a_damaged_shard_is_found_before_the_first_batch_and_later(long: Dataset) -> None:
    loader = _stream(long)
    path = long.path / "shards" / "00007.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"00007\.parquet: altered: expected SHA-256"):
        list(loader)
    with pytest.raises(DatasetError, match=r"00007\.parquet: altered: expected SHA-256"):
        _stream(long)


def test_opening_reads_no_rows(
    tmp_path: Path,
    format: str,
    fill: Callable[..., DatasetWriter],
    make_manifest: Callable[..., Manifest],
    restamp: Callable[..., Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(tmp_path / "data", make_manifest(format, episodes=46))
    dataset, read, whole = open_dataset(tmp_path / "data"), [], shards.read_shard
    expected = Snapshots.of(dataset, "train", 0.3)

    def check(stream: Stream) -> None:
        assert (len(stream), stream.aircraft) == (len(expected), 4)
        assert stream.counts.sum(0)[1] == expected.in_conflict.sum()
        rows = [len(stream.table(piece)["episode"]) for piece in range(len(stream.shards))]
        assert rows == stream.counts.sum(1).tolist()

    monkeypatch.setattr(shards, "read_shard", lambda *of: read.append(of[-1]) or whole(*of))
    stream = Stream.of(dataset, "train", 0.3)
    assert not read
    check(stream)
    for index in (3, 7):  # of before there were counts
        dataset = restamp(dataset, index, lambda stamp: (stamp.pop("counts"), stamp.pop("sha256")))
    stream = Stream.of(dataset, "train", 0.3)
    assert read == [3, 7]
    check(stream)


def test_a_shard_that_became_another_since_it_was_counted_is_refused(long: Dataset) -> None:
    stream = Stream.of(long)
    stream.counts[7] += 1
    with pytest.raises(
        DatasetError, match=r"shard 00007\.parquet: expected \d+ rows in 'all', as were counted at first"
    ):
        stream.table(7)


def test_senseless_options_are_refused(long: Dataset) -> None:
    with pytest.raises(DatasetError, match="expected a buffer of 1 shard or more, got 0"):
        _stream(long, buffer_shards=0)
    with pytest.raises(DatasetError, match="no episode is in the split 'heldout'"):
        _stream(long, split="heldout", heldout=0.0)
    with pytest.raises(DatasetError, match="unknown split 'test'"):
        _stream(long, split="test")
    with pytest.raises(DatasetError, match="expected at least one batch of 100000 rows"):
        _stream(long, batch_size=100_000, drop_last=True)


_SCRIPT = """
import resource, sys
import torch
from skyclone.datasets import open_dataset

def megabytes(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) / 1024

torch.set_num_threads(1)
folder, stream, limit = sys.argv[1], sys.argv[2] == "stream", float(sys.argv[3])
dataset = open_dataset(folder)
next(iter(dataset.batches(stream=True, buffer_shards=1)))  # everything is imported and warm
before = megabytes("VmRSS:")
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
if limit:
    most = int((megabytes("VmData:") + limit) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
options = {"buffer_shards": 4} if stream else {}
rows = sum(len(batch.action) for batch in dataset.batches(stream=stream, batch_size=4096, **options))
print(rows, megabytes("VmHWM:") - before)
"""


def _run(folder: Path, kind: str, limit_mb: float) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    arguments = [sys.executable, "-c", _SCRIPT, str(folder), kind, str(limit_mb)]
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux tells it")
def test_streaming_needs_a_fraction_of_the_memory(
    tmp_path: Path, make_manifest: Callable[..., Manifest], make_table: Callable[..., Table]
) -> None:
    manifest = make_manifest(episodes=36 * 8, episodes_per_shard=8, world={"aircraft": 20, "step_s": 1.0})
    writer = DatasetWriter(tmp_path / "large", manifest, print)
    one = make_table(range(8), aircraft=20, steps=500)
    for index in range(36):
        table = {**one, "episode": one["episode"] + np.int32(8 * index)}
        writer.add(write_shard(writer.folder, writer.manifest, index, table))
    rows, megabytes = writer.manifest.rows, writer.manifest.rows * 39 / 2**20
    found = {}
    for kind in ("memory", "stream"):
        done = _run(writer.folder, kind, 0)
        assert done.returncode == 0, done.stderr
        count, peak = done.stdout.split()
        assert int(count) == rows
        found[kind] = float(peak)
    print(f"{megabytes:.0f} MB of rows: peak {found['memory']:.0f} MB in memory, {found['stream']:.0f} MB streamed")
    assert found["memory"] > megabytes
    assert found["stream"] < found["memory"] / 2
    limit = megabytes * 0.6
    assert _run(writer.folder, "stream", limit).stdout.split()[0] == str(rows)
    assert "memory" in _run(writer.folder, "memory", limit).stderr.lower()  # the same limit is too little for all


@pytest.mark.parametrize("weights", [{}, {"conflict_weight": 2.0}])
def test_who_hovers_is_seen_and_not_learned_from(
    tmp_path: Path,
    format: str,
    fill: Callable[..., DatasetWriter],
    make_manifest: Callable[..., Manifest],
    restamp: Callable[..., Dataset],
    monkeypatch: pytest.MonkeyPatch,
    weights: dict[str, float],
) -> None:
    """The rows streamed are those in memory, each with all that fly around it, whatever is in the buffer."""
    fill(tmp_path / "data", make_manifest(format, episodes=46), hovering=(0, 2))
    dataset = open_dataset(tmp_path / "data")
    store = Snapshots.of(dataset, "train", 0.3)
    assert len(store) < 0.7 * dataset.rows
    stream = Stream.of(dataset, "train", 0.3, buffer_shards=3)
    assert len(stream) == len(store)
    assert stream.counts.sum(0)[1] == store.in_conflict.sum()
    loaders = [Loader(source, View("ego"), 7, **weights) for source in (store, stream)]
    assert loaders[0].rows == loaders[1].rows
    found = []
    for loader in loaders:
        batches = list(loader)
        rows = [torch.cat((batch.action, batch.observation.intruders.flatten(1)), 1) for batch in batches]
        found.append(np.unique(torch.cat(rows).numpy(), axis=0))
        assert len(found[-1]) == len(store)  # weighted, some come more than once
    assert np.array_equal(*found)
    for index in (3, 7):  # of before there were counts
        dataset = restamp(
            dataset, index, lambda stamp: [stamp.pop(key) for key in ("counts", "hovering", "sha256")]
        )
    again = Stream.of(dataset, "train", 0.3, buffer_shards=3)
    assert np.array_equal(again.counts, stream.counts)
    assert np.array_equal(again.hovering, stream.hovering)
    assert len(list(Loader(again, View("ego"), 7))) == len(list(Loader(store, View("ego"), 7)))
