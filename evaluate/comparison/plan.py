"""What `skyclone compare` trains: variants, budgets, learning rates and seeds, and where each run lies.

A variant is a network on a view, written `MODEL[@VIEW]`, each with its parameters, such as
`pairwise:width=96@cpa:intruders=8`. Every training is an ordinary run below `--out`, in a folder that says what it
is, so that calling the command again with more variants, seeds or rates trains only what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.view import View
from ...train import networks
from ...train.cloning.config import CloningConfig, Schedule

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

    def network(self, seed: int = 0) -> networks.Network:
        """Return its network with initial weights."""
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
        networks.parse(model)
        return cls(model, str(View.parse(view or observation)))


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
        place = root / "runs" / self.variant.name.replace(":", ",") / f"{kind}-{amount:g}"
        return place / f"lr-{self.lr:g}" / f"seed-{self.seed}"


@dataclass(frozen=True)
class ComparePlan:
    """What to compare.

    Attributes:
        variants: In the order of the table.
        budgets: One table each.
        seeds: Each variant is trained with each.
        rates: Learning rates; of several, each variant's best is taken by the held-out loss of a seed of its own.
        batch_size: Rows per step.
        schedule: `constant` or `cosine`.
        conflict_weight: How often a training row in conflict comes for each time a free one does.
        scenarios: Scenarios flown by each trained network.
        scenario_seed: Their seed.
        bootstrap: Resamples for the intervals over scenarios.
        reference: The model all others are held against; if it is not among them, the first one.
    """

    variants: tuple[Variant, ...]
    budgets: tuple[Budget, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: tuple[float, ...] = (1e-3,)
    batch_size: int = 1024
    schedule: Schedule = "cosine"
    conflict_weight: float = 1.0
    scenarios: int = 200
    scenario_seed: int = 1_000_000
    bootstrap: int = 2000
    reference: str = "attention-additive"

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
        if self.scenarios < 2:
            raise ConfigurationError(f"expected 2 or more scenarios for an interval, got {self.scenarios}")
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
            seed=training.seed,
            max_batches=int(amount) if kind == STEPS else None,
            max_processor_seconds=amount if kind == SECONDS else None,
        )


def parse_variants(texts: str, observation: str) -> tuple[Variant, ...]:
    """Read `--models`: variants with commas between them; empty for every network there is."""
    named = [text for text in texts.split(",") if text.strip()]
    return tuple(Variant.parse(text, observation) for text in named or networks.NAMES)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `--seeds`: a count such as `3`, or numbers such as `0,1,5` (`7,` for one).

    Raises:
        ConfigurationError: It is neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts) or (len(parts) == 1 and text.strip() == "0"):
        raise ConfigurationError(f"expected a number of seeds such as 3, or seeds such as 0,1,2, got '{text}'")
    return tuple(map(int, parts)) if "," in text else tuple(range(int(parts[0])))


def parse_rates(text: str) -> tuple[float, ...]:
    """Read `--lr`: one learning rate or several with commas between them.

    Raises:
        ConfigurationError: One of them is no number.
    """
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigurationError(f"expected learning rates such as 1e-3,4e-3, got '{text}'") from None


def parse_budgets(steps: int, seconds: float) -> tuple[Budget, ...]:
    """Return the budgets of `--steps` and `--seconds`; 0 leaves one out."""
    both: Sequence[Budget] = (Budget(STEPS, steps), Budget(SECONDS, seconds))
    return tuple(budget for budget in both if budget.amount)
