"""`skyclone dagger`: options in, a run out."""

from pathlib import Path
from typing import Any

import click

from ...datasets.config import fields_of
from ...datasets.console import command_line, say
from ...datasets.files.storage import Folder, as_folder
from ...datasets.options import PLACE, WORKERS, HelpfulCommand, chosen, options_of
from ..cloning.config import where
from ..runs.config_file import CONFIG_NAME
from ..runs.trackers import check, track_option
from .config import DaggerConfig, load_config


@click.command(
    cls=HelpfulCommand,
    epilog="With --resume, what is not given is taken from the run.",
    groups={
        "Data and runs": "from data out resume",
        "Rounds": "rounds episodes beta share control",
        "Training": "epochs batch-size lr schedule conflict-weight seed",
        "What is measured": "probe gate-scenarios",
        "Work": "workers threads device track",
    },
    examples=[
        "skyclone dagger --from runs/clone --data data/mvp --out runs/dagger --rounds 3",
        "skyclone dagger --from runs/clone --data data/mvp --out runs/judged --rounds 2 --control",
        "skyclone dagger --from pretrained:clone --data data/mvp --out runs/mixed --beta 0.5 --workers 2",
    ],
)
@click.option("--from", "parent", metavar="RUN", help="Where to start: a run's folder, or pretrained:NAME.")
@click.option(
    "--data", multiple=True, type=as_folder, metavar="DIR", help="The original dataset; may be given several times."
)
@click.option("--out", required=True, type=PLACE, metavar="RUN2", help="Folder for the run.")
@options_of(DaggerConfig, *fields_of(DaggerConfig))
@click.option("--workers", type=WORKERS, default=1, show_default=True, help="Processes that fly.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda, for the training.")
@track_option
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.pass_context
def dagger(
    ctx: click.Context,
    parent: str | None,
    data: tuple[Folder, ...],
    out: Path,
    workers: int,
    device: str,
    track: str | None,
    resume: bool,
    **options: Any,
) -> None:
    """Fly the policy, let the teacher label what it meets, train on (DAgger)."""
    from ...datasets import open_dataset
    from .run import Dagger

    check(track)
    config = DaggerConfig()
    if resume and (out / CONFIG_NAME).exists():
        config, described, _ = load_config(out)
        data = data or where(described)
    else:
        if parent is None:
            raise click.UsageError(
                "Missing option '--from'. Train a clone with `skyclone train --data DIR --out RUN`."
            )
        if not data:
            raise click.UsageError("Missing option '--data': the dataset the clone was trained on.")
    config = chosen(ctx, config)

    datasets = [open_dataset(path) for path in data]
    run = Dagger(parent, datasets, out, config, resume=resume, device=device, workers=workers, say=say, track=track)
    run.train()
    say(f"Next: {command_line('evaluate', str(out / 'clone.safetensors'), str(out))}")
