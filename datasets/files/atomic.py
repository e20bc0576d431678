"""Files that appear whole or not at all, and the lock of the folder they appear in.

A file is written under a temporary name in the folder it is meant for, flushed to the disk, and only
then given its name. While it is written it is locked: a temporary file that nobody holds a lock on was
left by a process that died, and only such files are ever cleaned away. On S3 an upload is by itself whole
or not there; there are no locks, so what two writers take from each other is put back by
`DatasetWriter.finish`.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import ConfigurationError
from .storage import Folder, RemoteFolder

_TEMPORARY = re.compile(r"\.skyclone-[0-9a-f]{16}\.tmp")


def publish(path: Folder, data: bytes) -> None:
    """Make a file with these bytes, replacing an older one, so that no reader ever sees a part of it.

    Args:
        path: Name the file shall have; its folder exists.
        data: Everything in it.

    Raises:
        OSError: It cannot be written (no permission, full disk); nothing has then changed at `path`.
        StorageError: The same, of a remote one.
    """
    if isinstance(path, RemoteFolder):
        path.write_bytes(data)
        return
    temporary, file = _open_temporary(path.parent)
    with file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)  # before closing: closing gives up the lock
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    _flush_folder(path.parent)


def is_temporary(name: str) -> bool:
    """Return whether a file of this name is a temporary one of skyclone's."""
    return _TEMPORARY.fullmatch(name) is not None


def clean(folder: Folder) -> int:
    """Remove the temporary files that dead processes left in a folder; return how many there were."""
    if isinstance(folder, RemoteFolder):
        return 0
    removed = 0
    for path in folder.iterdir():
        if is_temporary(path.name) and not path.is_symlink() and _is_abandoned(path):
            with suppress(FileNotFoundError):
                path.unlink()
                removed += 1
    return removed


def check_ours(path: Path, mark: bytes, what: str) -> None:
    """Check that a name is free, or that of an older file of skyclone's; call it before any work is done.

    Args:
        path: Name of the file to be published.
        mark: Bytes that stand in the first 64 kB of each such file, and in no other.
        what: What it will be, for the error: `a report`.

    Raises:
        ConfigurationError: The name is that of a folder, a device or another file that is not empty.
        OSError: The file cannot be read.
    """
    if not path.exists():
        return
    found = "a folder" if path.is_dir() else "a device or a pipe"
    if path.is_file():
        with open(path, "rb") as file:
            start = file.read(65536)
        if not start or mark in start:
            return
        found = "another file"
    raise ConfigurationError(
        f"{path}: expected no file or {what} that skyclone wrote, got {found}. It is left as it is. Choose another "
        "name, or move it away."
    )


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Hold the folder's lock, so that of several processes one at a time changes the manifest.

    On a file system without locks, and on S3, nothing is held; an entry of the manifest that is lost there
    by two writers at once is found again when the later of them finishes.
    """
    if isinstance(folder, RemoteFolder):
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _open_temporary(folder: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file and lock it."""
    while True:
        path = folder / f".skyclone-{secrets.token_hex(8)}.tmp"
        file = open(path, "xb")  # noqa: SIM115 (the caller closes it)
        with suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # else it was cleaned away before it was locked
            return path, file
        file.close()


def _is_abandoned(path: Path) -> bool:
    """Return whether nobody holds the lock of a temporary file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
