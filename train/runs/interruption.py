"""Ctrl-C at a moment that suits: remembered, and acted on between two batches."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interruption:
    """Whether Ctrl-C was pressed.

    Attributes:
        is_wanted: True from then on.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        self._before: Any = None  # who answered Ctrl-C before

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Remember the first Ctrl-C; the second one stops at once, in the way of who answered before."""
        if not self.is_wanted:
            self.is_wanted = True
        elif callable(self._before):
            self._before(number, frame)
        else:
            raise KeyboardInterrupt


@contextmanager
def remembered() -> Iterator[Interruption]:
    """Remember Ctrl-C within the block instead of stopping at once; the second one stops at once.

    Only the main thread can receive it; elsewhere nothing is changed. Neither is it where SIGINT is ignored, as
    in a background job of a script: by POSIX custom a Ctrl-C in its terminal is not meant for it.
    """
    interruption = Interruption()
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if is_ignored or threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    interruption._before = signal.signal(signal.SIGINT, interruption._note)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, interruption._before)
