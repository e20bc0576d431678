"""How long a comparison takes: an estimate before it begins, and what is left while it goes on."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...collect.airspace.world_config import WorldConfig
from ...collect.collector.workers import one_thread
from ...collect.flying.figures import fly_scenarios
from ...datasets.traffic.observation import Observation
from ..evaluation.contenders import UNRESOLVED, Contender, load
from .job import Job, read_run
from .plan import STEPS, ComparePlan, Variant

Say = Callable[[str], None]


@dataclass(frozen=True)
class Costs:
    """About what a job takes, in processor seconds.

    Attributes:
        step: A gradient step, by variant.
        flight: The flights of a network, by variant.
        teacher: The flights of a teacher.
        reading: Reading the data and the last evaluation.
    """

    step: dict[Variant, float]
    flight: dict[Variant, float]
    teacher: float
    reading: float

    def of(self, job: Job) -> float:
        """Return what a job takes."""
        if not job.training:
            return self.teacher
        kind, amount = job.training.budget
        training = amount * self.step[job.training.variant] if kind == STEPS else amount
        return training + self.reading + (self.flight[job.training.variant] if job.is_flown else 0.0)


def measure_costs(plan: ComparePlan, world: WorldConfig, dataset_rows: int) -> Costs:
    """Measure about what a step and a flight take, on numbers drawn at random."""
    pilot = load(Contender(UNRESOLVED, False), world).pilot
    few = min(16, plan.scenarios)
    with one_thread():
        start = time.process_time()
        figures = fly_scenarios(pilot, world, plan.scenario_seed, range(few))
        world_s = (time.process_time() - start) / few
        timed = {variant: _time_step(variant, plan.batch_size, world.aircraft) for variant in plan.variants}
    rows = float(figures.steps.sum()) / few
    return Costs(
        {variant: step_s for variant, (step_s, _) in timed.items()},
        {variant: plan.scenarios * (world_s + rows * row_s) for variant, (_, row_s) in timed.items()},
        plan.scenarios * world_s * 1.5,
        reading=2.0 + dataset_rows * 0.1 * max(row_s for _, row_s in timed.values()),
    )


def _time_step(variant: Variant, batch_size: int, aircraft: int) -> tuple[float, float]:
    """Return the processor seconds of a gradient step, loading included (about), and of a row's forward pass."""
    network = variant.network()
    rows, seen = min(batch_size, 1024), variant.view.seen(aircraft)
    generator = torch.Generator().manual_seed(0)
    observation = Observation(
        torch.randn(rows, variant.view.ownship_features, generator=generator),
        torch.randn(rows, seen, variant.view.intruder_features, generator=generator),
        torch.ones(rows, seen, dtype=torch.bool),
    )
    times = []
    for _ in range(3):
        start = time.process_time()
        loss = network(observation).square().mean()
        forward = time.process_time()
        loss.backward()
        times.append((time.process_time() - start, forward - start))
    step_s, forward_s = min(times)
    return 1.3 * step_s * batch_size / rows, forward_s / rows


class Progress:
    """Says what is done and about how long the rest takes.

    Args:
        say: Receives each line.
        root: The comparison's folder.
        workers: Processes side by side.
        costs: Of the jobs.
        jobs: All of them, whatever the learning rate will be, and whether they are done.
    """

    def __init__(self, say: Say, root: Path, workers: int, costs: Costs, jobs: Iterable[tuple[Job, bool]]) -> None:
        self._say, self._root, self._costs = say, root, costs
        found = list(jobs)
        self._left = {_key(job): costs.of(job) for job, is_done in found if not is_done}
        self.total, self.done, self.worked_s, self._start = len(found), 0, 0.0, time.perf_counter()
        kept = f" ({len(found) - len(self._left)} of them done before)" if len(self._left) < len(found) else ""
        say(
            f"{self.total} jobs{kept}: about {duration(self.left_s / workers)} with {workers} worker(s), "
            "if nothing else uses the processors"
        )

    @property
    def left_s(self) -> float:
        """About what is left to do, in processor seconds."""
        return sum(self._left.values())

    def cost(self, job: Job) -> float:
        """Return about what a job takes."""
        return self._costs.of(job)

    def keep(self, job: Job) -> None:
        """Take note of a job that was done before this call."""
        self.done += 1
        self._left.pop(_key(job), None)

    def add(self, job: Job) -> None:
        """Take note of a job that is done now."""
        self.done += 1
        self.worked_s += self._left.pop(_key(job), 0.0)
        spent = time.perf_counter() - self._start
        left = self.left_s * spent / max(self.worked_s, 1e-9)
        result = _result(read_run(job.folder(self._root))) if job.training else "done"
        self._say(f"[{self.done}/{self.total}] {job.name}: {result}; about {duration(left)} to go")


def _key(job: Job) -> tuple[object, ...]:
    """Return what a job is, whatever the learning rate of a training that flies."""
    if job.training is None:
        return (job.teacher,)
    variant, budget, lr, seed = job.training
    return variant, budget, seed, None if job.is_flown else lr


def _result(run: dict[str, Any]) -> str:
    """Say what a run came to."""
    if run["trouble"]:
        return str(run["trouble"])
    conflict = run["heldout_mse_conflict"]
    split = "" if conflict is None else f" (in conflict {conflict:.3g})"
    return f"held-out {run['heldout_mse']:.3g}{split}, {run['steps']:,} steps in {run['processor_s']:.0f} s"


def duration(seconds: float) -> str:
    """Return a time for people: `40 s`, `12 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
