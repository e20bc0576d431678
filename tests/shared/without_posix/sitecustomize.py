"""A Python that lacks what Windows lacks: lies on PYTHONPATH, so that worker processes start with it as well.

No POSIX modules for skyclone and filelock, no POSIX functions in `os` and `signal`; folders cannot be opened, and a
file that this process has open can be neither renamed nor removed.
"""

import builtins
import os
import shutil
import signal
import sys
import tempfile
from types import ModuleType
from typing import Any

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
OS_NAMES = [
    *(
        "O_NOFOLLOW",
        "O_DIRECTORY",
        "fork",
        "forkpty",
        "getegid",
        "geteuid",
        "getgid",
        "getpgid",
        "getuid",
        "killpg",
    ),
    *("mkfifo", "nice", "sched_getaffinity", "sched_setaffinity", "setpgid", "setsid", "statvfs", "uname"),
]
SIGNAL_NAMES = ["SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM", "pthread_sigmask", "setitimer", "alarm"]

_import, _open, _replace, _rename, _unlink = builtins.__import__, os.open, os.replace, os.rename, os.unlink


def import_(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    asker = str((globals or {}).get("__name__", "")).partition(".")[0]
    if name in MODULES and asker in ("skyclone", "filelock"):
        raise ModuleNotFoundError(f"No module named '{name}' (as on Windows)", name=name)
    return _import(name, globals, locals, fromlist, level)


def open_(path: Any, *arguments: Any, **options: Any) -> int:
    if not isinstance(path, int) and os.path.isdir(path):
        raise PermissionError(13, "Permission denied (a folder, as on Windows)", os.fspath(path))
    return _open(path, *arguments, **options)


def check(*paths: Any) -> None:
    """Raise if this process has one of these files open."""
    for path in paths:
        wanted = os.path.realpath(path)
        for number in os.listdir("/proc/self/fd"):
            if os.path.realpath(f"/proc/self/fd/{number}") == wanted:
                raise PermissionError(13, "The file is open (as on Windows)", os.fspath(path))


def replace(source: Any, target: Any, **options: Any) -> None:
    check(source, target)
    _replace(source, target, **options)


def rename(source: Any, target: Any, **options: Any) -> None:
    check(source, target)
    _rename(source, target, **options)


def unlink(path: Any, **options: Any) -> None:
    if not options:
        check(path)
    _unlink(path, **options)


def hide(module: ModuleType, names: list[str]) -> None:
    """Take names out of a module for skyclone, and leave them to the libraries: they ask `sys.platform`."""
    kept = {name: module.__dict__.pop(name) for name in names if hasattr(module, name)}

    def look_up(name: str) -> Any:
        asker = sys._getframe(1).f_globals.get("__name__", "")
        if name not in kept or asker.partition(".")[0] in ("skyclone", "filelock"):
            raise AttributeError(f"module '{module.__name__}' has no attribute '{name}' (as on Windows)")
        return kept[name]

    module.__dict__["__getattr__"] = look_up


builtins.__import__ = import_
# numba tries with one whether it can write its cache; an open file that has no name any more is POSIX's
tempfile.TemporaryFile = tempfile.NamedTemporaryFile
shutil._use_fd_functions = False  # it opens folders to empty them; it asked before `os.open` was ours
os.open, os.replace, os.rename, os.unlink, os.remove = open_, replace, rename, unlink, unlink
hide(os, OS_NAMES)
hide(signal, SIGNAL_NAMES)
