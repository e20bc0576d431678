"""Flying a plan: batches of scenarios, side by side in workers, kept as soon as they are flown.

Notation: S scenarios, B episodes flown at once.
"""

import platform
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...collect.collector import engines
from ...collect.collector.workers import one_thread
from ...collect.flying import compiled
from ...collect.flying.figures import Figures, ScenariosDone, fly_scenarios, join
from ...collect.flying.flight import TeacherPilot
from ...datasets.errors import ConfigurationError, FlightError
from .config import Contender, EvaluationConfig
from .contenders import Loaded, load_all
from .flight_store import FlightStore


@dataclass(frozen=True)
class FlownBatch:
    """Figures of some scenarios of one contender, and how long they took to fly."""

    number: int
    figures: Figures
    seconds: float


@dataclass(frozen=True)
class BatchFlyer:
    """Flies the batches of a plan by number: a picklable unit of work.

    Attributes:
        plan: What to fly.
        ready: The contenders, if they are at hand or travel with the work; else each process loads its own.
        progress: Called with the number of scenarios that are done; it does not travel.
        identities: What the contenders that a process loads must turn out to be, and by which arithmetic those that
            have travelled must fly, by name.
    """

    plan: EvaluationConfig
    ready: dict[str, Loaded] | None = None
    progress: ScenariosDone | None = None
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def per_contender(self) -> int:
        """Number of batches each contender flies."""
        return -(-self.plan.scenarios // self.plan.batch)

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.per_contender * len(self.plan.flown)

    def task(self, number: int) -> tuple[Contender, range]:
        """Return who flies a batch, and which scenarios."""
        contender, batch = divmod(number, self.per_contender)
        first = batch * self.plan.batch
        return self.plan.flown[contender], range(first, min(first + self.plan.batch, self.plan.scenarios))

    def __call__(self, number: int) -> FlownBatch:
        """Fly one batch.

        Raises:
            FlightError: The contender asks for an action that is not finite.
            ConfigurationError: A contender has changed, or flies by another arithmetic here.
        """
        plan, (contender, episodes) = self.plan, self.task(number)
        loaded = self._loaded[contender.name]
        self._check_arithmetic(loaded)
        start = time.perf_counter()
        try:
            figures = fly_scenarios(loaded.pilot, plan.world, plan.seed, episodes, plan.device, self.progress)
        except FlightError as error:
            raise FlightError(f"{contender.name}: {error}") from None
        return FlownBatch(number, figures, time.perf_counter() - start)

    def _check_arithmetic(self, loaded: Loaded) -> None:
        """Raise if a contender flies by another arithmetic here than where the evaluation began."""
        name, here = loaded.contender.name, loaded.arithmetic
        expected = self.identities.get(name, {}).get("arithmetic", here)
        if here != expected:
            raise ConfigurationError(
                f"{name} flies by '{here}' on {platform.node() or 'another node'}, and by '{expected}' where the "
                "evaluation began: other figures, which must not be mixed. Begin it on a node like that one, keep "
                "nodes of another kind out of the cluster, or evaluate with --engine local. (Teachers fly alike "
                "wherever numba is installed.)"
            )

    @cached_property
    def _loaded(self) -> dict[str, Loaded]:
        """The contenders, loaded once in each process."""
        if self.ready:
            return self.ready
        loaded = load_all(self.plan)
        for name, each in loaded.items():
            if each.identity != self.identities.get(name, each.identity):
                raise ConfigurationError(
                    f"{name} has changed while it was evaluated: is it still being trained? Evaluate a copy of it."
                )
        return loaded


def fly_all(
    plan: EvaluationConfig,
    loaded: dict[str, Loaded],
    workers: int | None = 1,
    progress: ScenariosDone | None = None,
    store: FlightStore | None = None,
    engine: str = engines.LOCAL,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Figures], dict[str, float]]:
    """Fly all batches that are not kept from before, and keep them.

    Args:
        plan: What to fly.
        loaded: The contenders, from `load_all`.
        workers: Processes; 1 works in this one. Or tasks of a Ray cluster at once, None for all it takes.
        progress: Called with the number of scenarios that are done.
        store: Where batches are kept; None to keep nothing. Only this process reads and writes there.
        engine: `local`, processes of this machine; or `ray`, tasks of a Ray cluster, to which contenders travel.
        report: Gets which cluster it is.

    Returns:
        Figures by contender, and the seconds it took to fly those that were not kept.

    Raises:
        ConfigurationError: There is no such engine or cluster, or it cannot fly this.
        DatasetError: A worker died, or Ray gave up on a task.
    """
    check_engine(engine, plan)
    identities = {name: each.identity for name, each in loaded.items()}
    is_ray = engine == engines.RAY
    is_alone = not is_ray and (workers or 1) <= 1
    ready = loaded if is_alone or is_ray else None
    flyer = BatchFlyer(plan, ready, progress if is_alone else None, identities)
    done = _kept(flyer, identities, store) if store else {}
    if progress:
        progress(sum(len(batch.figures) for batch in done.values()))
    missing = [number for number in range(len(flyer)) if number not in done]
    with one_thread(), closing(engines.work(engine, flyer, missing, workers, report)) as batches:
        for batch in batches:
            done[batch.number] = batch
            if store:
                contender, episodes = flyer.task(batch.number)
                store.keep(identities[contender.name], episodes, batch.figures)
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


def check_engine(engine: str, plan: EvaluationConfig) -> None:
    """Check that an engine is there and can fly a plan.

    Raises:
        ConfigurationError: It is not, or cannot.
    """
    engines.check(engine)
    if engine == engines.RAY and plan.device != "cpu":
        raise ConfigurationError(
            f"expected --device cpu with --engine ray, which flies on processors of the nodes, got {plan.device}. "
            "Use --device cpu, or --engine local."
        )


def prepare(loaded: Iterable[Loaded], report: Callable[[str], object]) -> None:
    """Compile the kernels if a contender flies by them, so that workers find them; say so if that takes long."""
    pilots = [each.pilot for each in loaded if isinstance(each.pilot, TeacherPilot)]
    if any(compiled.is_known(each.world_config, each.teacher, is_recording=False) for each in pilots):
        compiled.prepare(report)


def _kept(flyer: BatchFlyer, identities: dict[str, dict[str, Any]], store: FlightStore) -> dict[int, FlownBatch]:
    """Return the batches that were flown before, by number."""
    store.clean()
    found: dict[int, FlownBatch] = {}
    for number in range(len(flyer)):
        contender, episodes = flyer.task(number)
        figures = store.read(identities[contender.name], episodes)
        if figures is not None:
            found[number] = FlownBatch(number, figures, 0.0)
    return found
