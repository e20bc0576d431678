"""Fixtures of the training tests: a small dataset, flown once."""

from pathlib import Path

import pytest
import torch

from skyclone.collect.collector import Collection, collect
from skyclone.collect.configuration import WorldConfig
from skyclone.datasets import Dataset, open_dataset


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Let torch use one thread: the networks here are tiny, and on a busy machine two are many times slower."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 episodes of 10 aircraft and at most 40 steps, flown by the teacher: about 9,000 rows."""
    folder: Path = tmp_path_factory.mktemp("data") / "mvp"
    collect(folder, Collection(WorldConfig(aircraft=10, max_steps=40), episodes=24, episodes_per_shard=8))
    return open_dataset(folder)
