"""What has been flown is kept, so that an evaluation goes on where it was interrupted.

A folder with one file for each batch of scenarios of each contender: NAME.npz, holding the arrays of `Figures` and
`key`, a JSON text of everything these figures depend on. NAME is the key's hash. So nothing that was flown under
other conditions (another world or seed, other weights, other code) is ever taken for what is wanted: it is not
found, and flown again. Files can be deleted at any time, all or some.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...collect import simulators
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.figures import Figures
from ...datasets.files.atomic import clean, publish
from ...datasets.provenance import package_versions

VERSION = 1
"""Of the files' form."""
_FLYING = ("datasets/**/*.py", "collect/**/*.py", "train/**/*.py", "evaluate/evaluation/contenders.py")
"""The code that decides what comes out of a flight."""
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@cache
def code_hash() -> str:
    """Return the hash of the code that flies: a version alone is the same for every change not yet committed."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _FLYING for path in root.glob(pattern)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}:{len(content)};".encode() + content)
    return digest.hexdigest()


class FlightStore:
    """Batches that were flown in one world, with one seed, by this code.

    Args:
        folder: Where they are kept; made when the first one is.
        world: The world.
        seed: Seed of the scenarios.
        device: Where they are flown: devices differ in the last bits.

    Attributes:
        found: Scenarios that were read from it so far.
    """

    def __init__(self, folder: Path, world: WorldConfig, seed: int, device: str) -> None:
        self.folder = folder
        self.found = 0
        self._conditions = {
            "version": VERSION,
            "world": world.to_json(),
            "seed": seed,
            "device": device,
            "code": code_hash(),
            "packages": {**package_versions(), **simulators.packages_of(world)},
        }

    def read(self, identity: dict[str, Any], episodes: Sequence[int]) -> Figures | None:
        """Return the figures of a batch; None if it is not there, or damaged.

        Args:
            identity: Of the contender; see `Loaded.identity`.
            episodes: Numbers of the scenarios flown at once.
        """
        key = self._key(identity, episodes)
        try:
            with np.load(io.BytesIO(self._path(key).read_bytes()), allow_pickle=False) as file:
                figures = Figures(**{field.name: file[field.name] for field in fields(Figures)})
                is_it = str(file["key"]) == key
        except _UNREADABLE:
            return None
        columns = [getattr(figures, field.name) for field in fields(Figures)]
        is_whole = all(column.dtype == np.float64 and len(column) == len(episodes) for column in columns)
        if not (is_it and is_whole):
            return None
        self.found += len(episodes)
        return figures

    def keep(self, identity: dict[str, Any], episodes: Sequence[int], figures: Figures) -> None:
        """Keep the figures of a batch; the file appears whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        key = self._key(identity, episodes)
        columns = {field.name: getattr(figures, field.name) for field in fields(Figures)}
        buffer = io.BytesIO()
        np.savez(buffer, key=np.array(key), **columns)
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
        publish(self._path(key), buffer.getvalue())

    def clean(self) -> None:
        """Remove what a killed process left half-written."""
        if self.folder.is_dir():
            clean(self.folder)

    def _key(self, identity: dict[str, Any], episodes: Sequence[int]) -> str:
        """Return everything a batch's figures depend on, as one text."""
        key = {**self._conditions, "contender": identity, "episodes": list(episodes)}
        return json.dumps(key, sort_keys=True)

    def _path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
