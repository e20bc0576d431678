"""The machine: how many processors and how much memory this process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container on Linux: microseconds of processor time, and of which time; `max` is no limit."""
_MEMORY = Path("/sys/fs/cgroup/memory.max")
"""Of a container on Linux: bytes; `max` is no limit."""


def processors() -> int:
    """Return how many processors this process may use, 1 or more: what a batch system or a container leaves it."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text("ascii").split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or no limit
        return count


def memory_bytes() -> int | None:
    """Return how much memory the machine has, or a container leaves this process; None where that is not known."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None
    try:
        return min(there, int(_MEMORY.read_text("ascii")))
    except (OSError, ValueError):  # no such file, or no limit
        return there
