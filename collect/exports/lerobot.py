"""Export to LeRobot's dataset format v3.0: one of its episodes for each flight of an aircraft.

Its form was read from `lerobot` 0.4.4 and its repository (`datasets/utils.py`, `dataset_metadata.py`): data and
episodes in Parquet, `meta/info.json`, `meta/stats.json`, `meta/tasks.parquet`. It is written with pyarrow alone.

Notation: T steps of a flight, D = 7 + K F + K numbers that one observes, W numbers of a feature.
"""

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...datasets.dataset import Dataset
from ...datasets.errors import ConfigurationError
from ...datasets.files.atomic import publish_folder
from ...datasets.loading.flights import FlightRows, flights
from ...datasets.traffic.view import View, scale_of
from .origin import count_of, origin_of, write_origin

VERSION = "v3.0"
_FILES_OF_A_CHUNK = 1000
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_NUMBERED = ("timestamp", "frame_index", "episode_index", "index", "task_index")
Columns = dict[str, np.ndarray]
"""Values (T,) or (T, W) by feature."""


def export_lerobot(
    dataset: Dataset,
    folder: Path,
    view: View | str = "seed",
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write a dataset in LeRobot's format; `LeRobotDataset("skyclone/NAME", root=folder)` opens it.

    `observation.state` is what the aircraft observes, flat; `action` what was flown; `teacher_action` the label;
    `next.reward`, `next.done` follow from the action. One file of data for each shard.

    Args:
        dataset: A complete one.
        folder: Where to; a free name.
        view: What the aircraft observe.
        progress: Receives the rows of each flight written.

    Returns:
        How many flights, which are its episodes. Where the folder is just this export already, nothing is written.

    Raises:
        ConfigurationError: A second is no whole number of the world's steps, or the name is taken.
        DatasetError: A shard is damaged.
        OSError: It cannot be written.
    """
    view = View.parse(view, scale_of(dataset.manifest.world)) if isinstance(view, str) else view
    fps, origin = _frames_per_second(dataset), origin_of(dataset, view, f"lerobot {VERSION}")
    if (there := count_of(folder, origin)) is not None:
        return there
    with publish_folder(folder) as unfinished:
        count = _write(dataset, view, unfinished, fps, progress)
        write_origin(unfinished, origin, count)
    return count


def _write(dataset: Dataset, view: View, folder: Path, fps: int, progress: Callable[[int], None]) -> int:
    """Write all flights; return how many there are."""
    per_shard = dataset.manifest.episodes_per_shard
    task = f"fly to the waypoint and keep separation: scenario {dataset.manifest.scenario}"
    totals, counts = _Totals(), [0, 0]  # of flights, of frames
    features: dict[str, Any] = {}
    for shard, several in groupby(flights(dataset, view), lambda flight: flight.episode // per_shard):
        parts, rows = [], []
        for flight in several:
            columns = _columns(flight, counts[0], counts[1], fps)
            features = features or _features(columns)
            totals.add(columns)
            rows.append(_episode(flight, columns, shard, task))
            parts.append(columns)
            counts = [counts[0] + 1, counts[1] + len(columns["index"])]
            progress(len(columns["index"]))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        _write_table(folder / _place(_DATA, shard), pa.table({n: _array(v) for n, v in joined.items()}))
        _write_table(folder / _place(_EPISODES, shard), pa.Table.from_pylist(rows))
    _write_table(folder / "meta" / "tasks.parquet", _tasks(task))
    _write_json(folder / "meta" / "info.json", _info(features, fps, *counts))
    _write_json(folder / "meta" / "stats.json", totals.stats())
    return counts[0]


def _frames_per_second(dataset: Dataset) -> int:
    """Return the rate, which LeRobot wants whole."""
    step_s = dataset.manifest.world.get("step_s")
    fps = round(1.0 / step_s) if isinstance(step_s, int | float) and 0.0 < step_s <= 1.0 else 0
    if not fps or abs(fps * float(step_s) - 1.0) > 1e-6:  # type: ignore[arg-type]
        raise ConfigurationError(
            f"LeRobot wants a whole number of frames a second: expected a world whose step_s is 1, 0.5, 0.2, ..., "
            f"got {step_s}. Export to tensordict or Minari instead."
        )
    return fps


def _columns(flight: FlightRows, number: int, first: int, fps: int) -> Columns:
    """Return what is stored of a flight that has a number and whose frames are numbered from `first` on."""
    count = len(flight.reward)
    done = np.zeros(count, bool)
    done[-1] = flight.is_terminated or flight.is_truncated
    return {
        "observation.state": flight.observation,
        "action": flight.action,
        "teacher_action": flight.teacher_action,
        "next.reward": flight.reward,
        "next.done": done,
        "timestamp": (np.arange(count) / fps).astype(np.float32),
        "frame_index": np.arange(count),
        "episode_index": np.full(count, number),
        "index": first + np.arange(count),
        "task_index": np.zeros(count, np.int64),
    }


def _array(values: np.ndarray) -> pa.Array:
    """Return a column: numbers, or lists of a fixed length."""
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _features(columns: Columns) -> dict[str, Any]:
    """Return what `info.json` says of the features."""
    names = {"action": ["turn", "speed_change"], "teacher_action": ["turn", "speed_change"]}
    names["observation.state"] = [f"feature_{place}" for place in range(columns["observation.state"].shape[1])]
    return {
        name: {
            "dtype": str(values.dtype),
            "shape": [values.shape[1] if values.ndim == 2 else 1],
            "names": names.get(name)
            or ([f"feature_{n}" for n in range(values.shape[1])] if values.ndim == 2 else None),
        }
        for name, values in columns.items()
    }


def _episode(flight: FlightRows, columns: Columns, shard: int, task: str) -> dict[str, Any]:
    """Return the row of a flight among the episodes, with figures of each feature."""
    chunk, file = divmod(shard, _FILES_OF_A_CHUNK)
    first = int(columns["index"][0])
    row = {
        "episode_index": int(columns["episode_index"][0]),
        "tasks": [task],
        "length": len(columns["index"]),
        "data/chunk_index": chunk,
        "data/file_index": file,
        "dataset_from_index": first,
        "dataset_to_index": first + len(columns["index"]),
        "meta/episodes/chunk_index": chunk,
        "meta/episodes/file_index": file,
        "skyclone/episode": flight.episode,
        "skyclone/aircraft": flight.aircraft,
    }
    own = _Totals()
    own.add(columns)
    figures = ((name, key, value) for name, each in own.stats().items() for key, value in each.items())
    return {**row, **{f"stats/{name}/{key}": value for name, key, value in figures}}


class _Totals:
    """Sums over frames, from which mean and standard deviation follow."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, list[np.ndarray]] = {}  # sum, sum of squares, minimum, maximum: (W,) each

    def add(self, columns: Columns) -> None:
        """Add some frames."""
        self.count += len(columns["index"])
        for name, values in columns.items():
            wide = values.reshape(len(values), -1).astype(np.float64)
            new = [wide.sum(0), np.square(wide).sum(0), wide.min(0), wide.max(0)]
            old = self._sums.get(name)
            joins = (np.add, np.add, np.minimum, np.maximum)
            self._sums[name] = [join(a, b) for join, a, b in zip(joins, old, new)] if old else new

    def stats(self) -> dict[str, dict[str, list[float]]]:
        """Return what LeRobot normalises with, by feature."""
        found = {}
        for name, (total, squares, low, high) in self._sums.items():
            mean = total / self.count
            deviation = np.sqrt(np.maximum(squares / self.count - mean * mean, 0.0))
            figures = {"min": low, "max": high, "mean": mean, "std": deviation}
            found[name] = {**{key: value.tolist() for key, value in figures.items()}, "count": [self.count]}
        return found


def _info(features: dict[str, Any], fps: int, episodes: int, frames: int) -> dict[str, Any]:
    """Return `info.json`."""
    return {
        "codebase_version": VERSION,
        "robot_type": "aircraft",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": 1,
        "chunks_size": _FILES_OF_A_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": _DATA,
        "video_path": None,
        "features": features,
    }


def _tasks(task: str) -> pa.Table:
    """Return the table of the only task, as pandas writes one that is indexed by the text."""
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": type_, "metadata": None}
        for name, (kind, type_) in kinds.items()
    ]
    about = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([task])})
    return table.replace_schema_metadata({b"pandas": json.dumps(about).encode()})


def _place(pattern: str, shard: int) -> str:
    """Return the name of a shard's file."""
    chunk, file = divmod(shard, _FILES_OF_A_CHUNK)
    return pattern.format(chunk_index=chunk, file_index=file)


def _write_table(path: Path, table: pa.Table) -> None:
    """Write a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy")


def _write_json(path: Path, data: Any) -> None:
    """Write JSON."""
    path.write_bytes(json.dumps(data, indent=1, allow_nan=False).encode() + b"\n")
