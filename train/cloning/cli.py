"""`skyclone train`: options in, a run out."""

import shlex
from pathlib import Path
from typing import Any

import click

from ...datasets.console import say
from ...datasets.files.storage import Folder, as_folder
from ...datasets.options import chosen, options_of
from ..runs.config_file import CONFIG_NAME
from .config import CloningConfig, load_config, where

_DEFAULTS_FROM_RUN = "With --resume, what is not given is taken from the run."


@click.command(
    epilog=f"{_DEFAULTS_FROM_RUN} Several processes or GPUs: torchrun --nproc-per-node 2 -m skyclone train ... "
    "Example: skyclone train --data data/mvp --out runs/clone --model pairwise"
)
@click.option(
    "--data",
    multiple=True,
    type=as_folder,
    metavar="DIR",
    help="Dataset, a folder or s3://bucket/folder; may be given several times.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Folder for the run.")
@options_of(
    CloningConfig,
    "model",
    "observation",
    "epochs",
    "batch_size",
    "lr",
    "schedule",
    "weight_decay",
    "max_seconds",
    "seed",
    "threads",
    "conflict_weight",
    "mix",
    "stream",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.pass_context
def train(ctx: click.Context, data: tuple[Folder, ...], out: Path, device: str, resume: bool, **_: Any) -> None:
    """Clone the teacher: fit a network to a dataset (behavioural cloning)."""
    from ...datasets import open_dataset
    from ..runs.processes import joined
    from .run import Cloning

    config = CloningConfig()
    if resume and (out / CONFIG_NAME).exists():
        config, described = load_config(out)
        data = data or where(described)
    config = chosen(ctx, config)
    if not data:
        raise click.UsageError("Missing option '--data'. Make a dataset with `skyclone collect --out DIR`.")

    with joined(device) as (processes, own):
        datasets = processes.together(lambda: [open_dataset(path) for path in data])
        Cloning(datasets, out, config, resume=resume, device=own, say=say, processes=processes).train()
        if processes.is_first:
            say(f"Next: skyclone evaluate {shlex.quote(str(out))}")
