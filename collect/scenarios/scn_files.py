"""BlueSky's scenario files as scenarios: `file:PATH` is one .scn file, or a folder of them.

Which files they are, whether they have changed, and which of them an episode flies. `scn_parser` reads one file.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...datasets.config import shown
from ...datasets.errors import ConfigurationError
from ...datasets.files.storage import size_of
from ..airspace.fleet import limits_of_types, number_of
from ..airspace.units import KNOT_MPS
from ..airspace.world_config import WorldConfig
from .file_fleet import in_fleet
from .layout import Layout
from .scn.commands import gather
from .scn_parser import ScenarioFile, read

PREFIX = "file:"
_ROUNDING_MPS = KNOT_MPS  # 35 kt at a few hundred feet are 18.2 m/s: flown as 18
_SHOWN = 3  # errors of files that cannot be read
_MOST_BYTES = 16 * 2**20  # of all files together; a thousand aircraft take 0.2 MB


def is_file(scenario: str) -> bool:
    """Return whether a scenario is a file or a folder of them."""
    return scenario.startswith(PREFIX)


def read_all(scenario: str) -> tuple[ScenarioFile, ...]:
    """Read the scenarios of `file:PATH`, in order of their names; `file:PATH#digest` only if nothing has changed.

    Raises:
        ConfigurationError: There is no file, one cannot be read or flown, or they have changed.
    """
    return _read_cached(*_found(scenario))


def pinned(scenario: str) -> str:
    """Return the scenario with the absolute path of its files and the digest of their contents.

    Raises:
        ConfigurationError: There is no file, or they have changed.
    """
    digest = _found(scenario)[1]
    return f"{PREFIX}{Path(_split(scenario)[0]).resolve()}#{digest}"


def _found(scenario: str) -> tuple[tuple[Path, ...], str]:
    """Return the files of a scenario and the digest of their contents, if that is the one it names."""
    name, digest = _split(scenario)
    found, there = _files(Path(name))
    if digest and digest != there:
        raise ConfigurationError(
            f"{name} has changed since this was begun with it. Put the files back, or begin in another folder."
        )
    return found, there


def is_pinned(scenario: str) -> bool:
    """Return whether a scenario of files has the digest of their contents."""
    return _split(scenario)[1] != ""


def _split(scenario: str) -> tuple[str, str]:
    """Return the path, and the digest if there is one."""
    path, mark, digest = scenario.removeprefix(PREFIX).rpartition("#")
    if mark and re.fullmatch("[0-9a-f]{12}", digest):
        return path, digest
    return scenario.removeprefix(PREFIX), ""


def layout_of(config: WorldConfig, episode: int) -> Layout:
    """Return the layout of an episode; after the last file the first one follows.

    Raises:
        ConfigurationError: The world cannot fly this layout.
    """
    scenarios = read_all(config.scenario)
    scenario = scenarios[episode % len(scenarios)]
    layout = in_fleet(scenario.layout, config)
    if config.wind_east_mps or config.wind_north_mps:
        layout = replace(layout, wind_mps=(0.0, 0.0))  # the world's wind holds: that of its files, as a rule
    count = len(layout.position_m)
    if count > config.aircraft:
        raise ConfigurationError(f"{scenario.path} has {count} aircraft, more than the world's {config.aircraft}.")
    if layout.speed_mps is None:
        return layout
    low, high = _speed_limits(config, layout)
    speeds = layout.speed_mps
    low = np.where(speeds == 0.0, 0.0, low)  # who takes off
    outside = np.flatnonzero((speeds < low - _ROUNDING_MPS) | (speeds > high + _ROUNDING_MPS))
    if len(outside):
        first = outside[0]
        raise ConfigurationError(
            f"{scenario.path}: {len(outside)} of {count} aircraft start at speeds such as {speeds[first]:.0f} m/s "
            f"({speeds[first] / KNOT_MPS:.0f} kt); expected {low[first]:g} to {high[first]:g} m/s "
            f"({low[first] / KNOT_MPS:.0f} to {high[first] / KNOT_MPS:.0f} kt), what the world's aircraft can fly. "
            "Fly scenarios of other aircraft in BlueSky itself."
        )
    return replace(layout, speed_mps=np.clip(speeds, low, high))


def _speed_limits(config: WorldConfig, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest speed of each aircraft, (n,) m/s: of its type where there is a fleet."""
    count = len(layout.position_m)
    names = layout.kinds if config.fleet and layout.kinds is not None else ()
    rows = [number_of(config, name) for name in names] or [0] * count
    limits = limits_of_types(config)
    low = np.array([limits[row].min_speed_mps for row in rows])
    if layout.hovers is not None:
        low = np.where(layout.hovers, 0.0, low)
    return low, np.array([limits[row].max_speed_mps for row in rows])


def _files(path: Path) -> tuple[tuple[Path, ...], str]:
    """Return the .scn files of a path, and the digest of their names and contents."""
    if path.is_dir():
        found = tuple(sorted(each for each in path.iterdir() if each.suffix.lower() == ".scn"))
        if not found:
            raise ConfigurationError(f"scenario '{PREFIX}{path}': expected .scn files in the folder, found none.")
    elif path.exists():
        found = (path,)
    else:
        raise ConfigurationError(
            f"scenario '{PREFIX}{path}': there is no such file. Name a BlueSky .scn file, or a folder of them."
        )
    _check_files(path, found)
    digest = hashlib.sha256()
    for each in found:
        contents = gather(each)
        _check_files(path, contents)
        for called, data in contents.items():  # the file itself comes first, then those it calls
            digest.update(called.name.encode() + b"\0" + data + b"\0")
    return found, digest.hexdigest()[:12]


def _check_files(path: Path, files: Iterable[Path]) -> None:
    """Raise unless all are regular files of a reasonable size, and their names can be written down."""
    total = 0
    for each in files:
        try:
            str(each.resolve()).encode()
            total += size_of(each)
        except UnicodeEncodeError:
            raise ConfigurationError(
                f"scenario {shown(str(each))}: expected a name in UTF-8, got another one. Rename it."
            ) from None
        except OSError as error:
            raise ConfigurationError(f"scenario '{each}': {error.strerror}. Move it out of the way.") from None
    if total > _MOST_BYTES:
        raise ConfigurationError(
            f"scenario '{PREFIX}{path}': expected .scn files of at most {_MOST_BYTES // 2**20} MB, got "
            f"{total / 2**20:,.0f} MB. Split them over several folders."
        )


@lru_cache(maxsize=8)
def _read_cached(files: tuple[Path, ...], digest: str) -> tuple[ScenarioFile, ...]:
    """Read files once as long as they do not change; of several, say of all which cannot be flown."""
    if len(files) == 1:
        return (read(files[0]),)
    found, refused = [], []
    for each in files:
        try:
            found.append(read(each))
        except ConfigurationError as error:
            refused.append(str(error))
    if not refused:
        return tuple(found)
    more = f" And {len(refused) - _SHOWN} more." * (len(refused) > _SHOWN)
    raise ConfigurationError(
        f"{' '.join(refused[:_SHOWN])}{more} A folder is flown whole or not at all, so that nobody compares other "
        f"scenarios than were meant: {len(found)} of its {len(files)} files can be flown. Mend the "
        f"{'others' if len(refused) > 1 else 'other'}, or move {'them' if len(refused) > 1 else 'it'} out of the "
        "folder."
    )
