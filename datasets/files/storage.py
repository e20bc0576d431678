"""Where a dataset lies: a folder on this machine, or a prefix in an S3 bucket.

A `Folder` is a `pathlib.Path` or a `RemoteFolder`, which has the few methods of a path that datasets need. An
object on S3 appears whole or not at all by itself, so there is nothing to rename and nothing to clean there.
"""

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ..errors import ConfigurationError, StorageError

_REMOTE = "s3://"
MOST_READS = 100  # of a file that is replaced while it is read


@dataclass(frozen=True)
class RemoteFolder:
    """A folder or a file in an S3 bucket; the connection is made when it is first used.

    Endpoint and credentials come from where the AWS tools look for them: `AWS_ENDPOINT_URL`,
    `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `~/.aws`, the machine's role.

    Attributes:
        key: `bucket/folder/file`, without the scheme.
    """

    key: str

    def __str__(self) -> str:
        return _REMOTE + self.key

    def __truediv__(self, name: str) -> "RemoteFolder":
        return RemoteFolder(f"{self.key}/{name}")

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self.key.rpartition("/")[2]

    def resolve(self) -> "RemoteFolder":
        """Return the folder itself; its name is already the whole one."""
        return self

    def exists(self) -> bool:
        """Return whether there is a file or a folder of this name."""
        from pyarrow.fs import FileType

        return bool(self._info().type != FileType.NotFound)

    def is_dir(self) -> bool:
        """Return whether anything lies below this name."""
        from pyarrow.fs import FileType

        return bool(self._info().type == FileType.Directory)

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Check that the bucket is there: folders are no more than the names of what lies in them.

        Raises:
            StorageError: There is no such bucket, or it cannot be asked.
        """
        if not RemoteFolder(self.bucket).exists():
            raise StorageError(
                f"{self}: there is no bucket '{self.bucket}' at {_endpoint() or 'AWS'}. Make it first "
                f"(`aws s3 mb s3://{self.bucket}`), or correct its name or AWS_ENDPOINT_URL."
            )

    def sizes(self) -> dict[str, int]:
        """Return the names and sizes in bytes of the files in this folder."""
        from pyarrow.fs import FileSelector, FileType

        with _explained(self):
            found = _system(self.bucket).get_file_info(FileSelector(self.key, allow_not_found=True))
        return {info.base_name: info.size for info in found if info.type == FileType.File}

    def size(self) -> int:
        """Return the size of this file in bytes.

        Raises:
            FileNotFoundError: There is no such file.
            StorageError: S3 does not answer.
        """
        from pyarrow.fs import FileType

        found = self._info()
        if found.type != FileType.File:
            raise FileNotFoundError(errno.ENOENT, "there is no such file", str(self))
        return int(found.size)

    def read_bytes(self) -> bytes:
        """Return everything in this file.

        Raises:
            FileNotFoundError: There is no such file.
            StorageError: It cannot be read.
        """
        with _explained(self), _system(self.bucket).open_input_file(self.key) as file:
            return bytes(file.read())

    def open(self) -> BinaryIO:
        """Return this file, open for reading; a part of it is asked for when it is read.

        Raises:
            FileNotFoundError: There is no such file.
            StorageError: It cannot be opened.
        """
        with _explained(self):
            return _system(self.bucket).open_input_file(self.key)

    def write_bytes(self, data: bytes) -> None:
        """Make a file with these bytes, replacing an older one; no reader ever sees a part of it.

        Raises:
            StorageError: It cannot be written; nothing has then changed.
        """
        # A stream that is left early is closed, and closing publishes what was written by then. So Ctrl-C, which
        # can come between any two lines of the main thread, must not come here: it waits for this thread.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self._upload, data).result()

    def _upload(self, data: bytes) -> None:
        """Upload a file; it appears with the request that ends the upload."""
        with _explained(self), _system(self.bucket).open_output_stream(self.key) as file:
            file.write(data)

    def _info(self) -> Any:
        """Return what pyarrow knows of this name."""
        with _explained(self):
            return _system(self.bucket).get_file_info(self.key)


Folder = Path | RemoteFolder


def as_folder(text: "str | os.PathLike[str] | RemoteFolder") -> Folder:
    """Return the folder somebody named: `s3://bucket/folder`, or one on this machine.

    Raises:
        ConfigurationError: It is a URL, but not one of a folder in an S3 bucket.
    """
    if isinstance(text, RemoteFolder):
        return text
    if not os.fspath(text):
        raise ConfigurationError("expected the name of a folder, got none. Is a variable empty?")
    scheme, separator, key = os.fspath(text).partition("://")
    if not separator:
        return Path(text)
    parts = key.rstrip("/").split("/")
    if scheme != "s3" or len(parts) < 2 or not all(parts) or set(parts) & {".", ".."} or set(key) & set("?#@"):
        raise ConfigurationError(
            f"expected a folder, or s3://bucket/folder, got {os.fspath(text)!r}. Another server than Amazon's is "
            "named by AWS_ENDPOINT_URL, and the account by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return RemoteFolder("/".join(parts))


def sizes(folder: Folder) -> dict[str, int]:
    """Return the names and sizes of what lies in a folder, sorted by name; nothing if there is no such folder."""
    if isinstance(folder, RemoteFolder):
        found = folder.sizes()
    else:
        found = {path.name: _size(path) for path in folder.iterdir()} if folder.is_dir() else {}
    return dict(sorted(found.items()))


def _size(path: Path) -> int:
    """Return the size of a file, -1 of a link that leads nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def size_of(path: Folder) -> int:
    """Return the size of a file in bytes, before anything of it is read.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is a folder, a pipe or a device: those may have no end, or keep a reader waiting.
        StorageError: S3 does not answer.
    """
    if isinstance(path, RemoteFolder):
        return path.size()
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "expected a regular file, got a folder, a pipe or a device", str(path))
    return found.st_size


def read(path: Folder, size: int) -> bytes:
    """Return the first bytes of a file, `size` of them or all there are."""
    if isinstance(path, RemoteFolder):
        return path.read_bytes()[:size]
    with open(path, "rb") as file:
        return file.read(size)


def open_file(path: Folder) -> BinaryIO:
    """Return a file, open for reading, of which only a part is wanted.

    Raises:
        As `size_of`.
    """
    return path.open() if isinstance(path, RemoteFolder) else open(path, "rb")


def read_whole(path: Folder, most: int) -> bytes:
    """Return a file that others may replace at any moment, as one of them wrote it; of a larger one `most` bytes.

    Its size is looked at first, and S3 is asked for so many bytes in a second request: between the two the file may
    become another. Then it is read again.

    Raises:
        As `size_of`.
    """
    for _ in range(MOST_READS):
        size = size_of(path)
        data = read(path, min(size + 1, most))
        if size > most or len(data) == size == size_of(path):
            break
    return data


def _endpoint() -> str:
    """Return the address of the S3 server, "" for Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _system(bucket: str) -> Any:
    """Return the file system of a bucket, the same one each time in a process."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    return _connect(bucket, _endpoint(), region, os.getpid())  # a forked process needs connections of its own


@cache
def _connect(bucket: str, endpoint: str, region: str, process: int) -> Any:
    """Make the file system of a bucket."""
    try:
        from pyarrow.fs import S3FileSystem, resolve_s3_region
    except ImportError:
        raise StorageError(
            "this pyarrow was built without S3. Install the one of PyPI: pip install --force-reinstall pyarrow"
        ) from None
    if not endpoint:
        return S3FileSystem(region=region or resolve_s3_region(bucket))
    address = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    return S3FileSystem(
        region=region or "us-east-1", endpoint_override=address.netloc + address.path, scheme=address.scheme
    )


@contextmanager
def _explained(folder: RemoteFolder) -> Iterator[None]:
    """Turn what S3 refuses into words that say what to do."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        text = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise StorageError(f"{folder}: S3 did not do what was asked: {text}. {_advice(text)}") from None


def _advice(text: str) -> str:
    """Return what to do about what an S3 server said."""
    if "NETWORK_CONNECTION" in text or "resolve host" in text.lower():
        return f"No server answers at {_endpoint() or 'AWS'}: correct AWS_ENDPOINT_URL, or mend the network."
    if "ACCESS_DENIED" in text or "INVALID_ACCESS_KEY" in text or "SIGNATURE" in text or "HTTP status 403" in text:
        return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) to an account that may use it."
    if "NO_SUCH_BUCKET" in text or "NoSuchBucket" in text or "HTTP status 404" in text:
        return "Make the bucket first (`aws s3 mb s3://...`), or correct its name."
    return "Finished shards are kept; put it right and call the same command again."
