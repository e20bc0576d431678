"""The processes that train together, each with its part of every batch: started by the first, or by `torchrun`.

Both start this many processes of the same command (`--processes 2`, or `torchrun --nproc-per-node 2 -m skyclone
train ...`, also on several machines), which find each other through environment variables. Each works through
the same batches in the same order, on its part of the rows; gradients and figures are added up, so that all hold
the same weights. Only the first one writes and speaks.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...datasets.config import shown
from ...datasets.errors import ConfigurationError, SkycloneError

Result = TypeVar("Result")
_HOST = "127.0.0.1"
_PORT = "SKYCLONE_PORT"  # in the environment of a process that another one has started
_THERE = "there"  # and its number: what a process tells when it has started
_ALONE = "torchrun sets it; unset WORLD_SIZE to train without."
_PATIENCE_S, _LOOK_S = 10.0, 0.05


class ProcessError(SkycloneError):
    """Another process of the run has ended, or cannot be reached."""


class Processes:
    """The processes of a run, this one among them; alone unless `joined` found others.

    Attributes:
        rank: Number of this one, from 0.
        size: How many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, the same bits in each; the tensor may be changed."""
        if self.size > 1:
            with self.reaching():
                dist.all_reduce(tensor)
        return tensor

    def total_gradient(self, parameters: Sequence[nn.Parameter], figures: Tensor) -> Tensor:
        """Replace gradients by their sums over all processes, and return the sums of some figures (n,).

        A parameter has a gradient in all processes, or in none.
        """
        if self.size == 1:
            return figures
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.total(torch.cat([figures, *(gradient.flatten() for gradient in gradients)]))
        sizes = [len(figures), *(gradient.numel() for gradient in gradients)]
        figures, *parts = flat.split(sizes)
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return figures

    def agree(self, elapsed_s: float, is_stopped: bool) -> tuple[float, float]:
        """Return the first process's clock, and how many processes were asked to stop: the same in all."""
        if self.size == 1:
            return elapsed_s, float(is_stopped)
        on_gpu = dist.get_backend() == "nccl"
        values = torch.tensor([elapsed_s * self.is_first, float(is_stopped)], dtype=torch.float64)
        elapsed, stopped = self.total(values.cuda() if on_gpu else values).tolist()
        return elapsed, stopped

    def together(self, work: Callable[[], Result]) -> Result:
        """Let every process do some work, and continue only if all succeeded.

        Raises:
            SkycloneError, OSError: What the first of them that failed raised; in the first process only.
            SystemExit: In all others then: one speaks, and fails, for all.
        """
        if self.size == 1:
            return work()
        error: SkycloneError | OSError | None = None
        try:
            result = work()
        except (SkycloneError, OSError) as caught:
            error = caught
        errors: list[SkycloneError | OSError | None] = [None] * self.size
        with self.reaching():
            dist.all_gather_object(errors, error)
        found = next((each for each in errors if each is not None), None)
        if found is None:
            return result
        raise found if self.is_first else SystemExit(0)

    def from_first(self, work: Callable[[], Result]) -> Result:
        """Let the first process do some work while the others wait, and return its result in all.

        Raises:
            SkycloneError, OSError, SystemExit: As `together`.
        """
        result = self.together(lambda: work() if self.is_first else None)
        if self.size > 1:
            box = [result]
            with self.reaching():
                dist.broadcast_object_list(box, src=0)
            result = box[0]
        return result  # type: ignore[return-value]

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Say in words, within the block, that another process is gone.

        Raises:
            ProcessError: It is.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(name in str(error) for name in ("gloo", "NCCL", "Connection")):
                raise
            raise ProcessError(
                f"process {self.rank + 1} of {self.size} lost another one, which was stopped or ended by "
                "itself: what it said, if anything, is above. The same command with --resume continues from the "
                "last saved state."
            ) from None


@contextmanager
def joined(device: str, count: int = 1) -> Iterator[tuple[Processes, str]]:
    """Join the processes that `torchrun` started, or start some, for the length of the block.

    Args:
        device: As given by the user; `auto` is a GPU for each process if there are enough.
        count: How many there shall be, this one included; ignored under `torchrun`, and in a process that was
            started here.

    Yields:
        The processes (this one alone by default), and the device of this one.

    Raises:
        ConfigurationError: There are more processes here than GPUs.
    """
    size, rank = _whole("WORLD_SIZE", 1), _whole("RANK", 0)
    if size == 1 and count == 1:
        yield Processes(), device
        return
    store, helpers = None, []
    if size == 1:
        size = count
        store = dist.TCPStore(_HOST, 0, size, is_master=True, wait_for_workers=False)
        helpers = [_started(number, size, store.port) for number in range(1, size)]
        _await(store, helpers)
    elif _PORT in os.environ:
        store = dist.TCPStore(_HOST, _whole(_PORT, 0), size, is_master=False)
        store.set(f"{_THERE}{rank}", "")
    here = _whole("LOCAL_WORLD_SIZE", size)
    try:
        own = own_device(device, _whole("LOCAL_RANK", rank), here)
        on_gpu = own.startswith("cuda")
        if on_gpu:
            torch.cuda.set_device(own)
        try:
            dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size)
        except ValueError as error:
            raise ConfigurationError(f"the processes of a run cannot be joined: {error}. {_ALONE}") from None
        try:
            yield Processes(rank, size), own
        finally:
            dist.destroy_process_group()
    finally:
        for helper in helpers:
            _ended(helper)


def is_first() -> bool:
    """Return whether this process is the one of its run that speaks, before it has joined the others."""
    return _whole("RANK", 0) == 0


def _whole(name: str, default: int) -> int:
    """Return a whole number of the environment; sizes are 1 or more, others 0 or more."""
    text, least = os.environ.get(name, str(default)), int(name.endswith("SIZE"))
    if not text.isdecimal() or len(text) > len(str(2**31)) or int(text) < least:
        raise ConfigurationError(
            f"expected a whole number of {least} or more in the environment's {name}, got {shown(text)}. {_ALONE}"
        )
    return int(text)


def _started(rank: int, size: int, port: int) -> "subprocess.Popen[bytes]":
    """Start this program again, with the same command, as another process of the run.

    In a session of its own: Ctrl-C is for the first process, which tells the others.
    """
    numbers = {"WORLD_SIZE": size, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, _PORT: port}
    environment = {**os.environ, **{name: str(number) for name, number in numbers.items()}}
    command = [sys.executable, "-m", "skyclone", *sys.argv[1:]]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )


def _await(store: dist.TCPStore, helpers: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Wait until the other processes are there.

    Raises:
        ProcessError: One has ended by itself.
    """
    names = [f"{_THERE}{number}" for number in range(1, len(helpers) + 1)]
    try:
        while not store.check(names):
            if any(helper.poll() is not None for helper in helpers):
                raise ProcessError(
                    "a process that was to help has ended at once: what it said, if anything, is above. "
                    "Use --processes 1."
                )
            time.sleep(_LOOK_S)
    except BaseException:
        for helper in helpers:
            helper.kill()
            helper.wait()
        raise


def _ended(helper: "subprocess.Popen[bytes]") -> None:
    """Wait for a process that has nothing more to do; one that does not see it is killed."""
    try:
        helper.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        helper.kill()
        helper.wait()


def own_device(device: str, number: int, here: int) -> str:
    """Return the device of one of the processes on this machine.

    Args:
        device: As given by the user.
        number: Which of the processes here, from 0.
        here: How many there are here.

    Raises:
        ConfigurationError: There are fewer GPUs, or one was named that they would have to share.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return f"cuda:{number}" if gpus >= here else "cpu"
    if device == "cuda" and gpus >= here:
        return f"cuda:{number}"
    if device.startswith("cuda"):
        raise ConfigurationError(
            f"expected a GPU for each of the {here} processes on this machine, got --device {device} and {gpus} "
            "GPUs. Use --device cuda with as many processes as GPUs, or --device cpu."
        )
    return device
