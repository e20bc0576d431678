"""Export for multi-agent learning: a TensorDict on disk, in TorchRL's layout, with an axis of agents and a mask.

A frame is one step of one episode; `("next", "done")` ends episodes, as TorchRL's samplers expect. It needs
`tensordict`.

Notation: F frames, N aircraft, D = 7 + K F' + K numbers that one observes, R rows of an episode, T of its steps.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...datasets.dataset import Dataset
from ...datasets.errors import ConfigurationError
from ...datasets.files.atomic import publish_folder
from ...datasets.files.piloted import is_piloted, piloted
from ...datasets.traffic.record import FLYING, TIME_LIMIT, Table
from ...datasets.traffic.view import View, scale_of
from ..airspace.world_config import WorldConfig
from ..collector.minari_export import observe_flights
from .origin import count_of, origin_of, write_origin

Frames = dict[tuple[str, ...], np.ndarray]
"""Arrays (T, ...) by their place in the TensorDict."""


def export_tensordict(
    dataset: Dataset,
    folder: Path,
    view: View | str = "seed",
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write a dataset as a TensorDict, shard by shard; `tensordict.TensorDict.load_memmap(folder)` opens it.

    `agents` holds `observation` (F, N, D), `action` and `teacher_action` (F, N, 2) and `mask` (F, N): who is flown
    in this frame; all others' numbers are zero. `next` holds the same agents' `observation` afterwards, `reward`
    (F, N, 1), `done`, `terminated`, `truncated` (F, N, 1), and those three of the episode (F, 1). And `episode` and
    `step` (F,).

    Args:
        dataset: A complete one.
        folder: Where to; a free name.
        view: What the aircraft observe.
        progress: Receives the rows of each shard written.

    Returns:
        F. Where the folder is just this export already, nothing is written.

    Raises:
        ConfigurationError: `tensordict` is not installed, or the name is taken.
        DatasetError: A shard is damaged.
        OSError: It cannot be written.
    """
    kind = _tensordict()
    view = View.parse(view, scale_of(dataset.manifest.world)) if isinstance(view, str) else view
    origin = origin_of(dataset, view, "tensordict")
    if (there := count_of(folder, origin)) is not None:
        return there
    with publish_folder(folder) as unfinished:
        count = _write(dataset, view, unfinished, kind, progress)
        write_origin(unfinished, origin, count)
    return count


def _write(dataset: Dataset, view: View, folder: Path, kind: Any, progress: Callable[[int], None]) -> int:
    """Write all frames; return how many there are."""
    config = WorldConfig.from_json(dict(dataset.manifest.world))
    count = sum(count_of_frames(table) for table in dataset.tables())
    whole: Any = None
    first = 0
    for table in dataset.tables():
        edges = np.flatnonzero(np.diff(table["episode"])) + 1
        for start, stop in zip([0, *edges], [*edges, len(table["episode"])], strict=True):
            frames = frames_of({name: values[start:stop] for name, values in table.items()}, config, view)
            part = _as_tensordict(kind, frames)
            if whole is None:
                whole = part[:1].expand(count).memmap_like(folder)  # nothing is written yet
            whole[first : first + len(part)] = part
            first += len(part)
        progress(len(table["episode"]))
    return count


def _tensordict() -> Any:
    """Return the class `TensorDict`."""
    try:
        from tensordict import TensorDict
    except ImportError as error:
        raise ConfigurationError(
            f"Exporting a TensorDict needs the package '{error.name}', which is not installed. Install it: "
            "pip install 'skyclone[tensordict]'"
        ) from None
    return TensorDict


def count_of_frames(table: Table) -> int:
    """Return how many frames whole episodes have: up to the last step in which somebody is flown, all of them."""
    rows = piloted(table)
    starts = np.unique(rows["episode"], return_index=True)[1]
    return int((np.maximum.reduceat(rows["step"].astype(np.int64), starts) + 1).sum())


def _as_tensordict(kind: Any, frames: Frames) -> Any:
    """Return frames as a TensorDict whose agents have an axis of their own."""
    count, aircraft = frames["agents", "mask"].shape
    made = kind({}, [count])
    made["agents"] = kind({}, [count, aircraft])
    made["next", "agents"] = kind({}, [count, aircraft])
    for key, values in frames.items():
        made[key] = torch.from_numpy(values)
    return made


def frames_of(rows: Table, config: WorldConfig, view: View) -> Frames:
    """Return the frames of one episode, by key.

    Args:
        rows: (R,) each, the rows of one episode.
        config: The world.
        view: What is observed.
    """
    observed = _observations(rows, config, view)  # (T + 1, N, D)
    rows = piloted(rows)
    steps, aircraft = len(observed) - 1, observed.shape[1]
    place = rows["step"].astype(np.int64), rows["aircraft"].astype(np.int64)

    def spread(values: np.ndarray) -> np.ndarray:
        made = np.zeros((steps, aircraft, *values.shape[1:]), values.dtype)
        made[place] = values
        return made

    mask = spread(np.ones(len(rows["step"]), bool))
    outcome = rows["outcome"][:, None]
    over, late = np.zeros((steps, 1), bool), np.zeros((steps, 1), bool)
    over[-1], late[-1] = True, bool((rows["outcome"] == TIME_LIMIT).any())
    return {
        ("agents", "observation"): observed[:-1] * mask[..., None],
        ("agents", "action"): spread(np.stack((rows["pilot_turn"], rows["pilot_speed"]), axis=1)),
        ("agents", "teacher_action"): spread(np.stack((rows["teacher_turn"], rows["teacher_speed"]), axis=1)),
        ("agents", "mask"): mask,
        ("episode",): np.full(steps, rows["episode"][0], np.int64),
        ("step",): np.arange(steps, dtype=np.int64),
        ("next", "agents", "observation"): observed[1:] * mask[..., None],
        ("next", "agents", "reward"): spread(rows["reward"][:, None]),
        ("next", "agents", "done"): spread(outcome != FLYING),
        ("next", "agents", "terminated"): spread((outcome != FLYING) & (outcome != TIME_LIMIT)),
        ("next", "agents", "truncated"): spread(outcome == TIME_LIMIT),
        ("next", "done"): over,
        ("next", "terminated"): over & ~late,
        ("next", "truncated"): late,
    }


def _observations(rows: Table, config: WorldConfig, view: View) -> np.ndarray:
    """Return what everyone observes before each step of an episode and after its last one, (T + 1, N, D)."""
    values, aircraft = observe_flights(rows, config, view)
    own = is_piloted(rows)
    ended = own & (rows["outcome"] != FLYING)
    step = np.concatenate((rows["step"][own], rows["step"][ended] + 1)).astype(np.int64)
    number = np.concatenate((rows["aircraft"][own], rows["aircraft"][ended]))
    step = step[np.lexsort((number, step))]  # as `observe_flights` has them
    count = int(rows["step"][own].max()) + 1
    made = np.zeros((count + 1, max(config.aircraft, int(aircraft.max()) + 1), values.shape[1]), np.float32)
    made[step, aircraft] = values
    return made
