from pathlib import Path

import numpy as np
import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import Dataset, View, open_dataset
from skyclone.train import networks
from skyclone.train.cloning import heldout
from skyclone.train.dagger.own_state_error import Visited, conflict_difference, visit

VIEW = View.parse("ego:intruders=4")


def visited(errors: list[float], conflicts: list[float]) -> Visited:
    """Episodes of 10 rows, sums of errors over so many rows in conflict, and errors of 1 over free rows."""
    error, count = torch.tensor(errors, dtype=torch.float64), torch.tensor(conflicts, dtype=torch.float64)
    rows = torch.full_like(count, 10.0)
    return Visited(rows, error + rows - count, count, error)


def test_figures_by_hand() -> None:
    figures = visited([2.0, 6.0], [4.0, 4.0]).figures()
    assert figures == {"mse": pytest.approx((8 + 12) / 20), "mse_conflict": 1.0, "mse_free": 1.0}
    assert visited([0.0], [0.0]).figures()["mse_conflict"] is None


def test_a_difference_is_paired() -> None:
    """Each episode has 0.1 more error per row in conflict: no spread, however much the episodes differ."""
    conflicts = [2.0, 4.0, 6.0, 4.0]
    one = visited([0.5 * count for count in conflicts], conflicts)
    other = visited([0.4 * count for count in conflicts], conflicts)
    assert conflict_difference(one, other) == pytest.approx((0.1, 0.1, 0.1))
    assert conflict_difference(one, one) == (0.0, 0.0, 0.0)


def test_the_interval_by_hand() -> None:
    """Two episodes of equal weight with errors of 0 and 2 against 1 and 1: the moves are -1 and 1."""
    one, other = visited([0.0, 4.0], [2.0, 2.0]), visited([2.0, 2.0], [2.0, 2.0])
    half = 1.959964 * 2**0.5 / 2**0.5
    assert conflict_difference(one, other) == pytest.approx((0.0, -half, half))


def test_visiting_counts_every_row_once(small_dataset: Dataset) -> None:
    """The sums over episodes are those of the held-out figures over all rows."""
    network = networks.make("pairwise", VIEW, width=8, hidden=8)
    found = visit(network, small_dataset, VIEW)
    assert len(found.rows) == small_dataset.episodes
    assert int(found.rows.sum()) == small_dataset.rows
    table = small_dataset.table()
    assert int(found.conflicts.sum()) == int((table["conflicts"] > 0).sum())
    assert int(found.rows[3]) == int((table["episode"] == 3).sum())
    whole = heldout.measure(network, small_dataset.batches(view=VIEW, shuffle=False))
    assert found.figures() == {
        "mse": pytest.approx(whole.mse, rel=1e-5),
        "mse_conflict": pytest.approx(whole.mse_conflict, rel=1e-5),
        "mse_free": pytest.approx(whole.mse_free, rel=1e-5),
    }


def test_who_hovers_visits_nothing(tmp_path: Path) -> None:
    config = WorldConfig(aircraft=5, max_steps=20, scenario="hover:share=0.4")
    collect(tmp_path / "data", CollectConfig(config, episodes=4))
    dataset = open_dataset(tmp_path / "data")
    found = visit(networks.make("pairwise", VIEW, width=8, hidden=8), dataset, VIEW)
    table = dataset.table()
    flown = ~np.isnan(table["waypoint_east_m"])
    assert found.rows.tolist() == np.bincount(table["episode"][flown]).tolist()
    in_conflict = flown & (table["conflicts"] > 0)
    assert found.conflicts.tolist() == np.bincount(table["episode"][in_conflict], minlength=4).tolist()
    assert torch.isfinite(found.error).all()
