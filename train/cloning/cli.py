"""`skyclone train`: options in, a run out."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ...datasets import effort
from ...datasets.config import fields_of
from ...datasets.console import command_line, say
from ...datasets.files.storage import Folder, as_folder
from ...datasets.machine import processors
from ...datasets.options import PLACE, HelpfulCommand, chosen, given, options_of
from ..runs.config_file import CONFIG_NAME
from ..runs.trackers import check, track_option
from .config import CloningConfig, load_config, recipes, surveillance_of, where

_MODEL: str = fields_of(CloningConfig)["model"].default
OF_RECIPES = ("observation", "epochs", "lr", "schedule", "optimizer", "conflict_weight")


def _default_of_recipe(name: str) -> dict[str, Any]:
    """Return what differs in an option whose default is that of the model's recipe."""
    default = recipes()[_MODEL].get(name, fields_of(CloningConfig)[name].default)
    text = f"{fields_of(CloningConfig)[name].description}  [default: the model's recipe; {_MODEL}: {default}]"
    return {"default": None, "show_default": False, "help": text}


MOST_PROCESSES = 64
ROWS_EACH = 512
"""With fewer rows of a batch a process spends its time on dispatching small tensors."""
LONG_S = 60.0
LONG_ROWS = 2_000_000
"""A shorter run, or one of fewer rows in all epochs together, is over before others have started."""


def _processes(config: CloningConfig, data: tuple[Folder, ...], device: str) -> int:
    """Return how many processes a run is given: as many as are busy, if it is long enough to pay their start."""
    from ...datasets import open_dataset

    if device != "cpu" or (config.max_seconds is not None and config.max_seconds < LONG_S):
        return 1
    if config.epochs * sum(open_dataset(path).rows for path in data) < LONG_ROWS:
        return 1
    return max(1, min(processors(), config.batch_size // ROWS_EACH, MOST_PROCESSES))


def _weigh(config: CloningConfig, rows: int, processes: int, out: Path) -> None:
    """Say what takes very long, and refuse what never ends; `rows` are those of an epoch."""
    limit_s = config.max_seconds or math.inf
    what = f"{config.epochs:,} epochs of {rows:,} rows"
    effort.weigh(
        what if config.max_seconds is None else f"{what}, at most {limit_s:,.0f} seconds",
        say,
        seconds=min(config.epochs * rows / effort.LEARNED / processes, limit_s),
        less="fewer --epochs, or --max-seconds",
        folder=out,
    )


_DEFAULTS_FROM_RUN = "With --resume, what is not given is taken from the run."


@click.command(
    cls=HelpfulCommand,
    epilog=f"{_DEFAULTS_FROM_RUN} Several processes or GPUs: torchrun --nproc-per-node 2 -m skyclone train ...",
    groups={
        "Data and run": "data out mix stream resume",
        "Network": "model observation",
        "Training": "epochs batch-size lr schedule optimizer weight-decay conflict-weight max-seconds seed",
        "Work": "processes threads device track",
    },
    examples=[
        "skyclone train --data data/mvp --out runs/thresholds --model thresholds",
        "skyclone train --data data/mvp --data data/dense --mix 1,3 --out runs/mixed --model pairwise --stream",
        "skyclone train --data data/mvp --out runs/thresholds --resume",
    ],
)
@click.option(
    "--data",
    multiple=True,
    type=as_folder,
    metavar="DIR",
    help="Dataset, a folder or s3://bucket/folder; may be given several times.",
)
@click.option("--out", required=True, type=PLACE, metavar="RUN", help="Folder for the run.")
@options_of(
    CloningConfig,
    "model",
    "observation",
    "epochs",
    "batch_size",
    "lr",
    "schedule",
    "optimizer",
    "weight_decay",
    "max_seconds",
    "seed",
    "threads",
    "conflict_weight",
    "mix",
    "stream",
    "surveillance",
    "labels",
    changes={
        **{name: _default_of_recipe(name) for name in OF_RECIPES},
        "surveillance": {
            "default": None,
            "show_default": False,
            "help": f"{fields_of(CloningConfig)['surveillance'].description}  [default: that of the dataset]",
        },
    },
)
@click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    help=f"How many share each batch; results differ by rounding.  [default: one for each processor and "
    f"{ROWS_EACH} rows of a batch; 1 on a GPU, and for a short run]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@track_option
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.pass_context
def train(
    ctx: click.Context,
    data: tuple[Folder, ...],
    out: Path,
    processes: int | None,
    device: str,
    track: str | None,
    resume: bool,
    **_: Any,
) -> None:
    """Clone the teacher: fit a network to a dataset (behavioural cloning)."""
    from ...datasets import open_dataset
    from ..runs.device import choose_device
    from ..runs.processes import is_first, joined
    from .run import Cloning

    check(track)
    config, is_begun = CloningConfig.of(ctx.params["model"]), resume and (out / CONFIG_NAME).exists()
    if is_begun:
        config, described = load_config(out)
        data = data or where(described)
    config = chosen(ctx, config)
    if not data:
        raise click.UsageError("Missing option '--data'. Make a dataset with `skyclone collect --out DIR`.")
    if not is_begun and "surveillance" not in given(ctx):
        config = replace(config, surveillance=surveillance_of([open_dataset(path) for path in data]))

    count = processes or _processes(config, data, choose_device(device).type)
    if is_first():
        _weigh(config, sum(open_dataset(path).rows for path in data), count, out)
    with joined(device, count) as (together, own):
        datasets = together.together(lambda: [open_dataset(path) for path in data])
        Cloning(datasets, out, config, resume=resume, device=own, say=say, processes=together, track=track).train()
        if together.is_first:
            under = ("--surveillance", config.surveillance) if config.knows_less else ()
            say(f"Next: {command_line('evaluate', str(out), *under)}")
