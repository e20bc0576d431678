"""The evaluation: all contenders on the same scenarios, their metrics, and the differences between them.

Notation: S scenarios, B episodes flown at once.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..collect import scenarios as layouts
from ..collect import simulators
from ..collect.configuration import WorldConfig
from ..collect.workers import one_thread, work
from ..datasets.errors import ConfigurationError
from ..datasets.provenance import code_version, package_versions
from . import front, metrics, statistics
from .contenders import UNRESOLVED, Contender, Loaded, load, warnings_about
from .figures import Figures, Progress, fly_scenarios, join
from .front import FAMILY, Front
from .statistics import Estimate, Ratio

VERSION = 1
"""Of the JSON's form."""


@dataclass(frozen=True)
class Plan:
    """What shall be evaluated.

    Attributes:
        contenders: In the order of the table.
        world: The world, its scenario and number of aircraft included.
        scenarios: S.
        seed: Seed of the scenarios.
        batch: B; how scenarios are grouped does not depend on the workers.
        bootstrap: Resamples for the intervals.
        device: Where to compute.
        front: Whether to fly the whole MVP family too, and find its front.
    """

    contenders: tuple[Contender, ...]
    world: WorldConfig = field(default_factory=WorldConfig)
    scenarios: int = 200
    seed: int = 1_000_000
    batch: int = 64
    bootstrap: int = 2000
    device: str = "cpu"
    front: bool = False

    def __post_init__(self) -> None:
        for name in ("scenarios", "batch", "bootstrap"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"expected 1 or more for --{name}, got {getattr(self, name)}")
        if self.seed < 0:
            raise ConfigurationError(f"expected a seed from 0 on, got {self.seed}")
        simulators.check(self.world.simulator)
        there = layouts.count_of(self.world.scenario)
        if there is not None and self.scenarios > there:
            raise ConfigurationError(
                f"expected at most the {there} scenario(s) that '{self.world.scenario}' holds, got --scenarios "
                f"{self.scenarios}: flying them again would only make the intervals too narrow."
            )
        layouts.lay_out(self.world, self.seed, 0)  # says at once if the aircraft do not fit

    @property
    def flown(self) -> tuple[Contender, ...]:
        """The contenders, and those only flown for comparison: no resolution, for the front the MVP family."""
        others = FAMILY if self.front else (UNRESOLVED,)
        unnamed = (Contender(name, False) for name in others if Contender(name, False) not in self.contenders)
        return (*unnamed, *self.contenders)

    @property
    def short_names(self) -> dict[str, str]:
        """What people read instead of each name: a run's folder without its path, where that is clear."""
        names = [contender.name for contender in self.contenders]
        ends = [Path(each.name).name if each.is_run else each.name for each in self.contenders]
        return {name: end if end and ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)}

    def load(self) -> dict[str, Loaded]:
        """Load every contender, by name.

        Raises:
            SkycloneError: One of them is unknown, missing or damaged.
        """
        return {contender.name: load(contender, self.world, self.device) for contender in self.flown}


@dataclass(frozen=True)
class Batch:
    """Figures of some scenarios of one contender, and how long they took to fly."""

    number: int
    figures: Figures
    seconds: float


@dataclass(frozen=True)
class BatchFlyer:
    """Flies the batches of a plan by number; a picklable unit of work while it is not told of contenders.

    Attributes:
        plan: What to fly.
        ready: The contenders, if they are at hand; else each process loads its own.
        progress: Told about scenarios that are done.
    """

    plan: Plan
    ready: dict[str, Loaded] | None = None
    progress: Progress | None = None

    @property
    def per_contender(self) -> int:
        """Number of batches each contender flies."""
        return -(-self.plan.scenarios // self.plan.batch)

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.per_contender * len(self.plan.flown)

    def __call__(self, number: int) -> Batch:
        """Fly one batch."""
        plan = self.plan
        contender, batch = divmod(number, self.per_contender)
        pilot = self._loaded[plan.flown[contender].name].pilot
        episodes = range(batch * plan.batch, min((batch + 1) * plan.batch, plan.scenarios))
        start = time.perf_counter()
        figures = fly_scenarios(pilot, plan.world, plan.seed, episodes, plan.device, self.progress)
        return Batch(number, figures, time.perf_counter() - start)

    @cached_property
    def _loaded(self) -> dict[str, Loaded]:
        """The contenders, loaded once in each process."""
        return self.ready or self.plan.load()


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
    """

    plan: Plan
    figures: dict[str, Figures]
    estimates: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, dict[str, Estimate]]]
    warnings: list[str]
    meta: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    front: Front | None = None

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
            "front": self.front.to_json() if self.front else None,
            "world": plan.world.to_json(),
            "simulator": plan.world.simulator,
            "seed": plan.seed,
            "scenarios": plan.scenarios,
            "batch": plan.batch,
            "bootstrap": plan.bootstrap,
            "confidence": statistics.CONFIDENCE,
            "runs": self.meta,
            "warnings": self.warnings,
            "code": code_version(),
            "packages": {**package_versions(), **simulators.packages_of(plan.world)},
        }


def _json_of(estimates: dict[str, Estimate]) -> dict[str, dict[str, float | None]]:
    """Return estimates as JSON."""
    return {name: estimate.to_json() for name, estimate in estimates.items()}


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
    plan: Plan,
    loaded: dict[str, Loaded],
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Fly every contender on the same scenarios and compute its metrics.

    Args:
        plan: What to evaluate.
        loaded: The contenders, from `plan.load()`.
        workers: Processes; 1 works in this one. The figures do not depend on it.
        progress: Told about scenarios that are done.
    """
    figures, seconds = _fly(plan, loaded, workers, progress)
    start = time.perf_counter()
    ratios = {
        name: metrics.compute(metrics.Flown(each, figures[UNRESOLVED], plan.world))
        for name, each in figures.items()
    }
    weights = statistics.resample(plan.scenarios, plan.bootstrap, plan.seed)
    estimates = {
        contender.name: {
            name: statistics.estimate(ratio, weights) for name, ratio in ratios[contender.name].items()
        }
        for contender in plan.contenders
    }
    differences = {
        name: {other: _differences(ratios[name], ratios[other], weights) for other in others}
        for name, others in references(plan.contenders).items()
    }
    runs = [contender.name for contender in plan.contenders if contender.is_run]
    found = front.find(ratios, runs, weights) if plan.front else None
    seconds["intervals"] = time.perf_counter() - start
    shown = [loaded[contender.name] for contender in plan.contenders]
    return Evaluation(
        plan,
        figures,
        estimates,
        differences,
        warnings=[text for each in shown if each.policy for text in warnings_about(each, plan.world, plan.seed)],
        meta={each.contender.name: each.meta for each in shown if each.policy},
        seconds=seconds,
        front=found,
    )


def _differences(one: dict[str, Ratio], other: dict[str, Ratio], weights: Any) -> dict[str, Estimate]:
    """Return the difference in every metric."""
    return {name: statistics.difference(one[name], other[name], weights) for name in one}


def _fly(
    plan: Plan, loaded: dict[str, Loaded], workers: int, progress: Progress | None
) -> tuple[dict[str, Figures], dict[str, float]]:
    """Fly all batches; return figures and seconds by contender."""
    is_alone = workers <= 1
    flyer = BatchFlyer(plan, loaded, progress) if is_alone else BatchFlyer(plan)
    done: dict[int, Batch] = {}
    with one_thread(), closing(work(flyer, range(len(flyer)), workers)) as batches:
        for batch in batches:
            done[batch.number] = batch
            if progress and not is_alone:
                progress(len(batch.figures))
    figures: dict[str, Figures] = {}
    seconds: dict[str, float] = {}
    for index, contender in enumerate(plan.flown):
        first = index * flyer.per_contender
        parts = [done[number] for number in range(first, first + flyer.per_contender)]
        figures[contender.name] = join([part.figures for part in parts])
        seconds[contender.name] = sum(part.seconds for part in parts)
    return figures, seconds
