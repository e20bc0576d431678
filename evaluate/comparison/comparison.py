"""`skyclone compare`: every variant trained alike on one dataset, flown by the evaluation, and put side by side.

Each training leaves its result in its own folder, and flights are kept as those of `skyclone evaluate` are, so a
command that was killed continues where it stopped. What the table says is computed from those files alone.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...collect import scenarios
from ...collect.airspace.world_config import WorldConfig
from ...collect.airspace.worlds import scale_warning
from ...collect.collector.workers import one_thread, work
from ...collect.flying.figures import Figures
from ...datasets import effort, notebook
from ...datasets.dataset import Dataset, open_dataset
from ...datasets.errors import CheckpointError
from ...datasets.files.atomic import clean, publish
from ...datasets.files.json_file import read_json
from ...datasets.files.storage import Folder
from ...datasets.provenance import code_version, package_versions, source_hash
from ...train.cloning.config import check_same, describe, surveillance_of
from ...train.cloning.progress import CloningProgress, read_progress
from ...train.cloning.run import Cloning
from ...train.cloning.summary import summarise
from ...train.runs.run_folder import STATE_NAME, SUMMARY_NAME, RunFolder, TrainingError, holds_run
from ..evaluation.batches import fly_all, prepare
from ..evaluation.config import UNRESOLVED, Contender, EvaluationConfig
from ..evaluation.contenders import load_all
from ..evaluation.flight_store import FlightStore
from ..report.output import check_folder
from .config import SECONDS, Budget, CompareConfig, Training, Variant

LOG_NAME, CODE_NAME, FLOWN_NAME = "log.txt", "code.json", "flown"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        plan: What was compared, under which surveillance.
        root: The folder.
        data: What a run says of the dataset.
        world: Where they flew.
        teacher: Its teacher, as a contender's name.
        rates: The learning rate taken for each variant and budget.
        sweep: The held-out loss of each training that chose them; None where it met NaN.
        runs: What each training that is reported came to, see `read_run`.
        flown: The flights of each of them; without those that met NaN.
        references: The flights of `none` and of the teacher.
        seconds: What this call took, wall clock.
    """

    plan: CompareConfig
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

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what each training came to; `table.tabulate` has the figures flown."""
        rows = [
            (each.variant.name, each.budget.name, f"{each.lr:g}", each.seed, _result(run))
            for each, run in self.runs.items()
        ]
        return notebook.table(f"Comparison {self.root}", rows, ("variant", "budget", "lr", "seed", "result"))


def compare(
    data: Folder,
    root: Path,
    plan: CompareConfig,
    workers: int = 1,
    say: Say = print,
    world: WorldConfig | None = None,
) -> Comparison:
    """Train and fly all that is missing, and return everything.

    Args:
        data: The dataset.
        root: The comparison's folder.
        plan: What to compare.
        workers: Processes side by side, each on one thread; 1 works in this one.
        say: Receives each line for people.
        world: Where they fly, under the plan's surveillance if it names one; None for the dataset's world.

    Raises:
        CheckpointError: A run below the folder was begun with another configuration or dataset.
        ConfigurationError: Nothing can be written into the folder.
        DatasetError: The dataset is damaged, or a worker died.
        FlightError: A network asks for actions that are not finite.
    """
    start = time.perf_counter()
    dataset = open_dataset(data)
    described = describe([dataset])
    learned_in = dict(dataset.manifest.world)
    plan, world = _perceiving(plan, world, dataset)
    if warning := scale_warning("Each network", learned_in, world):
        say(f"Warning: {warning}")
    teachers = tuple(Contender(name, False) for name in dict.fromkeys((UNRESOLVED, dataset.manifest.teacher)))
    flights = EvaluationConfig(contenders=teachers, world=world, scenarios=plan.scenarios, seed=plan.scenario_seed)
    _weigh(plan, flights, workers, say)
    load_all(flights)  # an unknown teacher is an error before any training
    check_folder(root)
    for training in (*plan.sweep(), *plan.trainings({})):
        _check(plan, training, root, described, learned_in)
    trainer = Trainer(plan, tuple(plan.sweep()), data, root, learned_in)
    sweep = _train("Choosing learning rates", trainer, described, workers, say)
    scores = {training: None if run["trouble"] else run["heldout_mse"] for training, run in sweep.items()}
    rates = choose_rates(plan, scores)
    trainer = replace(trainer, trainings=tuple(plan.trainings(rates)))
    runs = _train("Training", trainer, described, workers, say)
    names = {training: str(training.folder(root)) for training, run in runs.items() if not run["trouble"]}
    contenders = (*teachers, *(Contender(name, True) for name in names.values()))
    figures = _fly(replace(flights, contenders=contenders), root, workers, say)
    return Comparison(
        plan,
        root,
        described[0],
        world,
        dataset.manifest.teacher,
        rates,
        scores,
        runs,
        flown={training: figures[name] for training, name in names.items()},
        references={teacher.name: figures[teacher.name] for teacher in teachers},
        seconds=time.perf_counter() - start,
    )


def _perceiving(
    plan: CompareConfig, world: WorldConfig | None, dataset: Dataset
) -> tuple[CompareConfig, WorldConfig]:
    """Return the plan and the world with what aircraft know in both."""
    known = plan.surveillance or surveillance_of([dataset])
    if plan.surveillance or world is None:
        recorded = scenarios.recorded_world(dict(dataset.manifest.world), dataset.path)
        world = replace(world or recorded, surveillance=known)
    return replace(plan, surveillance=known), world


def _weigh(plan: CompareConfig, flights: EvaluationConfig, workers: int, say: Say) -> None:
    """Refuse what cannot fit into memory, and say what takes very long."""
    trainings = [*plan.sweep(), *plan.trainings({})]
    amounts = ((training.budget.kind, training.budget.amount) for training in trainings)
    rate = effort.LEARNED / plan.batch_size  # steps a second
    seconds = sum(amount if kind == SECONDS else amount / rate for kind, amount in amounts) / workers
    effort.weigh(
        f"{len(trainings):,} trainings of {' and '.join(budget.name for budget in plan.budgets)}",
        say,
        seconds=seconds,
        less="fewer --models, --lr, --seeds, --steps or --seconds",
    )
    flights.weigh(workers, say)


def choose_rates(plan: CompareConfig, scores: dict[Training, float | None]) -> dict[tuple[Variant, Budget], float]:
    """Return for each variant and budget the learning rate with the lowest held-out loss; None counts as worst."""
    if not scores:
        return {(variant, budget): plan.rates[0] for variant in plan.variants for budget in plan.budgets}
    best: dict[tuple[Variant, Budget], tuple[float, float]] = {}
    for training, score in scores.items():
        key, reached = (training.variant, training.budget), float("inf") if score is None else score
        if key not in best or reached < best[key][0]:
            best[key] = (reached, training.lr)
    return {key: lr for key, (_, lr) in best.items()}


@dataclass(frozen=True)
class Trainer:
    """Does trainings by number, and leaves each in its folder; a picklable unit of work.

    Attributes:
        plan: What is compared.
        trainings: The trainings.
        data: The dataset.
        root: The comparison's folder.
        world: The dataset's world, as JSON.
    """

    plan: CompareConfig
    trainings: tuple[Training, ...]
    data: Folder
    root: Path
    world: dict[str, Any]

    def __call__(self, number: int) -> int:
        """Do a training, or what is left of it; its output goes into its own log."""
        training = self.trainings[number]
        folder = training.folder(self.root)
        folder.mkdir(parents=True, exist_ok=True)
        clean(folder)
        made_by = {"version": code_version(), **_code()}
        publish(folder / CODE_NAME, json.dumps(made_by, indent=1).encode() + b"\n")
        with open(folder / LOG_NAME, "a", encoding="utf-8") as log, redirect_stderr(log):
            tqdm.set_lock(threading.RLock())  # else it makes one that processes share, and a worker's end leaks it

            def say(line: str) -> None:
                print(line, file=log, flush=True)

            try:
                config = self.plan.config(training)
                Cloning([open_dataset(self.data)], folder, config, resume=True, device="cpu", say=say).train()
            except TrainingError as error:  # its summary has it; the other trainings go on
                say(f"Stopped: {error}")
        return number


def _train(
    what: str, trainer: Trainer, described: list[dict[str, Any]], workers: int, say: Say
) -> dict[Training, dict[str, Any]]:
    """Do the trainings that are not done, and return what each came to."""
    folders = [training.folder(trainer.root) for training in trainer.trainings]
    for training, folder in zip(trainer.trainings, folders, strict=True):
        _check(trainer.plan, training, trainer.root, described, trainer.world)
        _set_aside_if_old(folder, say)
    missing = [number for number, folder in enumerate(folders) if not (folder / SUMMARY_NAME).exists()]
    done, total = len(folders) - len(missing), len(folders)
    if total:
        say(f"{what}: {total} training{'s' * (total > 1)}{f', {done} of them done before' if done else ''}")
    with one_thread(), closing(work(trainer, missing, workers)) as numbers:
        for number in numbers:
            done += 1
            result = _result(read_run(folders[number], trainer.plan.batch_size))
            say(f"{done} of {total} trainings done: {trainer.trainings[number].name}: {result}")
    return {
        training: read_run(folder, trainer.plan.batch_size)
        for training, folder in zip(trainer.trainings, folders, strict=True)
    }


def _check(
    plan: CompareConfig, training: Training, root: Path, described: list[dict[str, Any]], world: dict[str, Any]
) -> None:
    """Raise if a run of today's code that is there was begun with something else."""
    folder = training.folder(root)
    if holds_run(folder) and not _is_old(folder):
        check_same(folder, plan.config(training).scaled(world), described)


def _set_aside_if_old(folder: Path, say: Say) -> None:
    """Move a run away that other code has made, finished or not: its figures are not those of this code."""
    if not holds_run(folder) or not _is_old(folder):
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    with RunFolder(folder) as run:
        run.open(resume=True, say=say)  # refused while another command trains there
    folder.rename(aside)
    say(
        f"{folder} was trained by another version of the code or its packages: moved to {aside.name}, "
        "and trained again"
    )


def _is_old(folder: Path) -> bool:
    """Return whether other code than this began a run, or it is not known which."""
    code = _code()
    try:
        made_by = read_json(folder / CODE_NAME, CheckpointError)
        return any(made_by[key] != code[key] for key in code)
    except (OSError, CheckpointError, LookupError, TypeError):
        return True


def _code() -> dict[str, Any]:
    """Return what trains: the code, as `train` is made of, and the packages below it."""
    return {"source_sha256": source_hash("train.cloning.run"), "packages": package_versions()}


def read_run(folder: Path, batch_size: int) -> dict[str, Any]:
    """Return what a run that has ended came to: figures of its best iteration, speed, what it spent, its trouble.

    All of it is in the run's state, which has a hash; the summary is for people.

    Raises:
        CheckpointError: It is damaged.
    """
    try:
        found = read_progress(RunFolder(folder))
        if found is None and (folder / "best.safetensors").exists():
            raise CheckpointError(f"{folder}: expected {STATE_NAME} beside best.safetensors, there is none.")
    except CheckpointError as error:
        raise CheckpointError(f"{error} Or move {folder} away: the same command trains it again.") from None
    progress, history = found or (CloningProgress(), [])  # NaN can come before the first save
    summary = summarise(history, progress.seconds, is_saved=True, trouble=None)
    processor_s, rows = progress.processor_s, summary["batches"] * batch_size
    return {
        "heldout_mse": summary["heldout_mse"],
        "heldout_mse_conflict": summary["heldout_mse_conflict"],
        "heldout_mse_free": summary["heldout_mse_free"],
        "sharpness": summary["attention_sharpness"],
        "samples_per_second": summary["samples_per_second"],
        "samples_per_processor_second": rows / processor_s if processor_s else None,
        "steps": summary["batches"],
        "wall_s": summary["learning_seconds"],
        "processor_s": processor_s,
        "trouble": None if progress.is_finished else "met NaN or infinity",
    }


def _result(run: dict[str, Any]) -> str:
    """Return what a run came to, for people."""
    if run["trouble"]:
        return str(run["trouble"])
    conflict = run["heldout_mse_conflict"]
    split = "" if conflict is None else f" (in conflict {conflict:.3g})"
    return f"held-out {run['heldout_mse']:.3g}{split}, {run['steps']:,} steps in {run['processor_s']:.0f} s"


def _fly(flights: EvaluationConfig, root: Path, workers: int, say: Say) -> dict[str, Figures]:
    """Fly the scenarios that are not kept from before, with a progress bar, and return figures by contender."""
    store = FlightStore(root / FLOWN_NAME, flights.world, flights.seed, flights.device)
    loaded = load_all(flights)
    prepare(loaded.values(), say)
    total = flights.scenarios * len(flights.flown)
    with tqdm(total=total, unit=" scenarios", desc="Flying", file=sys.stderr) as bar:
        return fly_all(flights, loaded, workers, bar.update, store)[0]
