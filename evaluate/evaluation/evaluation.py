"""The evaluation: all contenders on the same scenarios, their metrics, and the differences between them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from ...collect import simulators
from ...collect.flying.figures import Figures, ScenariosDone
from ...collect.surveillance.config import PERFECT
from ...datasets import notebook
from ...datasets.provenance import code_version, package_versions
from ...train.runs import confidence_intervals
from ...train.runs.confidence_intervals import Estimate, Ratio
from ...train.runs.gate import los_s
from ..metrics import formulas
from ..metrics.formulas import METRICS, Basis
from ..metrics.numerals import counted, with_interval
from ..rare.rates import Rates
from . import assured, equipage, mvp_front
from .batches import fly_all
from .config import UNRESOLVED, Contender, EvaluationConfig
from .contenders import Loaded, warnings_about
from .flight_store import FlightStore
from .mvp_front import Front

VERSION = 1
"""Of the JSON's form."""
SAFETY = ("los_events", "time_in_los_s", "nmac_events", "ipr")
WAY = ("waypoint_rate", "stalled_rate", "left_sector_rate", "extra_distance")
"""What is shown of each contender: who stands still loses no separation, and does not arrive."""


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        plan: What was evaluated.
        figures: Figures of every contender flown, by name.
        estimates: Metrics with intervals, by contender and metric; those shown only.
        differences: Contender minus reference, by contender, reference and metric.
        warnings: What speaks against the figures.
        meta: Where each trained policy comes from, by name.
        seconds: What each contender's flying took, by name, and `intervals`.
        front: The front of the MVP family, if it was wanted.
        by_aircraft: Metrics with intervals by number of aircraft, contender and metric; empty for one number only.
        by_surveillance: The same by surveillance, in the order given.
        from_surveillance: Metrics under each other surveillance minus those under the first, paired by scenario.
        rare: Rates of rare events by contender; empty unless they were wanted.
        by_equipage: Metrics of the aircraft that each contender flies, by contender, part and metric: see
            `equipage`. Empty where contenders fly all.
    """

    plan: EvaluationConfig
    figures: dict[str, Figures]
    estimates: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, dict[str, Estimate]]]
    warnings: list[str]
    meta: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    front: Front | None = None
    by_aircraft: dict[str, dict[str, dict[str, Estimate]]] = field(default_factory=dict)
    by_surveillance: dict[str, dict[str, dict[str, Estimate]]] = field(
        default_factory=dict, metadata={"later": True}
    )
    from_surveillance: dict[str, dict[str, dict[str, Estimate]]] = field(
        default_factory=dict, metadata={"later": True}
    )
    rare: dict[str, Rates] = field(default_factory=dict, metadata={"later": True})
    by_equipage: dict[str, dict[str, dict[str, Estimate]]] = field(default_factory=dict, metadata={"later": True})

    def detectable(self, name: str, reference: str) -> dict[str, float]:
        """Return the smallest difference that the scenarios could have shown, by metric; infinite for none.

        Args:
            name: A contender.
            reference: One that it is held against.
        """
        one, other = (self._ratios(each) for each in (name, reference))
        sizes = {"time_in_los_s": los_s(self.plan.world)}
        return {
            metric: confidence_intervals.detectable(gap, one[metric], other[metric], sizes.get(metric, 1.0))
            for metric, gap in self.differences[name][reference].items()
        }

    def _ratios(self, name: str) -> dict[str, Ratio]:
        """Return a contender's metrics, scenario by scenario."""
        return formulas.compute(Basis(self.figures[name], self.figures[UNRESOLVED], self.plan.world))

    def _repr_html_(self) -> str:
        """Return what a notebook shows: each contender's main figures with their intervals, and the warnings."""
        shown = [METRICS[name] for name in (*SAFETY, *WAY)]
        rows = [
            (name, *(" ".join(with_interval(self.estimates[key][each.name], each)).strip() for each in shown))
            for key, name in self.plan.short_names.items()
        ]
        note = " ".join([conditions(self), *(f"Warning: {text}" for text in self.warnings)])
        return notebook.table("Evaluation", rows, ("", *(each.heading for each in shown)), note)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of `evaluate --json`, version 1."""
        plan = self.plan
        return {
            "version": VERSION,
            "contenders": {name: _json_of(estimates) for name, estimates in self.estimates.items()},
            "differences": {
                name: {reference: _json_of(estimates) for reference, estimates in against.items()}
                for name, against in self.differences.items()
            },
            "detectable": {
                name: {reference: _finite(self.detectable(name, reference)) for reference in against}
                for name, against in self.differences.items()
            },
            "front": self.front.to_json() if self.front else None,
            **{
                key: {
                    which: {name: _json_of(estimates) for name, estimates in contenders.items()}
                    for which, contenders in getattr(self, key).items()
                }
                for key in ("by_aircraft", "by_surveillance", "from_surveillance", "by_equipage")
            },
            "nearest_m": {
                name: formulas.nearest_percentiles(self.figures[name].nearest_m) for name in self.estimates
            },
            "assurance": {
                name: found
                for name in self.estimates
                if (found := assured.describe(self.figures[name], plan.world)) is not None
            },
            "rare": {name: rates.to_json() for name, rates in self.rare.items()},
            "world": plan.world.to_json(),
            "simulator": plan.world.simulator,
            "seed": plan.seed,
            "scenarios": plan.scenarios,
            "batch": plan.batch,
            "mix": plan.mix,
            "bootstrap": plan.bootstrap,
            "confidence": confidence_intervals.CONFIDENCE,
            "runs": self.meta,
            "warnings": self.warnings,
            "code": code_version(),
            "packages": {**package_versions(), **simulators.packages_of(plan.world)},
        }


def _json_of(estimates: dict[str, Estimate]) -> dict[str, dict[str, float | None]]:
    """Return estimates as JSON."""
    return {name: estimate.to_json() for name, estimate in estimates.items()}


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    """Return numbers as JSON."""
    return {name: number if isfinite(number) else None for name, number in numbers.items()}


def conditions(evaluation: Evaluation) -> str:
    """Return what the figures rest on, and what monitors did, in a line."""
    plan = evaluation.plan
    world = plan.world
    where = "" if simulators.is_embedded(world) else f", in {world.simulator}"
    if world.surveillance != PERFECT:
        where += f", surveillance {world.surveillance}"
    if plan.mix:
        where += f", mix {plan.mix}"
    monitors = (
        assured.sentence(name, evaluation.figures[key], world)
        for key, name in plan.short_names.items()
        if key in evaluation.figures
    )
    rest = "".join(f" {each}" for each in monitors if each)
    return (
        f"[low, high]: 95 % intervals. {counted(plan.scenarios, 'scenario')} of {world.aircraft} aircraft, "
        f"the same for all ({world.scenario}, seed {plan.seed}{where}).{rest}"
    )


def references(contenders: Sequence[Contender]) -> dict[str, list[str]]:
    """Return against whom each contender is held.

    Everybody against the first `mvp` (else the first baseline that resolves); that one against `none`;
    every further run against the first run too, so that one sees what fine-tuning has changed.
    """
    baselines = [c.name for c in contenders if not c.is_run]
    runs = [c.name for c in contenders if c.is_run]
    resolving = [name for name in baselines if name != UNRESOLVED]
    first = next((name for name in resolving if name.partition(":")[0] == "mvp"), None)
    main = first or next(iter([*resolving, *baselines]), None)
    against: dict[str, list[str]] = {}
    for name in [*resolving, *runs]:
        others = [main] if main and main != name else []
        if name == main and UNRESOLVED in baselines:
            others = [UNRESOLVED]
        if name in runs[1:]:
            others.append(runs[0])
        if others:
            against[name] = others
    return against


def evaluate(
    plan: EvaluationConfig,
    loaded: dict[str, Loaded],
    workers: int | None = 1,
    progress: ScenariosDone | None = None,
    store: FlightStore | None = None,
    engine: str = "local",
    report: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Fly every contender on the same scenarios and compute its metrics.

    Args:
        plan: What to evaluate.
        loaded: The contenders, from `load_all`.
        workers: Processes; 1 works in this one. Or tasks of a Ray cluster. The figures do not depend on it.
        progress: Called with the number of scenarios that are done.
        store: Where batches are kept; those it has are not flown again.
        engine: `local` or `ray`; see `fly_all`.
        report: Gets which cluster it is.
    """
    figures, seconds = fly_all(plan, loaded, workers, progress, store, engine, report)
    start = time.perf_counter()
    shown = [loaded[contender.name] for contender in plan.contenders]
    evaluation = from_figures(
        plan,
        figures,
        warnings=warnings_about(shown, plan.world, plan.seed),
        meta={each.contender.name: each.meta for each in shown if each.policy},
        seconds=seconds,
    )
    seconds["intervals"] = time.perf_counter() - start
    return evaluation


def from_figures(
    plan: EvaluationConfig,
    figures: dict[str, Figures],
    warnings: list[str],
    meta: dict[str, dict[str, Any]],
    seconds: dict[str, float],
) -> Evaluation:
    """Compute the metrics of what was flown, with their intervals, and the differences.

    Args:
        plan: What was evaluated.
        figures: Of every contender flown, and of `none`, by name.
        warnings: What speaks against the figures.
        meta: Where each trained policy comes from, by name.
        seconds: What each contender's flying took, by name.
    """
    ratios = {
        name: formulas.compute(Basis(each, figures[UNRESOLVED], plan.world)) for name, each in figures.items()
    }
    weights = confidence_intervals.resample(plan.scenarios, plan.bootstrap, plan.seed)
    estimates = {
        contender.name: {
            name: confidence_intervals.estimate(ratio, weights) for name, ratio in ratios[contender.name].items()
        }
        for contender in plan.contenders
    }
    differences = {
        name: {other: _differences(ratios[name], ratios[other], weights) for other in others}
        for name, others in references(plan.contenders).items()
    }
    by_equipage = {
        name: equipage.estimates_of(figures[name], figures[UNRESOLVED], plan.world, plan.shares, weights)
        for name in (estimates if plan.mix else ())
    }
    runs = [contender.name for contender in plan.contenders if contender.is_run]
    front = mvp_front.find(ratios, runs, weights) if plan.front else None
    return Evaluation(
        plan, figures, estimates, differences, warnings, meta, seconds, front, by_equipage=by_equipage
    )


def side_by_side(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the first of several evaluations of the same contenders, with the metrics of all of them.

    Args:
        evaluations: Each differs from the first in the number of aircraft, or in the surveillance.
    """
    first = evaluations[0]
    world = first.plan.world
    densities = [each for each in evaluations if each.plan.world.surveillance == world.surveillance]
    qualities = [each for each in evaluations if each.plan.world.aircraft == world.aircraft]
    if len(densities) > 1:
        densities.sort(key=lambda each: each.plan.world.aircraft)
        first = replace(first, by_aircraft={str(each.plan.world.aircraft): each.estimates for each in densities})
    if len(qualities) > 1:
        first = replace(
            first,
            by_surveillance={each.plan.world.surveillance: each.estimates for each in qualities},
            from_surveillance={each.plan.world.surveillance: _change(qualities[0], each) for each in qualities[1:]},
        )
    return first


def _change(before: Evaluation, after: Evaluation) -> dict[str, dict[str, Estimate]]:
    """Return the metrics of each contender in one evaluation minus those in another, on the same scenarios."""
    plan = before.plan
    weights = confidence_intervals.resample(plan.scenarios, plan.bootstrap, plan.seed)
    found = {}
    for contender in plan.contenders:
        new, old = (
            formulas.compute(Basis(each.figures[contender.name], each.figures[UNRESOLVED], each.plan.world))
            for each in (after, before)
        )
        found[contender.name] = _differences(new, old, weights)
    return found


def _differences(one: dict[str, Ratio], other: dict[str, Ratio], weights: Any) -> dict[str, Estimate]:
    """Return the difference in every metric."""
    return {name: confidence_intervals.difference(one[name], other[name], weights) for name in one}
