"""One episode, evaluated or collected, written as a flight for other programs.

Notation: R rows of an episode, T steps, N aircraft.
"""

import base64
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...collect.airspace.world_config import WorldConfig
from ...collect.collector.workers import one_thread
from ...collect.exports import czml, scn, trajectories
from ...collect.exports.flight import START, Flight, Place, flight_of
from ...collect.flying.watching import watch
from ...datasets.config import shown
from ...datasets.dataset import Dataset, open_dataset
from ...datasets.errors import ConfigurationError, DatasetError
from ...datasets.files.atomic import check_ours, publish_together
from ...datasets.files.manifest import MANIFEST_NAME
from ...datasets.files.storage import Folder
from ...datasets.traffic.record import Table
from ..evaluation.contenders import load
from ..report import archive
from ..report.content import Report
from ..report.output import check_folder
from ..report.replay import GONE

FORMATS: dict[str, Callable[[Flight], bytes]] = {
    "scn": scn.encode,
    "czml": czml.encode,
    "table": trajectories.encode,
}
"""What writes a flight, by name."""
_STATES = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")
_WIND = ("wind_east_mps", "wind_north_mps")


def find(folder: Folder, episode: int, contender: str | None, place: Place, start: datetime = START) -> Flight:
    """Return an episode of a dataset, or a scenario of an evaluation as a contender flew it, at a place.

    Args:
        folder: Of a dataset, or what `skyclone evaluate --out` wrote.
        episode: Its number; of an evaluation the scenario's.
        contender: Who flies, of an evaluation; None for the only policy in it.
        place: Where the sector's centre is to be.
        start: When it begins.

    Raises:
        ConfigurationError: There is no such episode or contender.
        SkycloneError: The folder holds neither, is damaged, or the contender is gone.
    """
    if (folder / MANIFEST_NAME).exists() or not isinstance(folder, Path):
        if contender is not None:
            raise ConfigurationError(f"{folder} is a dataset: --contender is for evaluations. Leave it out.")
        return _collected(open_dataset(folder), episode, place, start)
    if not (folder / archive.NAME).exists():
        raise ConfigurationError(
            f"{folder}: expected a dataset, or what `skyclone evaluate --out` wrote, got "
            f"{'neither' if folder.exists() else 'no such folder'}."
        )
    return _evaluated(archive.read(folder), folder, episode, contender, place, start)


def _check_number(episode: int, count: int, folder: Folder) -> None:
    """Raise unless there is such an episode."""
    if not 0 <= episode < count:
        raise ConfigurationError(f"{folder}: expected an episode from 0 to {count - 1}, got {episode}.")


def _collected(dataset: Dataset, episode: int, place: Place, start: datetime) -> Flight:
    """Return an episode of a dataset; one shard is read."""
    _check_number(episode, dataset.episodes, dataset.path)
    table = dataset.table(episode // dataset.manifest.episodes_per_shard)
    rows = {name: values[table["episode"] == episode] for name, values in table.items()}
    manifest = dataset.manifest
    title = f"episode {episode} of {dataset.path}, teacher {manifest.teacher}, pilot {manifest.pilot}"
    return flight_of(rows, WorldConfig.from_json(dict(manifest.world)), place, title, start)


def _evaluated(
    report: Report, folder: Path, scenario: int, contender: str | None, place: Place, start: datetime
) -> Flight:
    """Return a scenario of an evaluation, flown again by a contender."""
    plan = report.evaluation.plan
    _check_number(scenario, plan.scenarios, folder)
    names = {each.name: each for each in plan.contenders}
    runs = [name for name, each in names.items() if each.is_run]
    contender = runs[0] if contender is None and len(runs) == 1 else contender
    if contender not in names:
        raise ConfigurationError(
            f"{folder}: expected --contender to be one of {', '.join(names)}, got {shown(contender)}."
        )
    pilot = load(names[contender], plan.world, plan.device).pilot
    rows = _rows(pilot, plan.world, plan.seed, scenario, plan.device)
    with archive.in_agreement(folder):
        _check_flown(report, contender, scenario, rows)
    title = f"scenario {scenario} of {folder}, flown by {contender}"
    return flight_of(rows, plan.world, place, title, start)


def _rows(pilot: object, world: WorldConfig, seed: int, scenario: int, device: str) -> Table:
    """Fly a scenario, and return its rows: step, aircraft, state, action."""
    found: list[Table] = []
    with one_thread():
        for moment in watch(pilot, world, seed, [scenario], device):  # type: ignore[arg-type]
            traffic = moment.traffic
            who = traffic.is_flying[0].nonzero().squeeze(-1)
            rows = {name: getattr(traffic, name)[0, who].float().cpu().numpy() for name in _STATES}
            if traffic.is_hovering is not None:
                hovers = traffic.is_hovering[0, who].cpu().numpy()
                rows["waypoint_east_m"][hovers] = rows["waypoint_north_m"][hovers] = np.nan
            if traffic.kind is not None:
                rows["kind"] = traffic.kind[0, who].cpu().numpy()
            for name in _WIND:
                if (wind := getattr(traffic, name)) is not None:
                    rows[name] = wind[0, who].float().cpu().numpy()
            turn, speed = moment.action[0, who].float().cpu().numpy().T.copy()
            step = np.full(len(who), int(moment.steps[0]), np.int16)
            found.append({**rows, "pilot_turn": turn, "pilot_speed": speed, "step": step, "aircraft": who.numpy()})
    return {name: np.concatenate([rows[name] for rows in found]) for name in found[0]}


def _check_flown(report: Report, contender: str, scenario: int, rows: Table) -> None:
    """Raise if the archive has this very flight, and it was another one: the policy, or the code, has changed."""
    replay = report.replay
    numbers = [each.number for each in replay.scenarios] if replay else []
    films = [each for each in replay.contenders if each.name == contender] if replay else []
    if replay is None or scenario not in numbers or not films:
        return
    flight = films[0].flights[numbers.index(scenario)]
    positions = np.frombuffer(base64.b64decode(flight.positions), "<i2").reshape(flight.steps, replay.aircraft, 2)
    every = round(replay.step_s / report.evaluation.plan.world.step_s)
    kept = rows["step"] % every == 0
    there = positions[np.minimum(rows["step"][kept] // every, flight.steps - 1), rows["aircraft"][kept]]
    flown = np.stack((rows["east_m"], rows["north_m"]), axis=1)[kept]
    apart_m = np.abs(there * replay.unit_m - flown).max() if not (there == GONE).any() else np.inf
    if apart_m > 2.0 * replay.unit_m:
        raise DatasetError(
            f"{contender} flies scenario {scenario} otherwise than it was evaluated: up to {apart_m:.1f} m apart. "
            "The policy, the code or the processor has changed since. Evaluate again."
        )


def write(flight: Flight, paths: dict[str, Path]) -> dict[str, int]:
    """Write a flight in some formats, all files or none; return their sizes.

    Args:
        flight: The flight.
        paths: Files by format.

    Raises:
        ConfigurationError: A name is that of a file which is no flight of ours, or given twice, or its folder
            cannot be written into.
        OSError: It cannot be written.
    """
    check(paths)
    data = {name: FORMATS[name](flight) for name in paths}
    publish_together({path: data[name] for name, path in paths.items()})
    return {name: len(each) for name, each in data.items()}


def check(paths: dict[str, Path]) -> None:
    """Make the folders of files, and see that each can be written, before anything is flown.

    Args:
        paths: Files by format.

    Raises:
        ConfigurationError: One cannot, or two have the same name.
    """
    if len({os.path.realpath(path) for path in paths.values()}) < len(paths):
        raise ConfigurationError(
            f"expected a file of its own for each format, got {', '.join(map(str, paths.values()))}."
        )
    for name, path in paths.items():
        _check(name, path)
        check_folder(path.parent)


def _check(format: str, path: Path) -> None:
    """Raise unless a name is free, or that of an older flight in this format."""
    if format != "table":
        check_ours(path, {"scn": scn.MARK, "czml": czml.MARK}[format], "a flight")
        return
    try:
        if path.is_file() and trajectories.KEY in (pq.read_metadata(path).metadata or {}):
            return
    except (pa.ArrowException, OSError):
        pass
    check_ours(path, b"\0no other file is ours\0", "a table of a flight")
