"""A dataset on disk: opened, read, verified."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import DatasetError, RecordError
from .files.atomic import is_temporary
from .files.manifest import SHARD_FOLDER, Manifest, load_manifest
from .files.shards import REMEDY, ForeignShardError, adopt_shard, check_bytes, read_shard
from .files.storage import Folder, RemoteFolder, as_folder, sizes
from .traffic.record import COLUMN_NAMES, Table, content_hash

if TYPE_CHECKING:
    from .loading.loader import Loader


class Problem(NamedTuple):
    """Something that is wrong with a dataset.

    Attributes:
        shard: Name of the file, or of the range of files.
        what: `missing`, `cut`, `altered`, `swapped`, `unreadable`, `foreign`, `unlisted` or `invalid`.
        message: Expected, got.
    """

    shard: str
    what: str
    message: str


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
        return {name: np.concatenate([table[name] for table in tables]) for name in COLUMN_NAMES}

    def tables(self) -> Iterator[Table]:
        """Read the shards one after the other, in order of the episodes."""
        for index in self.shards:
            yield read_shard(self.path, self.manifest, index)

    def batches(self, **options: Any) -> "Loader":
        """Return a loader over this dataset, in memory or (`stream=True`) through a buffer of some shards.

        Args:
            **options: Those of `Loader.of`: `view`, `batch_size`, `seed`, `split`, `stream`, ...
        """
        from .loading.loader import Loader  # torch takes seconds to import

        return Loader.of([self], **options)

    def verify(self) -> list[Problem]:
        """Check every byte of every shard and look for files that do not belong; return what is wrong."""
        problems = [problem for index in self.shards if (problem := self._verify_shard(index))]
        absent = self.manifest.shard_count - len(self.manifest.shards)
        if absent:
            missing = next(i for i in range(self.manifest.shard_count) if self.manifest.entry(i) is None)
            names = self.manifest.shard_name(missing) + (" and others" if absent > 1 else "")
            problems.append(
                Problem(names, "missing", f"expected {self.manifest.shard_count} shards, {absent} not made yet")
            )
        return problems + self._strangers()

    def _verify_shard(self, index: int) -> Problem | None:
        """Return what is wrong with a listed shard."""
        entry = self.manifest.entry(index)
        assert entry is not None
        try:
            check_bytes(self.path, entry)
        except DatasetError as error:
            what, _, message = str(error).partition(": ")
            other = self._owner(entry.name)
            if other:
                return Problem(entry.name, "swapped", f"it holds what {other} should hold")
            with suppress(DatasetError, RecordError, OSError):
                try:
                    adopt_shard(self.path, self.manifest, index)
                except ForeignShardError as stranger:
                    return Problem(entry.name, "foreign", str(stranger))
            return Problem(entry.name, what, message)
        try:
            table = read_shard(self.path, self.manifest, index)
            if content_hash(table) != entry.content_hash:
                raise DatasetError(f"expected content hash {entry.content_hash}, got {content_hash(table)}")
        except (DatasetError, RecordError) as error:
            return Problem(entry.name, "invalid", str(error))
        return None

    def _owner(self, name: str) -> str | None:
        """Return which shard the bytes under another shard's name belong to."""
        try:
            found = hashlib.sha256((self.path / SHARD_FOLDER / name).read_bytes()).hexdigest()
        except OSError:
            return None
        return next((entry.name for entry in self.manifest.shards if entry.sha256 == found), None)

    def _strangers(self) -> list[Problem]:
        """Return the files among the shards that the manifest does not list."""
        folder = self.path / SHARD_FOLDER
        listed = {entry.name for entry in self.manifest.shards}
        canonical = {self.manifest.shard_name(i) for i in range(min(self.manifest.shard_count, 10**6))}
        problems = []
        for name in sizes(folder):
            if name in listed or is_temporary(name):
                continue
            if name in canonical:
                problems.append(
                    Problem(name, "unlisted", "not in the manifest; collecting again takes it in, if sound")
                )
            else:
                owner = self._owner(name)
                what = f"renamed: it holds what {owner} should hold" if owner else "no shard of this dataset"
                problems.append(Problem(name, "foreign", f"{what}; move it away"))
        return problems


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
            "Run the `skyclone collect` command that began it again; it goes on."
        )
    found = sizes(folder / SHARD_FOLDER)
    for entry in manifest.shards:
        size = found.get(entry.name, -1)
        if size < 0:
            raise DatasetError(f"{folder}: shard {entry.name} is missing. {REMEDY}")
        if size != entry.bytes:
            raise DatasetError(f"{folder}: shard {entry.name}: expected {entry.bytes} bytes, got {size}. {REMEDY}")
    return Dataset(folder, manifest)
