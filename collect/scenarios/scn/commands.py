"""BlueSky's scenario files as commands: lines, times, several commands on a line, and the files that they call.

What BlueSky makes of a line was read from its own reader (bluesky/stack/simstack.py and argparser.py, 1.1.1).
"""

import heapq
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ....datasets.config import shown
from ....datasets.errors import ConfigurationError
from ....datasets.files.storage import read as read_bytes
from ....datasets.files.storage import size_of

MOST_S = 1e9
"""The latest time: 30 years."""
_SHORTEST = 10  # characters; BlueSky skips shorter lines
_MOST_FILES = 1000
_MOST_COMMANDS = 1_000_000
_MOST_BYTES = 16 * 2**20
_WORD = re.compile(r"""\s*(?:'([^'"]*)['"]?|"([^'"]*)['"]?|([^\s,]*))\s*,?\s*""")
_CALL = re.compile(r"\b(?:P?CALL|IC|LOAD|OPEN)\b([^;#\n]*)", re.IGNORECASE)


class Skipped(ValueError):
    """BlueSky skips this command, and says why."""


@dataclass(frozen=True)
class Command:
    """A command of a scenario file.

    Attributes:
        time_s: When it is due.
        text: The command, without its time.
        path: Its file.
        line: Its line, from 1.
        depth: How many calls of files lead to it.
    """

    time_s: float
    text: str
    path: Path
    line: int
    depth: int = 0

    @property
    def where(self) -> str:
        """Where it stands, for a message."""
        return f"{self.path}, line {self.line}"


def text_of(data: bytes) -> str:
    """Return the text of a file: UTF-8 with or without a byte-order mark, else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def commands_of(path: Path, text: str) -> tuple[list[Command], list[str]]:
    r"""Return the commands of a file as they stand there, and what is wrong with the lines that BlueSky skips.

    A line that ends in \ goes on in the next.
    """
    found: list[Command] = []
    skipped: list[str] = []
    held: list[str] = []
    first = 0
    for number, raw in enumerate(re.split("\r\n|\r|\n", text), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if len(line) < _SHORTEST and not held:
            if ">" in line:
                skipped.append(f"line {number}: shorter than {_SHORTEST} characters")
            continue
        first = first if held else number
        if line.endswith("\\"):
            held.append(line[:-1].strip() + " ")
            continue
        line = "".join((*held, line))
        held.clear()
        line = line.split("#")[0].strip()
        stamp, arrow, rest = line.partition(">")
        time_s = _time_s(stamp) if arrow else math.nan
        if math.isnan(time_s):
            skipped.append(f"line {first}: expected 00:00:00.00>COMMAND, got '{line[:60]}'")
            continue
        found += [Command(time_s, each.strip(), path, first) for each in rest.strip().split(";") if each.strip()]
    return found, skipped


def _time_s(stamp: str) -> float:
    """Return the time of a line, NaN if it has none."""
    parts = stamp.strip().split(":")
    try:
        time_s = int(parts[0]) * 3600.0 + int(parts[1]) * 60.0 + float(parts[2])
    except (ValueError, IndexError, OverflowError):
        return math.nan
    return max(time_s, 0.0) if time_s <= MOST_S else math.nan


def next_word(text: str) -> tuple[str, str]:
    """Return the first word of a text, and the rest; a comma or spaces divide, two commas hold an empty word."""
    found = _WORD.match(text)
    assert found
    return found[1] or found[2] or found[3] or "", text[found.end() :]


def words_of(text: str) -> list[str]:
    """Return all words of a text, empty ones included."""
    words, place = [], len(text) - len(text.lstrip())
    while place < len(text):
        found = _WORD.match(text, place)
        assert found
        words.append(found[1] or found[2] or found[3] or "")
        place = found.end()
    return words


class Queue:
    """The commands that are yet to come, in order of time."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._coming: list[tuple[float, int, Command]] = []  # a heap; of those of one time, the lowest rank first
        self._first = self._last = self._count = 0
        self.add(commands, is_first=False)

    def next(self) -> Command | None:
        """Take the next command, None after the last one."""
        return heapq.heappop(self._coming)[2] if self._coming else None

    def add(self, commands: Iterable[Command], is_first: bool) -> None:
        """Add commands, before those of the same time that are there, or after them."""
        added = list(commands)
        self._count += len(added)
        if self._count > _MOST_COMMANDS:
            raise ConfigurationError(f"expected at most {_MOST_COMMANDS:,} commands with those of called files.")
        if is_first:
            self._first -= len(added)
        rank = self._first if is_first else self._last
        for place, command in enumerate(added):
            heapq.heappush(self._coming, (command.time_s, rank + place, command))
        if not is_first:
            self._last += len(added)

    def keep_until(self, time_s: float) -> None:
        """Drop what comes later."""
        self._coming = sorted(each for each in self._coming if each[0] <= time_s)


def gather(path: Path) -> dict[Path, bytes]:
    """Return the contents of a file and of all files that it may call, those it may call included.

    Raises:
        ConfigurationError: One cannot be read, is no regular file, or too large.
    """
    contents: dict[Path, bytes] = {}
    coming = [path]
    while coming:
        each = coming.pop()
        if each in contents:
            continue
        if len(contents) >= _MOST_FILES:
            raise ConfigurationError(f"{path}: expected at most {_MOST_FILES} files that call each other.")
        contents[each] = _read(each)
        if sum(map(len, contents.values())) > _MOST_BYTES:
            raise ConfigurationError(f"{path}: expected at most {_MOST_BYTES // 2**20} MB with the files it calls.")
        for match in _CALL.finditer(text_of(contents[each])):
            coming += [found for name in words_of(match[1])[:2] if (found := _beside(path, each, name))]
    return contents


def called(command: Command, name: str, root: Path) -> Path | None:
    """Return the file that a command calls, None if there is none.

    A file is sought beside the one that calls it; then, where both lie below a folder named `scenario`, from there
    on, as BlueSky does.

    Raises:
        ConfigurationError: The name leads out of the folder of the scenario.
    """
    if _leads_out(name):
        raise ConfigurationError(
            f"{command.where}: expected the name of a file in the scenario's folder or below, got "
            f"{shown(name)}. Put the file beside the scenario."
        )
    return _beside(root, command.path, name)


def _leads_out(name: str) -> bool:
    """Return whether a name is absolute, or climbs."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(re.match("[A-Za-z]:", name)) or name.startswith("~")


def _beside(root: Path, caller: Path, name: str) -> Path | None:
    """Return the file of a name as seen from the one that calls it, if it is in the scenario's folder."""
    if not name.strip() or _leads_out(name) or "\0" in name or len(name) > 255:
        return None
    above = next((each for each in caller.absolute().parents if each.name.lower() == "scenario"), None)
    for folder in (caller.parent, above):
        if folder is None:
            continue
        allowed = (above or root.absolute().parent).resolve()
        wanted = folder / name.replace("\\", "/")
        for suffix in (".scn", ".SCN"):
            try:
                found = wanted.with_suffix(suffix)
                if found.exists() and found.resolve().is_relative_to(allowed):
                    return found
            except (ValueError, OSError):
                return None
    return None


def _read(path: Path) -> bytes:
    """Return the contents of a regular file of a reasonable size."""
    try:
        size = size_of(path)
        if size > _MOST_BYTES:
            raise ConfigurationError(
                f"{path}: expected at most {_MOST_BYTES // 2**20} MB, got {size / 2**20:,.0f}."
            )
        return read_bytes(path, size)
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a text file of BlueSky commands: {error}") from None


def moved(commands: Iterable[Command], by_s: float, arguments: list[str], depth: int) -> list[Command]:
    """Return the commands of a called file: later by some time, with its arguments instead of %0, %1 and so on."""
    made = []
    for command in commands:
        text = command.text
        for number, argument in enumerate(arguments):
            text = text.replace(f"%{number}", argument)
        made.append(replace(command, time_s=command.time_s + by_s, text=text, depth=depth))
    return made
