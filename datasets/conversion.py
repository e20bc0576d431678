"""Conversion: the same rows in another format, shard by shard."""

from collections.abc import Callable
from dataclasses import replace

from .dataset import Dataset
from .errors import DatasetError
from .files.arithmetic import OtherArithmetic
from .files.manifest import MANIFEST_NAME, SUFFIXES, Manifest, ShardEntry, check_same, load_manifest
from .files.shards import write_shard
from .files.storage import Folder
from .files.writer import DatasetWriter, Report, cannot_write


def convert(
    dataset: Dataset,
    folder: Folder,
    format: str,
    *,
    command: str = "",
    report: Report = lambda line: None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Manifest:
    """Write a dataset again in another format; interrupted, the same call continues.

    Where there is a conversion of it already, only the shards that were made anew since are written again.

    Args:
        dataset: A complete one.
        folder: Where to; empty, new, or of a conversion that was broken off.
        format: `parquet` or `hdf5`.
        command: What the user called, for the card.
        report: Gets what was found and done, a line at a time.
        progress: Gets the rows of each shard written.

    Returns:
        The new manifest; its content hash is the old one's.

    Raises:
        DatasetError: Unknown format, a damaged shard, or a folder that holds something else.
    """
    if format not in SUFFIXES:
        raise DatasetError(f"unknown format '{format}'. There are: {', '.join(SUFFIXES)}.")
    if folder.resolve() == dataset.path.resolve():
        raise DatasetError(f"{folder} is the dataset itself; name another folder for the converted one.")
    wanted = replace(dataset.manifest, format=format, shards=())
    _check_target(folder, wanted)
    writer = DatasetWriter(folder, wanted, report, OtherArithmetic.KEEP)  # a mixture stays one
    numbers = range(writer.manifest.shard_count)
    try:
        absent = writer.missing(numbers)
        for index in numbers:
            old, new = dataset.manifest.entry(index), writer.manifest.entry(index)
            assert old is not None
            if index not in absent and _is_same(old, new):
                continue
            entry = write_shard(folder, writer.manifest, index, dataset.table(index), old.figures, old.arithmetic)
            if entry.content_hash != old.content_hash:
                raise DatasetError(
                    f"shard {old.name}: expected content hash {old.content_hash}, got {entry.content_hash}. "
                    "The dataset was changed by hand; collect it again."
                )
            writer.add(entry)
            progress(entry.rows)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        writer.clean()
    return writer.finish(command)


def _check_target(folder: Folder, wanted: Manifest) -> None:
    """Raise if a folder holds another dataset; nothing in it is changed."""
    try:
        if (folder / MANIFEST_NAME).exists():
            check_same(folder, load_manifest(folder), wanted)
    except OSError as error:
        raise cannot_write(folder, error) from None


def _is_same(old: ShardEntry, new: ShardEntry | None) -> bool:
    """Return whether a converted shard holds the rows that the dataset's has now."""
    facts = ("content_hash", "figures", "arithmetic")
    return new is not None and all(getattr(old, name) == getattr(new, name) for name in facts)
