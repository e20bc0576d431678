"""How long a command will work and how much room it will take, said before it begins.

What cannot fit into memory or onto the disk, or would take a hundred years, is refused. How long it will take is
said of what takes a minute, and as a warning of what takes an hour or most of the disk. The figures are rough: no
more than orders of magnitude are judged by them.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .errors import ConfigurationError
from .files.storage import Folder
from .machine import memory_bytes

FLOWN_BY_RULE, FLOWN_BY_NETWORK, LEARNED, TUNED = 1_000_000, 50_000, 100_000, 25_000
"""Rows a second on one core: flown by a teacher that is compiled, by a network or in torch; cloned; fine-tuned
(docs/results.md)."""
SPLIT = 400
"""Flights of each scenario that `evaluate --rare` adds: replications, levels and moves (docs/rare-events.md)."""
BYTES_STORED = 28
"""Of a row on disk."""
BYTES_FLOWN, BYTES_OF_PAIR, PAIRED = 150, 100, 64
"""At least, of a row that is kept in memory while it is flown, and of each pair of aircraft at one moment; an
aircraft is paired with so many others at most, as far as can be said before it flies."""
SHARE_FLOWN = 1 / 3
"""Of the aircraft at the start, how many fly on average."""

SAID_S, LONG_S, LONGEST_S = 60.0, 3600.0, 100 * 365.25 * 86_400
_LARGE = 0.5  # of the free disk
_SMALL = 1e9  # bytes that are simply tried: a disk may be full for many reasons


def weigh(
    what: str,
    say: Callable[[str], None],
    *,
    seconds: float,
    less: str,
    memory: float = 0,
    disk: float = 0,
    folder: Folder | None = None,
) -> None:
    """Refuse what cannot be, and say what takes long or much.

    Args:
        what: It is, for people: `1,000 episodes of 20 aircraft`.
        say: Receives a line for people.
        seconds: It takes, about.
        less: What to use to make it less: `fewer --episodes`.
        memory: Bytes it needs at once, at least.
        disk: Bytes it leaves, about.
        folder: Where it leaves them.

    Raises:
        ConfigurationError: It does not fit, or takes more than a hundred years.
    """
    there = memory_bytes()
    if there is not None and memory > there:
        raise ConfigurationError(
            f"expected what fits into the memory of {in_bytes(there)}, got {what}, which takes "
            f"{in_bytes(memory)} or more. Use {less}."
        )
    free = free_bytes(folder) if isinstance(folder, Path) else None
    if free is not None and disk > _SMALL and disk / 2 > free:  # the figure is rough
        raise ConfigurationError(
            f"expected what fits onto the disk ({in_bytes(free)} are free at {folder}), got {what}: about "
            f"{in_bytes(disk)}. Use {less}, or another --out."
        )
    if seconds > LONGEST_S:
        raise ConfigurationError(
            f"expected what ends within a hundred years, got {what}: about {in_time(seconds)}. Use {less}."
        )
    is_large = free is not None and disk > max(_SMALL, _LARGE * free)
    if seconds > LONG_S or is_large:
        room = f" and {in_bytes(disk)} of the {in_bytes(free or 0)} that are free" if is_large else ""
        say(f"Warning: {what}: about {in_time(seconds)}{room}. Ctrl-C stops it. To make it less, use {less}.")
    elif seconds > SAID_S:
        place = "" if folder is None else f", into {folder}"
        say(f"{what}: about {in_time(seconds)}{place}. Ctrl-C stops it.")


def memory_of_flight(episodes: int, aircraft: int, steps: float) -> float:
    """Return the bytes of memory that episodes take which are flown at once, at least; of 0 steps none are kept."""
    pairs = float(episodes) * aircraft * min(aircraft, PAIRED)
    return rows_of(episodes, aircraft, steps) * BYTES_FLOWN + pairs * BYTES_OF_PAIR


def rows_of(episodes: int, aircraft: int, steps: float) -> float:
    """Return how many rows episodes come to in which each aircraft flies so many steps."""
    return float(episodes) * aircraft * steps


def free_bytes(folder: Path) -> int | None:
    """Return how much is free on the disk that a folder is on or will be; None where that cannot be known."""
    with suppress(OSError, ValueError):  # the folder one is in may be gone
        place = folder.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free
    return None


def in_bytes(count: float) -> str:
    """Return a number of bytes for people: `1.4 TB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def in_time(seconds: float) -> str:
    """Return a time for people, in one unit: `3 days`."""
    for unit, length in (("years", 365.25 * 86_400), ("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} seconds"
