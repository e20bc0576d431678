"""The command `skyclone evaluate`: it parses and prints, the work is done elsewhere."""

import json
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..collect.cli import aircraft_option, scenario_option, simulator_option, world_of


@click.command("evaluate")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--baselines", default="none,mvp", show_default=True, help="Teachers: NAME[:key=number...],...")
@click.option("--scenarios", type=click.IntRange(1), help="How many, for each.  [default: 200, or the files']")
@aircraft_option
@scenario_option
@click.option("--seed", type=click.IntRange(0), default=1_000_000, show_default=True, help="Fixes the scenarios.")
@simulator_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for evaluation.json, report.html, recording.json."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Scenarios flown at once.")
@click.option("--bootstrap", type=click.IntRange(100), default=2000, show_default=True, help="Resamples.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option(
    "--front", is_flag=True, help="Fly 35 settings of MVP too, and hold each RUN against the best of them."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
def evaluate(out: Path | None, as_json: bool, workers: int, **options: Any) -> None:
    """Fly policies and teachers on the same scenarios and compare them, with 95 % intervals.

    A RUN is the folder of a trained policy, or pretrained:NAME. With --out, a report is written that needs
    nothing but a browser.
    """
    if not options["runs"] and not options["baselines"].strip(", "):
        raise click.UsageError("expected a RUN or a baseline. Try: skyclone evaluate --baselines none,mvp")
    try:
        _evaluate(out, as_json, workers, options)
    except KeyboardInterrupt:
        raise click.Abort("Interrupted: nothing has been written.") from None


def _evaluate(out: Path | None, as_json: bool, workers: int, options: dict[str, Any]) -> None:
    """Fly, write, print, and say where the time went."""
    from . import output
    from .table import render

    start = time.perf_counter()
    if out is not None:
        output.check_folder(out)
    plan, loaded = _prepare(**options)
    evaluation = _fly(plan, loaded, workers)
    result = output.describe(evaluation)
    seconds = dict(evaluation.seconds)
    if out is not None:
        begin = time.perf_counter()
        command = shlex.join(["skyclone", *sys.argv[1:]])
        made_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        result = output.write(out, evaluation, loaded, command, made_at)
        seconds["report"] = time.perf_counter() - begin
    if as_json:
        click.echo(json.dumps(result, allow_nan=False))
    else:
        click.echo(render(evaluation))
    _say_times(evaluation, seconds, time.perf_counter() - start)
    if out is not None:
        click.echo(f"Report: {out / output.REPORT_NAME}", err=True)


def _prepare(**options: Any) -> tuple[Any, Any]:
    """Return the plan and the contenders, checked and loaded."""
    from ..collect.scenarios import count_of
    from ..train.cloning import choose_device
    from .contenders import name_all
    from .evaluation import Plan

    contenders = name_all(options.pop("runs"), options.pop("baselines"))
    world = world_of(options)
    options["scenarios"] = options["scenarios"] or count_of(world.scenario) or 200
    device = str(choose_device(options.pop("device")))
    plan = Plan(tuple(contenders), world, device=device, **options)
    return plan, plan.load()


def _fly(plan: Any, loaded: Any, workers: int) -> Any:
    """Fly with a progress bar."""
    from tqdm import tqdm

    from .evaluation import evaluate as run

    total = plan.scenarios * len(plan.flown)
    with tqdm(total=total, unit=" scenarios", desc="Evaluating", file=sys.stderr) as bar:
        evaluation = run(plan, loaded, workers, bar.update)
    for warning in evaluation.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return evaluation


def _say_times(evaluation: Any, seconds: dict[str, float], total_s: float) -> None:
    """Say where the time went."""
    from .contenders import UNRESOLVED

    steps = sum(float(figures.steps.sum()) for figures in evaluation.figures.values())
    flying = sum(seconds[name] for name in evaluation.figures)
    names = evaluation.plan.short_names
    spent: dict[str, float] = {}
    for name, each in seconds.items():
        is_other = name in evaluation.figures and name not in names and name != UNRESOLVED
        label = "the MVP family" if is_other else names.get(name, name)
        spent[label] = spent.get(label, 0.0) + each
    parts = ", ".join(f"{label} {each:.1f} s" for label, each in spent.items())
    rest = total_s - sum(seconds.values())
    rest_text = f", the rest {rest:.1f} s" if rest > 0.05 else ""
    click.echo(
        f"Took {total_s:.1f} s: {parts}{rest_text}. {steps / max(flying, 1e-9):,.0f} aircraft-steps/s in flight.",
        err=True,
    )
