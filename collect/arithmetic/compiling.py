"""Compiling: which functions numba compiles, when, and where what it has compiled is kept.

Every function here is plain Python, with the same bits as what it is compiled to, but too slow to fly. The first
call of an `entry` compiles it and all `inner` ones that it calls; importing this package does nothing. Strict
arithmetic: no fast-math, so products and sums are neither reassociated nor fused.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache, update_wrapper
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])

_STRICT = {"fastmath": False, "error_model": "numpy"}  # x / 0 is infinite, as in IEEE 754
_ROOT = Path(__file__).parents[2]
_COMPILED = (
    "collect/arithmetic/*.py",
    "collect/kernels/*.py",
    "collect/teachers/rules.py",
    "collect/airspace/conflicts.py",
    "collect/airspace/units.py",
    "datasets/traffic/record.py",
)
"""All that is compiled, and the constants in it."""
_inner: dict[FunctionType, Any] = {}  # and what numba makes of each, once that is needed
_failures: list[str] = []  # of the compiler, in this process


def why_not() -> str:
    """Return why nothing is compiled here, "" where functions are: known at the latest when one was called."""
    return _failures[0] if _failures else _numba()[1]


@cache
def _numba() -> tuple[Any, str]:
    """Return numba, or None and why not."""
    try:
        numba = import_module("numba")
    except Exception as error:  # not installed, or not for this processor, Python or NumPy
        return None, _first_line(error)
    return (None, "NUMBA_DISABLE_JIT is set") if numba.config.DISABLE_JIT else (numba, "")


def _first_line(error: Exception) -> str:
    """Return what an error says, in a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def inner(function: Function) -> Function:
    """Mark a function that is compiled together with those that call it."""
    assert isinstance(function, FunctionType)
    _inner[function] = None
    return function


def entry(function: Callable[Arguments, Result]) -> "Entry[Arguments, Result]":
    """Make a function that is compiled when it is first called, and kept for the next process."""
    return Entry(function)


class Entry(Generic[Arguments, Result]):
    """A function that Python calls; where nothing can be compiled it runs as it is written.

    Attributes:
        plain: The function as it is written.
    """

    def __init__(self, function: Callable[Arguments, Result]) -> None:
        assert isinstance(function, FunctionType)
        self.plain = function
        self._made: Any = None
        update_wrapper(self, function)

    def __call__(self, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        """Call it; all arguments by place."""
        if self._made is None:
            self._made = self._make(arguments)
        result: Result = (self.plain if why_not() else self._made)(*arguments, **named)
        return result

    def _make(self, arguments: tuple[Any, ...]) -> Any:
        """Compile it for arguments like these, or note why that fails."""
        if why_not():
            return self.plain
        signature = tuple(map(_numba()[0].typeof, arguments))
        for folder in dict.fromkeys((cache_folder(), "")):  # without one, should what lies there be damaged
            try:
                made = _with_inner(self.plain, folder)
                made.compile(signature)
                return made
            except Exception as error:
                reason = _first_line(error)
        _failures.append(reason)
        return self.plain

    @property
    def is_kept(self) -> bool:
        """Whether it need not be compiled any more, in this process or in any on this machine."""
        names = Path(cache_folder() or os.devnull).glob(f"*/*.{self.plain.__name__}-*")
        return self._made is not None or {".nbi", ".nbc"} <= {path.suffix for path in names}


def _with_inner(function: FunctionType, folder: str | None) -> Any:
    """Return what numba compiles of a function, those that it calls included.

    Args:
        function: It is left as it is; a copy calls the compiled ones.
        folder: Where an entry is kept, "" for nowhere; None for an inner one.
    """
    numba = _numba()[0]
    around = dict(function.__globals__)
    for name in function.__code__.co_names:
        called = around.get(name)
        if isinstance(called, FunctionType) and called in _inner:
            _inner[called] = around[name] = _inner[called] or _with_inner(called, None)
    copy = FunctionType(function.__code__, around, function.__name__)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    if folder is None:
        return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_STRICT)(copy)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = folder
    try:
        return numba.njit(cache=bool(folder), **_STRICT)(copy)
    finally:
        numba.config.CACHE_DIR = before


@cache
def cache_folder() -> str:
    """Return where compiled code is kept; "" where no folder can be written.

    numba compiles again when a function's own file has changed, but not when a file has that it calls into. So the
    folder's name holds the hash of all that is compiled, and of what it is compiled for.
    """
    name = f"kernels-{_hash()}"
    for parent in _parents():
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(parent / name, os.W_OK):
            return str(parent / name)
    return ""


def _hash() -> str:
    """Return the hash of what is compiled, of numba and Python, and of the processor that it is compiled for."""
    numba, llvm = _numba()[0], import_module("llvmlite.binding")
    digest = hashlib.sha256()
    processor = numba.config.CPU_NAME or llvm.get_host_cpu_name()
    features = numba.config.CPU_FEATURES
    features = llvm.get_host_cpu_features().flatten() if features is None else features
    digest.update(f"{sys.version} {numba.__version__} {processor} {features}".encode())
    for path in sorted(each for pattern in _COMPILED for each in _ROOT.glob(pattern)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _parents() -> list[Path]:
    """Return where the folder may be: where the user says, else beside the code or in the user's cache."""
    if chosen := _numba()[0].config.CACHE_DIR:
        return [Path(chosen)]
    beside = Path(__file__).parent / "__pycache__"
    try:
        return [beside, _user_cache() / "skyclone"]
    except RuntimeError:  # there is no home
        return [beside]


def _user_cache() -> Path:
    """Return the user's folder for what can be made again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
