"""What a DAgger run is to do: one frozen config, kept beside the result as `RUN/config.json`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from ...collect.surveillance import config as surveillance
from ...datasets import spec
from ...datasets.config import LARGEST_WHOLE, Config, config
from ...datasets.traffic.record import PERCEIVED, TRUTH
from ..cloning.config import MOST_WEIGHT, Schedule
from ..runs import config_file

MOST_ROUNDS = 100  # each round has a seed of its own below the next run's
FIRST_SEED = 2_000_000
MOST_EPISODES = 2**20


@config
class DaggerConfig(Config):
    """What a DAgger run is to do; with the policy it starts from and the data it decides the result.

    The original data are round 0; each round has the same share of the rows. The probe is never trained on.
    """

    added = ("surveillance", "labels")

    rounds: int = Field(default=3, ge=1, le=MOST_ROUNDS, description="How often to fly, label and train.")
    episodes: int = Field(
        default=256, ge=2, le=MOST_EPISODES, description="Episodes the policy flies in each round."
    )
    epochs: int = Field(default=1, ge=1, description="Passes over all data in each round.")
    batch_size: int = Field(default=1024, ge=1, description="Rows per step.")
    lr: float = Field(default=2e-3, gt=0, description="Learning rate of Adam at the start of each round.")
    schedule: Schedule = Field(default="cosine", description="Learning rate: constant or cosine.")
    share: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of the rounds' rows in an epoch.",
        json_schema_extra={"hint": "Use --share 0.5."},
    )
    conflict_weight: float = Field(
        default=1.0, gt=0, le=MOST_WEIGHT, description="How often rows in conflict come."
    )
    beta: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="In round k the teacher flies beta^k of the aircraft.",
        json_schema_extra={"hint": "With 1 the policy never flies. Use --beta 0."},
    )
    probe: int = Field(default=64, ge=2, le=MOST_EPISODES, description="Episodes each policy is measured on.")
    gate_scenarios: int = Field(default=128, ge=2, le=MOST_EPISODES, description="Scenarios flown for LoS figures.")
    seed: int = Field(
        default=0,
        ge=0,
        le=(LARGEST_WHOLE - FIRST_SEED) // (MOST_ROUNDS + 1) - 1,
        description="Layouts of the rounds, order of the rows.",
    )
    threads: int = Field(
        default=1, ge=0, le=config_file.MOST_THREADS, description="Threads of torch; 0 leaves it its own number."
    )
    control: bool = Field(
        default=False, description="Also train a control: as many steps, the original data alone."
    )
    surveillance: str = Field(
        default="",
        description="What aircraft know of each other, in flight and in all data: perfect, remote-id, ...  "
        "[default: as the clone]",
    )
    labels: str = Field(
        default="",
        description="What the teacher's labels are made of: truth, or perceived (what aircraft know).  "
        "[default: as the clone's]",
    )

    def __post_init__(self) -> None:
        surveillance.parse(self.surveillance or surveillance.PERFECT)
        spec.find(self.labels or TRUTH, "labels", dict.fromkeys((TRUTH, PERCEIVED)))

    def of_parent(self, meta: Mapping[str, Any]) -> tuple[str, str]:
        """Return surveillance and labels: those of the run or, where it says nothing, of its parent.

        Args:
            meta: What the parent's checkpoint says about itself.
        """
        world, learned = meta.get("world") or {}, meta.get("config") or {}
        return (
            self.surveillance or world.get("surveillance", surveillance.PERFECT),
            self.labels or learned.get("labels", PERCEIVED),
        )

    def beta_of(self, number: int) -> float:
        """Return the share of the aircraft that the teacher flies in a round, from 1."""
        return self.beta**number

    def seed_of(self, number: int) -> int:
        """Return the seed of a round's episodes; 0 is the probe's, the same scenarios for every policy."""
        return FIRST_SEED + self.seed * (MOST_ROUNDS + 1) + number


def save_config(run: Path, config: DaggerConfig, described: list[dict[str, Any]], parent: dict[str, str]) -> None:
    """Write `RUN/config.json`."""
    config_file.save(run, "dagger", config.to_json(), datasets=described, parent=parent)


def load_config(run: Path) -> tuple[DaggerConfig, list[dict[str, Any]], dict[str, str]]:
    """Read `RUN/config.json`: the configuration, what it said of its datasets, and what it started from.

    Raises:
        CheckpointError: There is none, it is damaged, or it is of another stage.
    """
    config, (datasets, parent) = config_file.load(run, "dagger", DaggerConfig.from_json, "datasets", "parent")
    return config, datasets, parent


def check_same(run: Path, config: DaggerConfig, described: list[dict[str, Any]], parent: dict[str, str]) -> None:
    """Raise unless a run that shall go on is given what it began with.

    Raises:
        CheckpointError: Something differs; says what.
    """
    saved, datasets, started = load_config(run)
    sources = {
        **config_file.same_datasets(datasets, described),
        f"the weights of {started['path']}": (started["weights_sha256"], parent["weights_sha256"]),
    }
    config_file.check_same(run, asdict(saved), asdict(config), sources)
