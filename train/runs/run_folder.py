"""The folder of a run: the one way to open, lock, resume and finish it, whatever the stage.

While a run lives it holds a lock in its folder, so that of two commands on one folder the second is refused. The
operating system frees the lock of a process that was killed.
"""

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from torch import Tensor

from ...datasets.errors import CheckpointError, ConfigurationError, SkycloneError
from ...datasets.files.atomic import check_ours, clean, publish
from ...datasets.files.json_file import read_json
from ..tensor_file import not_finite, read_tensors, write_tensors
from .config_file import CONFIG_NAME

STATE_NAME = "last.state.safetensors"
METRICS_NAME = "metrics.jsonl"
SUMMARY_NAME = "summary.json"
LOCK_NAME, HOLDER_NAME = ".skyclone-run.lock", ".skyclone-run.json"

STEMS = ("best", "last", "clone")
"""Of a run's checkpoints; `clone` is the parent's copy."""
FILE_NAMES = (
    *(CONFIG_NAME, STATE_NAME, METRICS_NAME, SUMMARY_NAME, "loss.png", "loss.svg", "los.png", "los.svg"),
    *(f"{stem}.{end}" for stem in STEMS for end in ("safetensors", "json")),
)
"""All files of runs of any stage; the folders in a run keep what they find."""

_MARKS = {
    CONFIG_NAME: b'{\n "stage": "',
    "clone.safetensors": b'"skyclone"',
    "clone.json": b'"weights_sha256"',
}
"""How those files begin that may be there when a run is killed as it begins; the others come after its config."""
_NO_MARK = b"\0 skyclone writes no such file"

Result = TypeVar("Result")


class TrainingError(SkycloneError):
    """Something became NaN or infinite; the last good checkpoint is kept."""


def holds_run(folder: Path) -> bool:
    """Return whether a folder holds a run, or what is left of one that was killed before it had begun.

    Raises:
        CheckpointError: It is a file, or a file that skyclone did not write has the name of one of a run.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"expected a folder for the run, but {folder} is a file. Choose another --out.")
    config = folder / CONFIG_NAME
    try:
        check_ours(config, _MARKS[CONFIG_NAME], "a run's config")
        if config.exists():
            return True
        for name in FILE_NAMES:
            check_ours(folder / name, _MARKS.get(name, _NO_MARK), "part of a run with its config.json")
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from None
    return False


class RunFolder:
    """The folder of a run; as a context manager it is closed, and its lock freed, at the end.

    Args:
        path: The folder; `begin` makes it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path / LOCK_NAME, timeout=0, thread_local=False)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close the folder if the block fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def open(self, resume: bool, say: Callable[[str], None]) -> bool:
        """Return whether there is a run to continue; then the folder is locked.

        Args:
            resume: Continue the run in the folder, if there is one; otherwise a run there is an error.
            say: Receives a line for people.

        Raises:
            CheckpointError: The folder is a file, holds a run and resume is False, is in use, or has a name that is
                not UTF-8.
        """
        try:
            str(self.path).encode()
        except UnicodeEncodeError:
            raise CheckpointError(
                f"expected a name in UTF-8 for the run (TensorBoard takes no other), got {str(self.path)!r}. "
                "Choose another --out."
            ) from None
        if not holds_run(self.path):
            if resume:
                say(f"Nothing to resume in {self.path}: starting from the beginning.")
            return False
        if not resume:
            if (self.path / LOCK_NAME).exists():  # a run there, or what a killed one left
                self._take_lock()
                self.close()
            raise self._occupied()
        self._take_lock()
        clean(self.path)
        return True

    def begin(self) -> None:
        """Make the folder of a new run, and lock it.

        Raises:
            CheckpointError: Another command has begun a run there meanwhile.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        with self.closed_on_error():
            if holds_run(self.path):
                raise self._occupied()

    def close(self) -> None:
        """Free the lock, if it is held, and leave no trace of it."""
        if not self._lock.is_locked:
            return
        (self.path / HOLDER_NAME).unlink(missing_ok=True)
        with suppress(PermissionError):  # on Windows an open file cannot be removed, and filelock does it itself
            (self.path / LOCK_NAME).unlink(missing_ok=True)
        self._lock.release()

    def save_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Write all that is needed to continue, whole or not at all.

        Raises:
            TrainingError: A tensor is not finite; the state saved before stays.
            OSError: It cannot be written.
        """
        bad = not_finite(tensors)
        if bad:
            raise TrainingError(
                f"expected a finite state, got NaN or infinity in {', '.join(bad)}; stopped, with the "
                f"last good state kept in {self.path}. Begin again with another --out and a tenth of --lr."
            )
        write_tensors(self.path / STATE_NAME, tensors, description)

    def restore(self, put_back: Callable[[dict[str, Tensor], dict[str, Any]], Result]) -> Result | None:
        """Hand the saved tensors and their description to a function, and return its result.

        Returns:
            None if nothing was saved (killed before the first time).

        Raises:
            CheckpointError: The state is damaged, or of another run.
        """
        path, remedy = self.path / STATE_NAME, "Begin again with another --out."
        if not path.exists():
            return None
        tensors, description, _ = read_tensors(path, remedy)
        bad = not_finite(tensors)
        if bad:
            raise CheckpointError(f"{path}: expected finite numbers, got NaN or infinity in {bad}. {remedy}")
        try:
            return put_back(tensors, description)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit this run: {error}. {remedy}") from None

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        publish(self.path / SUMMARY_NAME, json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")

    def _occupied(self) -> CheckpointError:
        """Return the error for a folder with a run, without --resume."""
        return CheckpointError(
            f"{self.path} already holds a run. Continue it with --resume, or choose another --out."
        )

    def _take_lock(self) -> None:
        """Lock the folder, and note who holds it; on a file system without locks nothing is held."""
        try:
            self._lock.acquire()
        except Timeout:
            raise CheckpointError(
                f"{self.path} is in use by {self._holder()}. Wait until it has ended, or choose another --out."
            ) from None
        except OSError:
            return
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"host": socket.gethostname(), "process": os.getpid(), "since": since}
        with suppress(OSError):
            (self.path / HOLDER_NAME).write_text(json.dumps(holder), encoding="utf-8")

    def _holder(self) -> str:
        """Return who holds the lock, for a message."""
        try:
            holder = read_json(self.path / HOLDER_NAME, CheckpointError)
            return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
        except (OSError, CheckpointError, LookupError, TypeError):
            return "another process"
