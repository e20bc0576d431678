"""Shards: the files of a dataset, each one fixed range of episodes, written whole or not at all.

A shard carries a stamp (of which recipe, which episodes, which content hash), so that a file which
lies in the folder without an entry in the manifest can be recognised and taken in, or refused, and so that its
rows can be counted without reading them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ..errors import Damage, DatasetError, RecordError, ShardError
from ..provenance import parts_from_json
from ..traffic.counts import Counts, counts_of, figures_of_rows, most_aircraft
from ..traffic.record import Table, check_table, columns_of, content_hash
from . import hdf5, parquet
from .atomic import locked, publish
from .json_file import parse_json
from .manifest import MANIFEST_NAME, SHARD_FOLDER, Manifest, ShardEntry, check_same, load_manifest
from .piloted import is_piloted, piloted
from .stamp import Stamp, stamp_from_text, stamp_to_text
from .storage import Folder, open_file, read, size_of

_BYTES_OF_A_ROW = 128  # in a file: at most; it has 71 in memory
_BYTES_BESIDE = 2**20  # headers, units, meanings
_BYTES_OF_HEAD = 2**16  # of a manifest: what is in it before its shards


def write_shard(
    folder: Folder,
    manifest: Manifest,
    index: int,
    table: Table,
    figures: Mapping[str, float] | None = None,
    arithmetic: str = "",
) -> ShardEntry:
    """Check a table and publish it as one shard of a dataset; the manifest stays as it is.

    The shard gets its name under the folder's lock, if the manifest there is still of the same dataset: another
    process may have extended it meanwhile, to where this shard has more episodes.

    Args:
        folder: The dataset's folder.
        manifest: Says format, name, episodes and recipe.
        index: Number of the shard.
        table: All rows of the shard's episodes.
        figures: Counts of the traffic in it.
        arithmetic: What made its rows; "" for the manifest's.

    Returns:
        The entry for the manifest.

    Raises:
        RecordError: The table does not follow the traffic record.
        DatasetError: It holds other episodes than the shard, or the folder holds another dataset by now.
        OSError: The file cannot be written; nothing then bears its name that did not before.
        StorageError: The same, on S3.
    """
    _check_table(table, manifest, index)
    episodes = manifest.shard_episodes(index)
    stamp = Stamp(
        manifest.recipe_hash,
        episodes.start,
        episodes.stop,
        content_hash(table),
        dict(figures or {}),
        arithmetic or manifest.arithmetic,
        _counts_of(table, episodes),
        int((~is_piloted(table)).sum()),
    )
    data = _codec(manifest.format).encode(table, stamp_to_text(stamp))
    publish(folder / SHARD_FOLDER / manifest.shard_name(index), data, lambda: _still(folder, manifest))
    return _entry(manifest, index, len(table["episode"]), data, stamp)


@contextmanager
def _still(folder: Folder, manifest: Manifest) -> Iterator[None]:
    """Hold the folder's lock, and raise unless it holds the same dataset as before."""
    with locked(folder):
        check_same(folder, _head(folder), manifest)
        yield


def _head(folder: Folder) -> Manifest:
    """Read the manifest without its shards, which in a large dataset are nearly all of it, and follow the rest."""
    try:
        head, is_found, _ = read(folder / MANIFEST_NAME, _BYTES_OF_HEAD).partition(b',\n "shards": [')
        data = parse_json(head + b"}", "the manifest", DatasetError)
        if is_found:
            parts = parts_from_json(data.pop("parts", []))
            names = [each.name for each in fields(Manifest) if each.name not in ("shards", "parts")]
            return Manifest(**{name: data[name] for name in names}, parts=parts)
    except (DatasetError, KeyError, OSError):
        pass
    return load_manifest(folder)  # says what is wrong


def read_shard(folder: Folder, manifest: Manifest, index: int) -> Table:
    """Read one shard, size and hash first, then the rows.

    Args:
        folder: The dataset's folder.
        manifest: Says what the shard has to be.
        index: Number of the shard.

    Raises:
        DatasetError: The shard is not listed, missing, cut, altered, of another dataset, or does not follow the
            record.
    """
    name = manifest.shard_name(index)
    if manifest.entry(index) is None:
        raise DatasetError(f"{folder}: shard {name} is not there yet. {remedy(manifest)}")
    try:
        table, stamp = _read(folder, manifest, index)
    except (DatasetError, RecordError) as error:
        raise DatasetError(f"{folder / SHARD_FOLDER / name}: {error}. {remedy(manifest)}") from None
    if stamp.recipe != manifest.recipe_hash:
        raise DatasetError(
            f"{folder / MANIFEST_NAME}: its world, scenario, teacher, pilot, noise or seed is not the one that "
            f"made {name}. Put the original back."
        )
    return table


def read_counts(folder: Folder, manifest: Manifest, index: int) -> Counts:
    """Return how many rows of which kind the episodes of a shard have, not counting those of hovering aircraft.

    Its stamp says so, and nothing else is read: the rows are checked when they are. Where it does not (one of
    before 2026-11-26, or a damaged one), the rows are read and counted, which also says what is wrong.

    Raises:
        DatasetError: As `read_shard`.
    """
    episodes, entry = manifest.shard_episodes(index), manifest.entry(index)
    with suppress(DatasetError, OSError):
        path = folder / SHARD_FOLDER / manifest.shard_name(index)
        if entry and size_of(path) == entry.bytes:
            with open_file(path) as file:
                stamp = stamp_from_text(_codec(manifest.format).stamp_in(file))
            counts = stamp.counts if stamp.recipe == manifest.recipe_hash else None
            if counts and counts.are_of(len(episodes), entry.rows - stamp.hovering):
                return counts
    return _counts_of(read_shard(folder, manifest, index), episodes)


def _counts_of(table: Table, episodes: range) -> Counts:
    """Count the rows that somebody flies of each episode; the aircraft are all there are to be seen."""
    return replace(counts_of(piloted(table), episodes), aircraft=most_aircraft(table))


def check_shard(folder: Folder, manifest: Manifest, index: int) -> Stamp:
    """Check every byte of a listed shard and all that the manifest says of it; return the stamp in it.

    Raises:
        ShardError: What is wrong with it.
    """
    entry = manifest.entry(index)
    assert entry is not None
    try:
        table, stamp = _read(folder, manifest, index)
        if (found := content_hash(table)) != entry.content_hash:
            raise DatasetError(f"expected content hash {entry.content_hash}, got {found}")
        _check_figures(manifest, stamp, table)
        return stamp
    except ShardError:
        raise
    except (DatasetError, RecordError) as error:
        raise ShardError(Damage.INVALID, str(error)) from None


def _read(folder: Folder, manifest: Manifest, index: int) -> tuple[Table, Stamp]:
    """Read the rows and the stamp of a listed shard, size and hash first."""
    entry = manifest.entry(index)
    assert entry is not None
    _check_rows(manifest, index, entry.rows)
    table, text = _codec(manifest.format).decode(check_bytes(folder, entry), entry.rows)
    _check_table(table, manifest, index)
    stamp = stamp_from_text(text)
    _check_counts(manifest, index, stamp, table)
    return table, stamp


def _check_counts(manifest: Manifest, index: int, stamp: Stamp, table: Table) -> None:
    """Raise unless the stamp counts the rows there are."""
    found = _counts_of(table, manifest.shard_episodes(index)), int((~is_piloted(table)).sum())
    if stamp.counts and (stamp.counts, stamp.hovering) != found:
        raise DatasetError("its stamp counts other rows than there are")


def _check_figures(manifest: Manifest, stamp: Stamp, table: Table) -> None:
    """Raise unless those of the stamp's figures that the rows decide are what the rows say."""
    for name, value in figures_of_rows(piloted(table), manifest.world).items():
        if (found := stamp.figures.get(name, value)) != value:
            raise DatasetError(f"figure {name}: expected {value:g}, as its rows say, got {found!r}")


def _check_rows(manifest: Manifest, index: int, rows: int) -> None:
    """Raise if a shard cannot have so many rows, whatever was flown."""
    most = most_rows(manifest, index)
    if rows > most:
        raise DatasetError(f"expected at most {most} rows in {manifest.shard_name(index)}, got {rows}")


def most_rows(manifest: Manifest, index: int) -> int:
    """Return how many rows a shard has at the most: one per aircraft and step."""
    most = len(manifest.shard_episodes(index))
    for key, limit in (("aircraft", 2**15), ("max_steps", 2**15)):  # they are stored as int16
        value = manifest.world.get(key)
        most *= min(value, limit) if isinstance(value, int) and value > 0 else limit
    return most


def remedy(manifest: Manifest) -> str:
    """Return how missing and damaged shards are made again."""
    if manifest.parts:
        return "The command in its README.md makes missing and damaged shards again, from their source."
    return "The same `skyclone collect` command makes missing and damaged shards again."


def check_bytes(folder: Folder, entry: ShardEntry) -> bytes:
    """Return the bytes of a shard's file.

    Raises:
        ShardError: The file is missing or no regular file, or its size or hash is not the one in the manifest.
        StorageError: S3 does not answer; nothing is known of the file.
    """
    path = folder / SHARD_FOLDER / entry.name
    try:
        size = size_of(path)
        if size != entry.bytes:
            damage = Damage.CUT if size < entry.bytes else Damage.ALTERED
            raise ShardError(damage, f"expected {entry.bytes} bytes, got {size}")
        _check_size(size, entry.rows)
        data = read(path, size)
    except (FileNotFoundError, NotADirectoryError):
        raise ShardError(Damage.MISSING, "there is no such file") from None
    except OSError as error:
        raise ShardError(Damage.UNREADABLE, error.strerror or str(error)) from None
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ShardError(Damage.ALTERED, f"expected SHA-256 {entry.sha256}, got {found}")
    return data


def _check_size(size: int, rows: int) -> None:
    """Raise if a file of so many rows cannot be as large as it is."""
    most = _BYTES_BESIDE + _BYTES_OF_A_ROW * rows
    if size > most:
        raise ShardError(Damage.INVALID, f"expected at most {most} bytes for {rows} rows, got {size}")


def adopt_shard(folder: Folder, manifest: Manifest, index: int) -> ShardEntry:
    """Make an entry for a shard that lies in the folder without one.

    That happens when a collector dies between publishing a shard and publishing the manifest, or when
    shards made elsewhere with `--shards A:B` are copied into one folder.

    Raises:
        DatasetError: The file is damaged, or is not this shard of this dataset.
    """
    path, rows = folder / SHARD_FOLDER / manifest.shard_name(index), most_rows(manifest, index)
    try:
        size = size_of(path)
        _check_size(size, rows)
        data = read(path, size)
    except OSError as error:
        raise ShardError(Damage.UNREADABLE, error.strerror or str(error)) from None
    table, text = _codec(manifest.format).decode(data)
    _check_rows(manifest, index, len(table["episode"]))
    stamp = stamp_from_text(text)
    episodes = manifest.shard_episodes(index)
    if stamp.recipe != manifest.recipe_hash:
        raise ForeignShardError()
    if (stamp.first_episode, stamp.last_episode) != (episodes.start, episodes.stop):
        raise DatasetError(
            f"expected the episodes {episodes.start} to {episodes.stop}, "
            f"got {stamp.first_episode} to {stamp.last_episode}"
        )
    _check_table(table, manifest, index)
    if content_hash(table) != stamp.content_hash:
        raise DatasetError("altered: its rows do not have the content hash it was written with")
    _check_counts(manifest, index, stamp, table)
    _check_figures(manifest, stamp, table)
    return _entry(manifest, index, len(table["episode"]), data, stamp)


class ForeignShardError(ShardError):
    """A sound shard, but of another dataset."""

    def __init__(self) -> None:
        message = "it belongs to another dataset: another world, teacher, pilot or seed made it"
        super().__init__(Damage.FOREIGN, message)

    def __reduce__(self) -> tuple[type["ForeignShardError"], tuple[()]]:
        return ForeignShardError, ()


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
        arithmetic="" if stamp.arithmetic == manifest.arithmetic else stamp.arithmetic,
    )


def _check_table(table: Table, manifest: Manifest, index: int) -> None:
    """Raise unless a table follows the record, has the columns of its world, and holds the shard's episodes."""
    check_table(table)
    if set(table) != (expected := {column.name for column in columns_of(manifest.world)}):
        others = sorted(set(table) ^ expected)
        raise DatasetError(f"expected the columns of its world, got others: {', '.join(others)}")
    _check_episodes(table, manifest.shard_episodes(index))


def _check_episodes(table: Table, episodes: range) -> None:
    """Raise unless a sorted table holds just these episodes."""
    found = np.unique(table["episode"])
    if not np.array_equal(found, np.arange(episodes.start, episodes.stop)):
        got = f"{found[0]} to {found[-1] + 1} ({len(found)} of them)" if len(found) else "none"
        raise DatasetError(f"expected rows of the episodes {episodes.start} to {episodes.stop}, got {got}")
