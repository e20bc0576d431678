"""What `skyclone compare` trains: variants, budgets, learning rates and seeds, and where each run lies.

A variant is a network on a view, written `MODEL[@VIEW]`, each with its parameters, such as
`pairwise:width=96@cpa:intruders=8`. Every training is an ordinary run below `--out`, in a folder that says what it
is, so that calling the command again with more variants, seeds or rates trains only what is missing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field, SkipValidation

from ...collect.surveillance.config import PERFECT
from ...datasets.config import LARGEST, LARGEST_WHOLE, Config, config, fields_of
from ...datasets.errors import ConfigurationError
from ...datasets.spec import comma_list
from ...datasets.traffic.view import View
from ...train.cloning.config import MOST_WEIGHT, CloningConfig, Schedule
from ..evaluation.config import MOST_RESAMPLES

if TYPE_CHECKING:
    from ...train.networks import Network

ENDLESS = 10**9  # epochs: the budget ends a training, not they
STEPS, SECONDS = "steps", "seconds"


class Variant(NamedTuple):
    """A network on a view.

    Attributes:
        model: Such as `pairwise:width=96`.
        observation: Such as `ego:intruders=8`.
    """

    model: str
    observation: str

    @property
    def name(self) -> str:
        """As written on the command line."""
        return f"{self.model}@{self.observation}"

    @property
    def view(self) -> View:
        """Its view."""
        return View.parse(self.observation)

    def network(self, seed: int = 0) -> "Network":
        """Return its network with initial weights."""
        from ...train import networks

        name, parameters = networks.parse(self.model)
        return networks.make(name, self.view, seed=seed, **parameters)

    @classmethod
    def parse(cls, text: str, observation: str) -> "Variant":
        """Read `MODEL[@VIEW]`.

        Raises:
            ConfigurationError: No such model, or a parameter it lacks.
            ObservationError: No such view.
        """
        model, at, view = text.strip().partition("@")
        if at and not view:
            raise ConfigurationError(f"expected MODEL@VIEW, such as pairwise@ego:intruders=8, got '{text}'")
        from ...train import networks  # torch: only where something is trained

        networks.parse(model)
        return cls(model, View.canonical(view or observation))


class Budget(NamedTuple):
    """What every training may spend.

    Attributes:
        kind: `steps` (gradient steps), or `seconds` (of one processor, for loading, forward and backward).
        amount: How many.
    """

    kind: str
    amount: float

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.amount:,.0f} steps" if self.kind == STEPS else f"{self.amount:g} processor seconds"


class Training(NamedTuple):
    """One training.

    Attributes:
        variant: What is trained.
        budget: How long.
        lr: Learning rate.
        seed: Of the initial weights and the order of the rows.
    """

    variant: Variant
    budget: Budget
    lr: float
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.variant.name}, {self.budget.name}, lr {self.lr:g}, seed {self.seed}"

    def folder(self, root: Path) -> Path:
        """Return the folder of its run below the comparison's."""
        kind, amount = self.budget
        place = root / "runs" / self.variant.name.replace(":", ",") / f"{kind}-{amount:.15g}"
        return place / f"lr-{self.lr:.15g}" / f"seed-{self.seed}"


_LABELS = fields_of(CloningConfig)["labels"]
DEFAULT_SEEDS, DEFAULT_RATES = "3", "1e-3"
MOST_SEEDS = 1000
Seed = Annotated[int, Field(ge=0, le=LARGEST_WHOLE - 1)]
Rate = Annotated[float, Field(gt=0, le=LARGEST)]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `--seeds`: a count such as `3`, or numbers such as `0,1,5` (`7,` for one).

    Raises:
        ConfigurationError: It is neither.
    """
    seeds: tuple[int, ...] = comma_list(text, int, "a number of seeds such as 3, or seeds", "0,1,2")
    if not seeds or min(seeds) < 0 or ("," not in text and not 0 < seeds[0] <= MOST_SEEDS):
        raise ConfigurationError(
            f"expected a number of seeds such as 3 (at most {MOST_SEEDS}), or seeds such as 0,1,2, got '{text}'"
        )
    return seeds if "," in text else tuple(range(seeds[0]))


def parse_rates(text: str) -> tuple[float, ...]:
    """Read `--lr`: one learning rate or several with commas between them.

    Raises:
        ConfigurationError: One of them is no number.
    """
    return comma_list(text, float, "learning rates", "1e-3,4e-3")


@config
class CompareConfig(Config):
    """What to compare.

    Of several learning rates, each variant's best is taken by the held-out loss of a seed of its own. If the
    reference is not among the models, it is the first one.
    """

    variants: tuple[SkipValidation[Variant], ...] = Field(description="In the order of the table.")
    budgets: tuple[SkipValidation[Budget], ...] = Field(description="One table each.")
    seeds: tuple[Seed, ...] = Field(
        default=parse_seeds(DEFAULT_SEEDS), description="How many, or which: 0,1,5 (7, for one)."
    )
    rates: tuple[Rate, ...] = Field(
        default=parse_rates(DEFAULT_RATES), description="Learning rate; of several, the best for each."
    )
    batch_size: int = Field(default=1024, ge=1, description="Rows per step.")
    schedule: Schedule = Field(default="cosine", description="Learning rate: constant or cosine.")
    conflict_weight: float = Field(
        default=1.0, gt=0, le=MOST_WEIGHT, description="How often rows in conflict come."
    )
    surveillance: str = Field(
        default="",
        description="What aircraft know of each other in training and in flight: perfect, ads-b, remote-id, or "
        "noise, with :key=value.  [default: that of the dataset]",
    )
    labels: Literal["truth", "perceived"] = Field(default=_LABELS.default, description=_LABELS.description)
    scenarios: int = Field(default=200, ge=2, le=2**20, description="Flown by each network.")
    scenario_seed: int = Field(default=1_000_000, ge=0, description="Their seed.")
    bootstrap: int = Field(default=2000, ge=100, le=MOST_RESAMPLES, description="Resamples.")
    reference: str = Field(default="attention-additive", description="Model held against the others.")

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ConfigurationError(f"'{twice}' is given twice. Name each variant once.")
        for what, given in (("model", names), ("seed", self.seeds), ("learning rate", self.rates)):
            if not given:
                raise ConfigurationError(f"expected at least one {what}, got none.")
            if len(set(given)) < len(given):
                raise ConfigurationError(f"expected each {what} once, got {', '.join(map(str, given))}.")
        if not self.budgets:
            raise ConfigurationError("expected a budget, got none. Use --steps 2000, or --seconds 60, or both.")
        for training in (*self.sweep(), *self.trainings({})):
            self.config(training)  # an error here comes before any training

    @property
    def sweep_seed(self) -> int:
        """The seed on which learning rates are chosen; none of the seeds that are reported."""
        return max(self.seeds) + 1

    def sweep(self) -> list[Training]:
        """Return the trainings that choose the learning rates; none for a single rate."""
        if len(self.rates) == 1:
            return []
        return [
            Training(variant, budget, lr, self.sweep_seed)
            for budget in self.budgets
            for variant in self.variants
            for lr in self.rates
        ]

    def trainings(self, rates: dict[tuple[Variant, Budget], float]) -> list[Training]:
        """Return the trainings that are reported, given each variant's learning rate (else the first one)."""
        return [
            Training(variant, budget, rates.get((variant, budget), self.rates[0]), seed)
            for seed in self.seeds
            for budget in self.budgets
            for variant in self.variants
        ]

    def config(self, training: Training) -> CloningConfig:
        """Return the config of a training's run."""
        kind, amount = training.budget
        return CloningConfig(
            model=training.variant.model,
            observation=training.variant.observation,
            epochs=ENDLESS,
            batch_size=self.batch_size,
            lr=training.lr,
            schedule=self.schedule,
            conflict_weight=self.conflict_weight,
            surveillance=self.surveillance or PERFECT,
            labels=self.labels,
            seed=training.seed,
            max_batches=int(amount) if kind == STEPS else None,
            max_processor_seconds=amount if kind == SECONDS else None,
        )


def parse_variants(texts: str, observation: str) -> tuple[Variant, ...]:
    """Read `--models`: variants with commas between them; empty for every network there is."""
    from ...train import networks

    named = comma_list(texts, str, "models", "pairwise,lstm")
    return tuple(Variant.parse(text, observation) for text in named or networks.NAMES)


def parse_budgets(steps: int, seconds: float) -> tuple[Budget, ...]:
    """Return the budgets of `--steps` and `--seconds`; 0 leaves one out."""
    both: Sequence[Budget] = (Budget(STEPS, steps), Budget(SECONDS, seconds))
    return tuple(budget for budget in both if budget.amount)
