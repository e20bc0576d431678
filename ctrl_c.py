"""Ctrl-C at any moment is one line and exit code 1; the second one ends the process at once.

Python raises KeyboardInterrupt wherever it is: within an import, libraries swallow it or turn it into other errors;
within numba's compiler it is lost, or LLVM crashes. So there, in a `__del__` (where Python swallows it with a
traceback), and when it comes again, the process ends without any more ado. That loses nothing: whatever skyclone
writes appears whole or not at all, and workers end with their parent.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

MESSAGE = "Interrupted. What was finished is kept; the same command goes on where it can."
EXIT_CODE = 1  # failed, as every other reason to end early

_COMPILER = {"numba", "llvmlite"}

_pressed: list[int] = []  # not empty after the first Ctrl-C
_before: list[Callable[[Any], Any]] = []  # who reported what Python swallows


def install() -> None:
    """Answer Ctrl-C from now on.

    Only the main thread can; where SIGINT is ignored, as in a background job of a script, it stays so.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
        _before.append(sys.unraisablehook)
        sys.unraisablehook = _end_if_swallowed


def uninstall() -> None:
    """Leave Ctrl-C to Python again, for a process that goes on."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = _before.pop()
    _pressed.clear()


def is_over() -> None:
    """From now on the command has ended: Ctrl-C has nothing left to say."""
    _pressed.append(0)


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop in order at the first Ctrl-C; at the second, and within an import or the compiler, at once."""
    is_first = not _pressed
    _pressed.append(number)
    if is_first and not _is_elsewhere(frame):
        raise KeyboardInterrupt
    _end(says=is_first)


def _end_if_swallowed(failure: Any) -> None:
    """End at once if Python has swallowed a Ctrl-C; report anything else as before."""
    if issubclass(failure.exc_type, KeyboardInterrupt):
        _end(says=True)
    _before[-1](failure)


def _end(says: bool) -> None:
    """End this process now."""
    try:
        if says:
            os.write(2, f"{MESSAGE}\n".encode())
    finally:
        os._exit(EXIT_CODE)


def _is_elsewhere(frame: FrameType | None) -> bool:
    """Return whether a module is being imported, or numba compiles or loads what it has compiled."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_filename.startswith("<frozen importlib") or package in _COMPILER:
            return True
        frame = frame.f_back
    return False
