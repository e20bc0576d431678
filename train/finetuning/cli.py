"""`skyclone finetune`: options in, a run out."""

import shlex
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cloning.cli import is_given

if TYPE_CHECKING:
    from .config import FinetuneConfig

_ANALYTIC = ("window", "damping", "costs")
_PPO = (
    *(
        "horizon",
        "reward",
        "critic_lr",
        "critic",
        "warmup",
        "log_std",
        "anchor",
        "anchor_until",
        "entropy",
        "epochs",
    ),
    *("minibatch", "clip", "target_kl", "discount", "smoothing"),
)
_METHOD = "How: estimated gradients, or exact ones through the world."
_COSTS = "analytic: what a step costs, such as path=2:margin=1.15.  [default: see train/finetuning/analytic.py]"


@click.command(
    epilog="With --resume, what is not given is taken from the run. "
    "Example: skyclone finetune --from runs/clone --out runs/tuned"
)
@click.option("--from", "source", metavar="RUN", help="Where to start: a run's folder, or pretrained:NAME.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN2", help="Folder for the run.")
@click.option("--method", default="ppo", show_default=True, type=click.Choice(["ppo", "analytic"]), help=_METHOD)
@click.option("--steps", type=int, help="Agent-steps to fly.  [default: 1000000; analytic 4000000]")
@click.option("--envs", type=int, help="Episodes flown at once.  [default: 64; analytic 16]")
@click.option("--aircraft", default="", help="Aircraft in an episode; 20,40 by turns.  [default: as the clone]")
@click.option("--scenario", default="", help="How the traffic is laid out.  [default: as the clone]")
@click.option("--observation", default="", help="See more: ego:intruders=12.  [default: as the clone]")
@click.option("--lr", type=float, help="Learning rate of the policy.  [default: 5e-05; analytic 0.0003]")
@click.option("--gradient-norm", type=float, help="Gradients are clipped to it.  [default: 0.5; analytic 0.5]")
@click.option("--window", default=14, show_default=True, help="analytic: steps differentiated at once.")
@click.option("--damping", default=0.75, show_default=True, help="analytic: factor on the gradient per step back.")
@click.option("--costs", default="", help=_COSTS)
@click.option("--horizon", default=32, show_default=True, help="ppo: steps of each rollout.")
@click.option("--reward", default="separation", show_default=True, help="ppo: what to improve: separation or seed.")
@click.option("--critic-lr", default=5e-4, show_default=True, help="ppo: learning rate of the critic.")
@click.option(
    "--critic", default="", help="ppo: network of the critic, such as pairwise.  [default: as the policy's]"
)
@click.option("--warmup", default=6, show_default=True, help="ppo: rollouts in which only the critic learns.")
@click.option("--log-std", default=-2.996, show_default=True, help="ppo: log of the initial noise in action units.")
@click.option("--anchor", default=0.0, show_default=True, help="ppo: weight of the KL divergence to the clone.")
@click.option("--anchor-until", default=1.0, show_default=True, help="ppo: fraction of the steps until it is gone.")
@click.option("--entropy", default=0.0, show_default=True, help="ppo: weight of the entropy bonus.")
@click.option("--epochs", default=3, show_default=True, help="ppo: times each row is learned from.")
@click.option("--minibatch", default=4096, show_default=True, help="ppo: rows per gradient step, about.")
@click.option("--clip", default=0.2, show_default=True, help="ppo: how far probability ratios may move.")
@click.option("--target-kl", default=0.2, show_default=True, help="ppo: stop an update there; 0: never.")
@click.option("--discount", default=0.95, show_default=True, help="ppo: discount per step (gamma).")
@click.option("--smoothing", default=0.9, show_default=True, help="ppo: smoothing of the advantages (lambda).")
@click.option(
    "--gate-every", type=int, help="Iterations between flights through the gate.  [default: 4; analytic 200]"
)
@click.option("--gate-scenarios", default=128, show_default=True, help="Scenarios of the gate.")
@click.option("--save-every", type=int, help="Iterations between two saves.  [default: 1; analytic 25]")
@click.option("--seed", default=0, show_default=True, help="Layouts, actions, order of rows, initial critic.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch; 0 leaves it its own number.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.pass_context
def finetune(ctx: click.Context, source: str | None, out: Path, device: str, resume: bool, **options: Any) -> None:
    """Fine-tune a clone online; the best is never worse than the clone.

    By PPO, or along the analytic gradient of what a flight costs, through the world itself.
    """
    import torch
    from tqdm import tqdm

    from ..runs.config_file import CONFIG_NAME
    from .config import FinetuneConfig, load_config
    from .run import Finetuning

    given = {key: value for key, value in options.items() if is_given(ctx, key)}
    if resume and (out / CONFIG_NAME).exists():
        config = load_config(out)[0]
    elif source is None:
        raise click.UsageError("Missing option '--from'. Train a clone with `skyclone train --data DIR --out RUN`.")
    else:
        config = FinetuneConfig.of(options["method"])
    _check_method(config.method, given)
    config = _changed(config, given)
    if config.threads:
        torch.set_num_threads(config.threads)

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    Finetuning(source, out, config, resume=resume, device=device, say=say).train()
    say(f"Next: skyclone evaluate {shlex.quote(source or f'{out}/clone.safetensors')} {shlex.quote(str(out))}")


def _check_method(method: str, given: dict[str, Any]) -> None:
    """Raise if an option is given that means something to the other method only."""
    method = given.get("method", method)
    other, foreign = ("analytic", _ANALYTIC) if method == "ppo" else ("ppo", _PPO)
    wrong = [f"--{key.replace('_', '-')}" for key in given if key in foreign]
    if wrong:
        raise click.UsageError(f"{', '.join(wrong)}: for --method {other} only, got --method {method}.")


def _changed(config: "FinetuneConfig", options: dict[str, Any]) -> "FinetuneConfig":
    """Return a configuration with some options changed, those of the method's update among them."""
    from .analytic import Costs

    options = dict(options)
    if "aircraft" in options:
        options["aircraft"] = _numbers(options["aircraft"])
    if "costs" in options:
        options["costs"] = Costs.parse(options["costs"])
    update = config.ppo if options.get("method", config.method) == "ppo" else config.analytic
    of_update = {field.name for field in fields(update)}
    inner = {key: value for key, value in options.items() if key in of_update}
    outer = {key: value for key, value in options.items() if key not in of_update}
    if isinstance(update, type(config.ppo)):
        return replace(config, **outer, ppo=replace(config.ppo, **inner))
    return replace(config, **outer, analytic=replace(config.analytic, **inner))


def _numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of aircraft of `20,40`."""
    try:
        return tuple(int(part) for part in text.split(",") if text)
    except ValueError:
        raise click.UsageError(f"--aircraft: expected numbers such as 20 or 20,40,60, got '{text}'.") from None
