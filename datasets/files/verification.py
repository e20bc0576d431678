"""Verification: every byte of every shard, what the manifest says of them, and files that do not belong."""

import hashlib
from contextlib import suppress
from typing import NamedTuple

from ..errors import Damage, DatasetError, RecordError, ShardError
from .arithmetic import in_words
from .atomic import is_temporary
from .manifest import MANIFEST_NAME, SHARD_FOLDER, Manifest
from .shards import ForeignShardError, adopt_shard, check_shard
from .storage import Folder, read, size_of, sizes


class Problem(NamedTuple):
    """Something that is wrong with a dataset.

    Attributes:
        shard: Name of the file, or of the range of files.
        what: The kind of damage.
        message: Expected, got.
    """

    shard: str
    what: Damage
    message: str


def verify(folder: Folder, manifest: Manifest) -> list[Problem]:
    """Check every byte of every shard and look for files that do not belong; return what is wrong."""
    problems = []
    for entry in manifest.shards:
        index = entry.first_episode // manifest.episodes_per_shard
        try:
            stamp = check_shard(folder, manifest, index)
        except ShardError as error:
            problems.append(_explained(folder, manifest, index, error))
            continue
        if stamp.recipe != manifest.recipe_hash:
            what = (
                "its world, scenario, teacher, pilot, noise or seed is not the one that made its shards; put the "
                "original back"
            )
            problems.append(Problem(MANIFEST_NAME, Damage.ALTERED, what))
        elif stamp.figures != entry.figures:
            message = (
                f"figures of {entry.name}: expected {stamp.figures}, got {entry.figures}; put the original back"
            )
            problems.append(Problem(MANIFEST_NAME, Damage.ALTERED, message))
        elif stamp.arithmetic != manifest.arithmetic_of(index):
            message = (
                f"{entry.name}: expected rows made by {in_words(stamp.arithmetic)}, as it says itself, got "
                f"{in_words(manifest.arithmetic_of(index))}; put the original back"
            )
            problems.append(Problem(MANIFEST_NAME, Damage.ALTERED, message))
    return [*dict.fromkeys(problems), *_not_made(manifest), *_strangers(folder, manifest)]


def _explained(folder: Folder, manifest: Manifest, index: int, error: ShardError) -> Problem:
    """Return what is wrong with a listed shard, and where what it holds belongs, if that is known."""
    name = manifest.shard_name(index)
    if error.damage not in (Damage.MISSING, Damage.INVALID):
        other = _owner(folder, manifest, name)
        if other:
            return Problem(name, Damage.SWAPPED, f"it holds what {other} should hold")
        with suppress(DatasetError, RecordError, OSError):
            try:
                adopt_shard(folder, manifest, index)
            except ForeignShardError as stranger:
                return Problem(name, stranger.damage, stranger.message)
    return Problem(name, error.damage, error.message)


def _owner(folder: Folder, manifest: Manifest, name: str) -> str | None:
    """Return which shard the bytes under another name belong to."""
    path, owners = folder / SHARD_FOLDER / name, {}
    with suppress(OSError):
        size = size_of(path)
        owners = {entry.sha256: entry.name for entry in manifest.shards if entry.bytes == size}
        if owners:  # no others are read: they may be of any size
            return owners.get(hashlib.sha256(read(path, size)).hexdigest())
    return None


def _not_made(manifest: Manifest) -> list[Problem]:
    """Return the problem that shards are not made yet."""
    absent = manifest.shard_count - len(manifest.shards)
    if not absent:
        return []
    first = next(i for i in range(manifest.shard_count) if manifest.entry(i) is None)
    names = manifest.shard_name(first) + (" and others" if absent > 1 else "")
    return [Problem(names, Damage.MISSING, f"expected {manifest.shard_count} shards, {absent} not made yet")]


def _strangers(folder: Folder, manifest: Manifest) -> list[Problem]:
    """Return the files among the shards that the manifest does not list."""
    listed = {entry.name for entry in manifest.shards}
    canonical = {manifest.shard_name(i) for i in range(min(manifest.shard_count, 10**6))}
    problems = []
    for name in sizes(folder / SHARD_FOLDER):
        if name in listed or is_temporary(name):
            continue
        if name in canonical:
            message = "not in the manifest; collecting again takes it in, if sound"
            problems.append(Problem(name, Damage.UNLISTED, message))
        else:
            owner = _owner(folder, manifest, name)
            what = f"renamed: it holds what {owner} should hold" if owner else "no shard of this dataset"
            problems.append(Problem(name, Damage.FOREIGN, f"{what}; move it away"))
    return problems
