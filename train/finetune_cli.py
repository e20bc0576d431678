"""`skyclone finetune`: options in, a run out."""

import shlex
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from .finetune_configuration import FinetuneConfig


@click.command(
    epilog="With --resume, what is not given is taken from the run. "
    "Example: skyclone finetune --from runs/clone --out runs/tuned"
)
@click.option("--from", "source", metavar="RUN", help="Where to start: a run's folder, or pretrained:NAME.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN2", help="Folder for the run.")
@click.option("--steps", default=1_000_000, show_default=True, help="Agent-steps to fly.")
@click.option("--envs", default=64, show_default=True, help="Episodes flown at once.")
@click.option("--horizon", default=32, show_default=True, help="Steps of each rollout.")
@click.option("--aircraft", default=0, help="Aircraft in an episode.  [default: as the clone]")
@click.option("--scenario", default="", help="How the traffic is laid out.  [default: as the clone]")
@click.option("--reward", default="separation", show_default=True, help="What to improve: separation or seed.")
@click.option("--lr", default=5e-5, show_default=True, help="Learning rate of the policy.")
@click.option("--critic-lr", default=5e-4, show_default=True, help="Learning rate of the critic.")
@click.option("--critic", default="", help="Network of the critic, such as pairwise.  [default: as the policy's]")
@click.option("--warmup", default=6, show_default=True, help="Rollouts in which only the critic learns.")
@click.option("--log-std", default=-2.996, show_default=True, help="Log of the initial noise in action units.")
@click.option("--anchor", default=0.0, show_default=True, help="Weight of the KL divergence to the clone.")
@click.option("--anchor-until", default=1.0, show_default=True, help="Fraction of the steps until it is gone.")
@click.option("--entropy", default=0.0, show_default=True, help="Weight of the entropy bonus.")
@click.option("--epochs", default=3, show_default=True, help="Times each row is learned from.")
@click.option("--minibatch", default=4096, show_default=True, help="Rows per gradient step, about.")
@click.option("--clip", default=0.2, show_default=True, help="How far probability ratios may move.")
@click.option("--target-kl", default=0.2, show_default=True, help="Stop an update there; 0: never.")
@click.option("--gradient-norm", default=0.5, show_default=True, help="Gradients are clipped to this norm.")
@click.option("--discount", default=0.95, show_default=True, help="Discount per step (gamma).")
@click.option("--smoothing", default=0.9, show_default=True, help="Smoothing of the advantages (lambda).")
@click.option("--gate-every", default=4, show_default=True, help="Iterations between flights through the gate.")
@click.option("--gate-scenarios", default=128, show_default=True, help="Scenarios of the gate.")
@click.option("--seed", default=0, show_default=True, help="Layouts, actions, order of rows, initial critic.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch; 0 leaves it its own number.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.pass_context
def finetune(ctx: click.Context, source: str | None, out: Path, device: str, resume: bool, **options: Any) -> None:
    """Fine-tune a clone online with PPO; the best is never worse than the clone."""
    import torch
    from tqdm import tqdm

    from .configuration import CONFIG_NAME
    from .finetune import Finetuning
    from .finetune_configuration import FinetuneConfig, load_config

    if resume and (out / CONFIG_NAME).exists():
        given = {key: value for key, value in options.items() if _is_given(ctx, key)}
        config = _changed(load_config(out)[0], given)
    elif source is None:
        raise click.UsageError("Missing option '--from'. Train a clone with `skyclone train --data DIR --out RUN`.")
    else:
        config = _changed(FinetuneConfig(), options)
    if config.threads:
        torch.set_num_threads(config.threads)

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    Finetuning(source, out, config, resume=resume, device=device, say=say).train()
    say(f"Next: skyclone evaluate {shlex.quote(source or f'{out}/clone.safetensors')} {shlex.quote(str(out))}")


def _is_given(ctx: click.Context, key: str) -> bool:
    """Return whether an option stands on the command line."""
    return ctx.get_parameter_source(key) is not ParameterSource.DEFAULT


def _changed(config: "FinetuneConfig", options: dict[str, Any]) -> "FinetuneConfig":
    """Return a configuration with some options changed, those of the update among them."""
    of_update = {field.name for field in fields(config.ppo)}
    inner = {key: value for key, value in options.items() if key in of_update}
    outer = {key: value for key, value in options.items() if key not in of_update}
    return replace(config, **outer, ppo=replace(config.ppo, **inner))
