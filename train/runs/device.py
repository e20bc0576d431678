"""Where a run computes: the device, and torch's threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ...datasets.config import shown
from ...datasets.errors import ConfigurationError

_KINDS = ("cpu", "cuda", "mps")
"""Devices that compute; torch knows others, such as `meta`, which has shapes and no numbers."""


def choose_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is the GPU if there is one.

    Raises:
        ConfigurationError: It is not there, or no device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if device.partition(":")[0] in _KINDS:  # torch warns of some others
            chosen = torch.device(device)
            torch.zeros(1, device=chosen)
            return chosen
    except (RuntimeError, AssertionError, NotImplementedError, ValueError):
        pass  # which error it is depends on how torch was built
    there = "cpu, cuda" if torch.cuda.is_available() else "cpu (torch sees no GPU here)"
    raise ConfigurationError(f"no device {shown(device)}. There are: {there}. Use --device auto.")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use this many threads within the block; 0 leaves its number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
