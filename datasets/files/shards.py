"""Shards: the files of a dataset, each one fixed range of episodes, written whole or not at all.

A shard carries a stamp (of which recipe, which episodes, which content hash), so that a file which
lies in the folder without an entry in the manifest can be recognised and taken in, or refused.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import DatasetError, RecordError
from ..traffic.record import Table, check_table, content_hash
from . import hdf5, parquet
from .atomic import publish
from .manifest import SHARD_FOLDER, Manifest, ShardEntry
from .storage import Folder


@dataclass(frozen=True)
class Stamp:
    """What a shard's file says about itself.

    Attributes:
        recipe: `Manifest.recipe_hash` of the dataset it belongs to.
        first_episode: First episode in it.
        last_episode: The one after its last episode.
        content_hash: Hash of its rows.
        figures: Counts of the traffic in it.
    """

    recipe: str
    first_episode: int
    last_episode: int
    content_hash: str
    figures: Mapping[str, float]


def write_shard(
    folder: Folder, manifest: Manifest, index: int, table: Table, figures: Mapping[str, float] | None = None
) -> ShardEntry:
    """Check a table and publish it as one shard of a dataset; the manifest stays as it is.

    Args:
        folder: The dataset's folder.
        manifest: Says format, name, episodes and recipe.
        index: Number of the shard.
        table: All rows of the shard's episodes.
        figures: Counts of the traffic in it.

    Returns:
        The entry for the manifest.

    Raises:
        RecordError: The table does not follow the traffic record.
        DatasetError: It holds other episodes than the shard.
        OSError: The file cannot be written; nothing then bears its name that did not before.
        StorageError: The same, on S3.
    """
    check_table(table)
    episodes = manifest.shard_episodes(index)
    _check_episodes(table, episodes)
    figures = dict(figures or {})
    stamp = Stamp(manifest.recipe_hash, episodes.start, episodes.stop, content_hash(table), figures)
    data = _codec(manifest.format).encode(table, json.dumps(asdict(stamp), sort_keys=True, allow_nan=False))
    publish(folder / SHARD_FOLDER / manifest.shard_name(index), data)
    return _entry(manifest, index, len(table["episode"]), data, stamp)


def read_shard(folder: Folder, manifest: Manifest, index: int) -> Table:
    """Read one shard, size and hash first, then the rows.

    Args:
        folder: The dataset's folder.
        manifest: Says what the shard has to be.
        index: Number of the shard.

    Raises:
        DatasetError: The shard is not listed, missing, cut, altered, or does not follow the record.
    """
    entry = manifest.entry(index)
    name = manifest.shard_name(index)
    if entry is None:
        raise DatasetError(f"{folder}: shard {name} is not there yet. {REMEDY}")
    try:
        data = check_bytes(folder, entry)
        table, _ = _codec(manifest.format).decode(data)
        _check_table(table, manifest, index)
        if len(table["episode"]) != entry.rows:
            raise DatasetError(f"expected {entry.rows} rows, got {len(table['episode'])}")
    except (DatasetError, RecordError) as error:
        raise DatasetError(f"{folder / SHARD_FOLDER / name}: {error}. {REMEDY}") from None
    return table


REMEDY = "The same `skyclone collect` command makes missing and damaged shards again."


def check_bytes(folder: Folder, entry: ShardEntry) -> bytes:
    """Return the bytes of a shard's file.

    Raises:
        DatasetError: The file is missing, or its size or hash is not the one in the manifest.
        StorageError: S3 does not answer; nothing is known of the file.
    """
    try:
        data = (folder / SHARD_FOLDER / entry.name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError("missing: there is no such file") from None
    except OSError as error:
        raise DatasetError(f"unreadable: {error.strerror}") from None
    if len(data) != entry.bytes:
        word = "cut" if len(data) < entry.bytes else "altered"
        raise DatasetError(f"{word}: expected {entry.bytes} bytes, got {len(data)}")
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise DatasetError(f"altered: expected SHA-256 {entry.sha256}, got {found}")
    return data


def adopt_shard(folder: Folder, manifest: Manifest, index: int) -> ShardEntry:
    """Make an entry for a shard that lies in the folder without one.

    That happens when a collector dies between publishing a shard and publishing the manifest, or when
    shards made elsewhere with `--shards A:B` are copied into one folder.

    Raises:
        DatasetError: The file is damaged, or is not this shard of this dataset.
    """
    data = (folder / SHARD_FOLDER / manifest.shard_name(index)).read_bytes()
    table, text = _codec(manifest.format).decode(data)
    stamp = _read_stamp(text)
    episodes = manifest.shard_episodes(index)
    if stamp.recipe != manifest.recipe_hash:
        raise ForeignShardError("it belongs to another dataset: another world, teacher, pilot or seed made it")
    if (stamp.first_episode, stamp.last_episode) != (episodes.start, episodes.stop):
        raise DatasetError(
            f"expected the episodes {episodes.start} to {episodes.stop}, "
            f"got {stamp.first_episode} to {stamp.last_episode}"
        )
    _check_table(table, manifest, index)
    if content_hash(table) != stamp.content_hash:
        raise DatasetError("altered: its rows do not have the content hash it was written with")
    return _entry(manifest, index, len(table["episode"]), data, stamp)


class ForeignShardError(DatasetError):
    """A sound shard, but of another dataset."""


def _codec(format: str) -> Any:
    """Return the module that encodes and decodes a format."""
    return parquet if format == "parquet" else hdf5


def _entry(manifest: Manifest, index: int, rows: int, data: bytes, stamp: Stamp) -> ShardEntry:
    """Describe a shard's file for the manifest."""
    return ShardEntry(
        name=manifest.shard_name(index),
        first_episode=stamp.first_episode,
        last_episode=stamp.last_episode,
        rows=rows,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        content_hash=stamp.content_hash,
        figures=stamp.figures,
    )


def _read_stamp(text: str) -> Stamp:
    """Read the stamp in a shard's metadata."""
    try:
        data = json.loads(text)
        if set(data) != set(Stamp.__dataclass_fields__):
            raise ValueError
        return Stamp(**data)
    except (ValueError, TypeError, RecursionError):
        raise DatasetError("expected the stamp of a skyclone shard in its metadata, got none") from None


def _check_table(table: Table, manifest: Manifest, index: int) -> None:
    """Raise unless a table follows the record and holds the shard's episodes."""
    check_table(table)
    _check_episodes(table, manifest.shard_episodes(index))


def _check_episodes(table: Table, episodes: range) -> None:
    """Raise unless a sorted table holds just these episodes."""
    found = np.unique(table["episode"])
    if not np.array_equal(found, np.arange(episodes.start, episodes.stop)):
        got = f"{found[0]} to {found[-1] + 1} ({len(found)} of them)" if len(found) else "none"
        raise DatasetError(f"expected rows of the episodes {episodes.start} to {episodes.stop}, got {got}")
