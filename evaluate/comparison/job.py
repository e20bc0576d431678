"""A job of a comparison: a training and its flights, which leave their result in a folder of their own."""

import hashlib
import io
import json
import threading
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.figures import Figures, fly_scenarios, join
from ...datasets.dataset import open_dataset
from ...datasets.errors import CheckpointError
from ...datasets.files.atomic import clean, publish
from ...datasets.files.storage import Folder
from ...train import checkpoint
from ...train.cloning.config import load_config
from ...train.cloning.run import SUMMARY_NAME, Cloning, TrainingError
from ..evaluation.contenders import Contender, load
from .plan import ComparePlan, Training

LOG_NAME = "log.txt"
FLIGHT_BATCH = 64  # scenarios flown at once


@dataclass(frozen=True)
class Job:
    """A training and its flights, or the flights of a teacher.

    Attributes:
        training: What to train; None for a teacher.
        teacher: Who flies, if nothing is trained.
        is_flown: Whether it shall fly; a training that only chooses a learning rate does not.
    """

    training: Training | None = None
    teacher: str = ""
    is_flown: bool = True

    @property
    def name(self) -> str:
        """For people."""
        return self.training.name if self.training else f"{self.teacher} flies"

    def folder(self, root: Path) -> Path:
        """Return the folder it leaves its result in."""
        if self.training:
            return self.training.folder(root)
        return root / "references" / self.teacher.replace(":", ",")


@dataclass(frozen=True)
class JobMaker:
    """Does jobs by number, and leaves the results in their folders; a picklable unit of work.

    Attributes:
        plan: What is compared.
        jobs: The jobs.
        data: The dataset.
        root: The comparison's folder.
        world: The dataset's world.
    """

    plan: ComparePlan
    jobs: tuple[Job, ...]
    data: Folder
    root: Path
    world: WorldConfig

    def __call__(self, number: int) -> int:
        """Do a job, or what is left of it."""
        job = self.jobs[number]
        folder = job.folder(self.root)
        folder.mkdir(parents=True, exist_ok=True)
        clean(folder)
        if job.training and not is_trained(folder):
            self._train(job.training, folder)
        if job.is_flown and (not job.training or not read_run(folder)["trouble"]):
            self._fly(job, folder)
        return number

    def _train(self, training: Training, folder: Path) -> None:
        """Train; what it has to say goes into its own log."""
        with open(folder / LOG_NAME, "a", encoding="utf-8") as log, redirect_stderr(log):
            tqdm.set_lock(threading.RLock())  # else it makes one that processes share, and a worker's end leaks it

            def say(line: str) -> None:
                print(line, file=log, flush=True)

            try:
                config = self.plan.config(training)
                Cloning([open_dataset(self.data)], folder, config, resume=True, device="cpu", say=say).train()
            except TrainingError as error:  # the run says so in its summary; the others go on
                say(f"Stopped: {error}")

    def _fly(self, job: Job, folder: Path) -> None:
        """Fly the scenarios, unless these weights have flown them before."""
        path = flown_path(self.plan, job, self.root, self.world)
        if path.exists():
            return
        contender = Contender(str(folder), True) if job.training else Contender(job.teacher, False)
        pilot, parts = load(contender, self.world).pilot, []
        for first in range(0, self.plan.scenarios, FLIGHT_BATCH):
            episodes = range(first, min(first + FLIGHT_BATCH, self.plan.scenarios))
            parts.append(fly_scenarios(pilot, self.world, self.plan.scenario_seed, episodes))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **asdict(join(parts)))
        publish(path, buffer.getvalue())


def is_trained(folder: Path) -> bool:
    """Return whether a run is finished, well or with NaN."""
    return (folder / SUMMARY_NAME).exists()


def is_done(plan: ComparePlan, job: Job, root: Path, world: WorldConfig) -> bool:
    """Return whether nothing is left of a job."""
    if job.training:
        folder = job.folder(root)
        if not is_trained(folder):
            return False
        if not job.is_flown or read_run(folder)["trouble"]:
            return True
    return flown_path(plan, job, root, world).exists()


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a finished run came to: figures of its best iteration, speed, what it spent, and its trouble.

    Raises:
        CheckpointError: It is damaged.
    """
    path = folder / SUMMARY_NAME
    try:
        summary = json.loads(path.read_bytes())
        config = load_config(folder)[0]
        processor_s, rows = summary["processor_seconds"], summary["batches"] * config.batch_size
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
            "trouble": None if summary["criteria"]["finite"] else "met NaN or infinity",
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error!r}). Move {folder} away: the same command trains it again."
        ) from None


def flown_path(plan: ComparePlan, job: Job, root: Path, world: WorldConfig) -> Path:
    """Return the file of a job's flights; its name holds who flew what, so that others are never taken for them."""
    folder = job.folder(root)
    weights = checkpoint.load(folder).meta["weights_sha256"] if job.training else job.teacher
    what = json.dumps([weights, world.to_json(), plan.scenario_seed, plan.scenarios], sort_keys=True)
    return folder / f"flown-{hashlib.sha256(what.encode()).hexdigest()[:16]}.npz"


def read_figures(path: Path) -> Figures:
    """Read the flights of a job."""
    with np.load(path, allow_pickle=False) as columns:
        return Figures(**{field.name: columns[field.name] for field in fields(Figures)})
