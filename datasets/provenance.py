"""Where a result comes from: the code and the packages that made it, and the datasets whose episodes are in it."""

import ast
import hashlib
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DatasetError
from .numbers import count_of, numbers_of

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("torch", "numpy", "pyarrow", "h5py")


@cache
def code_version() -> str:
    """Return the version of skyclone: `0.1.0`, and in a git checkout `0.1.0+1a2b3c4d5e6f` or `...dirty`."""
    try:
        release = version("skyclone")
    except PackageNotFoundError:
        release = "unknown"
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return release
    return f"{release}+{commit}{'.dirty' if _git('status', '--porcelain') else ''}"


@cache
def source_hash(*modules: str) -> str:
    """Return the hash of the source of modules and of all they import from this package.

    It changes whenever the code changes; `code_version` is the same for all that is not yet committed.

    Args:
        modules: Their names below the package: `collect.flying.figures`.
    """
    digest = hashlib.sha256()
    for path in source_files(*modules):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_ROOT).as_posix()}:{len(content)};".encode() + content)
    return digest.hexdigest()


def source_files(*modules: str) -> list[Path]:
    """Return the files of modules and of all they import from this package, at the top or inside a function."""
    found: set[Path] = set()
    waiting = [tuple(module.split(".")) for module in modules]
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if file is None or file in found:
            continue
        found.add(file)
        waiting += [name[:end] for end in range(len(name))]  # importing a module runs the packages around it
        package = name if file.name == "__init__.py" else name[:-1]
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.level:
                start = package[: len(package) + 1 - node.level]
                start += tuple(node.module.split(".")) if node.module else ()
                waiting += [start, *((*start, alias.name) for alias in node.names)]
    return sorted(found)


def _file_of(name: tuple[str, ...]) -> Path | None:
    """Return the file of a module; None if that is no module's name."""
    path = _ROOT.joinpath(*name)
    files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in files if file.is_file()), None)


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Look up the packages once."""
    found = [("python", platform.python_version())]
    for package in _PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not installed"))
    return tuple(found)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a dataset."""
    return dict(_installed())


@dataclass(frozen=True)
class Part:
    """Episodes that `datasets select` or `merge` took from a dataset into another one, where they have new numbers.

    Attributes:
        path: Where that dataset lay.
        content_hash: Its content hash.
        selection: The options that chose the episodes; "" for all.
        episodes: Their numbers in that dataset, ascending, such as `0-99,120`.
        recipe: What made that dataset: its world, scenario, teacher, ..., and its own parts if it had any.
    """

    path: str
    content_hash: str
    selection: str
    episodes: str
    recipe: Mapping[str, Any]

    def __post_init__(self) -> None:
        for key in ("path", "content_hash", "selection", "episodes"):
            if not isinstance(getattr(self, key), str):
                raise DatasetError(f"{key} of a part: expected text, got {getattr(self, key)!r}")
        if not isinstance(self.recipe, Mapping) or type(self.recipe.get("seed")) is not int:
            raise DatasetError(f"recipe of a part: expected an object with a seed, got {self.recipe!r}")
        count_of(self.episodes)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the rows: all but where the dataset lay."""
        return {key: value for key, value in asdict(self).items() if key != "path"}

    @property
    def in_words(self) -> str:
        """Which episodes of which dataset these are."""
        shown = self.episodes if len(self.episodes) <= _LONGEST else self.episodes[:_LONGEST] + "..."
        chosen = f", chosen by {self.selection}" if self.selection else ""
        return f"episodes {shown} of {self.path} (content hash {self.content_hash[:12]}){chosen}"


_LONGEST = 60  # characters of a list of episodes that are shown


def parts_from_json(data: Any) -> tuple[Part, ...]:
    """Read the parts of a manifest.

    Raises:
        DatasetError: They are none.
    """
    names = {each.name for each in fields(Part)}
    if not isinstance(data, list) or not all(isinstance(each, dict) and set(each) == names for each in data):
        raise DatasetError(f"parts: expected a list of objects with {', '.join(sorted(names))}, got others")
    return tuple(Part(**each) for each in data)


def seeds_of(seed: int, parts: Sequence[Part]) -> set[int]:
    """Return the seeds that fix the episodes of a dataset: its own, or those of its parts."""
    inner = (seeds_of(part.recipe["seed"], parts_from_json(part.recipe.get("parts", []))) for part in parts)
    return set().union(*inner) if parts else {seed}


def origin_of(episode: int, seed: int, parts: Sequence[Part]) -> tuple[int, int]:
    """Return the seed and the number that fix an episode of a dataset with this seed and these parts."""
    return origins_of([episode], seed, parts)[0]


def origins_of(episodes: Iterable[int], seed: int, parts: Sequence[Part]) -> list[tuple[int, int]]:
    """Return the seed and the number that fix each of some episodes, as `origin_of` does."""
    asked = list(episodes)
    found = {episode: (seed, episode) for episode in asked}
    first = 0
    for part in parts:
        numbers = numbers_of(part.episodes, 2**31)
        here = [each for each in found if first <= each < first + len(numbers)]
        if here:
            there = numbers[np.array(here) - first].tolist()
            inner = parts_from_json(part.recipe.get("parts", []))
            found.update(zip(here, origins_of(there, part.recipe["seed"], inner), strict=True))
        first += len(numbers)
    return [found[episode] for episode in asked]


def other_parts(found: Sequence[Part], wanted: Sequence[Part]) -> str:
    """Return what to say where a folder has other parts than wanted; "" where it has the same."""
    if [part.identity for part in found] == [part.identity for part in wanted]:
        return ""
    there = "; ".join(part.in_words for part in found)
    if not wanted:
        return (
            "holds what `skyclone datasets select` or `merge` took from other datasets, which cannot be collected "
            f"again: {there}. Nothing was changed. Collect into another folder. The command in its README.md makes "
            "missing and damaged shards again, from their source"
        )
    now = "; ".join(part.in_words for part in wanted)
    return f"holds another dataset: {there or 'one that was collected'} there, {now} now. Nothing was changed. " + (
        "Name another folder"
    )


def _git(*arguments: str) -> str:
    """Return what git says about the checkout this package is in; "" outside one or without git."""
    if not (_ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
