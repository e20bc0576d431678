"""What has been flown is kept, so that an evaluation continues where it was interrupted.

A folder with one file for each batch of scenarios of each contender: NAME.npz, holding the arrays of `Figures`,
`key`, a JSON text of everything they depend on, and `sha256`, the hash of both. NAME is the key's hash. What was
flown under other conditions (another world or seed, other weights, other code), and what was changed since, is
therefore not found, and flown again. Files can be deleted at any time.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ...collect import simulators
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.figures import Figures
from ...datasets.files.atomic import clean, publish
from ...datasets.provenance import package_versions, source_hash

VERSION = 3
"""Of the files' form."""
_FLYING = ("evaluate.evaluation.contenders", "collect.flying.figures")
"""The modules that decide, with all they import, the result of a flight."""
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


class FlightStore:
    """Batches that were flown in one world, with one seed, by this code.

    Args:
        folder: Where they are kept; made when the first one is.
        world: The world.
        seed: Seed of the scenarios.
        device: Where they are flown: figures depend on the device. (On the processor, too; where they do, it
            is in the identity of the contender.)

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
            "code": source_hash(*_FLYING),
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
                columns = {field.name: file[field.name] for field in fields(Figures)}
                if str(file["key"]) != key or str(file["sha256"]) != _hash(key, columns):
                    return None
        except _UNREADABLE:
            return None
        self.found += len(episodes)
        return Figures(**columns)

    def keep(self, identity: dict[str, Any], episodes: Sequence[int], figures: Figures) -> None:
        """Keep the figures of a batch; the file appears whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        key = self._key(identity, episodes)
        columns = {field.name: getattr(figures, field.name) for field in fields(Figures)}
        buffer = io.BytesIO()
        np.savez(buffer, key=np.array(key), sha256=np.array(_hash(key, columns)), **columns)
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


def _hash(key: str, columns: dict[str, np.ndarray]) -> str:
    """Return the hash of a file's content."""
    digest = hashlib.sha256(key.encode())
    for name, column in columns.items():
        digest.update(f"{name}:{column.dtype.str}:{column.shape};".encode() + column.tobytes())
    return digest.hexdigest()
