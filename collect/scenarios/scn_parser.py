"""One BlueSky scenario file as a scenario: its commands, in BlueSky's order, become a layout.

Read are aircraft (CRE, CRECONFS), their routes (DEST, ORIG, ADDWPT, ADDWAYPOINTS, AFTER, BEFORE, DELWPT, DELRTE,
DIRECT), places (DEFWPT), areas (AREA, POLY, POLYALT, BOX, CIRCLE, GEOFENCE), WIND, and what brings in other
commands (PCALL, CALL, IC, SCHEDULE, DELAY, CRECMD). What BlueSky skips is skipped; a warning names everything else.
What cannot be flown here is an error with its line.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...datasets.errors import ConfigurationError
from .scn import areas, flights
from .scn.arguments import seconds
from .scn.commands import Command, Queue, Skipped, called, commands_of, gather, moved, next_word, text_of, words_of
from .scn.laying_out import ScenarioFile as ScenarioFile
from .scn.laying_out import lay_out
from .scn.state import State

_COMMANDS = {**flights.COMMANDS, **areas.COMMANDS}
_DEEPEST = 16
_ALIASES = {
    "CREATE": "CRE",
    "POLYGON": "POLY",
    "WPTYPE": "ADDWPT",
    "DIRECTTO": "DIRECT",
    "DIRTO": "DIRECT",
    "DELROUTE": "DELRTE",
    "DELWP": "DELWPT",
    "DELETE": "DEL",
    "SPEED": "SPD",
    "HEADING": "HDG",
    "TURN": "HDG",
    "CALL": "PCALL",
    "LOAD": "IC",
    "OPEN": "IC",
    **dict.fromkeys(("CLOSE", "END", "EXIT", "Q", "STOP"), "QUIT"),
}
_UNREADABLE = {
    "MCRE": "makes aircraft at random",
    "SYN": "makes aircraft by a plugin",
    "SYNTHETIC": "makes aircraft by a plugin",
    "TRAFGEN": "makes aircraft by a plugin",
    "OPENSKY": "brings in the traffic of the hour",
    "NEAR": "holds another command",
    "INSIDE": "holds another command",
    "WITH": "holds another command",
}
"""Commands without which it is another scenario."""


def read(path: Path) -> ScenarioFile:
    """Read one .scn file, and those that it calls.

    Raises:
        ConfigurationError: It is no scenario that can be flown; says in which line and why.
    """
    reader = _Reader(path, gather(path))
    reader.run()
    return lay_out(path, reader.state, reader.warnings())


class _Reader:
    """Runs the commands of one file, in order of time."""

    def __init__(self, path: Path, contents: dict[Path, bytes]) -> None:
        self.path, self.contents = path, contents
        self.state = State()
        self.skipped: list[str] = []
        self.queue = Queue(self._load(path))
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self.at_creation: list[str] = []
        self._controls: dict[str, Callable[[Command, str], None]] = {
            "PCALL": self._pcall,
            "IC": self._ic,
            "RESET": self._reset,
            "SCHEDULE": self._schedule,
            "DELAY": self._delay,
            "CRECMD": self._crecmd,
            "CLRCRECMD": self._clrcrecmd,
        }

    def _load(self, path: Path) -> list[Command]:
        """Return the commands of a file."""
        commands, skipped = commands_of(path, text_of(self.contents[path]))
        self.skipped += skipped
        return commands

    def run(self) -> None:
        """Run all commands."""
        while command := self.queue.next():
            try:
                if self._run(command):
                    break
            except Skipped as error:
                where = "" if command.path == self.path else f"{command.path.name}, "
                self.skipped.append(f"{where}line {command.line}: '{command.text[:60]}' ({error})")

    def _run(self, command: Command) -> bool:
        """Run one command, and return whether it was the last one."""
        word, rest = next_word(command.text)
        name = _ALIASES.get(word.upper(), word.upper())
        known = name in self._controls or name in _COMMANDS or name in _UNREADABLE
        if not known and word.upper() in self.state.flying:  # KL204 DEST ... is DEST KL204 ...
            following, rest = next_word(rest)
            name = _ALIASES.get(following.upper(), following.upper()) or "POS"
            rest = f"{word.upper()} {rest}"
        if name == "QUIT" or (name in ("IC", "RESET") and self._has_begun(command)):
            if self.queue.next():
                self.notes.append(f"{name} at {command.time_s:g} s ends the scenario; the rest is left out")
            return True
        if name in _UNREADABLE:
            raise ConfigurationError(
                f"{command.where}: {name} brings in traffic or commands that are not in this file: it "
                f"{_UNREADABLE[name]}. Write each aircraft as CRE callsign,type,lat,lon,hdg,alt,spd."
            )
        if name in self._controls:
            self._controls[name](command, rest)
        elif name in _COMMANDS:
            self._order(name, rest, command)
        else:
            self.left_out[name] += 1
        return False

    def _order(self, name: str, rest: str, command: Command) -> None:
        """Let a command make what it makes."""
        before, self.state.now = len(self.state.aircraft), command
        try:
            _COMMANDS[name](self.state, words_of(rest))
        except ConfigurationError as error:
            raise ConfigurationError(f"{command.where}: {_printable(str(error))}") from None
        for each in self.state.aircraft[before:]:
            orders = [replace(command, text=f"{each.name} {text}") for text in self.at_creation]
            self.queue.add(orders, is_first=False)

    def _has_begun(self, command: Command) -> bool:
        """Return whether traffic has flown before a command."""
        self.state.now = command
        return any(self.state.has_flown(each) for each in self.state.aircraft)

    def _pcall(self, command: Command, rest: str) -> None:
        """PCALL file [REL/ABS] arguments; or callsign file arguments."""
        words = words_of(rest)
        if len(words) > 1 and words[0].upper() in self.state.flying:
            words[:2] = [words[1], words[0]]
        if not words or not words[0]:
            raise Skipped("expected the name of a file")
        is_relative = True
        if words[1:2] in (["REL"], ["ABS"]):
            is_relative = words.pop(1) == "ABS"
            if command.time_s:
                self.notes.append(
                    f"line {command.line}: BlueSky 1.1.1 takes ABS for relative times, and REL for absolute ones"
                )
        found = self._called(command, words[0])
        commands = moved(found, command.time_s if is_relative else 0.0, words[1:], command.depth + 1)
        due = [replace(each, time_s=command.time_s) for each in commands if each.time_s <= command.time_s]
        self.queue.add([*due, *(each for each in commands if each.time_s > command.time_s)], is_first=True)

    def _called(self, command: Command, name: str) -> list[Command]:
        """Return the commands of a file that a command calls."""
        path = called(command, name, self.path)
        if path is None:
            raise Skipped("there is no such file")
        if path not in self.contents:
            raise ConfigurationError(f"{command.where}: expected the name of a file, got an argument of a file.")
        if command.depth >= _DEEPEST:
            raise ConfigurationError(
                f"{command.where}: expected files that call each other at most {_DEEPEST} deep. One calls itself?"
            )
        return self._load(path)

    def _ic(self, command: Command, rest: str) -> None:
        """IC file: that one instead."""
        commands = self._called(command, words_of(rest)[0] if rest else "")
        self._reset(command, "")
        self.queue.add(moved(commands, command.time_s, [], command.depth + 1), is_first=False)

    def _reset(self, command: Command, rest: str) -> None:
        """RESET: everything anew; what is due now is still done."""
        self.state, self.at_creation = State(), []
        self.queue.keep_until(command.time_s)

    def _schedule(self, command: Command, rest: str) -> None:
        """SCHEDULE time command."""
        time, text = next_word(rest)
        self.queue.add([replace(command, time_s=max(seconds(time), command.time_s), text=text)], is_first=False)

    def _delay(self, command: Command, rest: str) -> None:
        """DELAY time command."""
        time, text = next_word(rest)
        due_s = command.time_s + max(seconds(time), 0.0)
        self.queue.add([replace(command, time_s=due_s, text=text)], is_first=False)

    def _crecmd(self, command: Command, rest: str) -> None:
        """CRECMD command: for each aircraft after its creation."""
        self.at_creation.append(rest)

    def _clrcrecmd(self, command: Command, rest: str) -> None:
        """CLRCRECMD: no commands after creations."""
        self.at_creation.clear()

    def warnings(self) -> list[str]:
        """Return what was skipped and left out."""
        said = list(dict.fromkeys(self.notes))
        if self.skipped:
            more = f"; and {len(self.skipped) - 5} more" if len(self.skipped) > 5 else ""
            said.append(f"skipped, as BlueSky does: {'; '.join(map(_printable, self.skipped[:5]))}{more}")
        if any(name.startswith("%") for name in self.left_out):
            said.append("%0 stands for an argument: other files call this one")
        for text, counts in (
            ("left out, so they fly on without it", self.state.left_out),
            ("left out", self.left_out),
        ):
            names = [
                f"{_printable(name[:30])} ({count}x)" if count > 1 else _printable(name[:30])
                for name, count in counts.items()
            ]
            if len(names) > 40:
                names[40:] = [f"and {len(names) - 40} more"]
            if names:
                said.append(f"{text}: {', '.join(names)}")
        return said


def _printable(text: str) -> str:
    """Return a text of a file for a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
