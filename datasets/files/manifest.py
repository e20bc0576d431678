"""The manifest: what a dataset holds and how it was made, `dataset.json` in the dataset's folder."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from ..errors import DatasetError
from ..numbers import count_of
from ..provenance import Part, other_parts, parts_from_json
from ..traffic.record import columns_of
from .arithmetic import UNKNOWN, in_words
from .atomic import publish
from .json_file import hash_of, parse_json
from .storage import Folder, read_whole

FORMAT_VERSION = 1
MANIFEST_NAME = "dataset.json"
SHARD_FOLDER = "shards"
SUFFIXES = {"parquet": ".parquet", "hdf5": ".h5"}
RECIPE = ("format_version", "world", "scenario", "teacher", "pilot", "noise", "seed", "episodes_per_shard")
"""The fields that, with the number of episodes, decide every value in a dataset."""

_DERIVED = ("rows", "content_hash", "complete")
_MAXIMUM = 2**31 - 1  # episodes are int32
_SELF_HASH = "sha256"  # of all else in the file: shards vouch for what decides their rows, but not for the rest
_MOST_BYTES = 2**30  # of a manifest: two million shards


@dataclass(frozen=True)
class ShardEntry:
    """A shard as the manifest knows it.

    Attributes:
        name: File name in `shards/`.
        first_episode: First episode in it.
        last_episode: The one after its last episode.
        rows: Number of rows.
        bytes: Size of the file.
        sha256: Hash of the file's bytes.
        content_hash: Hash of the rows, the same in every format.
        figures: Counts of the traffic in it (conflicts, LoS events, ...), which add up over shards.
        arithmetic: What made its rows, where that is another one than the manifest's; else "".
    """

    name: str
    first_episode: int
    last_episode: int
    rows: int
    bytes: int
    sha256: str
    content_hash: str
    figures: Mapping[str, float]
    arithmetic: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.arithmetic, str):
            raise DatasetError(f"arithmetic of shard {self.name!r}: expected text, got {self.arithmetic!r}")
        for key in ("first_episode", "last_episode", "rows", "bytes"):
            _check_integer(f"{key} of shard {self.name!r}", getattr(self, key), 0)
        for key in ("sha256", "content_hash"):
            value = getattr(self, key)
            if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
                raise DatasetError(f"{key} of shard {self.name!r}: expected 64 hexadecimal digits, got {value!r}")
        if not isinstance(self.figures, Mapping) or not all(
            isinstance(key, str) and _is_number(value) for key, value in self.figures.items()
        ):
            raise DatasetError(
                f"figures of shard {self.name!r}: expected names and finite numbers, got {self.figures!r}"
            )


@dataclass(frozen=True)
class Manifest:
    """What a dataset holds and how it was made.

    Attributes:
        format: `parquet` or `hdf5`.
        world: The world's parameters, a JSON object.
        scenario: How the traffic was laid out.
        teacher: Who gave the labels.
        pilot: Who flew: `teacher`, or the checkpoint of a policy.
        noise: Standard deviation of the noise on the flown action, in action units.
        seed: With an episode's number it fixes that episode.
        episodes: How many there are when the dataset is complete, numbered from 0.
        episodes_per_shard: How many episodes are flown as one batch and lie in one shard.
        shards: The shards there are, in order.
        code: Version of skyclone that began the dataset.
        packages: Versions of the packages it ran on.
        arithmetic: What its rows depend on besides: `portable-1` (nothing), or torch and the processor's vector
            extension.
        format_version: Version of this file and of the shards.
        parts: Where its episodes were taken from, in order; empty where they were flown for it.
    """

    format: str
    world: Mapping[str, Any]
    scenario: str
    teacher: str
    pilot: str
    noise: float
    seed: int
    episodes: int
    episodes_per_shard: int = 128
    shards: tuple[ShardEntry, ...] = ()
    code: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    arithmetic: str = UNKNOWN
    format_version: int = FORMAT_VERSION
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        _check_version(self.format_version)
        if not isinstance(self.format, str) or self.format not in SUFFIXES:
            raise DatasetError(f"unknown format {self.format!r}. There are: {', '.join(SUFFIXES)}.")
        for key in ("scenario", "teacher", "pilot", "code", "arithmetic"):
            if not isinstance(getattr(self, key), str):
                raise DatasetError(f"{key}: expected text, got {getattr(self, key)!r}")
        for key in ("world", "packages"):
            if not isinstance(getattr(self, key), Mapping):
                raise DatasetError(f"{key}: expected an object, got {getattr(self, key)!r}")
        if not _is_number(self.noise) or self.noise < 0:
            raise DatasetError(f"noise: expected a number from 0 on, got {self.noise!r}")
        _check_integer("seed", self.seed, 0, 2**63 - 1)
        _check_integer("episodes", self.episodes, 1)
        _check_integer("episodes_per_shard", self.episodes_per_shard, 1)
        if self.parts and (found := sum(count_of(part.episodes) for part in self.parts)) != self.episodes:
            raise DatasetError(f"parts: expected {self.episodes} episodes in all, got {found}")
        self._check_shards()

    def _check_shards(self) -> None:
        """Raise unless the shards are in order and each has the name and the episodes of its number."""
        previous = -1
        for entry in self.shards:
            index = entry.first_episode // self.episodes_per_shard
            if not previous < index < self.shard_count or entry.name != self.shard_name(index):
                raise DatasetError(
                    f"unknown shard {entry.name!r}: expected each name once, in order of the episodes, from "
                    f"{self.shard_name(0)!r} to {self.shard_name(self.shard_count - 1)!r}"
                )
            episodes = self.shard_episodes(index)
            if (entry.first_episode, entry.last_episode) != (episodes.start, episodes.stop):
                raise DatasetError(
                    f"shard {entry.name!r}: expected the episodes {episodes.start} to {episodes.stop}, "
                    f"got {entry.first_episode} to {entry.last_episode}"
                )
            previous = index

    @property
    def shard_count(self) -> int:
        """Number of shards of the complete dataset."""
        return -(-self.episodes // self.episodes_per_shard)

    @property
    def complete(self) -> bool:
        """Whether all shards are there."""
        return len(self.shards) == self.shard_count

    @property
    def rows(self) -> int:
        """Number of rows in the shards there are."""
        return sum(entry.rows for entry in self.shards)

    @property
    def content_hash(self) -> str:
        """Hash of all rows there are: the same for every format, number of workers and order of work."""
        digest = hashlib.sha256()
        for entry in self.shards:
            digest.update(f"{entry.first_episode}:{entry.last_episode}:{entry.content_hash};".encode())
        return digest.hexdigest()

    @property
    def recipe_hash(self) -> str:
        """Hash of everything that decides the rows, written into each shard so that it knows where it belongs."""
        return hash_of({**self.recipe, **({"parts": [part.identity for part in self.parts]} if self.parts else {})})

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything but its parts that decides the rows."""
        return {key: getattr(self, key) for key in RECIPE}

    @property
    def figures(self) -> dict[str, float]:
        """The figures of all shards there are, added up."""
        keys = dict.fromkeys(key for entry in self.shards for key in entry.figures)
        return {key: math.fsum(entry.figures.get(key, 0) for entry in self.shards) for key in keys}

    def shard_name(self, index: int) -> str:
        """Return the file name of a shard."""
        return f"{index:05d}{SUFFIXES[self.format]}"

    def shard_episodes(self, index: int) -> range:
        """Return the episodes of a shard; the last one may have fewer than the others."""
        first = index * self.episodes_per_shard
        return range(first, min(first + self.episodes_per_shard, self.episodes))

    def entry(self, index: int) -> ShardEntry | None:
        """Return the entry of a shard, None if it is not there yet."""
        return self._entries.get(self.shard_name(index))

    @cached_property
    def _entries(self) -> dict[str, ShardEntry]:
        """The shards by name."""
        return {entry.name: entry for entry in self.shards}

    def arithmetic_of(self, index: int) -> str:
        """Return by which arithmetic a shard was made, or has to be made."""
        entry = self.entry(index)
        return (entry.arithmetic if entry else "") or self.arithmetic

    @property
    def arithmetics(self) -> dict[str, int]:
        """How many shards were made by which arithmetic; no more than one unless a mixture was asked for."""
        found: dict[str, int] = {}
        for entry in self.shards:
            found[entry.arithmetic or self.arithmetic] = found.get(entry.arithmetic or self.arithmetic, 0) + 1
        return found or {self.arithmetic: 0}

    def with_shards(self, entries: Iterable[ShardEntry]) -> "Manifest":
        """Return the manifest with shards added or replaced."""
        shards = {**self._entries, **{entry.name: entry for entry in entries}}
        return replace(self, shards=tuple(sorted(shards.values(), key=lambda shard: shard.first_episode)))

    def with_episodes(self, episodes: int) -> "Manifest":
        """Return the manifest for more episodes, without a last shard that has become too short."""
        grown = replace(self, shards=(), episodes=episodes)
        kept = [
            entry
            for index in range(self.shard_count)
            if (entry := self.entry(index)) and self.shard_episodes(index) == grown.shard_episodes(index)
        ]
        return replace(grown, shards=tuple(kept))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        data = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "shards"}
        data |= {"parts": [asdict(part) for part in self.parts]}
        if not self.parts:
            del data["parts"]  # as in those of before there were any
        data["columns"] = [asdict(column) for column in columns_of(self.world)]
        data.update({key: getattr(self, key) for key in _DERIVED})
        data["shards"] = [_entry_to_json(entry) for entry in self.shards]
        return data

    @classmethod
    def from_json(cls, data: Any) -> "Manifest":
        """Read what `to_json` made.

        Raises:
            DatasetError: A key is missing or unknown, a value is of the wrong type, or values contradict.
        """
        if isinstance(data, dict):
            _check_version(data.get("format_version", FORMAT_VERSION))  # first: another one has other keys
            data = {"arithmetic": UNKNOWN, "parts": [], **data}  # not in those of before 2026-11-26
        own = [each.name for each in fields(cls)]
        _check_keys("the manifest", data, [*own, "columns", *_DERIVED])
        world = data["world"] if isinstance(data["world"], dict) else {}
        if _types_of(data["columns"]) != _types_of([asdict(column) for column in columns_of(world)]):
            raise DatasetError("columns: expected those of the traffic record, got others")
        if not isinstance(data["shards"], list):
            raise DatasetError(f"shards: expected a list, got {data['shards']!r}")
        for entry in data["shards"]:
            entry = {"arithmetic": "", **entry} if isinstance(entry, dict) else entry
            _check_keys("a shard's entry", entry, [each.name for each in fields(ShardEntry)])
        shards = tuple(ShardEntry(**entry) for entry in data["shards"])
        parts = parts_from_json(data["parts"])
        manifest = cls(**{**{key: data[key] for key in own}, "shards": shards, "parts": parts})
        for key in _DERIVED:
            if data[key] != getattr(manifest, key) or type(data[key]) is not type(getattr(manifest, key)):
                raise DatasetError(
                    f"{key}: expected {getattr(manifest, key)!r} from the shards listed, got {data[key]!r}"
                )
        return manifest


def _entry_to_json(entry: ShardEntry) -> dict[str, Any]:
    """Return a shard's entry as JSON; its arithmetic is named where it differs from the others'."""
    return {key: value for key, value in vars(entry).items() if value or key != "arithmetic"}


def load_manifest(folder: Folder) -> Manifest:
    """Read the manifest of a dataset's folder.

    Raises:
        DatasetError: There is no dataset, or the manifest was cut or edited.
    """
    path = folder / MANIFEST_NAME
    try:
        data = read_whole(path, _MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        what = "it holds no dataset.json" if folder.is_dir() else "there is no such folder"
        raise DatasetError(
            f"{folder} is no dataset: {what}. Make one with `skyclone collect --out {folder}`."
        ) from None
    except PermissionError:
        raise
    except OSError as error:
        raise DatasetError(f"{path} is damaged: {error.strerror}. {_REMEDY}") from None
    try:
        return _parse(parse_json(data, "the manifest", DatasetError))
    except DatasetError as error:
        raise DatasetError(f"{path}: {error} {_REMEDY}") from None


def save_manifest(folder: Folder, manifest: Manifest) -> None:
    """Write the manifest of a folder, atomically."""
    data = manifest.to_json()
    text = json.dumps({**data, _SELF_HASH: hash_of(data)}, indent=1, allow_nan=False)
    publish(folder / MANIFEST_NAME, text.encode() + b"\n")


def _parse(data: Any) -> Manifest:
    """Read what `save_manifest` wrote; a manifest of before 2026-11-26 has no hash of itself."""
    expected = data.pop(_SELF_HASH, None) if isinstance(data, dict) else None
    manifest = Manifest.from_json(data)
    if expected is not None and expected != (found := hash_of(data)):
        raise DatasetError(f"it was changed since it was written: expected SHA-256 {expected!r}, got {found}.")
    return manifest


def check_same(folder: Folder, found: Manifest, wanted: Manifest) -> None:
    """Raise unless two manifests are of the same dataset, and the wanted one is at least as long.

    Args:
        folder: Of both, for the message.
        found: What is there.
        wanted: What is to be there.
    """
    if others := other_parts(found.parts, wanted.parts):
        raise DatasetError(f"{folder} {others}.")
    differences = []
    for key in ("format", *RECIPE):
        old, new = getattr(found, key), getattr(wanted, key)
        if key == "world" and old != new:
            for name in sorted(set(old) | set(new)):
                if old.get(name) != new.get(name):
                    differences.append(f"{name} {_in_words(old, name)} there, {_in_words(new, name)} now")
        elif old != new:
            differences.append(f"{key} {old!r} there, {new!r} now")
    if found.arithmetic != wanted.arithmetic:
        there, now = in_words(found.arithmetic), in_words(wanted.arithmetic)
        differences.append(f"made by {there} there, by {now} now")
    if differences:
        raise DatasetError(
            f"{folder} holds another dataset: {'; '.join(differences)}. Nothing was changed. "
            "Name another folder, or call with the values the dataset was made with."
        )
    if wanted.episodes < found.episodes:
        raise DatasetError(
            f"{folder} holds a dataset of {found.episodes} episodes, more than the {wanted.episodes} requested. "
            f"Nothing was changed. Call with --episodes {found.episodes} to continue it, or name another folder."
        )


def _in_words(world: Mapping[str, Any], name: str) -> str:
    """Return a parameter as text; one that is not named has its default value."""
    return repr(world[name]) if name in world else "as by default"


_REMEDY = "If it was changed by hand, put the original back; otherwise collect into another folder."


def _types_of(columns: Any) -> Any:
    """Return columns without the words about them, which may change."""
    if not isinstance(columns, list) or not all(isinstance(column, dict) for column in columns):
        return columns
    return [{key: column.get(key) for key in ("name", "dtype", "unit")} for column in columns]


def _check_version(version: Any) -> None:
    """Raise unless the format version is this one."""
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise DatasetError(
            f"expected format version {FORMAT_VERSION}, got {version!r}. "
            "Use the version of skyclone that made the dataset, or collect into another folder."
        )


def _check_keys(what: str, data: Any, expected: list[str]) -> None:
    """Raise unless data is an object with exactly these keys."""
    if not isinstance(data, dict):
        raise DatasetError(f"{what}: expected an object, got {type(data).__name__}.")
    missing, unknown = sorted(set(expected) - set(data)), sorted(set(data) - set(expected))
    if missing or unknown:
        raise DatasetError(f"{what}: missing keys {missing or 'none'}, unknown keys {unknown or 'none'}.")


def _check_integer(what: str, value: Any, low: int, high: int = _MAXIMUM) -> None:
    """Raise unless value is an integer from low to high."""
    if type(value) is not int or not low <= value <= high:
        raise DatasetError(f"{what}: expected a whole number from {low} to {high}, got {value!r}")


def _is_number(value: Any) -> bool:
    """Return whether value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
