"""What aircraft knew, by a made-up rule, loaded in every way there is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from skyclone.datasets import Dataset, Loader, Snapshots, View, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.loading.loader import Batch
from skyclone.datasets.loading.streaming import Stream
from skyclone.datasets.loading.tracks import Ageing, Known
from skyclone.datasets.traffic.record import Table

STEPS = 2
VIEW = View.parse("seed:intruders=3")


def estimate(episode: int, step: int, aircraft: int) -> np.ndarray:
    """What an aircraft thinks of itself, (4,), also before its first step."""
    return np.random.default_rng((episode, step + 10, aircraft)).uniform(-50, 50, 4).astype(np.float32)


def age(episode: int, step: int, ownship: int, intruder: int) -> int:
    """How old its track of another is, in steps; one more than the most for none."""
    return (episode + step + 2 * ownship + 3 * intruder) % (STEPS + 2)


@dataclass(frozen=True)
class MadeUp:
    """A `Perceive`, row by row."""

    is_extrapolated: bool = False
    relabels: bool = False

    def ageing(self, manifest: Manifest) -> Ageing:
        return Ageing(float(manifest.world["step_s"]), STEPS, self.is_extrapolated)

    def __call__(self, table: Table, manifest: Manifest) -> Known:
        keys = list(zip(*(table[name].tolist() for name in ("episode", "step", "aircraft")), strict=True))
        there = {(e, s - lag, a) for e, s, a in keys for lag in range(STEPS + 1)}
        order = sorted(there, key=lambda key: (key[0], key[2], key[1]))
        places = {key: place for place, key in enumerate(order)}
        ages = np.full((len(keys), 4), STEPS + 1, np.uint8)
        for row, (e, s, a) in enumerate(keys):
            flying = [other for ee, ss, other in keys if (ee, ss) == (e, s)]
            ages[row, : len(flying)] = [STEPS + 1 if b == a else age(e, s, a, b) for b in flying]
        return Known(
            np.stack([estimate(*key) for key in order]),
            np.array([places[key] for key in keys]),
            ages,
            np.stack([-table["teacher_turn"], table["teacher_speed"]], 1) if self.relabels else None,
        )


@pytest.fixture
def data(tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]) -> Dataset:
    """10 episodes in 3 shards; of their four aircraft one hovers."""
    fill(tmp_path / "data", make_manifest(world={"aircraft": 4, "step_s": 2.0}), hovering=(2,))
    return open_dataset(tmp_path / "data")


def alike(one: Batch, other: Batch) -> bool:
    """Whether two batches are the same, bit for bit."""
    columns = zip((*one.observation, *one[1:]), (*other.observation, *other[1:]), strict=True)
    return all(torch.equal(first, second) for first, second in columns)


@pytest.mark.parametrize("is_extrapolated", [False, True])
def test_a_row_sees_what_was_heard(data: Dataset, is_extrapolated: bool) -> None:
    store = Snapshots.of(data, perceive=MadeUp(is_extrapolated))
    picked = store.pick(torch.arange(len(store)))
    table = data.table()
    rows = np.flatnonzero(~np.isnan(table["waypoint_east_m"]))
    for place, row in enumerate(rows):
        e, s, a = (int(table[name][row]) for name in ("episode", "step", "aircraft"))
        flying = table["aircraft"][(table["episode"] == e) & (table["step"] == s)].tolist()
        own = estimate(e, s, a)
        assert np.array_equal(picked.state[place].numpy(), own)
        for j in range(4):
            lag = age(e, s, a, flying[j]) if j < len(flying) and flying[j] != a else STEPS + 1
            if lag > STEPS:
                assert torch.isinf(picked.relative[place, 4, j])
                assert not picked.relative[place, :4, j].any()
                continue
            heard = estimate(e, s - lag, flying[j]).astype(np.float64)
            heard[:2] += 2.0 * lag * heard[2:] * is_extrapolated
            expected = heard - own
            np.testing.assert_allclose(picked.relative[place, :4, j].numpy(), expected, rtol=0, atol=2e-5)
            distance2 = np.float32((expected[:2] ** 2).sum())
            assert picked.relative[place, 4, j] == pytest.approx(distance2, rel=1e-5)
            assert picked.age_s[place, j] == 2.0 * lag


@pytest.mark.parametrize("workers", [0, 1])
def test_streamed_and_in_memory_with_workers_and_going_on_it_is_the_same(data: Dataset, workers: int) -> None:
    perceive = MadeUp(relabels=True)
    memory = list(Loader.of([data], "train", 0.3, VIEW, batch_size=9, shuffle=False, perceive=perceive))
    options = {"batch_size": 9, "stream": True, "perceive": perceive, "workers": workers}
    streamed = list(Loader.of([data], "train", 0.3, VIEW, shuffle=False, **options))
    assert len(memory) == len(streamed) > 3
    assert all(map(alike, memory, streamed))
    shuffled = Loader.of([data], "train", 0.3, VIEW, seed=5, buffer_shards=1, **options)
    shuffled.set_epoch(3)
    whole = list(shuffled)
    shuffled.set_epoch(3, start_batch=2)
    assert all(map(alike, whole[2:], list(shuffled)))
    labels = {turn for batch in memory for turn in batch.action[:, 0].tolist()}
    assert labels == {turn for batch in whole for turn in batch.action[:, 0].tolist()}
    stored = Snapshots.of(data, "train", 0.3).action[:, 0]
    assert labels == set((-stored).tolist()), "labels are those that were made anew"


def test_states_that_are_not_seen_take_no_memory(data: Dataset) -> None:
    store = Snapshots.of(data, perceive=MadeUp())
    assert not len(store.states)
    assert store.bytes == sum(each.nbytes for each in (store.own, store.first, store.count, store.in_conflict)) + (
        store.place.nbytes + store.tracks.bytes
    )
    assert store.to("meta").pick(torch.empty(5, dtype=torch.int32, device="meta")).relative.shape == (5, 5, 4)


@pytest.mark.parametrize("source", [Snapshots, Stream])
def test_datasets_of_other_steps_do_not_go_together(
    source: type, data: Dataset, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    folder = Path(str(data.path)).with_name("other")
    fill(folder, make_manifest(world={"aircraft": 4, "step_s": 1.0}))
    with pytest.raises(
        DatasetError, match=r"expected datasets of one decision step .* got 1 s, 2 s\. Train on each"
    ):
        source.of([data, open_dataset(folder)], perceive=MadeUp())


def test_ages_are_stored_in_a_byte_where_they_fit() -> None:
    ageing = Ageing(1.0, 254, False)
    assert (ageing.none, ageing.dtype) == (255, np.uint8)
    assert (ageing._replace(steps=255).none, ageing._replace(steps=255).dtype) == (256, np.int16)
