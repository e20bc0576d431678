"""Fixtures of the comparison's tests: a small dataset, and trainings that draw nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 episodes of 5 aircraft and at most 40 steps, flown by the teacher."""
    folder: Path = tmp_path_factory.mktemp("compare") / "data"
    world = WorldConfig(aircraft=5, max_steps=40, sector_radius_m=500.0, sector_area_m2=4e5)
    collect(folder, CollectConfig(world, episodes=16, episodes_per_shard=8))
    return folder


@pytest.fixture(scope="session", autouse=True)
def _no_plots() -> Iterator[None]:
    """Spare each training its plot of the loss, which takes longer than the training."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("skyclone.train.cloning.plots.losses", lambda *arguments: b"")
        yield
