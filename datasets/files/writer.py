"""A dataset's folder while it is being filled: begun or gone on with, healed, and at last complete."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import DatasetError, RecordError, ShardError, StorageError
from .arithmetic import CHOICE, OtherArithmetic, in_words, refusal
from .atomic import clean, is_temporary, locked
from .card import write_card
from .manifest import (
    MANIFEST_NAME,
    SHARD_FOLDER,
    Manifest,
    ShardEntry,
    check_same,
    load_manifest,
    save_manifest,
)
from .shards import ForeignShardError, adopt_shard, check_bytes
from .storage import Folder, sizes

Report = Callable[[str], None]
"""Takes one line for people."""
_FEW = 256
"""Shards: with no more of them the manifest is rewritten after each, which takes a hundredth of a second."""
_PART = 20
"""With more of them, one part in so many of a process' time goes into rewriting it."""


class DatasetWriter:
    """Fills a dataset's folder; what is published in it is whole at every moment.

    The manifest follows the shards: at once while it is small, later now and then, since rewriting that of 34,000
    shards takes seconds. Shards that a killed process has not entered are taken in by whoever goes on.

    Args:
        folder: Where; made if there is none. One that holds the same dataset is gone on with.
        wanted: The manifest of the dataset to be made; its shards do not matter.
        report: Gets what was found and done, one line at a time.
        other_arithmetic: What to do where what there is was made by another arithmetic than the wanted one.
        shards: Which shards are to be made again if that is to make them again; None for all.

    Attributes:
        manifest: What there is by now.

    Raises:
        DatasetError: The folder holds something else, or a dataset made otherwise; nothing is touched.
    """

    def __init__(
        self,
        folder: Folder,
        wanted: Manifest,
        report: Report,
        other_arithmetic: OtherArithmetic = OtherArithmetic.REFUSE,
        shards: range | None = None,
    ) -> None:
        self.folder = folder
        self._here = wanted.arithmetic
        self._other = other_arithmetic
        self._shards = shards
        self._report = report
        self._waiting: list[ShardEntry] = []  # published, but not in the manifest yet
        self._due = time.monotonic()  # when they are entered
        try:
            _check_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                self.manifest = self._begin(replace(wanted, shards=()))
            (folder / SHARD_FOLDER).mkdir(exist_ok=True)
            removed = clean(folder) + clean(folder / SHARD_FOLDER)
        except OSError as error:
            raise cannot_write(folder, error) from None
        if removed:
            report(f"Removed {removed} unfinished file(s) of a run that was broken off.")

    def _begin(self, wanted: Manifest) -> Manifest:
        """Write the first manifest, or check and continue the one that exists."""
        if not (self.folder / MANIFEST_NAME).exists():
            save_manifest(self.folder, wanted)
            return wanted
        found = load_manifest(self.folder)
        check_same(self.folder, found, replace(wanted, arithmetic=found.arithmetic))
        if self._other is OtherArithmetic.REMAKE and {found.arithmetic, *found.arithmetics} != {self._here}:
            found = self._remake(found, wanted)
        if found.episodes == wanted.episodes:
            return found
        first = wanted.shard_name(found.episodes // wanted.episodes_per_shard)
        self._check_here(found, {first: found.arithmetic})
        grown = found.with_episodes(wanted.episodes)
        self._report(
            f"Extending the dataset from {found.episodes} to {wanted.episodes} episodes; "
            f"{len(grown.shards)} shards are kept."
        )
        if len(grown.shards) < len(found.shards):
            self._report(f"Shard {found.shards[-1].name} was short and is made again with more episodes.")
        save_manifest(self.folder, grown)
        return grown

    def _remake(self, found: Manifest, wanted: Manifest) -> Manifest:
        """Write the manifest without the shards of another arithmetic that are wanted, which then are missing.

        Those that are not wanted stay, marked: the dataset's arithmetic is this machine's from now on.
        """
        numbers = self._shards if self._shards is not None else range(found.shard_count)
        shards, dropped = [], 0
        for entry in found.shards:
            index = entry.first_episode // found.episodes_per_shard
            made_by = found.arithmetic_of(index)
            if made_by != self._here and index in numbers:
                dropped += 1
            else:
                shards.append(replace(entry, arithmetic="" if made_by == self._here else made_by))
        if dropped:
            self._report(
                f"{dropped} shard(s) were made by another arithmetic than this machine's, "
                f"{in_words(self._here)}, and are made again."
            )
        remade = replace(
            found, shards=tuple(shards), arithmetic=self._here, code=wanted.code, packages=dict(wanted.packages)
        )
        if remade != found:
            save_manifest(self.folder, remade)
        return remade

    def _check_here(self, manifest: Manifest, shards: dict[str, str]) -> None:
        """Raise if shards, by name and arithmetic, may not be made by this machine's."""
        others = {name: each for name, each in shards.items() if each != self._here}
        if others and self._other is not OtherArithmetic.KEEP:
            made_by = next(iter(others.values()))
            raise DatasetError(f"{self.folder}: {refusal(made_by, self._here, list(others))}")

    def missing(self, shards: Iterable[int]) -> list[int]:
        """Return which of these shards have to be made, after a check of every byte of the others.

        A sound shard without an entry is taken in; a damaged one counts as missing.

        Raises:
            DatasetError: A file bears the name of a shard but belongs to another dataset; or shards have to be
                made, and this machine's arithmetic is not theirs.
        """
        names = set(sizes(self.folder / SHARD_FOLDER))
        absent: dict[int, str] = {}
        outcome = ""  # unless it is refused
        try:
            for index in shards:
                if (why := self._lacks(index, names)) is not None:
                    absent[index] = why
            self._enter()
            named = {self.manifest.shard_name(index): self.manifest.arithmetic_of(index) for index in absent}
            self._check_here(self.manifest, named)
            outcome = " It is made again."
        finally:
            for why in filter(None, absent.values()):
                self._report(f"{why}{outcome}")
        return list(absent)

    def _lacks(self, index: int, names: set[str]) -> str | None:
        """Return why a shard has to be made, "" if there is none; None where it is there, taken in perhaps."""
        entry, name = self.manifest.entry(index), self.manifest.shard_name(index)
        if entry is not None:
            try:
                check_bytes(self.folder, entry)
            except DatasetError as error:
                return f"Shard {name} is {error}."
            return None
        return self._take_in(index) if name in names else ""

    def _take_in(self, index: int, is_end: bool = False) -> str | None:
        """Enter a shard that has no entry yet, if it is sound; else return why it has to be made.

        Args:
            index: Its number.
            is_end: Nothing is made any more: one of another arithmetic is left to the process that makes it.
        """
        name = self.manifest.shard_name(index)
        try:
            entry = adopt_shard(self.folder, self.manifest, index)
        except ForeignShardError as error:
            path = self.folder / SHARD_FOLDER / name
            raise DatasetError(
                f"{path} is not of this dataset: {error.message}. Move it out of the folder."
            ) from None
        except (DatasetError, RecordError) as error:
            return f"Shard {name} has no entry and cannot be used ({error})."
        if entry.arithmetic and is_end and self._other is not OtherArithmetic.KEEP:
            return ""
        if entry.arithmetic and self._other is OtherArithmetic.REFUSE:
            raise self._unasked(entry)
        if entry.arithmetic and self._other is OtherArithmetic.REMAKE:
            return f"Shard {name} was made by {in_words(entry.arithmetic)}."
        self.add(entry)
        marked = f", marked as made by {in_words(entry.arithmetic)}" if entry.arithmetic else ""
        self._report(f"Shard {name} had no entry in the manifest; it is sound and was taken in{marked}.")
        return None

    def _unasked(self, entry: ShardEntry) -> DatasetError:
        """Return the error that a shard of another arithmetic must not be mixed in unless that is asked for."""
        return DatasetError(
            f"{self.folder / SHARD_FOLDER / entry.name} has no entry, and its rows were made by "
            f"{in_words(entry.arithmetic)}, those of the dataset by {in_words(self.manifest.arithmetic)}. "
            f"It was left alone. {CHOICE}; or move it out of the folder."
        )

    def add(self, entry: ShardEntry) -> None:
        """Enter a published shard into the manifest, now or a little later; `finish` and `clean` enter what waits.

        Raises:
            DatasetError: The manifest has meanwhile become that of another dataset, or cannot be written.
        """
        self._waiting.append(entry)
        if len(self.manifest.shards) < _FEW or time.monotonic() >= self._due:
            self._enter()

    def _enter(self) -> None:
        """Enter the shards that wait.

        Where several processes make the same shard by different arithmetics, the last one to publish it has it: the
        entries of all others are left out.
        """
        if not self._waiting:
            return
        start = time.monotonic()
        refused, lines = [], []
        try:
            with locked(self.folder):
                found = load_manifest(self.folder)  # other processes may have added theirs
                check_same(self.folder, found, self.manifest)
                entered = {}
                for entry in self._waiting:
                    before = found.entry(entry.first_episode // found.episodes_per_shard)
                    if self._is_unasked(found, entry):
                        refused.append(entry)
                    elif self._is_anothers(before, entry):
                        lines.append(
                            f"Shard {entry.name} was made by another process, too, with other rows; those stay."
                        )
                    else:
                        entered[entry.name] = entry
                        lines += [_remade(entry)] if _differ(before, entry) else []
                self.manifest = found.with_shards(entered.values())
                if entered:
                    save_manifest(self.folder, self.manifest)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        self._waiting = []
        end = time.monotonic()
        self._due = end + _PART * (end - start)
        for line in lines:
            self._report(line)
        if refused:
            raise self._unasked(refused[0])

    def _is_unasked(self, found: Manifest, entry: ShardEntry) -> bool:
        """Return whether a shard was made by another arithmetic, and is not to be mixed in."""
        index = entry.first_episode // found.episodes_per_shard
        is_mixed = self._other is OtherArithmetic.KEEP
        return bool(entry.arithmetic) and entry.arithmetic != found.arithmetic_of(index) and not is_mixed

    def _is_anothers(self, before: ShardEntry | None, entry: ShardEntry) -> bool:
        """Return whether the file that lies there by now was made by another process, with other rows."""
        is_mixed = self._other is OtherArithmetic.KEEP
        return (is_mixed or _differ(before, entry)) and not self._is_published(entry)

    def _is_published(self, entry: ShardEntry) -> bool:
        """Return whether the file of a shard is the one that the entry describes."""
        try:
            check_bytes(self.folder, entry)
        except ShardError:
            return False
        return True

    def clean(self) -> None:
        """Enter what waits, if that can be, and remove the unfinished files of processes that are gone."""
        with suppress(DatasetError, StorageError, OSError):
            self._enter()
        with suppress(OSError):
            clean(self.folder / SHARD_FOLDER)

    def finish(self, command: str) -> Manifest:
        """Take in what lost its entry, write the card and return the manifest.

        Where there are no locks, the manifest of one writer may replace that of another. Shards are published
        before their entries, so each of two writers that looks here after its own last entry sees the other's
        shards, and the later one puts back what is missing. A shard of another arithmetic that is not to be mixed
        in is left to the process that makes it.

        Args:
            command: What the user called, for the card.

        Raises:
            DatasetError: A file bears the name of a shard but belongs to another dataset.
        """
        self._enter()
        try:
            tried: set[int] = set()
            while lost := self._without_entry() - tried:
                tried |= lost
                for index in sorted(lost):
                    if why := self._take_in(index, is_end=True):
                        self._report(why)
                self._enter()
            with locked(self.folder):
                self.manifest = load_manifest(self.folder)
                write_card(self.folder, self.manifest, command)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        return self.manifest

    def _without_entry(self) -> set[int]:
        """Return the numbers of the shards that lie in the folder but have no entry in the manifest there."""
        self.manifest = load_manifest(self.folder)
        found = sizes(self.folder / SHARD_FOLDER)
        numbers = range(self.manifest.shard_count)
        return {i for i in numbers if self.manifest.entry(i) is None and self.manifest.shard_name(i) in found}


def _check_folder(folder: Folder) -> None:
    """Raise unless a folder can become, or is, a dataset's."""
    if not folder.exists() or (folder / MANIFEST_NAME).exists():
        return
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file; expected a folder, or a name that is free.")
    others = [name for name in sizes(folder) if not is_temporary(name)]
    if others:
        raise DatasetError(
            f"{folder} is not empty and holds no dataset.json (but {', '.join(others[:3])}"
            f"{', ...' if len(others) > 3 else ''}). Name an empty folder, or one that does not exist yet."
        )


def _remade(entry: ShardEntry) -> str:
    """Return what people are told of a shard that has other rows than before."""
    return (
        f"Shard {entry.name} was made again with other rows than before: the code, its packages or "
        "the processor differ from those that made the dataset. Its content hash changes."
    )


def _differ(before: ShardEntry | None, now: ShardEntry) -> bool:
    """Return whether a shard had other rows before."""
    return before is not None and before.content_hash != now.content_hash


def cannot_write(folder: Folder, error: OSError) -> DatasetError:
    """Return the error that says why a folder cannot be written, and what to do."""
    if isinstance(error, PermissionError):
        todo = "Name a folder you may write to."
    else:
        todo = "Finished shards are kept; put it right (free space?) and call the same command again."
    path = Path(error.filename or str(folder))
    path = path.parent if is_temporary(path.name) else path
    return DatasetError(f"Cannot write to {path}: {error.strerror or error}. {todo}")
