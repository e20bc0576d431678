from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from skyclone.datasets import Loader, Snapshots, View, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.loading.loader import Batch, assemble
from skyclone.datasets.loading.snapshots import STATES
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.state import Traffic

WAYPOINT = ("waypoint_east_m", "waypoint_north_m")


@pytest.fixture
def store(tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]) -> Snapshots:
    fill(tmp_path / "data", make_manifest())
    return Snapshots.of(open_dataset(tmp_path / "data"))


def _labels(batches: Iterable[Batch]) -> list[list[float]]:
    return [batch.action[:, 0].tolist() for batch in batches]


def _joined(batches: Iterable[Batch]) -> list[float]:
    return torch.cat([batch.action[:, 0] for batch in batches]).tolist()


@pytest.mark.parametrize("view", ["seed", "ego:intruders=2", "cpa"])
def test_a_batch_is_what_was_seen_in_flight(store: Snapshots, tmp_path: Path, view: str) -> None:
    rows = torch.randperm(len(store), generator=torch.Generator().manual_seed(0))[:50]
    batch = assemble(store.pick(rows), View.parse(view))
    table = open_dataset(tmp_path / "data").table()
    key = table["episode"].astype(int) << 16 | table["step"]
    _, snapshot = np.unique(key, return_inverse=True)
    place = torch.from_numpy(snapshot), torch.from_numpy(table["aircraft"]).long()
    columns = {name: torch.zeros((int(place[0][-1]) + 1, 4)) for name in (*STATES, *WAYPOINT)}
    for name, values in columns.items():
        values[place] = torch.from_numpy(table[name])
    is_flying = torch.zeros_like(columns["east_m"], dtype=torch.bool).index_put(place, torch.tensor(True))
    everything = observe_all(Traffic(**columns, is_flying=is_flying), View.parse(view))  # as in flight
    for found, expected in zip(batch.observation, everything, strict=True):
        assert torch.equal(found, expected[place][rows])
    assert torch.equal(batch.action, store.action[rows])
    assert torch.equal(batch.in_conflict, store.in_conflict[rows])
    assert batch.observation.ownship.dtype == torch.float32


def test_an_epoch_is_every_row_once_in_uniform_order(store: Snapshots) -> None:
    loader = Loader(store, batch_size=7, seed=3)
    assert len(loader) == -(-len(store) // 7)
    assert loader.rows == len(store)
    batches = list(loader)
    assert [len(batch.action) for batch in batches[:-1]] == [7] * (len(loader) - 1)
    assert sorted(_joined(batches)) == sorted(store.action[:, 0].tolist())
    assert _joined(batches) != store.action[:, 0].tolist()
    first = [next(iter(Loader(store, batch_size=1, seed=seed))).action[0, 0].item() for seed in range(20)]
    assert len(set(first)) > 10


def test_the_order_is_a_function_of_seed_and_epoch(store: Snapshots) -> None:
    loader, same, other = (Loader(store, batch_size=16, seed=seed) for seed in (3, 3, 4))
    orders = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        same.set_epoch(epoch)
        orders.append(_labels(loader))
        assert _labels(same) == orders[-1]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert _labels(other) not in orders  # epoch 0 of the next seed is not epoch 1 of this one
    loader.set_epoch(0)
    assert _labels(loader) == orders[0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_change_nothing(store: Snapshots, workers: int) -> None:
    alone, helped = Loader(store, batch_size=16, seed=1), Loader(store, batch_size=16, seed=1, workers=workers)
    for epoch in range(2):
        alone.set_epoch(epoch, start_batch=epoch)
        helped.set_epoch(epoch, start_batch=epoch)
        for one, other in zip(alone, helped, strict=True):
            assert isinstance(other, Batch)
            assert torch.equal(one.observation.intruders, other.observation.intruders)
            assert torch.equal(one.action, other.action)


@pytest.mark.parametrize("used", [0, 1, 5, 10**6])
def test_going_on_takes_the_number_of_batches_used(store: Snapshots, used: int) -> None:
    whole = _labels(Loader(store, batch_size=9, seed=2))
    rest = Loader(store, batch_size=9, seed=2, start_batch=used)
    assert _labels(rest) == whole[used:]
    rest.set_epoch(0)
    assert _labels(rest) == whole


def test_rows_in_conflict_come_as_often_as_weighted(store: Snapshots) -> None:
    loader = Loader(store, batch_size=16, conflict_weight=2.5, seed=1)
    epochs = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        epochs.append(list(loader))
    assert _labels(epochs[0]) == _labels(epochs[2]) != _labels(epochs[1])
    conflict = store.in_conflict.sum().item()
    assert loader.rows == len(store) - conflict + int(conflict * 2.5 + 0.5) == len(_joined(epochs[0]))
    often = dict(zip(*np.unique(np.array(_joined(epochs[0]), np.float32), return_counts=True), strict=True))
    for label, in_conflict in zip(store.action[:, 0].numpy(), store.in_conflict.tolist(), strict=True):
        assert often[label] in ((2, 3) if in_conflict else (1,))
    importance = torch.cat([loader.importance(batch) for batch in epochs[0]])
    flags = torch.cat([batch.in_conflict for batch in epochs[0]])
    assert importance.mean().item() == pytest.approx(1.0, abs=1e-6)
    assert importance[~flags][0] / importance[flags][0] == pytest.approx(2.5)
    only = Loader(store, batch_size=16, conflict_weight=float("inf"))
    assert sorted(_joined(only)) == sorted(store.action[store.in_conflict, 0].tolist())


@pytest.mark.parametrize("stream", [False, True])
def test_datasets_are_mixed_by_weight(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest], stream: bool
) -> None:
    for seed, episodes in ((0, 40), (1, 8)):
        fill(tmp_path / str(seed), make_manifest(episodes=episodes, seed=seed))
    several = [open_dataset(tmp_path / name) for name in "01"]
    second = set(Snapshots.of(several[1]).action[:, 0].tolist())
    loader = Loader.of(several, batch_size=64, mix=(1, 3), stream=stream, buffer_shards=4)
    labels = _labels(loader)
    assert abs(loader.rows - several[0].rows - several[1].rows) < 30  # rounded by shard
    shares = [np.mean([label in second for label in batch]) for batch in labels]
    assert np.mean(shares[:-1]) == pytest.approx(0.75, abs=0.02)
    assert min(shares[:-1]) > 0.5
    assert labels == _labels(Loader.of(several, batch_size=64, mix=(1, 3), stream=stream, buffer_shards=4))
    rest = Loader.of(several, batch_size=64, mix=(1, 3), stream=stream, buffer_shards=4, start_batch=3)
    assert _labels(rest) == labels[3:]


def test_the_last_batch_may_be_dropped_and_the_order_kept(store: Snapshots) -> None:
    assert len(store) % 16
    loader = Loader(store, batch_size=16, shuffle=False, drop_last=True)
    assert _joined(loader) == store.action[: len(store) // 16 * 16, 0].tolist()


def test_no_global_random_state_is_used(store: Snapshots) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(Loader(store, batch_size=32))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_dataset_hands_out_batches(store: Snapshots, tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path / "data")
    loader = dataset.batches(batch_size=8, view="ego:intruders=2", split="train", heldout=0.5, seed=1)
    batch = next(iter(loader))
    assert batch.observation.intruders.shape == (8, 2, 5)
    assert 0 < loader.rows < dataset.rows
    assert next(iter(dataset.batches())).observation.intruders.shape == (dataset.rows, 3, 5)


def test_senseless_sizes_are_refused(store: Snapshots) -> None:
    with pytest.raises(DatasetError, match="expected a batch size of 1 or more, got 0"):
        Loader(store, batch_size=0)
    with pytest.raises(DatasetError, match="rows that are drawn have no order"):
        Loader(store, shuffle=False, conflict_weight=2.0)
    with pytest.raises(DatasetError, match=rf"expected at least one batch of 10000 rows, got {len(store)} rows"):
        Loader(store, batch_size=10000, drop_last=True)


@pytest.mark.parametrize("options", [{}, {"conflict_weight": 2.5}])
@pytest.mark.parametrize("parts", [2, 3, 20])
def test_parts_make_up_the_batches(store: Snapshots, options: dict, parts: int) -> None:
    """Also of batches with fewer rows than there are parts."""
    whole = Loader(store, batch_size=16, seed=4, **options)
    shares = [Loader(store, batch_size=16, seed=4, part=(number, parts), **options) for number in range(parts)]
    assert {len(each) for each in shares} == {len(whole)}
    for number, (batch, *pieces) in enumerate(zip(whole, *shares, strict=True)):
        assert whole.rows_in(number) == len(batch.action) == sum(len(piece.action) for piece in pieces)
        assert torch.equal(torch.cat([piece.action for piece in pieces]), batch.action)
        assert torch.equal(
            torch.cat([piece.observation.intruders for piece in pieces]), batch.observation.intruders
        )
        assert max(len(piece.action) for piece in pieces) - min(len(piece.action) for piece in pieces) <= 1


def test_a_view_given_as_text_is_on_the_scale_of_the_world(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path / "data", make_manifest(world={"sector_radius_m": 5000.0, "max_speed_mps": 30.0}))
    dataset = open_dataset(tmp_path / "data")
    assert dataset.batches(view="ego").view == View("ego", None, 5000.0, 30.0)
    assert dataset.batches(view="ego:length_m=935").view == View("ego", None, 935.0, 30.0)
    assert dataset.batches(view=View("ego")).view == View("ego")
