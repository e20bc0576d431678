"""The processes that train together: started by `torchrun`, each with its part of every batch.

`torchrun --nproc-per-node 2 -m skyclone train ...` starts this many processes of the same command, which find each
other through environment variables. Each works through the same batches in the same order, on its part of the rows;
gradients and figures are added up, so that all hold the same weights. Only the first one writes and speaks.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ...datasets.errors import ConfigurationError, SkycloneError

Result = TypeVar("Result")


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
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the processes that `torchrun` started, for the length of the block.

    Args:
        device: As given by the user; `auto` is a GPU for each process if there are enough.

    Yields:
        The processes (this one alone without `torchrun`), and the device of this one.

    Raises:
        ConfigurationError: There are more processes here than GPUs.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1:
        yield Processes(), device
        return
    own = own_device(device, int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    on_gpu = own.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes(rank, size), own
    finally:
        dist.destroy_process_group()


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
