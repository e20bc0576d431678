"""`skyclone finetune`: options in, a run out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ...collect.cli import world_option
from ...datasets.config import fields_of
from ...datasets.console import command_line, say
from ...datasets.machine import processors
from ...datasets.options import PLACE, HelpfulCommand, chosen, given, options_of
from ..runs.config_file import CONFIG_NAME
from ..runs.trackers import check, track_option
from .config import METHODS, MOST_PROCESSES, PPO_ONLY, AnalyticConfig, FinetuneConfig, PPOConfig, load_config

_BOTH = ("lr", "gradient_norm")
_OWN = {
    "ppo": (*PPO_ONLY, *(name for name in fields_of(PPOConfig) if name not in _BOTH)),
    "analytic": tuple(name for name in fields_of(AnalyticConfig) if name not in _BOTH),
}
"""The options that mean something to one method only."""
EPISODES_EACH = 16
"""With fewer episodes a process spends its time on dispatching small tensors."""
LONG_STEPS = 300_000
"""A shorter run is over before helpers have started."""


def _default_of_each(name: str) -> dict[str, Any]:
    """Return what differs in an option whose default depends on the method."""
    ppo, analytic = (PPOConfig, AnalyticConfig) if name in _BOTH else (FinetuneConfig, FinetuneConfig)
    default = fields_of(ppo)[name].default
    other = METHODS["analytic"].get(name, fields_of(analytic)[name].default)
    text = f"{fields_of(ppo)[name].description}  [default: {default}; analytic {other}]"
    return {"default": None, "show_default": False, "help": text}


@click.command(
    cls=HelpfulCommand,
    epilog="With --resume, what is not given is taken from the run.",
    groups={
        "Runs": "from out resume",
        "Traffic": "world aircraft scenario surveillance envs seed",
        "Learning": "method steps observation reward lr gradient-norm",
        "Of --method analytic": " ".join(name.replace("_", "-") for name in _OWN["analytic"]),
        "Of --method ppo": " ".join(name.replace("_", "-") for name in _OWN["ppo"]),
        "The gate, and what is saved": "gate-every gate-scenarios save-every",
        "Work": "threads device track",
    },
    examples=[
        "skyclone finetune --from runs/clone --out runs/tuned --aircraft 20,40,60 --steps 16000000",
        "skyclone finetune --from runs/clone --out runs/analytic --method analytic --aircraft 20,40,60",
        "skyclone finetune --from pretrained:clone --out runs/ppo --reward detour:path=2:margin=1.15 --aircraft 40",
    ],
)
@click.option("--from", "parent", metavar="RUN", help="Where to start: a run's folder, or pretrained:NAME.")
@click.option("--out", required=True, type=PLACE, metavar="RUN2", help="Folder for the run.")
@world_option("as the clone")
@options_of(
    FinetuneConfig,
    "method",
    "steps",
    "envs",
    "aircraft",
    "scenario",
    "surveillance",
    "observation",
    "reward",
    changes={
        "method": {"type": click.Choice(list(METHODS))},
        "steps": _default_of_each("steps"),
        "envs": _default_of_each("envs"),
    },
)
@options_of(PPOConfig, *_BOTH, changes={name: _default_of_each(name) for name in _BOTH})
@options_of(
    AnalyticConfig,
    *_OWN["analytic"],
    label="analytic: ",
)
@options_of(
    FinetuneConfig,
    *PPO_ONLY,
    label="ppo: ",
    changes={
        "processes": {
            "default": None,
            "show_default": False,
            "help": f"ppo: {fields_of(FinetuneConfig)['processes'].description}  [default: one for each processor "
            f"and {EPISODES_EACH} episodes; 1 for a short run]",
        }
    },
)
@options_of(PPOConfig, *(name for name in _OWN["ppo"] if name not in PPO_ONLY), label="ppo: ")
@options_of(
    FinetuneConfig,
    "gate_every",
    "gate_scenarios",
    "save_every",
    "seed",
    "threads",
    changes={name: _default_of_each(name) for name in ("gate_every", "save_every")},
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@track_option
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.pass_context
def finetune(
    ctx: click.Context, parent: str | None, out: Path, device: str, track: str | None, resume: bool, **_: Any
) -> None:
    """Fine-tune a clone online; the best is never worse than the clone.

    By PPO, or along the analytic gradient of what a flight costs, through the world itself.
    """
    from ..runs.device import choose_device
    from .run import Finetuning

    check(track)
    method = ctx.params["method"]
    is_begun = resume and (out / CONFIG_NAME).exists()
    if is_begun:
        config = load_config(out)[0]
        method = given(ctx).get("method", config.method)
    elif parent is None:
        raise click.UsageError("Missing option '--from'. Train a clone with `skyclone train --data DIR --out RUN`.")
    else:
        config = FinetuneConfig.of(method)
    _check_method(method, given(ctx))
    config = chosen(ctx, config, part=method)
    if "processes" not in given(ctx) and not is_begun:
        config = replace(config, processes=_processes(config, choose_device(device).type))
    Finetuning(parent, out, config, resume=resume, device=device, say=say, track=track).train()
    start = parent or str(out / "clone.safetensors")
    say(f"Next: {command_line('evaluate', start, str(out))}")


def _processes(config: FinetuneConfig, device: str) -> int:
    """Return how many processes a new run is given: as many as are busy, if it is long enough to pay for them."""
    if config.method != "ppo" or device != "cpu" or config.steps < LONG_STEPS:
        return 1
    return max(1, min(processors(), config.envs // EPISODES_EACH, MOST_PROCESSES))


def _check_method(method: str, options: dict[str, Any]) -> None:
    """Raise if an option is given that means something to the other method only."""
    other = next(each for each in METHODS if each != method)
    wrong = [f"--{name.replace('_', '-')}" for name in options if name in _OWN[other]]
    if wrong:
        raise click.UsageError(f"{', '.join(wrong)}: for --method {other} only, got --method {method}.")
