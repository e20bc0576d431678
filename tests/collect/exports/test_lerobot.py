"""LeRobot's format v3.0: its files by hand, and opened by `lerobot` and by Rerun where they are installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.exports.lerobot import export_lerobot
from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.loading.flights import flights

VIEW = "ego:intruders=2"
STATE = 7 + 2 * 5 + 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five episodes of three aircraft in three shards."""
    folder = tmp_path_factory.mktemp("data") / "mvp"
    collect(folder, CollectConfig(world=WorldConfig(aircraft=3), episodes=5, episodes_per_shard=2), workers=1)
    return open_dataset(folder)


@pytest.fixture(scope="module")
def exported(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its export."""
    out = tmp_path_factory.mktemp("lerobot") / "mvp"
    assert export_lerobot(dataset, out, VIEW) == 15
    return out


def test_info_says_what_is_there(exported: Path, dataset: Dataset) -> None:
    info = json.loads((exported / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_tasks"]) == ("v3.0", 1, 1)
    assert (info["total_episodes"], info["total_frames"]) == (15, dataset.rows)
    assert info["features"]["observation.state"]["shape"] == [STATE]
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ["turn", "speed_change"]}
    assert info["features"]["next.done"]["dtype"] == "bool"
    assert {info["features"][name]["dtype"] for name in ("index", "frame_index", "task_index")} == {"int64"}
    for shard in range(3):
        path = info["data_path"].format(chunk_index=0, file_index=shard)
        names = pq.read_schema(exported / path).names
        assert names == list(info["features"])


def test_frames_are_the_flights(exported: Path, dataset: Dataset) -> None:
    data = pq.read_table(exported / "data").to_pydict()
    episodes = pq.read_table(exported / "meta" / "episodes").to_pylist()
    assert data["index"] == list(range(dataset.rows))
    for flight, episode in zip(flights(dataset, VIEW), episodes, strict=True):
        here = slice(episode["dataset_from_index"], episode["dataset_to_index"])
        assert (episode["skyclone/episode"], episode["skyclone/aircraft"]) == (flight.episode, flight.aircraft)
        assert episode["data/file_index"] == flight.episode // 2
        assert set(data["episode_index"][here]) == {episode["episode_index"]}
        assert data["frame_index"][here] == list(range(episode["length"]))
        assert data["timestamp"][here] == [float(second) for second in range(episode["length"])]
        np.testing.assert_array_equal(np.array(data["observation.state"][here], np.float32), flight.observation)
        np.testing.assert_array_equal(np.array(data["action"][here], np.float32), flight.action)
        np.testing.assert_array_equal(np.array(data["next.reward"][here], np.float32), flight.reward)
        assert data["next.done"][here] == [False] * (episode["length"] - 1) + [True]
        assert episode["stats/action/max"] == pytest.approx(flight.action.max(axis=0).tolist())


def test_stats_are_those_of_all_frames(exported: Path) -> None:
    stats = json.loads((exported / "meta" / "stats.json").read_text())
    states = np.array(pq.read_table(exported / "data")["observation.state"].to_pylist())
    for key, expected in (
        ("mean", states.mean(0)),
        ("std", states.std(0)),
        ("min", states.min(0)),
        ("max", states.max(0)),
    ):
        np.testing.assert_allclose(stats["observation.state"][key], expected, atol=1e-6, err_msg=key)
    assert stats["observation.state"]["count"] == [len(states)]


def test_pandas_finds_the_task_by_its_text(exported: Path) -> None:
    pandas = pytest.importorskip("pandas")
    tasks = pandas.read_parquet(exported / "meta" / "tasks.parquet")
    assert tasks.index.tolist() == ["fly to the waypoint and keep separation: scenario sector"]
    assert tasks.task_index.tolist() == [0]


def test_a_step_that_is_no_part_of_a_second_is_an_error(tmp_path: Path) -> None:
    world = WorldConfig(aircraft=2, step_s=1.5, max_steps=4)
    collect(tmp_path / "data", CollectConfig(world=world, episodes=1), workers=1)
    with pytest.raises(ConfigurationError, match=r"whose step_s is 1, 0\.5, 0\.2, \.\.\., got 1\.5"):
        export_lerobot(open_dataset(tmp_path / "data"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


LEROBOT = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset

data = LeRobotDataset("skyclone/mvp", root=sys.argv[1], delta_timestamps={"observation.state": [-1.0, 0.0]})
item = {name: value if isinstance(value, str) else value.tolist() for name, value in data[int(sys.argv[2])].items()}
means = {name: stats["mean"].tolist() for name, stats in data.meta.stats.items()}
counts = [data.num_episodes, data.num_frames, data.fps]
print("RESULT", json.dumps({"counts": counts, "item": item, "means": means}))
"""
RERUN = """
import json, sys
import rerun as rr
from rerun.chunk import RrdReader

rr.init("skyclone", recording_id="export")
rr.save(sys.argv[2])
rr.log_file_from_path(sys.argv[1])
rr.disconnect()
reader = RrdReader(sys.argv[2])
rows = {}
for recording in reader.recordings():
    for chunk in reader.stream(store=recording).to_chunks():
        batch = chunk.to_record_batch()
        if "Scalars:scalars" in batch.schema.names:
            name = chunk.entity_path.removeprefix("/")
            rows.setdefault(recording.recording_id, {})[name] = batch.column("Scalars:scalars").to_pylist()
print("RESULT", json.dumps(rows))
"""


def run(code: str, folder: Path, *arguments: str, python: Path = Path(sys.executable)) -> Any:
    """Run a program with a library that is installed beside us, elsewhere: our `datasets` is not Hugging Face's."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, *arguments],
        capture_output=True, text=True, check=False, timeout=300, env=environment, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("RESULT ")[1])


@pytest.mark.slow
def test_lerobot_opens_it(exported: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Frame 3 of the second flight, with what was observed a second before."""
    python = Path(f"{sys.prefix}-lerobot/bin/python")
    if not python.exists():
        pytest.skip(f"lerobot is not installed: make {python.parents[1].name}/.installed")
    first, flight, *_ = flights(dataset, VIEW)
    result = run(LEROBOT, tmp_path, str(exported), str(len(first.reward) + 3), python=python)
    item = result["item"]
    assert result["counts"] == [15, dataset.rows, 1]
    assert (item["episode_index"], item["frame_index"], item["next.done"]) == (1, 3, False)
    assert item["task"] == "fly to the waypoint and keep separation: scenario sector"
    np.testing.assert_array_equal(np.array(item["observation.state"], np.float32), flight.observation[2:4])
    np.testing.assert_array_equal(np.array(item["action"], np.float32), flight.action[3])
    np.testing.assert_array_equal(np.array(item["teacher_action"], np.float32), flight.teacher_action[3])
    assert np.float32(item["next.reward"]) == flight.reward[3]
    every = np.concatenate([each.action for each in flights(dataset, VIEW)])
    np.testing.assert_allclose(result["means"]["action"], every.mean(0), atol=1e-6)


@pytest.mark.slow
def test_rerun_opens_it(exported: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Each episode is a recording, whose numbers are those of the flight."""
    if importlib.util.find_spec("rerun") is None:
        pytest.skip("rerun-sdk is not installed")
    recordings = run(RERUN, tmp_path, str(exported), str(tmp_path / "out.rrd"))
    assert len(recordings) == 15
    for number, flight in enumerate(flights(dataset, VIEW)):
        for name, expected in (
            ("observation.state", flight.observation),
            ("action", flight.action),
            ("teacher_action", flight.teacher_action),
            ("next.reward", flight.reward[:, None]),
        ):
            shown = np.array(recordings[f"episode_{number}"][name], np.float32)
            np.testing.assert_array_equal(shown, expected, err_msg=f"episode {number}: {name}")
