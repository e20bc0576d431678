from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.shards import write_shard
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.loading.snapshots import STATES, Snapshots, is_heldout
from skyclone.datasets.traffic.record import Table


def _rows(store: Snapshots) -> dict[str, np.ndarray]:
    """Read the rows back out of snapshots, the way batches do."""
    traffic, own = store.traffic(torch.arange(len(store)))
    names = (*STATES, "waypoint_east_m", "waypoint_north_m")
    columns = {name: getattr(traffic, name).gather(1, own[:, None])[:, 0].numpy() for name in names}
    return {**columns, "teacher_turn": store.action[:, 0].numpy(), "teacher_speed": store.action[:, 1].numpy()}


def test_every_row_is_there_in_order(dataset: Dataset) -> None:
    store, table = Snapshots.of(dataset), dataset.table()
    assert len(store) == dataset.rows
    for name, column in _rows(store).items():
        assert np.array_equal(column, table[name]), name
    assert np.array_equal(store.in_conflict.numpy(), table["conflicts"] > 0)


def test_a_snapshot_is_one_episode_at_one_step(dataset: Dataset) -> None:
    store, table = Snapshots.of(dataset), dataset.table()
    key = table["episode"].astype(int) << 16 | table["step"]
    rows = torch.randperm(len(store), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    traffic, own = store.traffic(rows)
    assert store.aircraft == 4 == traffic.east_m.shape[1]
    for place, row in enumerate(rows.tolist()):
        together = np.flatnonzero(key == key[row])
        is_flying = traffic.is_flying[place].numpy()
        assert is_flying.tolist() == [number < len(together) for number in range(4)]
        assert together[own[place]] == row
        for name in STATES:
            assert np.array_equal(getattr(traffic, name)[place].numpy()[is_flying], table[name][together])


def test_a_hundred_million_rows_fit_in_4_gb(dataset: Dataset) -> None:
    store = Snapshots.of(dataset)
    assert store.bytes == sum(value.nbytes for value in vars(store).values() if isinstance(value, torch.Tensor))
    assert (store.bytes - 3 * 16) / len(store) == 39  # without the padding


def test_several_datasets_lie_behind_one_another(
    dataset: Dataset, tmp_path: Path, make_table: Callable[..., Table], make_manifest: Callable[..., Manifest]
) -> None:
    world = {"aircraft": 9, "step_s": 1.0}
    writer = DatasetWriter(tmp_path / "wide", make_manifest(episodes=4, seed=5, world=world), print)
    writer.add(write_shard(writer.folder, writer.manifest, 0, make_table(range(4), seed=5, aircraft=7)))
    wide = open_dataset(writer.folder)
    store = Snapshots.of([dataset, wide])
    assert store.aircraft == 9  # the world's, also where fewer were seen: a network's input has its shape
    for name, column in _rows(store).items():
        assert np.array_equal(column, np.concatenate([d.table()[name] for d in (dataset, wide)])), name
    traffic, _ = store.traffic(torch.arange(len(store)))
    assert not traffic.is_flying[: dataset.rows, 4:].any()
    assert traffic.is_flying[dataset.rows :].sum(1).max() == 7


def test_a_split_is_whole_episodes_and_loses_none(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path, make_manifest(episodes=40))
    dataset = open_dataset(tmp_path)
    train, heldout = (Snapshots.of(dataset, split, heldout=0.25) for split in ("train", "heldout"))
    assert len(train) + len(heldout) == dataset.rows
    table = dataset.table()
    chosen = np.array([is_heldout(0, episode, 0.25) for episode in range(40)])
    assert 3 < chosen.sum() < 18
    assert np.array_equal(_rows(heldout)["teacher_turn"], table["teacher_turn"][chosen[table["episode"]]])
    assert np.array_equal(_rows(train)["teacher_turn"], table["teacher_turn"][~chosen[table["episode"]]])


def test_the_split_is_stable_for_ever() -> None:
    # Frozen answers: with another hash, episodes that were trained on would be held out tomorrow.
    assert [episode for episode in range(50) if is_heldout(0, episode, 0.1)] == [15, 44, 46]
    assert [episode for episode in range(50) if is_heldout(1, episode, 0.1)] == [29, 30, 38, 39, 49]


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_fraction_holds_out_the_same_and_more(seed: int, episode: int, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert is_heldout(seed, episode, small) <= is_heldout(seed, episode, large)
    assert is_heldout(seed, episode, 1.0)
    assert not is_heldout(seed, episode, 0.0)


def test_an_empty_split_says_so(dataset: Dataset) -> None:
    with pytest.raises(
        DatasetError, match=r"no episode is in the split 'heldout' \(10 episodes, 0% held out by hash"
    ):
        Snapshots.of(dataset, "heldout", heldout=0.0)
    with pytest.raises(DatasetError, match=r"unknown split 'test'\. There are: all, train, heldout"):
        Snapshots.of(dataset, "test")


@pytest.fixture
def hovering(
    tmp_path: Path, format: str, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> Dataset:
    """A dataset of 10 episodes in which the aircraft 1 and 3 hover."""
    fill(tmp_path / "hovering", make_manifest(format), hovering=(1, 3))
    return open_dataset(tmp_path / "hovering")


def test_who_hovers_is_seen_and_has_no_rows(hovering: Dataset, dataset: Dataset) -> None:
    """Behind and before a dataset in which nobody does."""
    for several in ([hovering], [dataset, hovering, dataset]):
        store = Snapshots.of(several)
        tables = [each.table() for each in several]
        offsets = np.cumsum([0, *(len(table["episode"]) for table in tables)])
        table = {name: np.concatenate([each[name] for each in tables]) for name in tables[0]}
        dataset_of = np.repeat(np.arange(len(several)), np.diff(offsets))
        flown = np.flatnonzero(~np.isnan(table["waypoint_east_m"]))
        assert len(store) == len(flown) == sum(store.sizes)
        assert len(store.states) == len(table["episode"]) + store.aircraft - 1
        for name, column in _rows(store).items():
            assert np.array_equal(column, table[name][flown]), name
        assert np.array_equal(store.in_conflict.numpy(), table["conflicts"][flown] > 0)
        traffic, own = store.traffic(torch.arange(len(store)))
        key = dataset_of << 32 | table["episode"].astype(int) << 16 | table["step"]
        for row, place in enumerate(flown):
            together = np.flatnonzero(key == key[place])
            is_flying = traffic.is_flying[row].numpy()
            assert is_flying.tolist() == [number < len(together) for number in range(4)]
            assert together[own[row]] == place
            assert np.array_equal(traffic.east_m[row].numpy()[is_flying], table["east_m"][together])


def test_without_hovering_aircraft_no_row_is_larger(dataset: Dataset, hovering: Dataset) -> None:
    assert Snapshots.of(dataset).place is None
    store = Snapshots.of(hovering)
    assert (store.bytes - 3 * 16) == len(store) * (39 - 16 + 4) + 16 * hovering.rows
