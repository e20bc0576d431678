"""JSON files of ours, read with suspicion: of bounded size and depth, UTF-8, numbers that are numbers."""

import hashlib
import json
import math
import stat
from pathlib import Path
from typing import Any

from ..errors import SkycloneError

MOST_BYTES = 64 * 2**20
MOST_DIGITS = 19  # of a whole number within 64 bits


def read_json(path: Path, error: type[SkycloneError], most_bytes: int = MOST_BYTES) -> Any:
    """Return what a JSON file holds.

    Args:
        path: The file.
        error: What is raised where it is no such file.
        most_bytes: A larger one is not read.

    Raises:
        FileNotFoundError: There is none.
        SkycloneError: It is no regular file, too large, or `parse_json` refuses it; of the class `error`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path} is no regular file. Choose another folder.")
    if status.st_size > most_bytes:
        raise error(f"{path} is damaged: expected at most {most_bytes:,} bytes, got {status.st_size:,}.")
    return parse_json(path.read_bytes(), str(path), error)


def hash_of(data: dict[str, Any]) -> str:
    """Return the hash of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()


def parse_json(data: bytes | str, where: str, error: type[SkycloneError]) -> Any:
    """Return what JSON says.

    Args:
        data: The JSON.
        where: Whose it is, for messages.
        error: What is raised where it is none.

    Raises:
        SkycloneError: It is no JSON, too deep, no UTF-8, or holds NaN, infinity, or a whole number beyond 64 bits;
            of the class `error`.
    """
    try:
        text = data.decode() if isinstance(data, bytes) else data
        value = json.loads(text, parse_constant=_refuse, parse_int=_whole, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be written again
    except RecursionError:
        raise error(f"{where} is damaged: its JSON is nested too deeply.") from None
    except UnicodeError:
        raise error(f"{where} is damaged: expected text in UTF-8.") from None
    except ValueError as reason:
        raise error(f"{where} is damaged: expected JSON, got: {reason}.") from None
    return value


def _refuse(constant: str) -> Any:
    """Refuse NaN and infinity, which Python's JSON knows beside the standard's."""
    raise ValueError(f"{constant}, which is no number")


def _whole(text: str) -> int:
    """Return a whole number within 64 bits."""
    value = int(text) if len(text) <= MOST_DIGITS + 1 else 2**64
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"the whole number {text[:20]}..., beyond 64 bits")
    return value


def _finite(text: str) -> float:
    """Return a number that is finite."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]}, which is too large")
    return value
