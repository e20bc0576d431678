"""The export for multi-agent learning: frames by hand, and `tensordict` itself (where it is installed)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.exports.multi_agent import count_of_frames, export_tensordict, frames_of
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.loading.flights import flights
from skyclone.datasets.traffic.view import View, scale_of

WORLD = WorldConfig(aircraft=4, max_steps=60)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five episodes in three shards, flown with noise; some flights run into the time limit."""
    folder = tmp_path_factory.mktemp("data") / "mvp"
    collect(folder, CollectConfig(world=WORLD, episodes=5, episodes_per_shard=2, noise=0.2), workers=1)
    return open_dataset(folder)


def frames(dataset: Dataset, episode: int) -> dict[tuple[str, ...], np.ndarray]:
    """Return the frames of an episode, as the aircraft see three others."""
    table = dataset.table()
    rows = {name: values[table["episode"] == episode] for name, values in table.items()}
    return frames_of(rows, WORLD, View.parse("ego:intruders=3", scale_of(WORLD.to_json())))


def test_frames_hold_the_rows_and_nothing_else(dataset: Dataset) -> None:
    for episode in range(dataset.episodes):
        found, table = frames(dataset, episode), dataset.table()
        rows = {name: values[table["episode"] == episode] for name, values in table.items()}
        mask = found["agents", "mask"]
        assert mask.sum() == len(rows["step"])
        at = rows["step"], rows["aircraft"]
        assert mask[at].all()
        np.testing.assert_array_equal(found["agents", "action"][at][:, 0], rows["pilot_turn"])
        np.testing.assert_array_equal(found["agents", "teacher_action"][at][:, 1], rows["teacher_speed"])
        np.testing.assert_array_equal(found["next", "agents", "reward"][at][:, 0], rows["reward"])
        np.testing.assert_array_equal(found["next", "agents", "truncated"][at][:, 0], rows["outcome"] == 3)
        np.testing.assert_array_equal(
            found["next", "agents", "terminated"][at][:, 0], np.isin(rows["outcome"], (1, 2))
        )
        for key in (("agents", "observation"), ("agents", "action"), ("next", "agents", "reward")):
            assert not found[key][~mask].any(), key
        done = found["next", "done"][:, 0]
        assert done.tolist() == [False] * (len(done) - 1) + [True]
        assert found["next", "truncated"][-1, 0] == (rows["outcome"] == 3).any()


def test_observations_are_those_of_the_flights_and_of_the_next_frame(dataset: Dataset) -> None:
    view = "ego:intruders=3"
    for flight in flights(dataset, view):
        found = frames(dataset, flight.episode)
        own = found["agents", "mask"][:, flight.aircraft]
        seen = found["agents", "observation"][own, flight.aircraft]
        np.testing.assert_allclose(seen, flight.observation, atol=1e-5)
        after = found["next", "agents", "observation"][own, flight.aircraft]
        np.testing.assert_array_equal(after[:-1], seen[1:])
        assert np.abs(after[-1]).sum() > 0, "the state after the last step is there"


def test_frames_in_which_nobody_flies_are_counted_too() -> None:
    """Episode 0 ends at step 5 with a gap of three steps, and who hovers stays longer; episode 3 is one step."""
    table = {
        "episode": np.array([0, 0, 0, 0, 3], np.int32),
        "step": np.array([0, 1, 5, 6, 0], np.int16),
        "waypoint_east_m": np.array([9.0, 9.0, 9.0, np.nan, 9.0], np.float32),
    }
    assert count_of_frames(table) == 6 + 1


def test_without_tensordict_the_error_says_what_to_install(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensordict", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'skyclone\[tensordict\]'"):
        export_tensordict(dataset, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_tensordict_opens_it_and_torchrl_samples_it(dataset: Dataset, tmp_path: Path) -> None:
    tensordict = pytest.importorskip("tensordict")
    out, rows = tmp_path / "agents", []
    count = export_tensordict(dataset, out, "ego:intruders=3", rows.append)
    data = tensordict.TensorDict.load_memmap(out)
    assert sum(rows) == dataset.rows
    assert data.batch_size == (count,)
    assert data["agents"].batch_size == (count, 4)
    assert int(data["agents", "mask"].sum()) == dataset.rows
    assert int(data["next", "done"].sum()) == dataset.episodes
    first = 0
    for episode in range(dataset.episodes):
        found = frames(dataset, episode)
        here = data[first : first + len(found["step",])]
        for key, values in found.items():
            np.testing.assert_array_equal(here[key].numpy(), values, err_msg=str(key))
        first += len(here)
    assert first == count
    about = json.loads((out / "skyclone.json").read_text())
    assert about["content_hash"] == dataset.content_hash
    assert export_tensordict(dataset, out, "ego:intruders=3") == count, "it is there already"
    with pytest.raises(ConfigurationError, match="expected a name that is free"):
        export_tensordict(dataset, out, "seed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agents"]

    rl = pytest.importorskip("torchrl.data")
    buffer = rl.TensorDictReplayBuffer(
        storage=rl.LazyTensorStorage(count),
        sampler=rl.replay_buffers.SliceSampler(slice_len=5, end_key=("next", "done")),
        batch_size=20,
    )
    buffer.extend(data.to_tensordict())
    sample = buffer.sample().reshape(4, 5)
    assert sample["agents", "observation"].shape == (4, 5, 4, 7 + 3 * 5 + 3)
    assert (sample["episode"] == sample["episode"][:, :1]).all(), "slices stay within an episode"
    assert (sample["step"].diff(dim=1) == 1).all()
