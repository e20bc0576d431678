"""Flights with rewards and returns, and offline reinforcement learning on them."""

import importlib.util
import os
import subprocess
import sys
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
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.loading.flights import returns_of
from skyclone.datasets.traffic.observation import flatten


def test_returns_worked_out_by_hand() -> None:
    assert returns_of(np.array([1.0, 2.0, 4.0]), 0.5).tolist() == [3.0, 4.0, 4.0]
    assert returns_of(np.array([1.0, 2.0, 4.0]), 1.0).tolist() == [7.0, 6.0, 4.0]
    assert returns_of(np.array([1.0, 2.0, 4.0]), 0.0).tolist() == [1.0, 2.0, 4.0]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40), st.floats(0, 1))
def test_each_return_is_the_reward_and_the_next_return(rewards: list[float], discount: float) -> None:
    returns = returns_of(np.array(rewards), discount).astype(np.float64)
    np.testing.assert_allclose(returns, np.array(rewards) + discount * np.append(returns[1:], 0.0), atol=1e-2)


def test_flights_are_the_rows_of_each_aircraft(dataset: Dataset) -> None:
    table = dataset.table()
    rows = 0
    for flight in dataset.flights(view="seed", discount=0.9):
        own = (table["episode"] == flight.episode) & (table["aircraft"] == flight.aircraft)
        rows += int(own.sum())
        np.testing.assert_array_equal(flight.reward, table["reward"][own])
        np.testing.assert_array_equal(flight.action[:, 0], table["pilot_turn"][own])
        np.testing.assert_array_equal(flight.teacher_action[:, 1], table["teacher_speed"][own])
        assert flight.returns[0] == pytest.approx(
            float((flight.reward * 0.9 ** np.arange(own.sum())).sum()), abs=1e-5
        )
        last = table["outcome"][own][-1]
        assert (flight.is_terminated, flight.is_truncated) == (last in (1, 2), last == 3)
    assert rows == dataset.rows


def test_they_observe_what_the_loader_does(dataset: Dataset) -> None:
    batches = dataset.batches(view="ego", batch_size=10_000, shuffle=False)
    (batch,) = list(batches)
    expected = flatten(batch.observation)
    table, found = dataset.table(), torch.full_like(expected, torch.nan)
    for flight in dataset.flights(view="ego"):
        own = (table["episode"] == flight.episode) & (table["aircraft"] == flight.aircraft)
        found[torch.from_numpy(own)] = torch.from_numpy(flight.observation)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_who_hovers_has_no_flight(
    tmp_path: Path, fill: Callable[..., DatasetWriter], make_manifest: Callable[..., Manifest]
) -> None:
    fill(tmp_path, make_manifest(), hovering=(1,))
    assert {flight.aircraft for flight in open_dataset(tmp_path).flights()} == {0, 2, 3}


def test_a_discount_that_cannot_be_is_an_error(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"expected a discount from 0 to 1, got 1\.5"):
        next(dataset.flights(discount=1.5))


IQL = """
import sys, time
import d3rlpy, numpy as np, torch
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import open_dataset
from pathlib import Path

torch.manual_seed(0), np.random.seed(0)
folder = Path(sys.argv[1])
collect(folder, CollectConfig(world=WorldConfig(aircraft=6), episodes=8, noise=0.2), workers=1)
flights = list(open_dataset(folder).flights(view="ego:intruders=3", discount=0.95))
dataset = d3rlpy.dataset.MDPDataset(
    observations=np.concatenate([flight.observation for flight in flights]),
    actions=np.concatenate([flight.action for flight in flights]),
    rewards=np.concatenate([flight.reward for flight in flights]),
    terminals=np.concatenate([[0] * (len(f.reward) - 1) + [f.is_terminated] for f in flights]),
    timeouts=np.concatenate([[0] * (len(f.reward) - 1) + [f.is_truncated] for f in flights]),
)
iql = d3rlpy.algos.IQLConfig(gamma=0.95, batch_size=128, actor_learning_rate=1e-3, critic_learning_rate=1e-3,
                             reward_scaler=d3rlpy.preprocessing.StandardRewardScaler()).create(device="cpu")
iql.fit(dataset, n_steps=300, n_steps_per_epoch=300, show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory())
print("CPU seconds", time.process_time())
observations = np.concatenate([flight.observation for flight in flights])
actions = np.concatenate([flight.action for flight in flights])
teacher = np.concatenate([flight.teacher_action for flight in flights])
error = np.square(iql.predict(observations) - teacher).mean()
value = iql.predict_value(observations, actions)
returns = np.concatenate([flight.returns for flight in flights])
print("RESULT", len(flights), error, teacher.var(axis=0).mean(), np.corrcoef(value, returns)[0, 1])
"""


@pytest.mark.slow
def test_iql_learns_on_them(tmp_path: Path) -> None:
    """A stock library's offline learning: it acts like the data, and its values follow the returns."""
    if importlib.util.find_spec("d3rlpy") is None:
        pytest.skip("d3rlpy is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IQL, str(tmp_path / "data")],
        capture_output=True, text=True, check=False, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout[done.stdout.index("CPU") :])
    _, flights, error, variance, correlation = done.stdout[done.stdout.index("RESULT") :].split()
    assert flights == "48"
    assert float(error) < 0.8 * float(variance)
    assert float(correlation) > 0.3
