"""The command `skyclone evaluate`: it parses and prints, the work is done elsewhere."""

import json
import shlex
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..collect.cli import scenario_option, simulator_option, world_of


class _Counts(click.ParamType):
    """`N` or `N,N,...`, numbers of aircraft."""

    name = "N[,N...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read them."""
        each = click.IntRange(1)
        return tuple(dict.fromkeys(each(text.strip(), param, ctx) for text in str(value).split(",")))


@click.command("evaluate")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--baselines", default="none,mvp", show_default=True, help="Teachers: NAME[:key=number...],...")
@click.option("--scenarios", type=click.IntRange(1), help="How many, for each.  [default: 200, or the files']")
@click.option(
    "--aircraft", type=_Counts(), help="Aircraft in each; of several, the first is reported in full.  [default: 20]"
)
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
    nothing but a browser; interrupted, the same command continues from what was flown.
    """
    if not options["runs"] and not options["baselines"].strip(", "):
        raise click.UsageError("expected a RUN or a baseline. Try: skyclone evaluate --baselines none,mvp")
    try:
        _evaluate(out, as_json, workers, options)
    except KeyboardInterrupt:
        kept = f"what was flown is kept in {out}; the same command continues" if out else "nothing has been written"
        raise click.Abort(f"Interrupted: {kept}.") from None


def _evaluate(out: Path | None, as_json: bool, workers: int, options: dict[str, Any]) -> None:
    """Fly, write, print, and say where the time went."""
    from .evaluation.evaluation import by_density
    from .evaluation.table import render
    from .report import output

    start = time.perf_counter()
    if out is not None:
        output.check(out)
    plans = _prepare(**options)
    loaded = [plan.load() for plan in plans]  # all of them before anything is flown
    found = [_fly(plan, each, workers, out) for plan, each in zip(plans, loaded, strict=True)]
    evaluation = by_density(found)
    result = output.describe(evaluation)
    seconds = {name: sum(each.seconds.get(name, 0.0) for each in found) for name in evaluation.seconds}
    if out is not None:
        begin = time.perf_counter()
        click.echo("Looking at the attention, recording a replay, drawing the report...", err=True)
        command = shlex.join(["skyclone", *sys.argv[1:]])
        made_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        result = output.write(out, evaluation, loaded[0], command, made_at)
        seconds["report"] = time.perf_counter() - begin
    if as_json:
        click.echo(json.dumps(result, allow_nan=False))
    else:
        click.echo(render(evaluation))
    _say_times(found, seconds, time.perf_counter() - start)
    if out is not None:
        click.echo(f"Report: {out / output.REPORT_NAME}", err=True)


def _prepare(**options: Any) -> list[Any]:
    """Return the plans, one for each number of aircraft."""
    from ..collect.scenarios.registry import count_of, world_for
    from ..train.runs.device import choose_device
    from .evaluation.contenders import name_all
    from .evaluation.plan import Plan

    contenders = name_all(options.pop("runs"), options.pop("baselines"))
    first, *others = options["aircraft"] or (None,)
    options["aircraft"] = first
    world = world_of(options)
    options["scenarios"] = options["scenarios"] or count_of(world.scenario) or 200
    device = str(choose_device(options.pop("device")))
    plan = Plan(tuple(contenders), world, device=device, **options)
    worlds = (world_for(world.scenario, aircraft, world.simulator) for aircraft in others)
    return [plan, *(replace(plan, world=each, front=False) for each in worlds)]


def _fly(plan: Any, loaded: Any, workers: int, out: Path | None) -> Any:
    """Fly what is not kept from before, with a progress bar."""
    from tqdm import tqdm

    from .evaluation.evaluation import evaluate as run
    from .evaluation.flight_store import FlightStore
    from .metrics.numerals import counted
    from .report import output

    store = FlightStore(out / output.FLOWN_NAME, plan.world, plan.seed, plan.device) if out else None
    total = plan.scenarios * len(plan.flown)
    what = f"Evaluating {plan.world.aircraft} aircraft"
    with tqdm(total=total, unit=" scenarios", desc=what, file=sys.stderr) as bar:
        evaluation = run(plan, loaded, workers, bar.update, store)
    if store and store.found:
        click.echo(
            f"{store.found:,} of {counted(total, 'scenario')} had been flown before: {store.folder}", err=True
        )
    for warning in evaluation.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return evaluation


def _say_times(found: list[Any], seconds: dict[str, float], total_s: float) -> None:
    """Say where the time went."""
    from .evaluation.contenders import UNRESOLVED

    first = found[0]
    flown = [(float(each.figures[name].steps.sum()), each.seconds[name]) for each in found for name in each.figures]
    names = first.plan.short_names
    spent: dict[str, float] = {}
    for name, each in seconds.items():
        is_other = name in first.figures and name not in names and name != UNRESOLVED
        label = "the MVP family" if is_other else names.get(name, name)
        spent[label] = spent.get(label, 0.0) + each
    parts = ", ".join(f"{label} {each:.1f} s" for label, each in spent.items())
    rest = total_s - sum(seconds.values())
    rest_text = f", the rest {rest:.1f} s" if rest > 0.05 else ""
    rate_text = ""
    if all(each > 0 for _, each in flown):  # not if some were kept from before
        steps, flying = (sum(column) for column in zip(*flown, strict=True))
        rate_text = f" {steps / max(flying, 1e-9):,.0f} aircraft-steps/s in flight."
    click.echo(f"Took {total_s:.1f} s: {parts}{rest_text}.{rate_text}", err=True)
