"""What to collect: one frozen config, whose manifest lies in the dataset."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from ...datasets import effort, spec
from ...datasets.config import Config, config
from ...datasets.files.manifest import SUFFIXES, Manifest
from ...datasets.files.storage import Folder
from ...datasets.provenance import code_version, package_versions
from ..airspace.world_config import WorldConfig

if TYPE_CHECKING:
    from ..teachers.registry import Teacher

TEACHER = "teacher"
"""The pilot that is the teacher itself."""


@config
class CollectConfig(Config):
    """What to collect."""

    world: WorldConfig = Field(default_factory=WorldConfig, description="The world, its scenario included.")
    teacher: str = Field(default="mvp", description="Who gives the labels: NAME[:key=number...].")
    pilot: str = Field(default=TEACHER, description="Who flies: teacher, or a checkpoint's folder.")
    noise: float = Field(
        default=0.0,
        ge=0,
        lt=100,
        description="Noise on the action: its standard deviation, in action units.",
        json_schema_extra={"hint": "Use --noise 0.1."},
    )
    seed: int = Field(default=0, ge=0, description="Fixes every episode.")
    episodes: int = Field(
        default=1000, ge=1, description="How many episodes.", json_schema_extra={"hint": "Use --episodes 1000."}
    )
    episodes_per_shard: int = Field(default=128, ge=1, le=2**14, description="Flown at once.")
    format: str = Field(default="parquet", description="Of the shards.")

    def __post_init__(self) -> None:
        from .. import scenarios, simulators, teachers  # torch: only where something is collected

        spec.find(self.format, "format", SUFFIXES)
        scenarios.check(self.world.scenario)
        simulators.check(self.world.simulator)
        teachers.parse(self.teacher, self.world)

    @property
    def parsed_teacher(self) -> "Teacher":
        """The teacher itself."""
        from .. import teachers

        return teachers.parse(self.teacher, self.world)

    @property
    def arithmetic(self) -> str:
        """By which arithmetic its rows are made on this machine."""
        from ..arithmetic.identity import of_torch
        from ..flying.compiled import arithmetic_of

        return arithmetic_of(self.world, self.parsed_teacher) if self.pilot == TEACHER else of_torch()

    def manifest(self, fingerprint: str = "") -> Manifest:
        """Return the manifest this collection begins with.

        Args:
            fingerprint: Of the pilot's weights: the same name may later stand for others.
        """
        from .. import simulators

        return Manifest(
            format=self.format,
            world=self.world.to_json(),
            scenario=self.world.scenario,
            teacher=self.teacher,
            pilot=f"{self.pilot}#{fingerprint}" if fingerprint else self.pilot,
            noise=self.noise,
            seed=self.seed,
            episodes=self.episodes,
            episodes_per_shard=self.episodes_per_shard,
            code=code_version(),
            packages={**package_versions(), **simulators.packages_of(self.world)},
            arithmetic=self.arithmetic,
        )

    def weigh(self, folder: Folder, shards: int, workers: int | None, say: Callable[[str], None]) -> None:
        """Refuse what cannot fit, and say what takes very long.

        Args:
            folder: Where it goes.
            shards: How many have to be made.
            workers: How many are made at once by this machine; None if others make them, of whom nothing is known.
            say: Receives a line for people.

        Raises:
            ConfigurationError: It fits neither into memory nor onto the disk, or would take a hundred years.
        """
        world, at_once = self.world, min(self.episodes, self.episodes_per_shard)
        episodes, at_work = min(self.episodes, shards * at_once), min(workers or 0, shards)
        rows = effort.rows_of(episodes, world.aircraft, world.flight_steps)
        is_fast = self.pilot == TEACHER and world.is_compiled
        rate = effort.FLOWN_BY_RULE if is_fast else effort.FLOWN_BY_NETWORK
        effort.weigh(
            f"{episodes:,} episodes of {world.aircraft} aircraft, {at_once:,} at once"
            + (f" in each of {at_work} workers" if at_work > 1 else ""),
            say,
            seconds=rows / rate / at_work if at_work else 0.0,
            memory=at_work * effort.memory_of_flight(at_once, world.aircraft, world.flight_steps),
            disk=rows * effort.BYTES_STORED,
            folder=folder,
            less="fewer --episodes, --episodes-per-shard or --workers",
        )
