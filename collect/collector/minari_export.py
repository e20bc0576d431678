"""Export to Minari: each flight of a dataset becomes one Minari episode of one aircraft. Needs `skyclone[minari]`.

It is on this floor because a Minari episode has one observation more than steps: the state after the last
step is flown with the world's dynamics, and the environment is recovered from its specification. Stored as
HDF5, since Minari 0.5's Arrow reader cuts episodes at 32,767 steps (Minari issue 351).

Notation: R rows of one episode, E rows and the ends of flights, N aircraft, T steps of a flight.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...datasets.dataset import Dataset
from ...datasets.errors import ConfigurationError, DatasetError
from ...datasets.files.atomic import unfinished_folder
from ...datasets.files.piloted import is_piloted
from ...datasets.provenance import Part, origin_of
from ...datasets.traffic.observation import flatten, observe
from ...datasets.traffic.pairs import pairs_of_rows
from ...datasets.traffic.record import FLYING, TIME_LIMIT, Table
from ...datasets.traffic.state import Traffic
from ...datasets.traffic.view import View, scale_of
from ..airspace.dynamics import advance
from ..airspace.world_config import WorldConfig
from ..environments.flat import flat_space
from ..environments.ownship import environment_spec

_SPARE = 32 * 2**20  # bytes that have to be free: what HDF5 holds back until it closes a file
_STATES = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")
_WIND = ("wind_east_mps", "wind_north_mps")


def export_minari(
    dataset: Dataset,
    dataset_id: str,
    view: View | str = "seed",
    progress: Callable[[int], None] = lambda rows: None,
) -> Path:
    """Write a dataset into Minari's folder, shard by shard, so that memory does not grow with it.

    Minari finds its folder by `MINARI_DATASETS_PATH`, else it is `~/.minari/datasets`. Everything is written
    under a temporary name there and renamed in the end: broken off, the id stays free. An id that holds just
    this export already is left as it is.

    Args:
        dataset: A complete one.
        dataset_id: Such as `skyclone/mvp-v0`.
        view: What the aircraft observe.
        progress: Gets the rows of each shard written.

    Returns:
        The folder of the Minari dataset.

    Raises:
        ConfigurationError: Minari is not installed, or the id is malformed.
        DatasetError: The id is taken, or a shard is damaged.
        OSError: It cannot be written.
    """
    view = View.parse(view, scale_of(dataset.manifest.world)) if isinstance(view, str) else view
    root, final = _destination(dataset_id)
    if final.exists():
        if _is_export_of(final, dataset, view):  # of this command, which was killed when all was done
            return final
        raise _taken(dataset_id, root)
    config = WorldConfig.from_json(dict(dataset.manifest.world))
    with unfinished_folder(root) as folder:
        (folder / "data").mkdir()
        _write(dataset, dataset_id, config, view, folder / "data", progress)
        for path in sorted((folder / "data").iterdir()):
            with open(path, "r+b") as file:  # Windows flushes no file that is only read
                os.fsync(file.fileno())
        _make_namespace(dataset_id)
        try:
            os.rename(folder, final)
        except OSError:
            if final.exists():
                raise _taken(dataset_id, root) from None
            raise
    return final


def _destination(dataset_id: str) -> tuple[Path, Path]:
    """Return Minari's folder and that of the new dataset in it."""
    try:
        import h5py  # noqa: F401
        import PIL  # noqa: F401
        from minari.dataset.minari_dataset import parse_dataset_id
        from minari.storage import get_dataset_path
    except ImportError as error:
        raise ConfigurationError(
            f"Exporting to Minari needs the package '{error.name}', which is not installed. "
            "Install the extra: pip install 'skyclone[minari]'"
        ) from None
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        raise ConfigurationError(
            f"'{dataset_id}' is no Minari id: expected NAMESPACE/NAME-vVERSION, such as skyclone/mvp-v0"
        ) from None
    if os.environ.get(_FOLDER) == "":
        raise ConfigurationError(f"expected the name of a folder in {_FOLDER}, got none. Unset it, or name one.")
    return get_dataset_path(), get_dataset_path(dataset_id)


def _is_export_of(folder: Path, dataset: Dataset, view: View) -> bool:
    """Return whether a Minari dataset holds just this dataset, seen in this view."""
    try:
        found = json.loads((folder / "data" / "metadata.json").read_text(encoding="utf-8"))
        return all(found[key] == value for key, value in _origin(dataset, view).items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _origin(dataset: Dataset, view: View) -> dict[str, Any]:
    """Return what decides every value in the export, for its metadata."""
    return {
        "skyclone_content_hash": dataset.content_hash,
        "skyclone_code": dataset.manifest.code,
        "skyclone_observation": str(view),
        "skyclone_recipe": _recipe(dataset),
    }


def _taken(dataset_id: str, root: Path) -> DatasetError:
    """Return the error for an id that exists."""
    name, _, version = dataset_id.rpartition("-v")
    return DatasetError(
        f"Minari has a dataset '{dataset_id}' already, in {root}. Nothing was changed. Take another id, such as "
        f"{name}-v{int(version) + 1}, or delete that one: minari delete {dataset_id}"
    )


def _make_namespace(dataset_id: str) -> None:
    """Make the folders above the dataset's as Minari does."""
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.namespace import create_namespace, list_local_namespaces

    namespace = parse_dataset_id(dataset_id)[0]
    if namespace is not None and namespace not in list_local_namespaces():
        create_namespace(namespace)


_FOLDER = "MINARI_DATASETS_PATH"


def _write(
    dataset: Dataset,
    dataset_id: str,
    config: WorldConfig,
    view: View,
    folder: Path,
    progress: Callable[[int], None],
) -> None:
    """Write all flights and the metadata."""
    import minari
    from gymnasium import spaces
    from minari.dataset.minari_storage import MinariStorage

    manifest = dataset.manifest
    _check_space(folder)
    storage = MinariStorage.new(
        folder,
        observation_space=flat_space(config, view),
        action_space=spaces.Box(-1.0, 1.0, (2,), np.float32),
        env_spec=environment_spec(config, view, manifest.teacher),
        data_format="hdf5",
    )
    flown = "by itself" if manifest.pilot == "teacher" else f"by {manifest.pilot}"
    storage.update_metadata(
        {
            "dataset_id": dataset_id,
            "minari_version": minari.__version__,
            "algorithm_name": manifest.teacher,
            "description": (
                f"Air traffic labelled by the teacher {manifest.teacher}, flown {flown} with noise "
                f"{manifest.noise:g}; scenario {manifest.scenario}, {config.aircraft} aircraft. One episode per "
                "aircraft. Actions are those flown; the teacher's are in infos/teacher_action (last one: NaN)."
            ),
            "requirements": ["skyclone"],
            **_origin(dataset, view),
        }
    )
    for table in dataset.tables():
        storage.update_episodes(_with_space(_flights(table, config, view, manifest.seed, manifest.parts), folder))
        progress(len(table["episode"]))


def _with_space(flights: Iterator[Any], folder: Path) -> Iterator[Any]:
    """Yield Minari's buffers as long as there is space for each."""
    for flight in flights:
        _check_space(folder, flight.observations.nbytes)
        yield flight


def _check_space(folder: Path, size: int = 0) -> None:
    """Raise if the disk cannot take so many bytes of observations: HDF5 ends the process when it is full."""
    if shutil.disk_usage(folder).free < 2 * size + _SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _recipe(dataset: Dataset) -> dict[str, Any]:
    """Return what decides every value in the dataset."""
    names = ("world", "scenario", "teacher", "pilot", "noise", "seed", "episodes")
    return {name: getattr(dataset.manifest, name) for name in names}


def _flights(table: Table, config: WorldConfig, view: View, seed: int, parts: Sequence[Part]) -> Iterator[Any]:
    """Yield the flights of a shard as Minari's buffers, in order of episode and aircraft."""
    from minari.data_collector import EpisodeBuffer

    _, starts = np.unique(table["episode"], return_index=True)
    for start, stop in zip(starts, [*starts[1:], len(table["episode"])], strict=True):
        rows = {name: values[start:stop] for name, values in table.items()}
        observations, aircraft = observe_flights(rows, config, view)
        own_seed, episode = origin_of(int(rows["episode"][0]), seed, parts)
        for number in np.unique(aircraft):
            here = rows["aircraft"] == number
            outcome = rows["outcome"][here]
            labels = np.stack([rows["teacher_turn"][here], rows["teacher_speed"][here]], axis=1)
            yield EpisodeBuffer(
                seed=own_seed,
                options={"episode": episode, "aircraft": int(number)},
                observations=observations[aircraft == number],
                actions=np.stack([rows["pilot_turn"][here], rows["pilot_speed"][here]], axis=1),
                rewards=rows["reward"][here],
                terminations=(outcome != FLYING) & (outcome != TIME_LIMIT),
                truncations=outcome == TIME_LIMIT,
                infos={"teacher_action": np.concatenate([labels, np.full((1, 2), np.nan, np.float32)])},
            )


def observe_flights(rows: Table, config: WorldConfig, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Observe one episode from every aircraft at every step, and once more after its last one.

    Aircraft that hover observe nothing, and are seen until the end.

    Args:
        rows: (R,) each, the rows of one episode.
        config: The world.
        view: What is seen.

    Returns:
        Observations (E, 7 + K F + K), by step and then by aircraft, and the aircraft (E,) each is of.
    """
    hovers = ~is_piloted(rows)
    ends = np.flatnonzero((rows["outcome"] != FLYING) | (hovers & (rows["step"] == rows["step"].max())))
    action = torch.from_numpy(np.stack([rows["pilot_turn"][ends], rows["pilot_speed"][ends]], axis=1))
    ended = torch.ones(len(ends), dtype=torch.bool)
    state = Traffic(*[*_columns(rows, ends), ended])
    if "kind" in rows:
        state.kind = torch.from_numpy(rows["kind"][ends]).long()
    if _WIND[0] in rows:
        state.wind_east_mps, state.wind_north_mps = (torch.from_numpy(rows[name][ends]) for name in _WIND)
    last = advance(state, action, config, _wind_after(rows, ends))
    step = np.concatenate([rows["step"], rows["step"][ends] + 1]).astype(np.int64)
    aircraft = np.concatenate([rows["aircraft"], rows["aircraft"][ends]]).astype(np.int64)
    is_there = hovers[ends] | (rows["outcome"][ends] == TIME_LIMIT)
    is_seen = np.concatenate([np.ones(len(rows["step"]), bool), is_there])
    shape = (int(step.max()) + 1, max(config.aircraft, int(aircraft.max()) + 1))
    states = []
    for name, values in zip(_STATES, _columns(rows, slice(None)), strict=True):
        grid = torch.zeros(shape)  # (steps, N)
        grid[step, aircraft] = torch.cat([values, getattr(last, name)])
        states.append(grid)
    is_flying = torch.zeros(shape, dtype=torch.bool)
    is_flying[step, aircraft] = torch.from_numpy(is_seen)
    order = np.lexsort((aircraft, step))
    order = order[~np.concatenate([hovers, hovers[ends]])[order]]
    aircraft, ownship = aircraft[order], torch.from_numpy(aircraft[order])
    traffic = Traffic(*[*states, is_flying]).map(lambda grid: grid[torch.from_numpy(step[order])])
    traffic.is_flying[torch.arange(len(ownship)), ownship] = True  # who has just ended looks back once
    own, pairs = pairs_of_rows(traffic, ownship)
    return flatten(observe(own, pairs, view)).numpy(), aircraft


def _wind_after(rows: Table, ends: np.ndarray) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the wind after some rows, which all aircraft have alike; after the last step it is as before."""
    if _WIND[0] not in rows:
        return None
    steps, first = np.unique(rows["step"], return_index=True)
    following = first[np.minimum(np.searchsorted(steps, rows["step"][ends] + 1), len(steps) - 1)]
    east, north = (torch.from_numpy(rows[name][following]) for name in _WIND)
    return east, north


def _columns(rows: Table, which: Any) -> list[torch.Tensor]:
    """Return the states of some rows, (...,) each."""
    return [torch.from_numpy(rows[name][which]) for name in _STATES]
