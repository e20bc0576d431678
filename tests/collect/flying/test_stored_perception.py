"""Stored flights, perceived again: by formulas, and as their pilots perceived them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.flying.flight import TeacherPilot, fly
from skyclone.collect.flying.stored_perception import StoredPerception
from skyclone.collect.flying.world import World
from skyclone.datasets import Dataset, Loader, View, open_dataset
from skyclone.datasets.errors import ConfigurationError, DatasetError
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.selection.assembly import merge, select
from skyclone.datasets.selection.conditions import Selection
from skyclone.datasets.traffic.observation import observe
from skyclone.datasets.traffic.pairs import Pairs
from skyclone.datasets.traffic.record import COLUMNS, Table
from skyclone.datasets.traffic.state import Traffic

VIEW = View.parse("cpa:intruders=7")
HARD = "noise:position_m=3:velocity_mps=0.3:error_s=20:latency_s=1.5:reception=0.4:interval_s=2:between=extrapolate"
EVERYTHING: dict[str, Any] = {
    "surveillance": HARD,
    "scenario": "hover:share=0.3",
    "fleet": "m600=0.7,wing=0.3",
    "gust_mps": 1.0,
    "sector_radius_m": 1500.0,
}


def collected(folder: Path, world: WorldConfig) -> Dataset:
    """Seven episodes in two shards, flown by the teacher."""
    collect(folder, CollectConfig(world, episodes=7, episodes_per_shard=5, seed=4))
    return open_dataset(folder)


def perceived_in_flight(world: WorldConfig) -> dict[tuple[int, int, int], tuple[Tensor, ...]]:
    """What the pilots of those episodes observe, by episode, step and aircraft."""
    flown = World(world, 4, range(7))
    teacher = TeacherPilot(teachers.parse("mvp", world), world)
    seen: dict[tuple[int, int, int], tuple[Tensor, ...]] = {}

    def pilot(traffic: Traffic, pairs: Pairs) -> Tensor:
        observation = observe(traffic, pairs, VIEW)
        for slot, number in traffic.is_piloted.nonzero().tolist():
            key = (flown.episodes[slot], int(flown.steps[slot]), number)
            seen[key] = tuple(part[slot, number] for part in observation)
        return teacher(traffic, pairs)

    for _ in fly(flown, pilot):
        pass
    return seen


FILTERED = {**EVERYTHING, "surveillance": HARD.replace("extrapolate", "filter:outages_per_h=60")}


@pytest.mark.parametrize("changes", [{"surveillance": "remote-id:reception=0.5"}, EVERYTHING, FILTERED])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_loaded_is_what_the_pilots_perceived(tmp_path: Path, changes: dict[str, Any], stream: bool) -> None:
    world = WorldConfig(aircraft=8, max_steps=40, **changes)
    dataset, flown = collected(tmp_path / "data", world), perceived_in_flight(world)
    perceive = StoredPerception(world.surveillance, "perceived")
    (batch,) = dataset.batches(view=VIEW, shuffle=False, batch_size=10**6, stream=stream, perceive=perceive)
    table = dataset.table()
    rows = {name: values[~np.isnan(table["waypoint_east_m"])] for name, values in table.items()}
    keys = list(zip(*(rows[name].tolist() for name in ("episode", "step", "aircraft")), strict=True))
    assert set(keys) == set(flown)
    ownship, intruders, is_present = (torch.stack(part) for part in zip(*map(flown.get, keys), strict=True))
    assert torch.equal(batch.observation.is_present, is_present)
    assert not is_present.all()
    # Sines of other batches may differ in their last bit; the rest is the same arithmetic.
    torch.testing.assert_close(batch.observation.ownship, ownship, rtol=0, atol=5e-6)
    torch.testing.assert_close(batch.observation.intruders, intruders, rtol=0, atol=5e-4)
    flown_actions = torch.from_numpy(np.stack((rows["pilot_turn"], rows["pilot_speed"]), 1))
    assert torch.equal(batch.action, flown_actions), "perceived labels are what the teacher flew by"
    labels = torch.from_numpy(np.stack((rows["teacher_turn"], rows["teacher_speed"]), 1))
    assert not torch.equal(labels, flown_actions)


def straight(steps: int = 6) -> Table:
    """Two aircraft: 0 flies east at 10 m/s from the first step, 1 north at 5 m/s from the third."""
    keys = [(step, number) for step in range(steps) for number in (0, 1) if number == 0 or step >= 2]
    table = {column.name: np.zeros(len(keys), column.dtype) for column in COLUMNS}
    step, number = np.array(keys).T
    table["episode"][:], table["step"], table["aircraft"] = 3, step.astype(np.int16), number.astype(np.int16)
    table["east_m"][:] = np.where(number == 0, 10.0 * step, 300.0)
    table["north_m"][:] = np.where(number == 0, 0.0, 5.0 * step)
    table["track_rad"][:] = np.where(number == 0, np.pi / 2, 0.0)
    table["speed_mps"][:] = np.where(number == 0, 10.0, 5.0)
    return table


def manifest(**changes: Any) -> Manifest:
    """Of a dataset of two aircraft."""
    world = WorldConfig(aircraft=2, **changes).to_json()
    return Manifest("parquet", world, "sector", "mvp", "teacher", 0.0, 9, 10)


def test_a_message_is_as_old_as_its_latency_also_before_the_first_step() -> None:
    table = straight()
    known = StoredPerception("noise:latency_s=2", "truth")(table, manifest())
    both = table["step"] >= 2
    assert (known.age[~both] == 11).all(), "alone: no track in ten steps or fewer"
    zero, one = both & (table["aircraft"] == 0), both & (table["aircraft"] == 1)
    assert known.age[zero].tolist() == [[11, 2]] * 4
    assert known.age[one].tolist() == [[2, 11]] * 4
    heard = known.estimates[known.place[one] - 2]  # by the other, two steps later
    np.testing.assert_allclose(heard[:, 0], 300.0, atol=1e-4)
    np.testing.assert_allclose(heard[:, 1], [0.0, 5.0, 10.0, 15.0], atol=1e-4)
    np.testing.assert_allclose(known.estimates[known.place[one] - 10][0], [300.0, -40.0, 0.0, 5.0], atol=1e-4)
    assert known.action is None


def test_without_error_and_delay_it_is_the_truth(tmp_path: Path) -> None:
    dataset = collected(tmp_path / "data", WorldConfig(aircraft=6, max_steps=20, scenario="arrivals"))
    options: dict[str, Any] = {"view": VIEW, "shuffle": False, "batch_size": 10**6}
    (truth,) = Loader.of([dataset], **options)
    (known,) = Loader.of([dataset], perceive=StoredPerception("noise", "truth"), **options)
    assert torch.equal(known.observation.is_present, truth.observation.is_present)
    torch.testing.assert_close(known.observation.ownship, truth.observation.ownship, rtol=0, atol=1e-5)
    assert torch.equal(known.action, truth.action)
    assert torch.equal(known.in_conflict, truth.in_conflict)


@pytest.mark.parametrize("surveillance", [HARD, FILTERED["surveillance"]])
def test_episodes_do_not_depend_on_what_is_read_with_them(tmp_path: Path, surveillance: str) -> None:
    world = WorldConfig(aircraft=6, max_steps=30)
    dataset, perceive = collected(tmp_path / "data", world), StoredPerception(surveillance)
    table = dataset.table()
    whole = perceive(table, dataset.manifest)
    for episodes in ([2], [0, 3, 6]):
        rows = np.isin(table["episode"], episodes)
        part = perceive({name: values[rows] for name, values in table.items()}, dataset.manifest)
        assert np.array_equal(part.age, whole.age[rows])
        for lag in (0, 1, 10) if whole.filtered is None else (0,):
            expected = whole.estimates[whole.place[rows] - lag]
            np.testing.assert_allclose(part.estimates[part.place - lag], expected, rtol=0, atol=1e-4)
        if whole.filtered is not None and part.filtered is not None:
            is_track = part.age < 11
            assert is_track.any()
            np.testing.assert_allclose(part.filtered[is_track], whole.filtered[rows][is_track], rtol=0, atol=1e-3)


def test_merged_and_selected_flights_are_perceived_as_they_were_flown(tmp_path: Path) -> None:
    world, perceive = WorldConfig(aircraft=5, max_steps=20), StoredPerception(HARD)
    for seed in (1, 2):
        collect(tmp_path / str(seed), CollectConfig(world, episodes=4, seed=seed))
    one, other = (open_dataset(tmp_path / str(seed)) for seed in (1, 2))
    merge([one, other], tmp_path / "both")
    select(open_dataset(tmp_path / "both"), tmp_path / "some", Selection("2,5-6"))
    found, expected = open_dataset(tmp_path / "some"), []
    for dataset, episodes in ((one, [2]), (other, [1, 2])):
        table = dataset.table()
        rows = np.isin(table["episode"], episodes)
        expected.append(perceive(table, dataset.manifest).age[rows])
    age = perceive(found.table(), found.manifest).age
    assert (age < 11).any()
    assert np.array_equal(age, np.concatenate(expected))


def test_a_table_without_rows_knows_nothing() -> None:
    known = StoredPerception("ads-b", "perceived")({name: v[:0] for name, v in straight().items()}, manifest())
    assert (known.estimates.shape, known.age.shape) == ((0, 4), (0, 2))


def test_what_cannot_be_flown_again_is_refused() -> None:
    perceive, table = StoredPerception("remote-id"), straight()
    with pytest.raises(DatasetError, match=r"expected aircraft below 2, as its world has, got 7"):
        perceive({**table, "aircraft": np.where(table["step"] == 3, 7, 0).astype(np.int16)}, manifest())
    rows = ~((table["step"] == 3) & (table["aircraft"] == 0))
    with pytest.raises(DatasetError, match=r"expected each aircraft in all steps .* Use --surveillance perfect"):
        perceive({name: values[rows] for name, values in table.items()}, manifest())
    with pytest.raises(ConfigurationError, match=r"expected a surveillance that is not perfect, got 'perfect'"):
        StoredPerception("perfect")(table, manifest())
    with pytest.raises(ConfigurationError, match=r"unknown teacher 'human'.* Use --labels truth"):
        perceive(table, replace(manifest(), teacher="human"))
    with pytest.raises(ConfigurationError, match=r"expected drop_s of"):
        perceive(table, manifest(step_s=60.0))
