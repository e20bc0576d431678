"""What `torchrun` starts in `test_processes.py`: some runs by several processes, one after the other.

The argument is a JSON object: the data, and the runs, each with a folder and a configuration. A run may ask to
resume, and the object for a NaN that comes upon one process. What each step lost goes to `FOLDER.losses.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skyclone.datasets import open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.loading.loader import Batch
from skyclone.train.cloning import run as cloning
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.run import Cloning
from skyclone.train.cloning.update import Updater
from skyclone.train.runs.processes import joined

LOSSES: list[float] = []


def watch_steps(rank: int, nan_at: int | None) -> None:
    """Keep each step's loss, and spoil a label of one step of the second process."""
    note, update = Updater._note, Updater.update

    def noted(self: Updater, loss: Tensor, norm: Tensor, rows: int) -> None:
        LOSSES.append(float(loss))
        note(self, loss, norm, rows)

    def updated(self: Updater, batch: Batch, rows: int, learning_rate: float) -> None:
        if nan_at == len(LOSSES) + 1 and rank == 1:
            batch.action[0, 0] = torch.nan
        update(self, batch, rows, learning_rate)

    Updater._note, Updater.update = noted, updated  # type: ignore[method-assign]


def fail_in_the_second(rank: int) -> None:
    """Raise what only one process meets."""
    if rank == 1:
        raise DatasetError("only the second process met this")


def main(plan: dict[str, Any]) -> None:
    """Do the runs."""
    torch.set_num_threads(1)
    cloning.SAVE_EVERY = 4
    data = open_dataset(plan["data"])
    with joined("cpu") as (processes, device):
        watch_steps(processes.rank, plan.get("nan_at"))
        assert processes.from_first(lambda: processes.rank + 10) == 10
        for run in plan["runs"]:
            LOSSES.clear()
            config = CloningConfig(**run["config"])
            options: dict[str, Any] = {"device": device, "processes": processes, "resume": run.get("resume", False)}
            summary = Cloning([data], run["out"], config, **options).train()
            assert summary["iterations"] == config.epochs
            if processes.is_first:
                Path(run["out"] + ".losses.json").write_text(json.dumps(LOSSES))
        processes.together(lambda: fail_in_the_second(processes.rank))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
