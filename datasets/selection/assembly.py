"""Datasets made of episodes of others: shard by shard, with new numbers, and with what made them written down.

Notation: R rows.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..config import shown
from ..dataset import Dataset
from ..errors import ConfigurationError, DatasetError
from ..files.arithmetic import OtherArithmetic, in_words
from ..files.json_file import hash_of
from ..files.manifest import Manifest, ShardEntry
from ..files.piloted import piloted
from ..files.shards import write_shard
from ..files.storage import Folder
from ..files.writer import DatasetWriter, Report, cannot_write
from ..numbers import numbers_of, text_of
from ..provenance import Part, parts_from_json
from ..traffic.counts import figures_of_rows
from ..traffic.record import Table
from .conditions import Selection

_MAY_DIFFER = ("aircraft", "scenario", "max_steps")
"""What the worlds of merged datasets need not share: how many fly, how they are laid out, and how long."""


def select(
    dataset: Dataset,
    folder: Folder,
    selection: Selection,
    *,
    command: str = "",
    report: Report = lambda line: None,
    progress: Callable[[int], None] = lambda episodes: None,
) -> Manifest:
    """Write some episodes of a dataset as a dataset of their own; interrupted, the same call continues.

    They are numbered from 0 on; the manifest keeps their old numbers. Memory holds one shard of each dataset.

    Args:
        dataset: A complete one.
        folder: Where to; empty, new, or of a selection that was broken off.
        selection: Which.
        command: What the user called, for the card.
        report: Receives what was found and done, a line at a time.
        progress: Receives the episodes that were looked at for conditions, and then those written.

    Returns:
        The new manifest.

    Raises:
        DatasetError: No episode is chosen, a shard is damaged, or the folder holds something else.
    """
    pieces = _Pieces([_Piece(dataset, selection.numbers(dataset, progress))])
    wanted = replace(
        dataset.manifest, shards=(), episodes=pieces.episodes, parts=(_part(pieces.all[0], str(selection)),)
    )
    return _write(folder, wanted, pieces, command, report, progress)


def merge(
    datasets: Sequence[Dataset],
    folder: Folder,
    *,
    other_arithmetic: OtherArithmetic = OtherArithmetic.REFUSE,
    command: str = "",
    report: Report = lambda line: None,
    progress: Callable[[int], None] = lambda episodes: None,
) -> Manifest:
    """Write several datasets as one, their episodes numbered on; interrupted, the same call continues.

    Args:
        datasets: Complete ones, of one world and one teacher, and of different episodes.
        folder: Where to; empty, new, or of a merge that was broken off.
        other_arithmetic: What to do where their rows were made by several: refuse, or keep and mark them.
        command: What the user called, for the card.
        report: Receives what was found and done, a line at a time.
        progress: Receives the episodes written.

    Returns:
        The new manifest: format and size of shards are the first dataset's, `aircraft` and `max_steps` the largest,
        the scenario that of the most episodes, the noise the largest. Several pilots are all named.

    Raises:
        ConfigurationError: There are fewer than two, or `remake` is asked for.
        DatasetError: They do not go together, a shard is damaged, or the folder holds something else.
    """
    if len(datasets) < 2 or other_arithmetic is OtherArithmetic.REMAKE:
        raise ConfigurationError(
            f"expected two datasets or more, and refuse or keep, got {len(datasets)} and {other_arithmetic}."
        )
    for dataset in datasets[1:]:
        _check_worlds(datasets[0], dataset)
    _check_arithmetic(datasets, other_arithmetic)
    _check_once(datasets)
    pieces = _Pieces([_Piece(dataset, np.arange(dataset.episodes)) for dataset in datasets])
    wanted = replace(
        _common([dataset.manifest for dataset in datasets]),
        episodes=pieces.episodes,
        parts=tuple(_part(piece, "") for piece in pieces.all),
    )
    return _write(folder, wanted, pieces, command, report, progress)


class _Piece(NamedTuple):
    """Episodes of a dataset, by ascending numbers (n,)."""

    dataset: Dataset
    numbers: np.ndarray


class _Span(NamedTuple):
    """Episodes of one shard of a dataset, which get the numbers from `first` on."""

    dataset: Dataset
    shard: int
    numbers: np.ndarray
    first: int

    @property
    def entry(self) -> ShardEntry:
        """The shard's entry."""
        entry = self.dataset.manifest.entry(self.shard)
        assert entry is not None
        return entry

    @property
    def is_whole(self) -> bool:
        """Whether these are all of the shard's episodes, and it has counts of its traffic."""
        return len(self.numbers) == len(self.dataset.manifest.shard_episodes(self.shard)) and bool(
            self.entry.figures
        )


@dataclass(frozen=True)
class _Pieces:
    """What a dataset is made of, in order."""

    all: Sequence[_Piece]

    @property
    def episodes(self) -> int:
        """How many there are."""
        return sum(len(piece.numbers) for piece in self.all)

    def spans(self, episodes: range) -> Iterator[_Span]:
        """Yield where the episodes with these new numbers come from."""
        first = 0  # new number of the piece's first
        for dataset, numbers in self.all:
            wanted = numbers[max(episodes.start - first, 0) : max(episodes.stop - first, 0)]
            shards, starts = np.unique(wanted // dataset.manifest.episodes_per_shard, return_index=True)
            for shard, here in zip(shards, np.split(wanted, starts[1:])):
                new = first + int(np.searchsorted(numbers, here[0]))
                yield _Span(dataset, int(shard), here, new)
            first += len(numbers)


class _Reader:
    """Reads spans of rows and remembers the shard that was read last."""

    def __init__(self) -> None:
        self._key: tuple[Dataset, int] | None = None
        self._table: Table = {}

    def table(self, spans: Sequence[_Span]) -> Table:
        """Return the rows of some spans in a table, with their new numbers."""
        parts = [self._rows(span) for span in spans]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _rows(self, span: _Span) -> Table:
        """Return the rows of a span."""
        key = (span.dataset, span.shard)
        if self._key != key:
            self._key, self._table = None, {}  # before the next one is read
            self._key, self._table = key, span.dataset.table(span.shard)
        episode = self._table["episode"]
        rows = np.isin(episode, span.numbers)
        place = np.searchsorted(span.numbers, episode[rows])
        chosen = {name: values[rows] for name, values in self._table.items()}
        return {**chosen, "episode": (span.first + place).astype(np.int32)}


@dataclass(frozen=True)
class _Figures:
    """Counts of the traffic in the shards of a dataset that is made of others' episodes.

    Those of pairs of aircraft are known of whole shards alone, so they are kept where all are taken whole.
    """

    pieces: _Pieces
    manifest: Manifest

    @cached_property
    def _has_pairs(self) -> bool:
        """Whether all shards that are taken are taken whole."""
        numbers = range(self.manifest.shard_count)
        return all(
            span.is_whole for index in numbers for span in self.pieces.spans(self.manifest.shard_episodes(index))
        )

    def of(self, spans: Sequence[_Span], table: Table) -> dict[str, float]:
        """Return the figures of a shard."""
        own = figures_of_rows(piloted(table), self.manifest.world)
        if not self._has_pairs:
            return own
        found = [span.entry.figures for span in spans]
        shared = [key for key in found[0] if all(key in each for each in found)]
        return {**{key: math.fsum(each[key] for each in found) for key in shared}, **own}


def _write(
    folder: Folder,
    wanted: Manifest,
    pieces: _Pieces,
    command: str,
    report: Report,
    progress: Callable[[int], None],
) -> Manifest:
    """Write the shards that are not there yet, and the card."""
    if any(folder.resolve() == piece.dataset.path.resolve() for piece in pieces.all):
        raise DatasetError(f"{folder} is one of the datasets itself; name another folder for the new one.")
    writer = DatasetWriter(folder, wanted, report, OtherArithmetic.KEEP)
    reader, figures = _Reader(), _Figures(pieces, wanted)
    numbers = range(writer.manifest.shard_count)
    try:
        absent = set(writer.missing(numbers))
        for index in numbers:
            episodes = writer.manifest.shard_episodes(index)
            if index in absent:
                spans = list(pieces.spans(episodes))
                table = reader.table(spans)
                made_by = sorted({span.dataset.manifest.arithmetic_of(span.shard) for span in spans})
                counted = figures.of(spans, table)
                writer.add(write_shard(folder, writer.manifest, index, table, counted, " + ".join(made_by)))
            progress(len(episodes))
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        writer.clean()
    return writer.finish(command)


def _part(piece: _Piece, selection: str) -> Part:
    """Return what is written down of a piece."""
    manifest = piece.dataset.manifest
    inner = {"parts": manifest.to_json()["parts"]} if manifest.parts else {}
    return Part(
        str(piece.dataset.path.resolve()),
        manifest.content_hash,
        selection,
        text_of(piece.numbers),
        {**manifest.recipe, **inner},
    )


def _common(manifests: Sequence[Manifest]) -> Manifest:
    """Return the manifest of merged datasets, but for its episodes and parts."""
    worlds, largest = [each.world for each in manifests], max(manifests, key=lambda each: each.episodes)
    world: dict[str, Any] = {**largest.world}
    for key in ("aircraft", "max_steps"):
        if all(isinstance(each.get(key), int) for each in worlds):
            world[key] = max(each[key] for each in worlds)
    made_by = dict.fromkeys(name for each in manifests for name in each.arithmetics)
    return replace(
        manifests[0],
        shards=(),
        world=world,
        scenario=largest.scenario,
        pilot=" + ".join(dict.fromkeys(each.pilot for each in manifests)),
        noise=max(each.noise for each in manifests),
        arithmetic=next(iter(made_by)),
    )


def _check_worlds(first: Dataset, other: Dataset) -> None:
    """Raise unless two datasets are of one world and one teacher."""
    here, there = first.manifest.world, other.manifest.world
    differences = [
        f"{key} {_value(here, key)} and {_value(there, key)}"
        for key in sorted({*here, *there} - {*_MAY_DIFFER})
        if here.get(key) != there.get(key)
    ]
    if first.manifest.teacher != other.manifest.teacher:
        differences.append(f"teacher {first.manifest.teacher!r} and {other.manifest.teacher!r}")
    if differences:
        raise DatasetError(
            f"expected datasets of one world and one teacher, got others in {first.path} and {other.path}: "
            f"{'; '.join(differences)}. Train on both with --data instead, or merge those that go together."
        )


def _value(world: Mapping[str, Any], key: str) -> str:
    """Return a parameter for a message; one that is not named has its default value."""
    return shown(world[key]) if key in world else "(by default)"


def _check_arithmetic(datasets: Sequence[Dataset], other: OtherArithmetic) -> None:
    """Raise if the rows were made by several arithmetics, and that is not asked for."""
    found = [
        f"{count} shard(s) of {dataset.path} by {in_words(name)}"
        for dataset in datasets
        for name, count in dataset.manifest.arithmetics.items()
    ]
    if len({name for dataset in datasets for name in dataset.manifest.arithmetics}) > 1 and other != "keep":
        raise DatasetError(
            f"expected rows made by one arithmetic, got {', '.join(found)}. No machine can make such a mixture "
            "again. --other-arithmetic keep merges them, and marks which shards were made by which."
        )


def _check_once(datasets: Sequence[Dataset]) -> None:
    """Raise if two datasets hold the same episodes: copies would be in training and held out at once."""
    found: dict[str, list[tuple[Dataset, np.ndarray]]] = {}
    for dataset in datasets:
        manifest = dataset.manifest
        for recipe, numbers in _origins(manifest.recipe, manifest.parts, np.arange(manifest.episodes)):
            for other, theirs in found.setdefault(recipe, []):
                if len(both := np.intersect1d(numbers, theirs)):
                    raise DatasetError(
                        f"expected different episodes, got {len(both):,} that are in {other.path} and in "
                        f"{dataset.path}: {text_of(both)[:40]} of seed {manifest.seed}. Leave one out, or select "
                        "others first."
                    )
            found[recipe].append((dataset, numbers))


def _origins(
    recipe: Mapping[str, Any], parts: Sequence[Part], numbers: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the hashes of the recipes that flew some episodes (n,), and the numbers these have there."""
    if not parts:
        yield hash_of({key: value for key, value in recipe.items() if key != "parts"}), numbers
        return
    first = 0
    for part in parts:
        here = numbers_of(part.episodes, 2**31)
        wanted = here[numbers[(numbers >= first) & (numbers < first + len(here))] - first]
        yield from _origins(part.recipe, parts_from_json(part.recipe.get("parts", [])), wanted)
        first += len(here)
