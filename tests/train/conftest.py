"""Fixtures of the training tests: a small dataset, flown once, and a small clone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from finetuning_runs import make_clone

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import Dataset, open_dataset
from skyclone.datasets.files.shards import write_shard
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.traffic.record import Table
from skyclone.train.cloning import plots as cloning_plots
from skyclone.train.finetuning import plots as finetuning_plots

DRAWN = {
    (module, name): getattr(module, name)
    for module, name in ((cloning_plots, "losses"), (cloning_plots, "attention"), (finetuning_plots, "safety"))
}
Relabelled = Callable[[Dataset, Path, Callable[[Table], None]], Dataset]


@pytest.fixture(scope="module", autouse=True)
def without_plots() -> Iterator[None]:
    """Draw nothing: drawing takes far longer than a small training."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cloning_plots, "losses", lambda history, kind: b"")
        patched.setattr(cloning_plots, "attention", lambda network, view: None)
        patched.setattr(finetuning_plots, "safety", lambda history, clone, kind: b"")
        yield


@pytest.fixture
def plots_drawn(without_plots: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw after all, for one test of what is drawn."""
    for (module, name), draw in DRAWN.items():
        monkeypatch.setattr(module, name, draw)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 episodes of 10 aircraft and at most 40 steps, flown by the teacher: about 9,000 rows."""
    folder: Path = tmp_path_factory.mktemp("data") / "mvp"
    collect(folder, CollectConfig(WorldConfig(aircraft=10, max_steps=40), episodes=24, episodes_per_shard=8))
    return open_dataset(folder)


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that has learned nothing, to fine-tune from; tests only read it."""
    return make_clone(tmp_path_factory.mktemp("clone"))


def _relabelled(dataset: Dataset, folder: Path, relabel: Callable[[Table], None]) -> Dataset:
    """Return the same traffic as a dataset whose labels `relabel` has changed in its tables."""
    writer = DatasetWriter(folder, dataset.manifest, lambda line: None)
    for index in writer.missing(range(writer.manifest.shard_count)):
        table = {name: column.copy() for name, column in dataset.table(index).items()}
        relabel(table)
        writer.add(write_shard(folder, writer.manifest, index, table, {"episodes": 8.0}))
    writer.finish("skyclone collect")
    return open_dataset(folder)


@pytest.fixture(scope="session")
def relabelled() -> Relabelled:
    return _relabelled
