"""The table of a comparison: a row for each variant and budget, and the differences that answer the question.

There are two sources of variation. Over **seeds**: the mean with Student's t interval, and each seed's own value.
Over **scenarios**: closed-loop figures are pooled over the seeds, and
scenarios are resampled, as everywhere in `evaluate`. Two variants are told apart only where every interval of
their paired difference excludes 0 (or a ratio of 1).

The JSON, version 1: `rows` (one for each budget and variant; `metrics` by name, each with `value`, `low`, `high`
and `seeds`), `references` (`none` and the teacher), `differences` (each variant against the reference model on the
same view), `answer` (sentences), `runs` (each training), `notes`, and what was compared on what.
"""

from dataclasses import dataclass
from math import exp, isfinite, log, nan
from typing import Any, NamedTuple

import numpy as np

from ...datasets import notebook
from ...datasets.provenance import code_version, package_versions
from ...train.runs import confidence_intervals
from ...train.runs.confidence_intervals import Estimate, Ratio
from ..evaluation.config import UNRESOLVED
from ..evaluation.verdict import ARRIVALS
from ..metrics import formulas
from ..metrics.formulas import METRICS, Basis
from ..metrics.numerals import NOTHING, with_interval
from .comparison import Comparison
from .config import Budget, Training, Variant

VERSION = 1
TRAINED = {
    "heldout_mse": "held-out MSE",
    "heldout_mse_conflict": "in conflict",
    "heldout_mse_free": "free",
    "sharpness": "sharpness",
    "samples_per_second": "samples/s, wall",
    "samples_per_processor_second": "samples/s, processor",
    "steps": "steps",
    "wall_s": "wall s",
    "processor_s": "processor s",
}
"""Figures of the training, by key, with their headings."""
FLOWN = (
    "ipr", "los_events", "time_in_los_s", "nmac_events", "extra_distance", "waypoint_rate", "stalled_rate",
    "left_sector_rate",
)  # fmt: skip
"""Closed-loop metrics of the table; the JSON has all of `METRICS`."""
PAIRED = ("los_events", "ipr", "time_in_los_s", "nmac_events", *ARRIVALS)
"""Those in which variants are told apart: who stands still loses no separation, and does not arrive."""
_IN_NOTEBOOKS = ("los_events", "waypoint_rate", "extra_distance")


class Spread(NamedTuple):
    """A figure over seeds.

    Attributes:
        estimate: Its value and interval.
        seeds: Its value with each seed; None where it has none.
    """

    estimate: Estimate
    seeds: list[float | None]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        finite = [value if value is not None and isfinite(value) else None for value in self.seeds]
        return {**self.estimate.to_json(), "seeds": finite}


@dataclass(frozen=True)
class Row:
    """A variant with a budget.

    Attributes:
        variant: Which.
        budget: What each of its trainings spent.
        lr: The learning rate it was trained with.
        parameters: Weights of its network.
        figures: By name: those of the training over seeds; closed-loop ones over scenarios, seeds pooled.
        ratios: Closed-loop metrics with the seeds pooled; empty if nothing could fly.
        by_seed: The same of each seed.
        failed: Seeds that met NaN or infinity.
    """

    variant: Variant
    budget: Budget
    lr: float
    parameters: int
    figures: dict[str, Spread]
    ratios: dict[str, Ratio]
    by_seed: dict[int, dict[str, Ratio]]
    failed: list[int]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "variant": self.variant.name,
            "model": self.variant.model,
            "observation": self.variant.observation,
            "budget": self.budget._asdict(),
            "lr": self.lr,
            "parameters": self.parameters,
            "failed_seeds": self.failed,
            "metrics": {name: spread.to_json() for name, spread in self.figures.items()},
        }


@dataclass(frozen=True)
class Difference:
    """A variant against the reference model on the same view, paired.

    Attributes:
        row: The variant.
        reference: The reference.
        loss_ratio: Held-out MSE of the variant over that of the reference, geometric mean over seeds, t interval.
        flown: Each metric of `PAIRED` minus the reference's: over scenarios (seeds pooled), and over seeds.
        detectable: The smallest difference in each of them that these scenarios could have shown, seeds pooled.
    """

    row: Row
    reference: Row
    loss_ratio: Estimate
    flown: dict[str, tuple[Estimate, Estimate]]
    detectable: dict[str, float]

    @property
    def loss_verdict(self) -> str:
        """`worse`, `better` or `not told apart`."""
        return verdict([self.loss_ratio], 1.0)

    @property
    def los_verdict(self) -> str:
        """`worse`, `better` or `not told apart`."""
        return self.verdict_on("los_events")

    @property
    def arrivals_verdict(self) -> str:
        """`worse`, `better` or `not told apart`; `worse` if any of the metrics of `ARRIVALS` is."""
        words = {self.verdict_on(name) for name in ARRIVALS}
        return next((word for word in ("worse", "better") if word in words), "not told apart")

    def verdict_on(self, name: str) -> str:
        """Return `worse`, `better` or `not told apart` in a metric of `PAIRED`."""
        if METRICS[name].better == "less":
            return verdict(list(self.flown[name]), 0.0)
        return verdict([Estimate(-each.value, -each.high, -each.low) for each in self.flown[name]], 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "budget": self.row.budget._asdict(),
            "variant": self.row.variant.name,
            "reference": self.reference.variant.name,
            "heldout_mse_ratio": {**self.loss_ratio.to_json(), "verdict": self.loss_verdict},
            **{
                name: {
                    "over_scenarios": scenarios.to_json(),
                    "over_seeds": seeds.to_json(),
                    "verdict": self.verdict_on(name),
                    "detectable": self.detectable[name] if isfinite(self.detectable[name]) else None,
                }
                for name, (scenarios, seeds) in self.flown.items()
            },
        }


@dataclass(frozen=True)
class Table:
    """A comparison as a table.

    Attributes:
        comparison: What came out.
        rows: By budget, then by variant.
        references: Closed-loop metrics of `none` and the teacher.
        differences: Against the reference model.
    """

    comparison: Comparison
    rows: list[Row]
    references: dict[str, dict[str, Estimate]]
    differences: list[Difference]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: each variant's main figures, and whether it differs from the reference."""

        def flown(figures: dict[str, Estimate]) -> list[str]:
            return [" ".join(with_interval(figures[name], METRICS[name])).strip() for name in _IN_NOTEBOOKS]

        verdicts = {
            id(each.row): f"loss {each.loss_verdict}, LoS {each.los_verdict}, arrivals {each.arrivals_verdict}"
            for each in self.differences
        }
        rows = [(name, "", "", *flown(figures), "") for name, figures in self.references.items()]
        for row in self.rows:
            estimates = {name: spread.estimate for name, spread in row.figures.items()}
            loss = estimates["heldout_mse"].value
            trained = f"{loss:.3g}" if isfinite(loss) else NOTHING
            verdict = verdicts.get(id(row), "")
            rows.append((row.variant.name, row.budget.name, trained, *flown(estimates), verdict))
        metrics = (METRICS[name].heading for name in _IN_NOTEBOOKS)
        headings = ("", "budget", TRAINED["heldout_mse"], *metrics, f"against {self.comparison.plan.reference}")
        return notebook.table("Comparison", rows, headings, "[low, high]: 95 % intervals.")


def tabulate(comparison: Comparison) -> Table:
    """Compute the table."""
    plan, flown = comparison.plan, comparison.references
    weights = confidence_intervals.resample(plan.scenarios, plan.bootstrap, plan.scenario_seed)

    def ratios_of(figures: Any) -> dict[str, Ratio]:
        return formulas.compute(Basis(figures, flown[UNRESOLVED], comparison.world))

    rows = []
    for budget in plan.budgets:
        for variant in plan.variants:
            lr = comparison.rates[variant, budget]
            trainings = {seed: Training(variant, budget, lr, seed) for seed in plan.seeds}
            by_seed = {
                seed: ratios_of(comparison.flown[each])
                for seed, each in trainings.items()
                if each in comparison.flown
            }
            runs = {seed: comparison.runs[each] for seed, each in trainings.items()}
            rows.append(_row(variant, budget, lr, runs, by_seed, weights))
    references = {
        name: {key: confidence_intervals.estimate(ratio, weights) for key, ratio in ratios_of(figures).items()}
        for name, figures in flown.items()
    }
    return Table(comparison, rows, references, _differences(rows, plan.reference, weights))


def _row(
    variant: Variant,
    budget: Budget,
    lr: float,
    runs: dict[int, dict[str, Any]],
    by_seed: dict[int, dict[str, Ratio]],
    weights: np.ndarray,
) -> Row:
    """Return a row from the runs of its seeds."""
    failed = [seed for seed, run in runs.items() if run["trouble"]]
    figures = {}
    for name in TRAINED:
        values = [None if run["trouble"] else run[name] for run in runs.values()]
        figures[name] = Spread(over_seeds([value for value in values if value is not None]), values)
    ratios = {name: pooled([each[name] for each in by_seed.values()]) for name in METRICS} if by_seed else {}
    for name in METRICS:
        each = [confidence_intervals.value_of(by_seed[seed][name]) if seed in by_seed else None for seed in runs]
        estimate = confidence_intervals.estimate(ratios[name], weights) if ratios else Estimate(nan, nan, nan)
        figures[name] = Spread(estimate, each)
    parameters = sum(weight.numel() for weight in variant.network().parameters())
    return Row(variant, budget, lr, parameters, figures, ratios, by_seed, failed)


def _differences(rows: list[Row], reference: str, weights: np.ndarray) -> list[Difference]:
    """Return every row against the reference model with the same view and budget, if they share a seed."""
    is_there = any(row.variant.model == reference for row in rows)
    model = reference if is_there else rows[0].variant.model
    chosen = {(row.budget, row.variant.observation): row for row in rows if row.variant.model == model}
    found = []
    for row in rows:
        other = chosen.get((row.budget, row.variant.observation))
        if other is not None and other is not row and set(row.by_seed) & set(other.by_seed):
            pairs = {name: _paired(row, other, name, weights) for name in PAIRED}
            flown = {name: (scenarios, seeds) for name, (scenarios, seeds, _) in pairs.items()}
            smallest = {name: detectable for name, (_, _, detectable) in pairs.items()}
            found.append(Difference(row, other, _loss_ratio(row, other), flown, smallest))
    return found


def _loss_ratio(one: Row, other: Row) -> Estimate:
    """Return the ratio of the held-out losses, paired by seed: the t interval of the mean logarithm."""
    pairs = zip(one.figures["heldout_mse"].seeds, other.figures["heldout_mse"].seeds)
    logs = over_seeds([log(a / b) for a, b in pairs if a is not None and b is not None])
    return Estimate(*(exp(part) if isfinite(part) else nan for part in logs))


def _paired(one: Row, other: Row, name: str, weights: np.ndarray) -> tuple[Estimate, Estimate, float]:
    """Return one minus other in a metric, over scenarios (seeds pooled) and over seeds, and what is detectable."""
    both = [seed for seed in one.by_seed if seed in other.by_seed]
    first, second = (pooled([row.by_seed[seed][name] for seed in both]) for row in (one, other))
    gaps = [
        confidence_intervals.value_of(one.by_seed[seed][name])
        - confidence_intervals.value_of(other.by_seed[seed][name])
        for seed in both
    ]
    over_scenarios = confidence_intervals.difference(first, second, weights)
    smallest = confidence_intervals.detectable(over_scenarios, first, second)
    return over_scenarios, over_seeds([gap for gap in gaps if isfinite(gap)]), smallest


def over_seeds(values: list[float]) -> Estimate:
    """Return the mean and Student's t interval; no interval from one value alone."""
    if not values:
        return Estimate(nan, nan, nan)
    interval = confidence_intervals.student_interval(np.array(values))
    return interval if len(values) > 1 else Estimate(interval.value, nan, nan)


def pooled(ratios: list[Ratio]) -> Ratio:
    """Return a metric with the events and exposures of several seeds added up, scenario by scenario."""
    events, exposure = (sum(getattr(each, key) for each in ratios) for key in ("events", "exposure"))
    return ratios[0]._replace(events=events, exposure=exposure)


def verdict(intervals: list[Estimate], none: float) -> str:
    """Return `better` if all intervals lie below `none`, `worse` if all lie above, else `not told apart`."""
    if all(isfinite(each.low) and each.high < none for each in intervals):
        return "better"
    if all(isfinite(each.low) and each.low > none for each in intervals):
        return "worse"
    return "not told apart"


def to_json(table: Table, answer: list[str]) -> dict[str, Any]:
    """Return the JSON object, version 1."""
    comparison, plan = table.comparison, table.comparison.plan
    return {
        "version": VERSION,
        "answer": answer,
        "rows": [row.to_json() for row in table.rows],
        "references": {
            name: {key: estimate.to_json() for key, estimate in estimates.items()}
            for name, estimates in table.references.items()
        },
        "differences": [difference.to_json() for difference in table.differences],
        "reference": plan.reference,
        "dataset": comparison.data,
        "teacher": comparison.teacher,
        "world": comparison.world.to_json(),
        "budgets": [budget._asdict() for budget in plan.budgets],
        "seeds": list(plan.seeds),
        "rates": list(plan.rates),
        "sweep_seed": plan.sweep_seed if comparison.sweep else None,
        "sweep": [_training(each) | {"heldout_mse": score} for each, score in comparison.sweep.items()],
        "batch_size": plan.batch_size,
        "schedule": plan.schedule,
        "conflict_weight": plan.conflict_weight,
        "surveillance": plan.surveillance,
        "labels": plan.labels,
        "scenarios": plan.scenarios,
        "scenario_seed": plan.scenario_seed,
        "bootstrap": plan.bootstrap,
        "confidence": confidence_intervals.CONFIDENCE,
        "runs": [
            {**_training(each), "path": str(each.folder(comparison.root)), **run}
            for each, run in comparison.runs.items()
        ],
        "notes": list(NOTES),
        "seconds": comparison.seconds,
        "code": code_version(),
        "packages": package_versions(),
    }


def _training(training: Training) -> dict[str, Any]:
    """Return what a training is, as JSON."""
    return {
        "variant": training.variant.name,
        "budget": training.budget._asdict(),
        "lr": training.lr,
        "seed": training.seed,
    }


NOTES = (
    "Held-out figures are those of the best iteration, on held-out episodes flown by the pure teacher.",
    "Processor seconds are those of one thread for loading, forward and backward: what the wall clock shows on an "
    "idle machine. Other work on the machine still slows memory and caches.",
    "Intervals are 95 %, not corrected for the number of comparisons: of the training Student's t over seeds, in "
    "closed loop by bootstrap over scenarios with the seeds pooled.",
)
