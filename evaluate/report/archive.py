"""The archive of an evaluation, `recording.json`: all that its report is made of, so that nothing is flown again.

The file is a JSON object with `format`, `version`, `sha256` (of `report`, as `_text` writes it) and `report`: the
fields of `content.Report` and of what it holds, by name. A number that is not finite is "nan", "inf" or "-inf", an
array its shape and its float64s, little-endian, in base64.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from jinja2 import UndefinedError

from ...datasets.config import Config, fields_of
from ...datasets.errors import SkycloneError
from .content import Report

FORMAT, VERSION = "skyclone recording", 1
NAME = "recording.json"
MARK = b'"skyclone recording"'
"""The beginning of each archive."""


_CONTRADICTIONS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UndefinedError)
"""What meets parts of a report that contradict each other: names that are no contender's, cut lists."""


class ArchiveError(SkycloneError):
    """An archive is missing, damaged, or of another version."""


def encode(value: Any) -> Any:
    """Return a value as JSON: dataclasses and named tuples by field, arrays and numbers as this module says."""
    if isinstance(value, float) and not isfinite(value):
        return str(float(value))
    if isinstance(value, np.ndarray):
        text = base64.b64encode(np.ascontiguousarray(value, "<f8").tobytes()).decode()
        return {"shape": list(value.shape), "float64": text}
    if is_dataclass(value) or hasattr(value, "_fields"):
        return {name: encode(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return {str(key): encode(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [encode(part) for part in value]
    return value


def decode(kind: Any, data: Any, where: str = "report") -> Any:
    """Return what `encode` made JSON of.

    Dataclasses are restored field by field and not checked anew: a scenario's file or BlueSky, which flying
    needed, may be gone.

    Args:
        kind: Its type, with type arguments.
        data: The JSON.
        where: Its place, for errors.

    Raises:
        ArchiveError: The data do not have that type.
    """
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return data
    if origin is UnionType:
        if data is None and NoneType in arguments:
            return None
        return decode(next(each for each in arguments if each is not NoneType), data, where)
    if origin is dict:
        items = _expect(dict, data, where).items()
        return {key: decode(arguments[1], part, f"{where}.{key}") for key, part in items}
    if origin in (list, tuple):
        parts = _expect(list, data, where)
        kinds = arguments if origin is tuple and Ellipsis not in arguments else arguments[:1] * len(parts)
        if len(kinds) != len(parts):
            raise ArchiveError(f"{where}: expected {len(kinds)} entries, got {len(parts)}")
        return origin(
            decode(each, part, f"{where}[{number}]") for number, (each, part) in enumerate(zip(kinds, parts))
        )
    if kind is np.ndarray:
        return _array(_expect(dict, data, where), where)
    if kind is float and data in ("nan", "inf", "-inf"):
        return float(data)
    if kind is float and type(data) is int and abs(data) < 2**1000:
        return float(data)
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _made(kind, _expect(dict, data, where), where)
    return _expect(kind, data, where)


def _made(kind: type, data: dict[str, Any], where: str) -> Any:
    """Return a dataclass or a named tuple."""
    names, hints = _names(kind), _hints(kind)
    later = _later(kind)
    if not set(names) - set(later) <= set(data) <= set(names):
        raise ArchiveError(f"{where}: expected {', '.join(names)}, got {', '.join(data)}")
    parts = {name: decode(hints[name], data[name], f"{where}.{name}") for name in names if name in data}
    parts = {**{name: later[name]() for name in later if name not in data}, **parts}
    if issubclass(kind, tuple):
        return kind(**parts)
    made: Any = object.__new__(kind)
    for name, part in parts.items():
        object.__setattr__(made, name, part)
    return made


def _names(kind: Any) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass or a named tuple."""
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else kind._fields


def _later(kind: Any) -> dict[str, Callable[[], Any]]:
    """Return what makes the defaults of the fields that have come later, by name: an older archive lacks them."""
    if issubclass(kind, Config):
        return {name: partial(deepcopy, fields_of(kind)[name].default) for name in kind.added}
    if not is_dataclass(kind):
        return {name: partial(deepcopy, default) for name, default in kind._field_defaults.items()}
    has = {each.name: each for each in fields(kind) if each.metadata.get("later")}
    return {name: each.default_factory for name, each in has.items() if each.default_factory is not MISSING}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of the fields."""
    return get_type_hints(kind)


def _expect(kind: Any, data: Any, where: str) -> Any:
    """Return the data if they are exactly of that type."""
    if type(data) is not kind:
        raise ArchiveError(f"{where}: expected {kind.__name__}, got {str(data)[:40]!r}")
    return data


def _array(data: dict[str, Any], where: str) -> np.ndarray:
    """Return an array."""
    try:
        raw = base64.b64decode(data["float64"], validate=True)
        return np.frombuffer(raw, "<f8").reshape(data["shape"]).astype(np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"{where}: expected an array's shape and float64s, got {error}") from None


def _text(content: Any) -> str:
    """Return JSON as it is hashed: no spaces, keys in their order."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _digest(content: Any) -> str | None:
    """Return the sha256 of JSON; None if no archive holds such JSON: a number like 1e999, a thousand brackets."""
    try:
        return hashlib.sha256(_text(content).encode()).hexdigest()
    except (ValueError, RecursionError):
        return None


def write(report: Report) -> bytes:
    """Return the file that holds a report's content."""
    content = encode(report)
    file = {"format": FORMAT, "version": VERSION, "sha256": _digest(content), "report": content}
    return _text(file).encode() + b"\n"


def read(folder: Path) -> Report:
    """Return the report whose archive is in a folder.

    Args:
        folder: Where `skyclone evaluate --out` has written.

    Raises:
        ArchiveError: There is none, it is damaged, or another version wrote it.
    """
    path = folder / NAME
    again = "Evaluate again: skyclone evaluate ... --out DIR"
    try:
        data = json.loads(_bytes_of(path), parse_constant=_refuse)
    except (FileNotFoundError, NotADirectoryError):
        raise ArchiveError(
            f"expected {path}, which `skyclone evaluate --out {folder}` writes; there is none. {again}"
        ) from None
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{path} is damaged: expected JSON, got {error}. {again}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ArchiveError(f"{path}: expected the archive of an evaluation, got another file. {again}")
    if data.get("version") != VERSION:
        raise ArchiveError(
            f"{path}: expected version {VERSION} of the archive, got {data.get('version')!r}. Take the skyclone "
            f"that wrote it, or: {again}"
        )
    content = data.get("report")
    if (digest := _digest(content)) is None or digest != data.get("sha256"):
        raise ArchiveError(f"{path} is damaged: what it holds has another sha256 than it says. {again}")
    try:
        report: Report = decode(Report, content)
    except ArchiveError as error:
        raise ArchiveError(f"{path} was written by another skyclone: {error}. {again}") from None
    return report


@contextmanager
def in_agreement(folder: Path) -> Iterator[None]:
    """Do something with a report whose archive is in a folder; that its parts contradict each other is one error.

    Raises:
        ArchiveError: They do.
    """
    try:
        yield
    except _CONTRADICTIONS as error:
        raise ArchiveError(
            f"{folder / NAME}: its parts contradict each other ({error!r:.200}). It was changed, or another "
            "skyclone wrote it. Evaluate again: skyclone evaluate ... --out DIR"
        ) from error


def _bytes_of(path: Path) -> bytes:
    """Return a regular file; of one that is no archive, however large, only the beginning."""
    if path.exists() and not path.is_file():
        raise ArchiveError(f"{path}: expected the archive of an evaluation, got a folder or a device.")
    with open(path, "rb") as file:
        start = file.read(4096)
        return start + (file.read() if MARK in start else b"")


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(f"the constant {constant}")
