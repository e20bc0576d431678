"""`skyclone compare`: every variant trained alike on one dataset, measured, flown, and put side by side.

All that takes time is a job (a training and its flights) that leaves its result in its own folder, so a command
that was killed goes on where it stopped. What the table says is computed from those files alone.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...collect.airspace.world_config import WorldConfig
from ...collect.collector.workers import one_thread, work
from ...collect.flying.figures import Figures
from ...datasets.dataset import open_dataset
from ...datasets.files.storage import Folder
from ...train.cloning.config import check_same, describe
from ...train.runs.config_file import CONFIG_NAME
from ..evaluation.contenders import UNRESOLVED
from .job import Job, JobMaker, flown_path, is_done, is_trained, read_figures, read_run
from .plan import Budget, ComparePlan, Training, Variant
from .progress import Progress, Say, measure_costs


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        plan: What was compared.
        root: The folder.
        data: What a run says of the dataset.
        world: Its world.
        teacher: Its teacher, as a contender's name.
        rates: The learning rate taken for each variant and budget.
        sweep: The held-out loss of each training that chose them; None where it met NaN.
        runs: What each training that is reported came to, see `read_run`.
        flown: The flights of each of them; without those that met NaN.
        references: The flights of `none` and of the teacher.
        seconds: What this call took, wall clock.
    """

    plan: ComparePlan
    root: Path
    data: dict[str, Any]
    world: WorldConfig
    teacher: str
    rates: dict[tuple[Variant, Budget], float]
    sweep: dict[Training, float | None]
    runs: dict[Training, dict[str, Any]]
    flown: dict[Training, Figures]
    references: dict[str, Figures]
    seconds: float


def compare(data: Folder, root: Path, plan: ComparePlan, workers: int = 1, say: Say = print) -> Comparison:
    """Train and fly all that is missing, and return everything.

    Args:
        data: The dataset.
        root: The comparison's folder.
        plan: What to compare.
        workers: Processes side by side, each on one thread; 1 works in this one.
        say: Receives each line for people.

    Raises:
        CheckpointError: A run below the folder was begun with another configuration or dataset.
        DatasetError: The dataset is damaged, or a worker died.
    """
    start = time.perf_counter()
    dataset = open_dataset(data)
    described = describe([dataset])
    world = WorldConfig.from_json(dict(dataset.manifest.world))
    teacher = dataset.manifest.teacher
    root.mkdir(parents=True, exist_ok=True)
    sweep = [Job(training, is_flown=False) for training in plan.sweep()]
    teachers = [Job(teacher=name) for name in dict.fromkeys((UNRESOLVED, teacher))]
    for job in (*sweep, *(Job(training) for training in plan.trainings({}))):
        _check(plan, job, root, described)
    maker = JobMaker(plan, (*teachers, *sweep), data, root, world)
    say("Measuring how long a step of each variant takes")
    costs = measure_costs(plan, world, dataset.rows)
    swept = [job.training for job in sweep if job.training and is_trained(job.folder(root))]
    known = {training: _score(training, root) for training in swept}
    rates = choose_rates(plan, known) if len(known) == len(sweep) else {}
    planned = [*teachers, *sweep, *(Job(training) for training in plan.trainings(rates))]
    progress = Progress(say, root, workers, costs, [(job, is_done(plan, job, root, world)) for job in planned])
    _do(maker, progress, workers)
    scores = {job.training: _score(job.training, root) for job in sweep if job.training}
    rates = choose_rates(plan, scores)
    jobs = tuple(Job(training) for training in plan.trainings(rates))
    for job in jobs:
        _check(plan, job, root, described)
    _do(JobMaker(plan, jobs, data, root, world), progress, workers)
    runs = {job.training: read_run(job.folder(root)) for job in jobs if job.training}
    flown = {
        job.training: read_figures(flown_path(plan, job, root, world))
        for job in jobs
        if job.training and not runs[job.training]["trouble"]
    }
    references = {job.teacher: read_figures(flown_path(plan, job, root, world)) for job in teachers}
    took = time.perf_counter() - start
    return Comparison(plan, root, described[0], world, teacher, rates, scores, runs, flown, references, took)


def choose_rates(plan: ComparePlan, scores: dict[Training, float | None]) -> dict[tuple[Variant, Budget], float]:
    """Return for each variant and budget the learning rate with the lowest held-out loss; None counts as worst."""
    if not scores:
        return {(variant, budget): plan.rates[0] for variant in plan.variants for budget in plan.budgets}
    best: dict[tuple[Variant, Budget], tuple[float, float]] = {}
    for training, score in scores.items():
        key, reached = (training.variant, training.budget), float("inf") if score is None else score
        if key not in best or reached < best[key][0]:
            best[key] = (reached, training.lr)
    return {key: lr for key, (_, lr) in best.items()}


def _check(plan: ComparePlan, job: Job, root: Path, described: list[dict[str, Any]]) -> None:
    """Raise if a run that is there was begun with something else."""
    folder = job.folder(root)
    if job.training and (folder / CONFIG_NAME).exists():
        check_same(folder, plan.config(job.training), described)


def _score(training: Training, root: Path) -> float | None:
    """Return the held-out loss of a run, None if it met NaN."""
    figures = read_run(training.folder(root))
    return None if figures["trouble"] else figures["heldout_mse"]


def _do(maker: JobMaker, progress: Progress, workers: int) -> None:
    """Do all jobs that are not done, the dearest first."""
    numbers = []
    for number, job in enumerate(maker.jobs):
        if is_done(maker.plan, job, maker.root, maker.world):
            progress.keep(job)
        else:
            numbers.append(number)
    numbers.sort(key=lambda number: -progress.cost(maker.jobs[number]))
    with one_thread(), closing(work(maker, numbers, workers)) as done:
        for number in done:
            progress.add(maker.jobs[number])
