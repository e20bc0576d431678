"""Datasets of worlds with a fleet or wind have columns of their own, in every format; others open as before."""

from pathlib import Path

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import open_dataset
from skyclone.datasets.conversion import convert
from skyclone.datasets.errors import RecordError
from skyclone.datasets.traffic.record import COLUMN_NAMES, check_table, columns_of

FLEET = {"fleet": "m600=1,wing=1", "sector_radius_m": 2000.0, "sector_area_m2": 1.1e7}
WIND = {"wind_east_mps": 2.0, "gust_mps": 1.0}


@pytest.mark.parametrize("kind", ["parquet", "hdf5"])
@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, ()),
        (FLEET, ("kind",)),
        (WIND, ("wind_east_mps", "wind_north_mps")),
        ({**FLEET, **WIND}, ("kind", "wind_east_mps", "wind_north_mps")),
    ],
)
def test_what_differs_has_its_columns(tmp_path: Path, kind: str, changes: dict, more: tuple[str, ...]):
    world = WorldConfig(aircraft=6, max_steps=30, **changes)
    collect(tmp_path / "d", CollectConfig(world=world, episodes=4, episodes_per_shard=2, format=kind))
    dataset = open_dataset(tmp_path / "d")
    table = dataset.table()
    check_table(table)
    assert tuple(table) == (*COLUMN_NAMES, *more)
    assert [column.name for column in columns_of(dataset.manifest.world)] == list(table)
    other = "hdf5" if kind == "parquet" else "parquet"
    convert(dataset, tmp_path / "other", other)
    assert open_dataset(tmp_path / "other").content_hash == dataset.content_hash
    open_dataset(tmp_path / "other").verify()
    for name in more:
        assert f"| {name} |" in (tmp_path / "d" / "README.md").read_text()
    batch = next(iter(dataset.batches(batch_size=64)))
    assert np.isfinite(batch.observation.ownship.numpy()).all()


def test_kinds_and_winds_are_those_that_were_flown(tmp_path: Path):
    world = WorldConfig(aircraft=8, max_steps=20, **FLEET, wind_east_mps=2.0)
    collect(tmp_path / "d", CollectConfig(world=world, episodes=3, teacher="none"))
    table = open_dataset(tmp_path / "d").table()
    assert set(table["kind"]) == {0, 1}
    is_wing = table["kind"] == 1
    east = table["speed_mps"] * np.sin(table["track_rad"]) - table["wind_east_mps"]
    north = table["speed_mps"] * np.cos(table["track_rad"]) - table["wind_north_mps"]
    later = table["step"] > 4
    np.testing.assert_allclose(np.hypot(east, north)[is_wing & later], 28.0, atol=0.01)
    np.testing.assert_allclose(np.hypot(east, north)[~is_wing & later], 9.0, atol=0.01)


def test_a_table_with_half_of_them_is_none():
    with pytest.raises(RecordError, match=r"unknown: \['sorts'\]"):
        check_table({**{name: np.zeros(0) for name in COLUMN_NAMES}, "sorts": np.zeros(0)})
