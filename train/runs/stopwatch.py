"""Where the time went."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Stopwatch:
    """Adds up wall-clock seconds by name.

    Attributes:
        seconds: Seconds by name, in order of first use; may be given to continue from there.
    """

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a name."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time spent in the block to a name."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def waiting(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, adding the time waited for each to a name."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.add(name, time.perf_counter() - start)
            yield item

    @property
    def total(self) -> float:
        """Sum of all seconds."""
        return sum(self.seconds.values())

    def line(self) -> str:
        """Return one line for people, such as `loading 12.1 s (20 %), saving 0.3 s (0 %)`."""
        whole = self.total or 1.0
        parts = (f"{name} {seconds:.1f} s ({seconds / whole:.0%})" for name, seconds in self.seconds.items())
        return ", ".join(parts)
