"""The page of a report: one HTML file that needs no network.

Its words and its structure are in the templates `assets/*.html`, which escape every name by themselves. Its look is
in `assets/report.css`, and what moves on it in `assets/*.js`. This module fills in the templates.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from inspect import cleandoc
from math import isfinite, nan
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...train.runs.confidence_intervals import Estimate
from ..attention.masking import LEAST_CHANGE_MPS
from ..evaluation.evaluation import Evaluation, conditions
from ..evaluation.mvp_front import COSTS, LOSSES
from ..evaluation.table import EQUIPAGE_TITLE, rows_by_equipage
from ..evaluation.verdict import against_front, judge, shown
from ..metrics.formulas import METRICS, Metric
from ..metrics.numerals import NOTHING, counted, number, with_interval
from ..rare.rates import notes_on, rows_of
from . import attention_plots, learning_curves, plots
from .archive import encode
from .content import Report
from .plot_style import mark, marks_of
from .replay import Replay

MAIN = (
    "los_events", "los_per_flight_hour", "time_in_los_s", "nmac_events", "ipr", "severity", "waypoint_rate",
    "stalled_rate", "left_sector_rate", "extra_distance", "extra_time", "mean_speed_mps", "action_effort",
)  # fmt: skip
"""The metrics that are seen at once; the others are folded away."""
_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = (
    "flight.js", "observation.js", "mvp.js", "networks.js", "play.js", "picture.js", "strip.js", "replay.js",
)  # fmt: skip


def render(report: Report) -> bytes:
    """Return the report's file; names of files that are no UTF-8 are written with escapes."""
    evaluation = report.evaluation
    known = [name for name in METRICS if all(name in each for each in evaluation.estimates.values())]
    page = (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            evaluation=evaluation,
            plan=evaluation.plan,
            names=evaluation.plan.short_names,
            marks=marks_of(list(evaluation.estimates)),
            pairs=[(one, other) for one, against in evaluation.differences.items() for other in against],
            verdict=judge(evaluation),
            conditions=conditions(evaluation),
            beside_front=_beside_front(evaluation),
            **_rare(evaluation),
            equipage_rows=rows_by_equipage(evaluation),
            facts=_facts(report),
            main=[name for name in MAIN if name in known],
            others=[name for name in known if name not in MAIN],
            definitions=[_definition(METRICS[name]) for name in known],
            replayed=_replayed(report.replay, evaluation.differences),
            replay_data=encode(report.replay),
            **_look_and_behaviour(),
        )
    )
    return page.encode(errors="backslashreplace")


def render_flights(replay: Replay, title: str, notes: Sequence[str], reference: str = "") -> bytes:
    """Return a page that shows flights alone, such as those of `recorded_flights.replay_of`.

    Args:
        replay: The flights.
        title: Of the page.
        notes: Sentences above the flights.
        reference: Who is shown beside the last contender at first; else the first one.
    """
    names = [contender.name for contender in replay.contenders]
    page = (
        environment()
        .get_template("flights.html")
        .render(
            title=title,
            notes=notes,
            report={"replay": replay},
            names={name: name for name in names},
            replayed=_replayed(replay, {names[-1]: [reference]}),
            replay_data=encode(replay),
            **_look_and_behaviour(),
        )
    )
    return page.encode(errors="backslashreplace")


def _look_and_behaviour() -> dict[str, str]:
    """Return the style and the script of a page, and the script's hash."""
    scripts = [(_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    script = '"use strict";\n(() => {\n' + "\n".join(scripts) + "})();\n"
    return {
        "style": Markup((_ASSETS / "report.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


@cache
def environment() -> Environment:
    """Return what the templates are rendered with: autoescape on, an unknown name is an error."""
    made = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    made.filters.update(
        {"labelled": _labelled, "with_interval": with_interval, "number": number, "share": _share, "mps": _mps}
    )
    made.globals.update(
        METRICS=METRICS,
        COSTS=COSTS,
        LOSSES=LOSSES,
        NOTHING=NOTHING,
        EQUIPAGE_TITLE=EQUIPAGE_TITLE,
        NAN=nan,
        LEAST_CHANGE_MPS=LEAST_CHANGE_MPS,
        plots=plots,
        attention_plots=attention_plots,
        mark=mark,
        caption=learning_curves.caption,
        counted=counted,
        is_shown=shown,
        isfinite=isfinite,
    )
    return made


def _labelled(svg: str, title: str) -> Markup:
    """Return a plot's SVG with a name for screen readers."""
    return Markup(svg.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(title), 1))


def _share(estimate: Estimate) -> str:
    """Return a share with its interval, in percent."""
    low, high = (f"{100 * bound:.0f}" for bound in estimate[1:])
    return f"{100 * estimate.value:.0f} %" + (f" [{low}, {high}]" if isfinite(estimate.low) else "")


def _mps(estimate: Estimate) -> str:
    """Return a speed."""
    return f"{number(estimate.value, 2)} m/s"


def _beside_front(evaluation: Evaluation) -> list[str]:
    """Say how each run compares with the front of the MVP family."""
    positions = evaluation.front.positions if evaluation.front else {}
    return [text for name in positions if (text := against_front(evaluation, name))]


def _rare(evaluation: Evaluation) -> dict[str, Any]:
    """Return the table of rare events; empty if there is none."""
    rates = {evaluation.plan.short_names[name]: each for name, each in evaluation.rare.items()}
    return {"rare_rows": rows_of(rates) if rates else [], "rare_notes": notes_on(rates) if rates else []}


def _facts(report: Report) -> dict[str, str]:
    """Return how the report was made."""
    plan = report.evaluation.plan
    numbers = f"numbers 0 to {plan.scenarios - 1}" if plan.scenarios > 1 else "number 0"
    return {
        "command": report.command,
        "made": report.made_at,
        "code": report.code,
        "scenarios": f"{counted(plan.scenarios, 'scenario')}, {numbers} of seed {plan.seed}; "
        f"{plan.batch} at a time; {counted(plan.bootstrap, 'resample')}",
        "world": json.dumps(plan.world.to_json(), indent=1),
        **{f"run {name}": json.dumps(meta, indent=1, default=str) for name, meta in report.evaluation.meta.items()},
    }


def _definition(metric: Metric) -> dict[str, str]:
    """Return a metric's definition, from its docstring."""
    meaning, _, formula = cleandoc(metric.ratio.__doc__ or "").partition("\n")
    return {
        "heading": metric.heading,
        "name": metric.name,
        "meaning": meaning,
        "formula": " ".join(formula.split()),
    }


def _replayed(replay: Replay | None, against: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Return what the replay's controls need: contenders, those shown first, aircraft, what is drawn."""
    if replay is None:
        return {}
    names = [contender.name for contender in replay.contenders]
    subject = next((name for name in reversed(list(against)) if name in names), names[-1])
    reference = next((name for name in against.get(subject, {}) if name in names), names[0])
    return {
        "contenders": names,
        "shown": list(dict.fromkeys((reference, subject))),
        "aircraft": max(len(each.waypoints_m) for each in replay.scenarios),
        "has_ghosts": any(flight.ghosts for each in replay.contenders for flight in each.flights),
        "has_fallback": any(flight.fallback for each in replay.contenders for flight in each.flights),
    }
