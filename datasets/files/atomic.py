"""Files that appear whole or not at all, and the lock of the folder they appear in.

A file is written under a temporary name in the folder it is meant for, flushed to the disk, closed (Windows
renames no open file), and only then given its name. While it is written it is locked: a temporary file that
nobody holds a lock on was left by a process that died, and only such files are ever cleaned away. A lock ends with
its process, however that ends. On S3 an upload is by itself whole or not there; there are no locks, so what two
writers take from each other is put back by `DatasetWriter.finish`.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import lock_descriptor

from ..errors import ConfigurationError
from .storage import Folder, RemoteFolder

_TEMPORARY = re.compile(r"\.skyclone-[0-9a-f]{16}\.tmp")
_LOCK = ".skyclone.lock"
_IN_USE = "lock"  # in a hidden folder
Guard = Callable[[], AbstractContextManager[None]]


def publish(path: Folder, data: bytes, guard: Guard = nullcontext) -> None:
    """Make a file with these bytes, replacing an older one, so that no reader ever sees a part of it.

    Args:
        path: Name of the file; its folder exists.
        data: Everything in it.
        guard: Entered when all is written and only the name has to be given; what it raises stops that.

    Raises:
        OSError: It cannot be written (no permission, full disk); nothing has then changed at `path`.
        StorageError: The same, of a remote one.
    """
    if isinstance(path, RemoteFolder):
        with guard():
            path.write_bytes(data)
        return
    while not _written(path, data, guard):
        pass
    _flush_folder(path.parent)


def publish_together(files: Mapping[Path, bytes]) -> None:
    """Make several files in one step: all are written before the first of them gets its name.

    Only a kill within the moments in which they get their names, in the order given, leaves some new and some old.

    Args:
        files: Name and content of each; their folders exist.

    Raises:
        OSError: One of them cannot be written; nothing has then changed at any name.
    """

    @contextmanager
    def others_first() -> Iterator[None]:
        publish_together(others)
        yield

    others = dict(files)
    if others:
        path, data = others.popitem()
        publish(path, data, others_first)


def _written(path: Path, data: bytes, guard: Guard) -> bool:
    """Write a file; return False if another process cleaned it away between closing and renaming."""
    temporary = path.parent / temporary_name()
    try:  # its name is known before it is there: wherever Ctrl-C comes, it goes again
        with open(temporary, "xb") as file:
            if not hold(file):
                return False
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with guard():
            _replace(temporary, path)
    except FileNotFoundError:
        if not path.parent.exists():
            raise
        return False
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return True


def _replace(temporary: Path, path: Path) -> None:
    """Give a file its name; Windows refuses for as long as somebody reads the old one."""
    for _ in range(40 if os.name == "nt" else 0):
        with suppress(PermissionError):
            os.replace(temporary, path)
            return
        time.sleep(0.05)
    os.replace(temporary, path)


def temporary_name() -> str:
    """Return a new name for a file or folder that is not finished."""
    return f".skyclone-{secrets.token_hex(8)}.tmp"


def is_temporary(name: str) -> bool:
    """Return whether a file of this name is one of skyclone's that will go: a temporary one, or a lock."""
    return _TEMPORARY.fullmatch(name) is not None or name == _LOCK


def clean(folder: Folder) -> int:
    """Remove the temporary files that dead processes left in a folder; return how many there were."""
    if isinstance(folder, RemoteFolder):
        return 0
    removed = 0
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and is_abandoned(path):
            with suppress(OSError):
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
def unfinished_folder(root: Path) -> Iterator[Path]:
    """Make a folder in a hidden one below `root`, to be renamed; remove the hidden one, also dead processes'.

    A hidden folder is in use while the lock of the file in it is held.
    """
    with locked(root):
        for path in root.iterdir():
            is_ours = is_temporary(path.name) and path.is_dir() and not path.is_symlink()
            if is_ours and (not (path / _IN_USE).exists() or is_abandoned(path / _IN_USE)):
                shutil.rmtree(path, ignore_errors=True)
        hidden = root / temporary_name()
        (hidden / "new").mkdir(parents=True)
        lock = open(hidden / _IN_USE, "xb")  # noqa: SIM115 (closed below)
        hold(lock)
    try:
        yield hidden / "new"
    finally:
        lock.close()
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Make a folder that gets its name when all in it is written; broken off, the name stays free.

    Args:
        path: Its name; free, or that of an empty folder. Of a link, where it leads.

    Raises:
        ConfigurationError: The name is taken.
        OSError: It cannot be made.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigurationError(f"{path}: expected a name that is free, got one that is taken. Choose another.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(target.parent) as folder:
        yield folder
        for each in folder.rglob("*"):
            if each.is_file():
                with open(each, "r+b") as file:  # Windows flushes no file that is only read
                    os.fsync(file.fileno())
        if target.exists():
            target.rmdir()
        os.rename(folder, target)
        _flush_folder(target.parent)


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Hold the folder's lock, so that of several processes one at a time changes the manifest.

    The lock is on a file that is there only while somebody holds it, or died holding it. Where no such file can be
    made or locked, and on S3, nothing is held; an entry of the manifest that is lost there by two writers at
    once is found again when the later of them finishes.
    """
    file = None if isinstance(folder, RemoteFolder) else _open_lock(folder / _LOCK)
    if file is None:
        yield
        return
    path = Path(file.name)
    try:
        yield
    finally:
        is_open = not _removed(path)  # while it is held, so that the next one to come makes another file
        file.close()
        if is_open:
            _removed(path)


def _removed(path: Path) -> bool:
    """Remove a file; return False on Windows while anybody has it open."""
    with suppress(OSError):
        try:
            path.unlink()
        except PermissionError:
            return False
    return True


def _open_lock(path: Path) -> BinaryIO | None:
    """Wait for a lock and return the file that holds it; None if none can be made here."""
    while True:
        try:
            file = open(path, "ab", opener=_open_no_link)  # noqa: SIM115 (the caller closes it)
        except OSError:
            return None
        if hold(file):
            return file
        file.close()


def hold(file: BinaryIO) -> bool:
    """Wait for the lock of an open file; return False if the file was removed meanwhile.

    It is held until the file is closed, or its process ends. A file system without locks holds nothing.
    """
    with suppress(OSError):
        lock_descriptor(file.fileno(), poll_interval=0.005)
    return os.fstat(file.fileno()).st_nlink > 0


def is_abandoned(path: Path) -> bool:
    """Return whether no process holds the lock of a file; never of a link or where there are no locks."""
    if path.is_symlink():
        return False
    try:
        handle = _open_no_link(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return lock_descriptor(handle, blocking=False)
    except OSError:
        return False
    finally:
        os.close(handle)


def _open_no_link(path: str | Path, flags: int) -> int:
    """Open a file, but no link where the system can refuse one."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system can."""
    with suppress(OSError):  # Windows opens no folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
