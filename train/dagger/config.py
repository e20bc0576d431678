"""What a DAgger run shall do: one frozen dataclass, kept beside the result as `RUN/config.json`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...datasets.errors import ConfigurationError
from ..cloning.config import SCHEDULES
from ..runs import config_file as recipe

MOST_ROUNDS = 100  # each round has a seed of its own below the next run's


@dataclass(frozen=True)
class DaggerConfig:
    """What a DAgger run shall do; with the student it starts from and the data it decides the result.

    Attributes:
        rounds: How many.
        episodes: Episodes the student flies in each round.
        epochs: Passes over all data in each round.
        batch_size: Rows per step.
        lr: Learning rate of Adam at the start of each round.
        schedule: `constant`, or `cosine` down to zero at the end of each round.
        share: Share of the rounds' rows in an epoch, each round alike; the rest is the original data.
        conflict_weight: How often a row in conflict comes for each time a free one does.
        beta: In round k the teacher flies beta^k of the aircraft; the original data are round 0.
        probe: Episodes each student flies to be measured on; never trained on.
        gate_scenarios: Scenarios each student flies for its closed-loop figures.
        seed: Layouts of the rounds' episodes, order of the rows.
        threads: Torch threads on the CPU; 0 leaves torch its own number.
        control: Also train a control: as many steps from the same weights, on the original data alone.
    """

    rounds: int = 3
    episodes: int = 256
    epochs: int = 1
    batch_size: int = 1024
    lr: float = 2e-3
    schedule: str = "cosine"
    share: float = 0.5
    conflict_weight: float = 1.0
    beta: float = 0.0
    probe: int = 64
    gate_scenarios: int = 128
    seed: int = 0
    threads: int = 1
    control: bool = False

    def __post_init__(self) -> None:
        least = {"rounds": 1, "episodes": 2, "epochs": 1, "batch_size": 1, "probe": 2, "gate_scenarios": 2}
        for key, low in {**least, "seed": 0, "threads": 0}.items():
            if getattr(self, key) < low:
                raise ConfigurationError(f"expected {key} of {low} or more, got {getattr(self, key)}")
        if self.rounds > MOST_ROUNDS:
            raise ConfigurationError(f"expected at most {MOST_ROUNDS} rounds, got {self.rounds}")
        if not 0 < self.share < 1:
            raise ConfigurationError(
                f"expected a share of the rounds' rows between 0 and 1, got {self.share}. Use --share 0.5."
            )
        if not 0 <= self.beta < 1:
            raise ConfigurationError(
                f"expected beta from 0 on and below 1, got {self.beta}: with 1 no student flies. Use --beta 0."
            )
        for key in ("lr", "conflict_weight"):
            if not 0 < getattr(self, key) < float("inf"):
                raise ConfigurationError(f"expected {key} above 0, got {getattr(self, key)}")
        if self.schedule not in SCHEDULES:
            raise ConfigurationError(f"unknown schedule '{self.schedule}'. There are: {', '.join(SCHEDULES)}.")

    def beta_of(self, number: int) -> float:
        """Return the share of the aircraft that the teacher flies in a round, from 1."""
        return self.beta**number

    def seed_of(self, number: int) -> int:
        """Return the seed of a round's episodes; 0 is the probe's, the same scenarios for every student."""
        return 2_000_000 + self.seed * (MOST_ROUNDS + 1) + number

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "DaggerConfig":
        """Read what `to_json` made.

        Raises:
            ConfigurationError: A key is missing or unknown.
        """
        recipe.check_keys(data, cls)
        return cls(**data)


def save_config(run: Path, config: DaggerConfig, described: list[dict[str, Any]], parent: dict[str, str]) -> None:
    """Write `RUN/config.json`."""
    recipe.save(run, "dagger", config.to_json(), datasets=described, parent=parent)


def load_config(run: Path) -> tuple[DaggerConfig, list[dict[str, Any]], dict[str, str]]:
    """Read `RUN/config.json`: the configuration, what it said of its datasets, and what it started from.

    Raises:
        CheckpointError: There is none, it is damaged, or it is of another stage.
    """
    config, (datasets, parent) = recipe.load(run, "dagger", DaggerConfig.from_json, "datasets", "parent")
    return config, datasets, parent


def check_same(run: Path, config: DaggerConfig, described: list[dict[str, Any]], parent: dict[str, str]) -> None:
    """Raise unless a run that shall go on is given what it began with.

    Raises:
        CheckpointError: Something differs; says what.
    """
    saved, datasets, started = load_config(run)
    sources = {
        f"the datasets {recipe.paths(datasets)}": (recipe.hashes(datasets), recipe.hashes(described)),
        f"the weights of {started['path']}": (started["weights_sha256"], parent["weights_sha256"]),
    }
    recipe.check_same(run, saved.to_json(), config.to_json(), sources)
