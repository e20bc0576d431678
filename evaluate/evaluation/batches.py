"""Flying a plan: batches of scenarios, side by side in workers, kept as soon as they are flown.

Notation: S scenarios, B episodes flown at once.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...collect.collector.workers import one_thread, work
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
    """Flies the batches of a plan by number; a picklable unit of work unless contenders are given.

    Attributes:
        plan: What to fly.
        ready: The contenders, if they are at hand; else each process loads its own.
        progress: Called with the number of scenarios that are done.
        identities: What the contenders that a process loads must turn out to be, by name.
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
        """
        plan, (contender, episodes) = self.plan, self.task(number)
        pilot = self._loaded[contender.name].pilot
        start = time.perf_counter()
        try:
            figures = fly_scenarios(pilot, plan.world, plan.seed, episodes, plan.device, self.progress)
        except FlightError as error:
            raise FlightError(f"{contender.name}: {error}") from None
        return FlownBatch(number, figures, time.perf_counter() - start)

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
    workers: int = 1,
    progress: ScenariosDone | None = None,
    store: FlightStore | None = None,
) -> tuple[dict[str, Figures], dict[str, float]]:
    """Fly all batches that are not kept from before, and keep them.

    Args:
        plan: What to fly.
        loaded: The contenders, from `load_all`.
        workers: Processes; 1 works in this one.
        progress: Called with the number of scenarios that are done.
        store: Where batches are kept; None to keep nothing.

    Returns:
        Figures by contender, and the seconds it took to fly those that were not kept.
    """
    identities = {name: each.identity for name, each in loaded.items()}
    is_alone = workers <= 1
    flyer = BatchFlyer(plan, loaded, progress) if is_alone else BatchFlyer(plan, identities=identities)
    done = _kept(flyer, identities, store) if store else {}
    if progress:
        progress(sum(len(batch.figures) for batch in done.values()))
    missing = [number for number in range(len(flyer)) if number not in done]
    with one_thread(), closing(work(flyer, missing, workers)) as batches:
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
