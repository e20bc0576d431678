"""A dataset on disk: opened, read, verified."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import notebook
from .errors import DatasetError
from .files.manifest import SHARD_FOLDER, Manifest, load_manifest
from .files.shards import read_counts, read_shard, remedy
from .files.storage import Folder, RemoteFolder, as_folder, sizes
from .files.verification import Problem, verify
from .traffic.counts import Counts
from .traffic.record import Table

if TYPE_CHECKING:
    from .loading.flights import FlightRows
    from .loading.loader import Loader


class Dataset:
    """A dataset in a folder.

    Args:
        path: The folder.
        manifest: What it holds.
    """

    def __init__(self, path: Folder, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {self.rows} rows, {self.episodes} episodes)"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how much there is, who flew in which world, and how safe it was."""
        manifest = self.manifest
        world, figures = manifest.world, manifest.figures
        there = (
            "" if manifest.complete else f" (incomplete: {len(manifest.shards)} of {manifest.shard_count} shards)"
        )
        size = sum(entry.bytes for entry in manifest.shards)
        facts = {
            "rows": f"{self.rows:,}, of {self.episodes:,} episodes{there}",
            "size": f"{size / 1e6:,.1f} MB in {len(manifest.shards):,} shards ({manifest.format})",
            "teacher": manifest.teacher,
            "pilot": manifest.pilot + (f", noise {manifest.noise:g}" if manifest.noise else ""),
            "scenario": f"{manifest.scenario}, {world.get('aircraft', '?')} aircraft, seed {manifest.seed}",
            "surveillance": world.get("surveillance", ""),
            "losses of separation": f"{figures['los_events']:,.0f}" if "los_events" in figures else "",
            "content hash": self.content_hash[:16],
        }
        rows = [(key, value) for key, value in facts.items() if value]
        return notebook.table(f"Dataset {self.path}", rows)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.manifest.rows

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return self.manifest.episodes

    @property
    def content_hash(self) -> str:
        """Hash of all rows, the same in every format."""
        return self.manifest.content_hash

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards there are."""
        return [entry.first_episode // self.manifest.episodes_per_shard for entry in self.manifest.shards]

    def table(self, shard: int | None = None) -> Table:
        """Read one shard, or all of them into one table; size and hash are checked, then the rows.

        Args:
            shard: Number of the shard; None for all.

        Raises:
            DatasetError: A shard is missing, cut, altered, or does not follow the traffic record.
        """
        if shard is not None:
            return read_shard(self.path, self.manifest, shard)
        tables = list(self.tables())
        if len(tables) == 1:
            return tables[0]
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

    def counts(self, shard: int) -> Counts:
        """Return how many rows of which kind the episodes of a shard have, without reading them if it says so.

        Raises:
            DatasetError: The shard is missing or cut, or what it says of itself is damaged.
        """
        return read_counts(self.path, self.manifest, shard)

    def tables(self) -> Iterator[Table]:
        """Read the shards one after the other, in order of the episodes."""
        for index in self.shards:
            yield read_shard(self.path, self.manifest, index)

    def batches(self, **options: Any) -> "Loader":
        """Return a loader over this dataset, in memory or (`stream=True`) through a buffer of some shards.

        Args:
            **options: Those of `Loader.of`: `view`, `batch_size`, `seed`, `split`, `stream`, `perceive` (what
                aircraft know; by default all that is stored), ...
        """
        from .loading.loader import Loader  # torch takes seconds to import

        return Loader.of([self], **options)

    def flights(self, **options: Any) -> "Iterator[FlightRows]":
        """Yield the flights of all aircraft with rewards and returns, for offline reinforcement learning.

        Args:
            **options: Those of `flights`: `view`, `discount`.
        """
        from .loading.flights import flights

        return flights(self, **options)

    def verify(self) -> list[Problem]:
        """Check every byte of every shard and look for files that do not belong; return what is wrong."""
        return verify(self.path, self.manifest)


_CONTINUE = "Run the `skyclone collect` command that began it again; it continues."


def open_dataset(path: "str | os.PathLike[str] | RemoteFolder", allow_incomplete: bool = False) -> Dataset:
    """Open a dataset.

    Args:
        path: Its folder, such as `data/mvp` or `s3://bucket/mvp`.
        allow_incomplete: Open it also when shards are missing.

    Raises:
        DatasetError: The folder is no dataset, is incomplete, or a shard is missing or cut.
    """
    folder = as_folder(path)
    manifest = load_manifest(folder)
    if allow_incomplete:
        return Dataset(folder, manifest)
    if not manifest.complete:
        raise DatasetError(
            f"{folder} is incomplete: expected {manifest.shard_count} shards, got {len(manifest.shards)}. "
            + (remedy(manifest) if manifest.parts else _CONTINUE)
        )
    found = sizes(folder / SHARD_FOLDER)
    for entry in manifest.shards:
        size = found.get(entry.name, -1)
        if size < 0:
            raise DatasetError(f"{folder}: shard {entry.name} is missing. {remedy(manifest)}")
        if size != entry.bytes:
            raise DatasetError(
                f"{folder}: shard {entry.name}: expected {entry.bytes} bytes, got {size}. {remedy(manifest)}"
            )
    return Dataset(folder, manifest)
