"""Compiling: which functions numba compiles, and where it keeps what it has compiled.

Strict arithmetic: no fast-math, so products and sums are neither reassociated nor fused. Without numba the same
functions run as plain Python, with the same bits, but too slowly to fly.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

numba: Any = None
REASON = ""
"""Why nothing can be compiled here; "" where it can."""
try:
    numba = import_module("numba")
except Exception as error:  # not installed, or not for this processor, Python or NumPy
    REASON = f"{type(error).__name__}: {error}".splitlines()[0]

Function = TypeVar("Function", bound=Callable[..., Any])
_STRICT: dict[str, Any] = {
    "fastmath": False,
    "error_model": "numpy",
}  # x / 0 is infinite, as in IEEE 754
_ROOT = Path(__file__).parents[2]
_COMPILED = (
    "collect/arithmetic/*.py",
    "collect/kernels/*.py",
    "collect/teachers/rules.py",
    "collect/airspace/units.py",
    "datasets/traffic/record.py",
)
"""All that is compiled, and the constants in it."""


def inner(function: Function) -> Function:
    """Compile a function for others that are compiled; Python cannot call it."""
    if numba is None:
        return function
    made: Function = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_STRICT)(function)
    return made


def entry(function: Function) -> Function:
    """Compile a function when it is first called, and keep what was compiled for the next process."""
    if numba is None:
        return function
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = before or _cache_folder()
    try:
        made: Function = numba.njit(cache=bool(numba.config.CACHE_DIR), **_STRICT)(function)
    except RuntimeError:  # the user's NUMBA_CACHE_DIR cannot be written
        made = numba.njit(**_STRICT)(function)
    finally:
        numba.config.CACHE_DIR = before
    return made


def is_kept(function: Callable[..., Any]) -> bool:
    """Return whether an entry is compiled already, in this process or in the cache."""
    name = function.__name__
    path = Path(function.stats.cache_path or os.devnull)  # type: ignore[attr-defined]
    return bool(function.signatures) or any(path.glob(f"*.{name}-*.nbc"))  # type: ignore[attr-defined]


@cache
def _cache_folder() -> str:
    """Return where compiled code is kept; "" where no folder can be written.

    numba compiles again when a function's own file has changed, but not when a file has that it calls into. So the
    folder's name holds the hash of all that is compiled.
    """
    digest = hashlib.sha256()
    for path in sorted(each for pattern in _COMPILED for each in _ROOT.glob(pattern)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for folder in (Path(__file__).parent / "__pycache__", _user_cache() / "skyclone"):
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder / name, os.W_OK):
            return str(folder / name)
    return ""


def _user_cache() -> Path:
    """Return the user's folder for what can be made again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
