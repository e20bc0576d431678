"""The collector: ranges of episodes in, shards of a dataset out, by one process or several.

A shard is flown as one batch and written whole or not at all, so whatever happens to the collector, the
same command goes on from the shards that are there, and ends with the same content.
"""

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from ...datasets import spec
from ...datasets.errors import ConfigurationError, DatasetError
from ...datasets.files.arithmetic import OtherArithmetic, refusal
from ...datasets.files.manifest import SHARD_FOLDER, Manifest, ShardEntry
from ...datasets.files.shards import write_shard
from ...datasets.files.storage import Folder, sizes
from ...datasets.files.writer import DatasetWriter, Report, cannot_write
from .. import scenarios
from ..airspace.worlds import scale_warning
from ..flying.compiled import is_known, prepare, why_not
from ..flying.flight import Pilot
from . import engines
from .config import TEACHER, CollectConfig
from .labelling import record
from .workers import one_thread

LoadPilot = Callable[[str], Pilot]
"""Makes a pilot from the name of a checkpoint; picklable. A pilot may have a `fingerprint` of its weights."""


class Made(NamedTuple):
    """A shard that was made, and how long it took.

    Attributes:
        entry: For the manifest.
        flying_s: Flying and recording.
        writing_s: Checking, encoding, hashing and publishing.
    """

    entry: ShardEntry
    flying_s: float
    writing_s: float


@dataclass(frozen=True)
class ShardMaker:
    """Makes the shards of one dataset: a picklable unit of work, the same anywhere.

    Attributes:
        folder: The dataset's.
        config: What is collected.
        manifest: Of the dataset; its shards do not matter.
        load_pilot: Makes the pilot, if the teacher does not fly itself.
        other_arithmetic: What to do in a process whose arithmetic is not the one the shard is to have.
    """

    folder: Folder
    config: CollectConfig
    manifest: Manifest
    load_pilot: LoadPilot | None = None
    other_arithmetic: OtherArithmetic = OtherArithmetic.REFUSE

    def __call__(self, index: int) -> Made:
        """Fly the episodes of a shard and publish its file; the manifest stays as it is."""
        start = time.perf_counter()
        wanted, arithmetic = self.config, self.config.arithmetic
        expected = self.manifest.arithmetic_of(index)
        if arithmetic != expected and self.other_arithmetic is not OtherArithmetic.KEEP:  # a node of another kind
            text = refusal(expected, arithmetic, [self.manifest.shard_name(index)])
            raise DatasetError(f"{self.folder}: {text}")
        table, figures = record(
            wanted.world,
            wanted.seed,
            self.manifest.shard_episodes(index),
            wanted.parsed_teacher,
            self._pilot,
            wanted.noise,
        )
        flown = time.perf_counter()
        entry = write_shard(self.folder, self.manifest, index, table, figures, arithmetic)
        return Made(entry, flown - start, time.perf_counter() - flown)

    @cached_property
    def _pilot(self) -> Pilot | None:
        """The pilot, loaded once in each process; None for the teacher."""
        return None if self.load_pilot is None else self.load_pilot(self.config.pilot)


@dataclass
class Times:
    """Where the time of a run went.

    Attributes:
        checking_s: Opening the folder and checking the shards in it.
        flying_s: Flying and recording, summed over the workers.
        writing_s: Encoding, hashing and publishing, summed over the workers.
        total_s: From begin to end.
        rows: Made in this run.
        kept: Shards that were there before.
        made: Shards made in this run.
    """

    checking_s: float = 0.0
    flying_s: float = 0.0
    writing_s: float = 0.0
    total_s: float = 0.0
    rows: int = 0
    kept: int = 0
    made: int = 0

    def add(self, made: Made) -> None:
        """Add a shard that was made."""
        self.flying_s += made.flying_s
        self.writing_s += made.writing_s
        self.rows += made.entry.rows
        self.made += 1

    def text(self, workers: int | None) -> str:
        """Say it in a line.

        Args:
            workers: How many there were; None if that is not known.
        """
        if not self.made:
            return f"Nothing to do: all {self.kept} shards are sound (checked in {self.checking_s:.1f} s)."
        rest = self.total_s - self.checking_s - (self.flying_s + self.writing_s) / (workers or math.inf)
        waiting = f", starting and waiting {max(rest, 0.0):.1f} s" if workers else ""
        return (
            f"{self.rows:,} rows in {self.total_s:.1f} s ({self.rows / self.total_s:,.0f} rows/s), "
            f"{self.made} shards made, {self.kept} kept. Time, summed over {workers or 'all'} worker(s): "
            f"flying {self.flying_s:.1f} s, writing {self.writing_s:.1f} s; "
            f"checking {self.checking_s:.1f} s{waiting}."
        )


def collect(
    folder: Folder,
    config: CollectConfig,
    *,
    engine: str = engines.LOCAL,
    workers: int | None = 1,
    shards: range | None = None,
    load_pilot: LoadPilot | None = None,
    other_arithmetic: str = OtherArithmetic.REFUSE,
    command: str = "",
    report: Report = lambda line: None,
    progress: Callable[[Made | int], None] = lambda made: None,
) -> tuple[Manifest, Times]:
    """Collect a dataset, or go on with one.

    Args:
        folder: Where.
        config: What.
        engine: `local`, processes of this machine; or `ray`, tasks of a Ray cluster.
        workers: How many processes, 1 works in this one; or tasks at once, None for all the cluster can take.
        shards: Which shards to make; all by default.
        load_pilot: Makes the pilot from its name, if the teacher does not fly itself.
        other_arithmetic: Where rows were made by another one: `refuse`, `remake` or `keep` and mark them.
        command: What the user called, for the card.
        report: Is told what was found and done, a line at a time.
        progress: Is told the number of episodes to fly, once, and then each shard made.

    Returns:
        The manifest, and where the time went.

    Raises:
        ConfigurationError: Part of the collection makes no sense.
        DatasetError: The folder holds something else, cannot be written, or a worker died.
    """
    times, start = Times(), time.perf_counter()
    load_pilot = None if config.pilot == TEACHER else load_pilot
    engines.check(engine)
    other: OtherArithmetic = spec.find(other_arithmetic, "other_arithmetic", {str(x): x for x in OtherArithmetic})
    wanted = _wanted(folder, config, load_pilot, shards, None if engine == engines.RAY else workers or 1, report)
    writer = DatasetWriter(folder, wanted, report, other, shards)
    numbers = list(shards if shards is not None else range(writer.manifest.shard_count))
    missing = writer.missing(numbers)
    times.kept, times.checking_s = len(numbers) - len(missing), time.perf_counter() - start
    progress(sum(len(writer.manifest.shard_episodes(index)) for index in missing))
    maker = ShardMaker(folder.resolve(), config, _marked(writer.manifest), load_pilot, other)
    try:
        with closing(engines.work(engine, maker, missing, workers, report)) as shards_made:
            for made in shards_made:
                writer.add(made.entry)
                times.add(made)
                progress(made)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        writer.clean()
    manifest = writer.finish(command)
    if engine == engines.RAY:
        _check_shared(folder, manifest)
    times.total_s = time.perf_counter() - start
    return manifest, times


def _marked(manifest: Manifest) -> Manifest:
    """Return what a maker has to know of the shards there are: which are of another arithmetic."""
    return replace(manifest, shards=tuple(entry for entry in manifest.shards if entry.arithmetic))


def _wanted(
    folder: Folder,
    config: CollectConfig,
    load_pilot: LoadPilot | None,
    shards: range | None,
    workers: int | None,
    report: Report,
) -> Manifest:
    """Return the manifest to begin with; what makes no sense is an error here, before anything is begun."""
    is_teacher = config.pilot == TEACHER
    if is_teacher and is_known(config.world, config.parsed_teacher):
        prepare(report)  # which shows by which arithmetic rows are made here; and workers find what was compiled
    wanted = config.manifest(_fingerprint(config, load_pilot, report))
    _check_range(shards, wanted)
    with one_thread():  # the very first episode: can it be laid out?
        scenarios.lay_out(config.world, config.seed, 0)
    numbers, there = shards or range(wanted.shard_count), sizes(folder / SHARD_FOLDER)
    lacking = len(numbers) - (sum(wanted.shard_name(index) in there for index in numbers) if there else 0)
    config.weigh(folder, lacking, workers, report)
    if is_teacher and (line := why_not(config.world, config.parsed_teacher)):
        report(line)
    return wanted


def _fingerprint(config: CollectConfig, load_pilot: LoadPilot | None, report: Report) -> str:
    """Return the fingerprint of the pilot's weights, "" of the teacher; a bad checkpoint is an error here.

    Of a policy that was trained on another scale, says so.
    """
    if config.pilot == TEACHER:
        return ""
    if load_pilot is None:
        raise ConfigurationError(f"pilot '{config.pilot}': expected 'teacher', nothing else can be loaded here")
    pilot = load_pilot(config.pilot)
    if warning := scale_warning(config.pilot, getattr(pilot, "meta", {}).get("world"), config.world):
        report(f"Warning: {warning}")
    return str(getattr(pilot, "fingerprint", ""))


def _check_shared(folder: Folder, manifest: Manifest) -> None:
    """Raise unless the shards that the nodes of a cluster published are where this process looks for them."""
    found = sizes(folder / SHARD_FOLDER)
    absent = [entry.name for entry in manifest.shards if entry.name not in found]
    if absent:
        raise DatasetError(
            f"{folder}: {len(absent)} shards ({absent[0]}, ...) were made by Ray nodes but are not here: the nodes "
            "have a folder of this name of their own. Name one that all share, or s3://bucket/folder."
        )


def _check_range(shards: range | None, manifest: Manifest) -> None:
    """Raise unless the shards asked for exist."""
    if shards is not None and not 0 <= shards.start < shards.stop <= manifest.shard_count:
        raise ConfigurationError(
            f"expected shards A:B with 0 <= A < B <= {manifest.shard_count} ({manifest.episodes} episodes, "
            f"{manifest.episodes_per_shard} a shard), got {shards.start}:{shards.stop}"
        )
