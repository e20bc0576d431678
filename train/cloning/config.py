"""What a cloning run is to do: one frozen config, kept beside the result as `RUN/config.json`."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ...collect.surveillance import config as surveillance
from ...datasets.config import Config, config
from ...datasets.errors import ConfigurationError, DatasetError
from ...datasets.files.storage import Folder, as_folder
from ...datasets.provenance import seeds_of
from ...datasets.spec import comma_list
from ...datasets.traffic.record import PERCEIVED
from ...datasets.traffic.view import View, scale_of
from ..runs import config_file

if TYPE_CHECKING:
    from ...collect.flying.stored_perception import StoredPerception
    from ...datasets.dataset import Dataset
    from ..networks import Network

Schedule = Literal["constant", "cosine", "cooldown"]
COOLDOWN = 0.5
"""The part of a run at whose end its learning rate goes down to 0, where the schedule is `cooldown`."""
MOST_WEIGHT = 1e6
"""No row and no dataset comes more often than that for each time another does."""


@cache
def recipes() -> dict[str, dict[str, Any]]:
    """Return the recipe of each network, by its name: fields of a `CloningConfig` (`recipes.toml`)."""
    return tomllib.loads(resources.files(__package__).joinpath("recipes.toml").read_text("utf-8"))


@config
class CloningConfig(Config):
    """What a cloning run is to do; with the datasets' content it decides the result.

    A limit on time makes the result depend on the machine. Limits also end the schedule. These networks are small:
    a second thread brings little, and on a busy machine makes all many times slower (`train/LOG.md`); with another
    number of threads the result differs in the last bits.
    """

    added = ("optimizer", "surveillance", "labels")

    model: str = Field(default="attention-additive", description="Network, such as pairwise:width=96.")
    observation: Annotated[str, AfterValidator(View.canonical)] = Field(
        default="seed", description="View, such as ego:intruders=8; its numbers are those of the dataset's world."
    )
    epochs: int = Field(default=20, ge=1, description="Passes over the training rows.")
    batch_size: int = Field(default=1024, ge=1, description="Rows per step.")
    lr: float = Field(default=1e-3, gt=0, description="Learning rate of Adam.")
    schedule: Schedule = Field(
        default="constant",
        description="Learning rate: constant, cosine, or cooldown (constant for half of the run, then down to 0).",
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="adamw, or muon (its matrices by orthogonal steps, the rest by AdamW)."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay.")
    gradient_clip: float = Field(default=1.0, gt=0, description="Largest norm of all gradients together.")
    seed: int = Field(default=0, ge=0, description="Initial weights and order of the rows.")
    heldout: float = Field(default=0.1, gt=0, lt=1, description="Fraction of the episodes held out.")
    max_seconds: float | None = Field(
        default=None, gt=0, description="Stop after so many seconds; the schedule ends then."
    )
    max_processor_seconds: float | None = Field(
        default=None,
        gt=0,
        description="The same in processor time, of loading, forward and backward alone: what other work on the "
        "machine takes is not counted, nor is evaluation.",
    )
    max_batches: int | None = Field(default=None, ge=1, description="Stop after so many batches.")
    threads: int = Field(
        default=1,
        ge=0,
        le=config_file.MOST_THREADS,
        description="Threads of torch on the CPU; 0 leaves it its own number.",
    )
    conflict_weight: float = Field(
        default=1.0, gt=0, le=MOST_WEIGHT, description="How often rows in conflict come."
    )
    mix: str = Field(default="", description="Share of each dataset in an epoch, such as 1,3.")
    stream: bool = Field(default=False, description="For data larger than memory: read it while training.")
    surveillance: str = Field(
        default=surveillance.PERFECT,
        description="What aircraft know of each other: perfect, ads-b, remote-id, or noise, with :key=value.",
    )
    labels: Literal["truth", "perceived"] = Field(
        default=PERCEIVED,
        description="What the teacher's labels are made of: truth (the stored states), or perceived (what its "
        "aircraft know of them).",
    )

    @classmethod
    def of(cls, model: str) -> "CloningConfig":
        """Return the recipe of a model: what it is trained with where nothing else is said.

        Args:
            model: Network, such as `pairwise:width=96`; its recipe is that of `pairwise`.

        Raises:
            ConfigurationError: There is no such network.
        """
        return cls(model=model, **recipes().get(model.partition(":")[0], {}))

    def __post_init__(self) -> None:
        from .. import networks  # torch: only where something is trained

        networks.parse(self.model)
        surveillance.parse(self.surveillance)
        if not all(0 < share <= MOST_WEIGHT for share in self.shares or ()):
            raise ConfigurationError(
                f"expected a mix of shares above 0 and up to {MOST_WEIGHT:g}, got '{self.mix}'. "
                "Leave out what has no share."
            )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; it says what labels are made of wherever that makes a difference."""
        data = super().to_json()
        return {**data, "labels": self.labels} if self.knows_less else data

    @property
    def knows_less(self) -> bool:
        """Whether aircraft do not know all that is stored."""
        return self.surveillance != surveillance.PERFECT

    @property
    def perceive(self) -> "StoredPerception | None":
        """What finds out what they know; None if that is all."""
        from ...collect.flying.stored_perception import StoredPerception  # torch

        return StoredPerception(self.surveillance, self.labels) if self.knows_less else None

    def world(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return the world, as JSON, that is learned in: a dataset's, with the surveillance of the run."""
        world = {key: value for key, value in recorded.items() if key != "surveillance"}
        return {**world, "surveillance": self.surveillance} if self.knows_less else world

    def scaled(self, world: Mapping[str, Any]) -> "CloningConfig":
        """Return the same with an observation that says all numbers which a world, as JSON, gives it."""
        scale = scale_of(world)
        return replace(self, observation=View.parse(self.observation, scale).text(scale))

    @property
    def view(self) -> View:
        """The observation; on the scale of the reference world where its text says nothing else."""
        return View.parse(self.observation)

    @property
    def shares(self) -> tuple[float, ...] | None:
        """The mix as numbers, None if there is none."""
        return comma_list(self.mix, float, "a mix", "1,3") or None

    def network(self) -> "Network":
        """Return the network with its initial weights."""
        from .. import networks

        name, parameters = networks.parse(self.model)
        return networks.make(name, self.view, seed=self.seed, **parameters)

    def learning_rate(self, progress: float) -> float:
        """Return the learning rate when this fraction of the training is done."""
        left = 1.0 - min(progress, 1.0)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1.0 - cos(pi * left))
        return self.lr * min(1.0, left / COOLDOWN) if self.schedule == "cooldown" else self.lr


def describe(datasets: "Sequence[Dataset]") -> list[dict[str, Any]]:
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
            **({} if (under := surveillance_of([dataset])) == surveillance.PERFECT else {"surveillance": under}),
            **_seeds(dataset),
        }
        for dataset in datasets
    ]


def surveillance_of(datasets: "Sequence[Dataset]") -> str:
    """Return the surveillance that datasets were collected under.

    Raises:
        ConfigurationError: Not all under the same.
    """
    found = sorted({str(each.manifest.world.get("surveillance", surveillance.PERFECT)) for each in datasets})
    if len(found) > 1:
        raise ConfigurationError(
            f"expected datasets collected under one surveillance, got {', '.join(found)}. Say under which one the "
            f"network is to learn: --surveillance {found[0]}"
        )
    return found[0] if found else surveillance.PERFECT


def _seeds(dataset: "Dataset") -> dict[str, list[int]]:
    """Return the seeds of a dataset that was merged or selected, by name; of others `seed` says it."""
    manifest = dataset.manifest
    return {"seeds": sorted(seeds_of(manifest.seed, manifest.parts))} if manifest.parts else {}


def where(described: list[dict[str, Any]]) -> tuple[Folder, ...]:
    """Return where the datasets of a run are, as it remembers them.

    Raises:
        DatasetError: One is no longer there.
    """
    folders = tuple(as_folder(each["path"]) for each in described)
    for folder in folders:
        if not folder.exists():
            raise DatasetError(
                f"the run's dataset is no longer at {folder}. If it was moved, say where: --data DIR"
            )
    return folders


def save_config(run: Path, config: CloningConfig, described: list[dict[str, Any]]) -> None:
    """Write `RUN/config.json`."""
    config_file.save(run, "clone", config.to_json(), datasets=described)


def load_config(run: Path) -> tuple[CloningConfig, list[dict[str, Any]]]:
    """Read `RUN/config.json`: the configuration and what it said about its datasets.

    Raises:
        CheckpointError: There is none, it is damaged, or it is of another stage.
    """
    config, (datasets,) = config_file.load(run, "clone", CloningConfig.from_json, "datasets")
    return config, datasets


def check_same(run: Path, config: CloningConfig, described: list[dict[str, Any]]) -> None:
    """Raise unless a run that shall go on is given the configuration and the data it began with.

    Raises:
        CheckpointError: Something differs; says what.
    """
    saved, datasets = load_config(run)
    data = config_file.same_datasets(datasets, described)
    config_file.check_same(run, asdict(saved), asdict(config), data)
