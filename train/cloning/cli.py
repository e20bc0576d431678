"""`skyclone train`: options in, a run out."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ...datasets.files.storage import Folder, as_folder

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
@click.option(
    "--model", default="attention-additive", show_default=True, help="Network, such as pairwise:width=96."
)
@click.option("--observation", default="seed", show_default=True, help="View, such as ego:intruders=8.")
@click.option("--epochs", default=20, show_default=True, help="Passes over the training rows.")
@click.option("--batch-size", default=1024, show_default=True, help="Rows per step.")
@click.option("--lr", default=1e-3, show_default=True, help="Learning rate of Adam.")
@click.option("--schedule", default="constant", show_default=True, help="Learning rate: constant or cosine.")
@click.option("--weight-decay", default=0.0, show_default=True, help="Weight decay (AdamW).")
@click.option("--max-seconds", type=float, help="Stop after so many seconds; the schedule ends then.")
@click.option("--seed", default=0, show_default=True, help="Initial weights and order of the rows.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--threads", default=1, show_default=True, help="Threads of torch on the CPU; 0 leaves it its own number."
)
@click.option("--conflict-weight", default=1.0, show_default=True, help="How often rows in conflict come.")
@click.option("--mix", default="", help="Share of each dataset in an epoch, such as 1,3.")
@click.option("--stream", is_flag=True, help="For data larger than memory: read it while training.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.pass_context
def train(
    ctx: click.Context, data: tuple[Folder, ...], out: Path, device: str, resume: bool, **options: Any
) -> None:
    """Clone the teacher: fit a network to a dataset (behavioural cloning)."""
    from tqdm import tqdm

    from ...datasets import open_dataset
    from ..runs.config_file import CONFIG_NAME
    from ..runs.processes import joined
    from .config import CloningConfig, load_config
    from .run import Cloning

    if resume and (out / CONFIG_NAME).exists():
        saved, described = load_config(out)
        given = {key: value for key, value in options.items() if is_given(ctx, key)}
        config = replace(saved, **given)
        data = data or tuple(as_folder(each["path"]) for each in described)
    else:
        config = CloningConfig(**options)
    if not data:
        raise click.UsageError("Missing option '--data'. Make a dataset with `skyclone collect --out DIR`.")

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    with joined(device) as (processes, own):
        datasets = processes.together(lambda: [open_dataset(path) for path in data])
        Cloning(datasets, out, config, resume=resume, device=own, say=say, processes=processes).train()
        if processes.is_first:
            say(f"Next: skyclone evaluate {shlex.quote(str(out))}")


def is_given(ctx: click.Context, key: str) -> bool:
    """Return whether an option stands on the command line."""
    return ctx.get_parameter_source(key) is not ParameterSource.DEFAULT
