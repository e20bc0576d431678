"""`skyclone dagger`: options in, a run out."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ...datasets.files.storage import Folder, as_folder
from ..cloning.cli import is_given


@click.command(
    epilog="With --resume, what is not given is taken from the run. "
    "Example: skyclone dagger --from runs/clone --data data/mvp --out runs/dagger"
)
@click.option("--from", "source", metavar="RUN", help="Where to start: a run's folder, or pretrained:NAME.")
@click.option(
    "--data", multiple=True, type=as_folder, metavar="DIR", help="The original dataset; may be given several times."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN2", help="Folder for the run.")
@click.option("--rounds", default=3, show_default=True, help="How often to fly, label and train.")
@click.option("--episodes", default=256, show_default=True, help="Episodes the student flies in each round.")
@click.option("--epochs", default=1, show_default=True, help="Passes over all data in each round.")
@click.option("--batch-size", default=1024, show_default=True, help="Rows per step.")
@click.option("--lr", default=2e-3, show_default=True, help="Learning rate of Adam at the start of each round.")
@click.option("--schedule", default="cosine", show_default=True, help="Learning rate: constant or cosine.")
@click.option("--share", default=0.5, show_default=True, help="Share of the rounds' rows in an epoch.")
@click.option("--conflict-weight", default=1.0, show_default=True, help="How often rows in conflict come.")
@click.option("--beta", default=0.0, show_default=True, help="In round k the teacher flies beta^k of the aircraft.")
@click.option("--probe", default=64, show_default=True, help="Episodes each student is measured on.")
@click.option("--gate-scenarios", default=128, show_default=True, help="Scenarios flown for LoS figures.")
@click.option("--control", is_flag=True, help="Also train a control: as many steps, the original data alone.")
@click.option("--seed", default=0, show_default=True, help="Layouts of the rounds, order of the rows.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch; 0 leaves it its own number.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that fly.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda, for the training.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.pass_context
def dagger(
    ctx: click.Context,
    source: str | None,
    data: tuple[Folder, ...],
    out: Path,
    workers: int,
    device: str,
    resume: bool,
    **options: Any,
) -> None:
    """Fly the student, let the teacher label what it meets, train on (DAgger)."""
    from tqdm import tqdm

    from ...datasets import open_dataset
    from ..runs.config_file import CONFIG_NAME
    from .config import DaggerConfig, load_config
    from .run import Dagger

    if resume and (out / CONFIG_NAME).exists():
        saved, described, _ = load_config(out)
        config = replace(saved, **{key: value for key, value in options.items() if is_given(ctx, key)})
        data = data or tuple(as_folder(each["path"]) for each in described)
    else:
        config = DaggerConfig(**options)
        if source is None:
            raise click.UsageError(
                "Missing option '--from'. Train a clone with `skyclone train --data DIR --out RUN`."
            )
        if not data:
            raise click.UsageError("Missing option '--data': the dataset the clone was trained on.")

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    datasets = [open_dataset(path) for path in data]
    run = Dagger(source, datasets, out, config, resume=resume, device=device, workers=workers, say=say)
    run.train()
    start = shlex.quote(f"{out}/clone.safetensors")
    say(f"Next: skyclone evaluate {start} {shlex.quote(str(out))}")
