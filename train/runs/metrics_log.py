"""The log of a run: `metrics.jsonl`, a line per iteration, and what shows it: TensorBoard or another tracker.

It is for people. A run continues from its state, which includes its history: a log that was cut, damaged or
deleted is written again from there.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from ...datasets.errors import CheckpointError
from ...datasets.files.atomic import publish
from .run_folder import METRICS_NAME
from .trackers import Tracker, own_run, tracker_of


class Entry(Protocol):
    """The figures of one iteration."""

    @property
    def step(self) -> int:
        """Its place on a tracker's axis."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return its line."""
        ...

    def scalars(self) -> dict[str, float]:
        """Return a tracker's names and values."""
        ...


AnEntry = TypeVar("AnEntry", bound=Entry)


class MetricsLog(Generic[AnEntry]):
    """Keeps the figures of a run; a context manager.

    Args:
        run: The run's folder.
        history: All iterations so far; `add` adds to it. The file is written anew with these.
        step: Where the run continues; what TensorBoard holds beyond it is dropped.
        track: The tracker, such as `mlflow`; by default the one the run has begun with, or TensorBoard.
        config: What the run is to do, as JSON, for trackers that show it.

    Attributes:
        board: The tracker.
    """

    def __init__(
        self,
        run: Path,
        history: list[AnEntry],
        step: int,
        track: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._run, self._history, self._step = run, history, step
        self._track, self._config = tracker_of(run, track), config or {}

    def __enter__(self) -> "MetricsLog[AnEntry]":
        publish(self._run / METRICS_NAME, _text(self._history).encode())
        with ExitStack() as stack:
            stack.enter_context(_threads_fail_quietly())
            self._file = stack.enter_context(open(self._run / METRICS_NAME, "a", encoding="utf-8"))
            is_own = self._track != "tensorboard"
            opened: Any = own_run(self._track, self._run, self._config) if is_own else self._tensorboard()
            self.board: Tracker = stack.enter_context(opened)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, entry: AnEntry) -> None:
        """Keep one more iteration."""
        self._history.append(entry)
        self._file.write(_text([entry]))
        self._file.flush()
        for name, value in entry.scalars().items():
            self.board.add_scalar(name, value, entry.step)
        self.board.flush()

    def _tensorboard(self) -> Any:
        """Return TensorBoard's writer; it takes a second to import: only when a run starts."""
        from torch.utils.tensorboard import SummaryWriter

        folder = self._run / "tensorboard"
        _wait_for_next_second(folder)
        return SummaryWriter(str(folder), purge_step=self._step + 1)


@contextmanager
def _threads_fail_quietly() -> Iterator[None]:
    """Print nothing when TensorBoard's thread cannot write: the thread that logs meets the same error."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, OSError):
            before(failure)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def packed(history: Sequence[Entry]) -> Tensor:
    """Return a history as bytes, uint8, to be saved with the state."""
    return torch.frombuffer(bytearray(_text(history) or "\n", "utf-8"), dtype=torch.uint8)


def unpacked(text: Tensor, read: Callable[[dict[str, Any]], AnEntry]) -> list[AnEntry]:
    """Return the history that `packed` packed; `read` makes an entry of its JSON.

    Raises:
        ValueError: It is no history.
    """
    return [read(json.loads(line)) for line in bytes(text.tolist()).splitlines() if line]


def read_log(path: Path, read: Callable[[dict[str, Any]], AnEntry]) -> list[AnEntry]:
    """Return the entries of a `metrics.jsonl`; lines that are damaged are left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append(read(json.loads(line)))
        except (ValueError, TypeError, RecursionError, CheckpointError):
            continue
    return entries


def _text(history: Sequence[Entry]) -> str:
    """Return the lines of some iterations."""
    return "".join(json.dumps(each.to_json(), allow_nan=False) + "\n" for each in history)


def _wait_for_next_second(board: Path) -> None:
    """Let the next file sort behind those that are there: their names begin with the second they were made in.

    TensorBoard reads files in order of their names. If it read the file of a resumed run before the one the
    run began with, it would drop what has to stay.
    """
    names = [path.name.split(".") for path in board.glob("events.out.tfevents.*")]
    made = [int(name[3]) for name in names if len(name) > 3 and name[3].isdigit()]
    lacking = max(made, default=0) + 1 - time.time()
    if 0 < lacking <= 1:
        time.sleep(lacking)
