"""What a cloning run shall do: one frozen dataclass, kept beside the result as `RUN/config.json`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

from ...datasets.dataset import Dataset
from ...datasets.errors import ConfigurationError
from ...datasets.loading.mixture import Mixture
from ...datasets.traffic.view import View
from .. import networks
from ..runs import config_file as recipe

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class CloningConfig:
    """What a cloning run shall do; with the datasets' content it decides the result.

    Attributes:
        model: Network and its parameters, such as `pairwise:width=96`.
        observation: View, such as `ego:intruders=8`.
        epochs: Passes over the training rows.
        batch_size: Rows per step.
        lr: Learning rate of Adam at the start.
        schedule: `constant`, or `cosine` down to zero at the end.
        weight_decay: Of AdamW; 0 is plain Adam.
        gradient_clip: Largest norm of all gradients together.
        seed: Initial weights and order of the rows.
        heldout: Fraction of the episodes held out.
        max_seconds: Stop (and let the schedule end) after so much training time, evaluation included; None for
            no limit. A limit on time makes the result depend on the machine.
        max_processor_seconds: The same in processor time, of loading, forward and backward alone: what other work
            on the machine takes is not counted, nor is evaluation.
        max_batches: Stop (and let the schedule end) after so many batches; None for no limit.
        threads: Torch threads on the CPU; 0 leaves torch its own number. These networks are small: a second thread
            brings little, and on a busy machine makes all many times slower (`train/LOG.md`). With another number
            the result differs in the last bits.
        conflict_weight: How often a training row in conflict comes for each time a free one does.
        mix: Share of each dataset in an epoch, such as `1,3`; empty: each row of each counts the same.
        stream: Read the rows shard by shard while training, for datasets larger than memory.
    """

    model: str = "attention-additive"
    observation: str = "seed"
    epochs: int = 20
    batch_size: int = 1024
    lr: float = 1e-3
    schedule: str = "constant"
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    seed: int = 0
    heldout: float = 0.1
    max_seconds: float | None = None
    max_processor_seconds: float | None = None
    max_batches: int | None = None
    threads: int = 1
    conflict_weight: float = 1.0
    mix: str = ""
    stream: bool = False

    def __post_init__(self) -> None:
        networks.parse(self.model)
        object.__setattr__(self, "observation", str(View.parse(self.observation)))
        if self.schedule not in SCHEDULES:
            raise ConfigurationError(f"unknown schedule '{self.schedule}'. There are: {', '.join(SCHEDULES)}.")
        for key, low in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("threads", 0)):
            if getattr(self, key) < low:
                raise ConfigurationError(f"expected {key} of {low} or more, got {getattr(self, key)}")
        if self.max_batches is not None and self.max_batches < 1:
            raise ConfigurationError(f"expected max_batches of 1 or more, got {self.max_batches}")
        for key in ("lr", "gradient_clip", "max_seconds", "max_processor_seconds"):
            value = getattr(self, key)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigurationError(f"expected {key} above 0, got {value}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ConfigurationError(f"expected weight_decay of 0 or more, got {self.weight_decay}")
        if not 0 < self.heldout < 1:
            raise ConfigurationError(f"expected a held-out fraction between 0 and 1, got {self.heldout}")
        Mixture(self.conflict_weight, self.shares)

    @property
    def view(self) -> View:
        """The observation."""
        return View.parse(self.observation)

    @property
    def shares(self) -> tuple[float, ...] | None:
        """The mix as numbers, None if there is none."""
        try:
            return tuple(float(share) for share in self.mix.split(",")) if self.mix else None
        except (ValueError, AttributeError):
            raise ConfigurationError(f"expected a mix such as 1,3, got '{self.mix}'") from None

    def network(self) -> networks.Network:
        """Return the network with its initial weights."""
        name, parameters = networks.parse(self.model)
        return networks.make(name, self.view, seed=self.seed, **parameters)

    def learning_rate(self, progress: float) -> float:
        """Return the learning rate when this fraction of the training is done."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1.0 + cos(pi * min(progress, 1.0)))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "CloningConfig":
        """Read what `to_json` made.

        Raises:
            ConfigurationError: A key is missing or unknown.
        """
        recipe.check_keys(data, cls)
        return cls(**data)


def describe(datasets: Sequence[Dataset]) -> list[dict[str, Any]]:
    """Return what a run says about its datasets, and check that they go together.

    Raises:
        ConfigurationError: There is none, or two were labelled by different teachers.
    """
    if not datasets:
        raise ConfigurationError("expected one dataset or more, got none. Use --data DIR.")
    teachers = {dataset.manifest.teacher for dataset in datasets}
    if len(teachers) > 1:
        raise ConfigurationError(
            f"expected datasets labelled by one teacher, got {', '.join(sorted(teachers))}. "
            "A network cannot imitate several at once: train one on each."
        )
    return [
        {
            "path": str(dataset.path),
            "content_hash": dataset.content_hash,
            "episodes": dataset.episodes,
            "rows": dataset.rows,
            "pilot": dataset.manifest.pilot,
            "noise": dataset.manifest.noise,
            "seed": dataset.manifest.seed,
        }
        for dataset in datasets
    ]


def save_config(run: Path, config: CloningConfig, described: list[dict[str, Any]]) -> None:
    """Write `RUN/config.json`."""
    recipe.save(run, "clone", config.to_json(), datasets=described)


def load_config(run: Path) -> tuple[CloningConfig, list[dict[str, Any]]]:
    """Read `RUN/config.json`: the configuration and what it said about its datasets.

    Raises:
        CheckpointError: There is none, it is damaged, or it is of another stage.
    """
    config, (datasets,) = recipe.load(run, "clone", CloningConfig.from_json, "datasets")
    return config, datasets


def check_same(run: Path, config: CloningConfig, described: list[dict[str, Any]]) -> None:
    """Raise unless a run that shall go on is given the configuration and the data it began with.

    Raises:
        CheckpointError: Something differs; says what.
    """
    saved, datasets = load_config(run)
    data = {f"the datasets {recipe.paths(datasets)}": (recipe.hashes(datasets), recipe.hashes(described))}
    recipe.check_same(run, saved.to_json(), config.to_json(), data)
