"""The command `skyclone evaluate`: it parses and prints, the work is done elsewhere."""

import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..collect.airspace.world_config import WorldConfig
from ..collect.airspace.worlds import DEFAULT
from ..collect.cli import engine_option, scenario_option, simulator_option, world_of, world_option
from ..collect.surveillance.config import PERFECT
from ..datasets.config import fields_of
from ..datasets.console import command_line, printable, say
from ..datasets.options import PLACE, WORKERS, CommaList, HelpfulCommand, default_from, given, options_of
from .evaluation.config import UNRESOLVED, EvaluationConfig, name_all


@click.command(
    "evaluate",
    cls=HelpfulCommand,
    groups={
        "Who flies": "baselines front",
        "Traffic": "scenarios world aircraft scenario surveillance seed",
        "What comes of it": "out json rare bootstrap",
        "Work": "workers batch device engine simulator",
    },
    examples=[
        "skyclone evaluate runs/clone pretrained:tuned --baselines none,mvp,mvp:margin=1.2 --out report",
        "skyclone evaluate pretrained:tuned --aircraft 20,40 --json > figures.json",
        "skyclone evaluate pretrained:tuned --world m600:protected_zone_m=50:cruise_mps=12",
    ],
)
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--baselines", default="none,mvp", show_default=True, help="Teachers: NAME[:key=number...],...")
@options_of(
    EvaluationConfig, "scenarios", bounded=True, changes=default_from(EvaluationConfig, "scenarios", "the files'")
)
@world_option(DEFAULT)
@click.option(
    "--aircraft",
    type=CommaList(int, "numbers of aircraft", "20 or 20,40,60", least=1),
    help="Aircraft in each; of several, the first is reported in full.  "
    f"[default: {fields_of(WorldConfig)['aircraft'].default}, or the world's]",
)
@scenario_option
@click.option(
    "--surveillance",
    type=CommaList(str, "surveillance", "perfect,remote-id"),
    metavar="NAME[:key=value...],...",
    help=f"{fields_of(WorldConfig)['surveillance'].description} Of several, the first is reported in full.  "
    f"[default: {fields_of(WorldConfig)['surveillance'].default}, or the world's]",
)
@simulator_option
@click.option(
    "--rare",
    is_flag=True,
    help="Estimate how often rare events happen too, by splitting; --scenarios at each level.",
)
@click.option("--out", type=PLACE, help="Folder for evaluation.json, report.html, recording.json.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
@options_of(EvaluationConfig, "seed", "batch", "bootstrap", "device", "front", "mix", bounded=True)
@click.option(
    "--workers",
    type=WORKERS,
    default=1,
    show_default=True,
    help="Processes; with --engine ray tasks at once, by default as many as the cluster takes.",
)
@engine_option
@click.pass_context
def evaluate(
    ctx: click.Context, out: Path | None, as_json: bool, workers: int | None, engine: str, **options: Any
) -> None:
    """Fly policies and teachers on the same scenarios and compare them, with 95 % intervals.

    A RUN is the folder of a trained policy, or pretrained:NAME. With --out, a report is written that needs
    nothing but a browser; interrupted, the same command continues from what was flown.
    """
    if not options["runs"] and not options["baselines"].strip(", "):
        raise click.UsageError("expected a RUN or a baseline. Try: skyclone evaluate --baselines none,mvp")
    if engine != "local" and "workers" not in given(ctx):
        workers = None
    try:
        _evaluate(out, as_json, workers, engine, options)
    except KeyboardInterrupt:
        kept = f"what was flown is kept in {out}; the same command continues" if out else "nothing has been written"
        raise click.Abort(f"Interrupted: {kept}.") from None


def _evaluate(out: Path | None, as_json: bool, workers: int | None, engine: str, options: dict[str, Any]) -> None:
    """Fly, write, print, and say where the time went."""
    from .evaluation.batches import check_engine
    from .evaluation.contenders import load_all
    from .evaluation.evaluation import side_by_side
    from .evaluation.table import render
    from .rare.rates import check as check_rare
    from .rare.rates import render as render_rare
    from .report import output

    start = time.perf_counter()
    is_rare = options.pop("rare")
    plans = _prepare(**options)
    if is_rare:
        check_rare(plans[0].world, plans[0].scenarios, plans[0].mix)
    for plan in plans:
        check_engine(engine, plan)
        plan.weigh((workers or 1) if engine == "local" else None, say, is_rare and plan is plans[0])
    loaded = [load_all(plan) for plan in plans]  # all of them before anything is flown
    if out is not None:
        output.check(out)  # makes the folder
    found = [_fly(plan, each, workers, engine, out) for plan, each in zip(plans, loaded, strict=True)]
    evaluation = side_by_side(found)
    seconds = {name: sum(each.seconds.get(name, 0.0) for each in found) for name in evaluation.seconds}
    if is_rare:
        begin = time.perf_counter()
        evaluation = replace(evaluation, rare=_rates(plans[0], loaded[0], out))
        seconds["splitting"] = time.perf_counter() - begin
    result = output.describe(evaluation)
    if out is not None:
        begin = time.perf_counter()
        say("Looking at the attention, recording a replay, drawing the report...")
        command = command_line(*sys.argv[1:])
        made_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        result = output.write(out, evaluation, loaded[0], command, made_at)
        seconds["report"] = time.perf_counter() - begin
    if as_json:
        click.echo(json.dumps(result, allow_nan=False))
    else:
        click.echo(printable(render(evaluation)))
        if is_rare:
            names = evaluation.plan.short_names
            click.echo(printable("\n" + render_rare({names[name]: each for name, each in evaluation.rare.items()})))
    _say_times(found, seconds, time.perf_counter() - start)
    if out is not None:
        say(f"Report: {out / output.REPORT_NAME}")


def _prepare(**options: Any) -> list[EvaluationConfig]:
    """Return the plans: one for each number of aircraft, then one for each further surveillance."""
    from ..collect.scenarios.registry import count_of, world_for
    from ..train.runs.device import choose_device

    contenders = name_all(options.pop("runs"), options.pop("baselines"))
    first, *others = dict.fromkeys(options["aircraft"] or (None,))
    options["aircraft"] = first
    quality, *qualities = dict.fromkeys(options["surveillance"] or (None,))
    options["surveillance"] = quality
    world = world_of(options)
    scenarios = options.pop("scenarios") or count_of(world.scenario)
    if scenarios:
        options["scenarios"] = scenarios
    device = str(choose_device(options.pop("device")))
    plan = EvaluationConfig(tuple(contenders), world, device=device, **options)
    worlds = [
        *(world_for(world.scenario, aircraft, world.simulator, world) for aircraft in others),
        *(replace(world, surveillance=each) for each in qualities),
    ]
    return [plan, *(replace(plan, world=each, front=False) for each in worlds)]


def _fly(plan: EvaluationConfig, loaded: Any, workers: int | None, engine: str, out: Path | None) -> Any:
    """Fly what is not kept from before, with a progress bar."""
    from tqdm import tqdm

    from .evaluation.batches import prepare
    from .evaluation.evaluation import evaluate as run
    from .evaluation.flight_store import FlightStore
    from .metrics.numerals import counted
    from .report import output

    store = FlightStore(out / output.FLOWN_NAME, plan.world, plan.seed, plan.device) if out else None
    prepare(loaded.values(), say)
    total = plan.scenarios * len(plan.flown)
    what = f"Evaluating {plan.world.aircraft} aircraft"
    if plan.world.surveillance != PERFECT:
        what += f", {plan.world.surveillance}"
    with tqdm(total=total, unit=" scenarios", desc=what, file=sys.stderr) as bar:
        evaluation = run(plan, loaded, workers, bar.update, store, engine, say)
    if store and store.found:
        say(f"{store.found:,} of {counted(total, 'scenario')} had been flown before: {store.folder}")
    for warning in evaluation.warnings:
        say(f"Warning: {warning}")
    return evaluation


def _rates(plan: EvaluationConfig, loaded: Any, out: Path | None) -> dict[str, Any]:
    """Estimate how often rare events happen to each contender, with a progress bar."""
    from tqdm import tqdm

    from ..collect.collector.workers import one_thread
    from .rare.rates import REPLICATIONS, estimate_rates

    rates: dict[str, Any] = {}
    total = len(plan.contenders) * (REPLICATIONS + 1)
    try:
        with one_thread(), tqdm(total=total, unit=" replications", desc="Splitting", file=sys.stderr) as bar:
            for name, each in ((contender.name, loaded[contender.name]) for contender in plan.contenders):
                bar.set_postfix_str(plan.short_names[name])
                flight = (each.pilot, plan.world, plan.scenarios, plan.seed, plan.device)
                rates[name] = estimate_rates(*flight, progress=bar.update)
    except KeyboardInterrupt:
        kept = (
            f"the flights are kept in {out}, and the splitting begins again" if out else "nothing has been written"
        )
        raise click.Abort(f"Interrupted: {kept}.") from None
    return rates


def _say_times(found: list[Any], seconds: dict[str, float], total_s: float) -> None:
    """Say where the time went."""
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
    say(f"Took {total_s:.1f} s: {parts}{rest_text}.{rate_text}")
