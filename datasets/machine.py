"""The machine: how many processors this process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container on Linux: microseconds of processor time, and of which time; `max` is no limit."""


def processors() -> int:
    """Return how many processors this process may use, 1 or more: what a batch system or a container leaves it."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text("ascii").split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or no limit
        return count
