"""Where a run computes: the device, torch's threads, and the data that lie there all the time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from ..datasets.errors import ConfigurationError
from ..datasets.snapshots import Snapshots

LARGEST_SHARE = 0.6  # of a GPU's free memory that data may take; the rest is for batches and gradients


def choose_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is the GPU if there is one.

    Raises:
        ConfigurationError: It is not there, or no device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError):
        there = "cpu, cuda" if torch.cuda.is_available() else "cpu (torch sees no GPU here)"
        raise ConfigurationError(f"no device '{device}'. There are: {there}. Use --device auto.") from None
    return chosen


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads within the block; 0 leaves it the number it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settle_data(
    parts: Sequence[Snapshots], device: torch.device, free_bytes: int, say: Callable[[str], None]
) -> list[Snapshots]:
    """Move data to the device once, all of them or, if they do not fit, none.

    Args:
        parts: Training and held-out rows.
        device: Where to.
        free_bytes: Free memory there.
        say: Receives one line if they stay where they are.
    """
    needed = sum(part.bytes for part in parts)
    if needed > LARGEST_SHARE * free_bytes:
        say(
            f"The data take {needed / 1e9:.1f} GB and {device} has {free_bytes / 1e9:.1f} GB free: they stay in "
            "the computer's memory, and each batch's rows cross over."
        )
        return list(parts)
    return [part.to(device) for part in parts]


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU's memory."""
    return int(torch.cuda.mem_get_info(device)[0])
