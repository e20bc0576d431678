"""The report: one HTML file that needs no network."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from inspect import cleandoc
from pathlib import Path
from string import Template

from ...datasets.provenance import code_version, package_versions
from ...train.runs.intervals import Estimate
from ..attention.attention import Attention
from ..evaluation.evaluation import Evaluation
from ..evaluation.front import COSTS, LOSSES
from ..evaluation.table import conditions
from ..evaluation.verdict import against_front, judge, shown
from ..metrics.formulas import METRICS, Metric
from ..metrics.numerals import NOTHING, with_interval
from . import attention_section, plots, replay_section
from .archive import encode
from .learning_curves import Curve
from .markup import figure as _figure
from .markup import table as _table
from .replay import Replay

MAIN = (
    "los_events", "los_per_flight_hour", "ipr", "severity", "extra_distance", "extra_time", "waypoint_rate",
    "mean_speed_mps", "action_effort",
)  # fmt: skip
_ASSETS = Path(__file__).parent / "assets"


def _code() -> str:
    """Return the versions of the code that runs."""
    packages = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    return f"skyclone {code_version()}; {packages}"


@dataclass(frozen=True)
class Report:
    """What goes into a report.

    Attributes:
        evaluation: The figures.
        command: The command that made them.
        made_at: When.
        attention: What each policy with attention looks at, by name.
        curves: Learning curves by run and title.
        replay: From `replay.record`; None for a report without.
        code: The versions of the code that flew.
    """

    evaluation: Evaluation
    command: str = ""
    made_at: str = ""
    attention: dict[str, Attention] = field(default_factory=dict)
    curves: dict[str, dict[str, list[Curve]]] = field(default_factory=dict)
    replay: Replay | None = None
    code: str = field(default_factory=_code)


def render(report: Report) -> str:
    """Return the report as HTML; every name in it is escaped."""
    evaluation = report.evaluation
    verdict = judge(evaluation)
    script = replay_section.script()
    return Template((_ASSETS / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(verdict.headline),
        style=(_ASSETS / "report.css").read_text(encoding="utf-8"),
        headline=escape(verdict.headline),
        details=_items(verdict.details),
        conditions=escape(conditions(evaluation)),
        warnings="".join(f'<p class="warning">Warning: {escape(text)}</p>' for text in evaluation.warnings),
        figures=_figures(evaluation),
        differences=_differences(evaluation),
        pictures=_pictures(evaluation),
        front=_front(evaluation),
        jump='<p><a href="#replay">Watch the flights</a></p>' if report.replay else "",
        replay=replay_section.render(report.replay, evaluation) if report.replay else "",
        learning=_learning(report),
        attention=attention_section.render(report.attention, evaluation.plan.short_names),
        provenance=_provenance(report),
        definitions="".join(map(_definition, METRICS.values())),
        replay_data=json.dumps(encode(report.replay), separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def encoded(page: str) -> bytes:
    """Return the file of a page; names of files that are no UTF-8 are written with escapes."""
    return page.encode(errors="backslashreplace")


def _items(texts: Iterable[str]) -> str:
    """Return list items."""
    return "".join(f"<li>{escape(text)}</li>" for text in texts)


def _cell(estimate: Estimate, metric: Metric, is_difference: bool = False) -> str:
    """Return a table cell with a value and its interval; bold for a difference that was shown."""
    value, interval = with_interval(estimate, metric, is_difference)
    bold = ' class="shown"' if is_difference and shown(estimate) else ""
    return f'<td{bold}>{value}<span class="interval">{interval or NOTHING}</span></td>'


def _row(metric: Metric, cells: Iterable[str]) -> str:
    """Return a table row of one metric."""
    better = {"less": "less is better", "more": "more is better", "": ""}[metric.better]
    heading = f'{escape(metric.heading)}<small class="better"><br>{better}</small>'
    return f'<tr><th scope=row title="{escape(metric.meaning)}">{heading}</th>{"".join(cells)}</tr>'


def _figures(evaluation: Evaluation) -> str:
    """Return the metrics of all contenders, the main ones first."""
    marks = plots.marks_of(list(evaluation.estimates))
    names = evaluation.plan.short_names
    head = [f"{plots.swatch(marks[name])}{escape(names[name])}" for name in evaluation.estimates]

    def table(names: Iterable[str]) -> str:
        columns = evaluation.estimates.values()
        return _table(
            head,
            (_row(METRICS[name], (_cell(column[name], METRICS[name]) for column in columns)) for name in names),
        )

    rest = [name for name in METRICS if name not in MAIN]
    return f"{table(MAIN)}<details><summary>All other figures</summary>{table(rest)}</details>"


def _differences(evaluation: Evaluation) -> str:
    """Return the paired differences, as pictures and in a table."""
    pairs = [(subject, other) for subject, against in evaluation.differences.items() for other in against]
    if not pairs:
        return ""
    pictures = [
        _figure(
            plots.differences(evaluation, "los_events", "losses of separation per scenario"),
            "Safety", "Left of the line: fewer losses of separation.",
        ),
        _figure(
            plots.differences(evaluation, "extra_distance", "extra distance (percentage points)"),
            "Route length", "Left of the line: shorter routes.",
        ),
    ]  # fmt: skip
    rows = (
        _row(
            METRICS[name],
            (_cell(evaluation.differences[one][two][name], METRICS[name], True) for one, two in pairs),
        )
        for name in MAIN
    )
    names = evaluation.plan.short_names
    head = [f"{escape(names[one])}<br>minus {escape(names[two])}" for one, two in pairs]
    return (
        "<section><h2>Differences on the same scenarios</h2>"
        f'<div class="pictures">{"".join(pictures)}</div>'
        f'<p class="muted">Bold: the 95 % interval excludes 0, a difference was shown.</p>'
        f"{_table(head, rows)}</section>"
    )


def _pictures(evaluation: Evaluation) -> str:
    """Return the pictures of the contenders."""
    pictures = _figure(
        plots.safety_against_distance(evaluation),
        "Safety against route length",
        "The lower left corner is best. Bars: 95 % intervals.",
    ) + _figure(
        plots.nearest(evaluation),
        "How near aircraft came to each other",
        "Per aircraft, its smallest distance to any other one. In the shaded zone separation is lost.",
    )
    for name, title in ((LOSSES, "LoS against density"), ("extra_distance", "Extra distance against density")):
        pictures += _figure(plots.density(evaluation, name), title, "")
    return pictures


def _front(evaluation: Evaluation) -> str:
    """Return how the runs stand beside the front of the MVP family; nothing if it was not flown."""
    if evaluation.front is None:
        return ""
    pictures = [
        _figure(plots.front(evaluation, cost), f"Safety against {METRICS[cost].title}", "") for cost in COSTS
    ]
    sentences = [against_front(evaluation, name) for name in evaluation.front.positions]
    return (
        '<section><h2>Beside every MVP</h2><p class="muted">Grey: MVP with margins of 1 to 1.4 and look-ahead '
        "times of 10 to 40 s. Its front is what its settings, and mixtures of two of them, reach at best; labels: "
        f"margin / look-ahead. Below the line is better than any MVP.</p><ul>{_items(filter(None, sentences))}</ul>"
        f'<div class="pictures">{"".join(pictures)}</div></section>'
    )


def _learning(report: Report) -> str:
    """Return the learning curves of the runs that have some."""
    names = report.evaluation.plan.short_names
    figures = [
        _figure(plots.learning(lines, f"learning-{run}-{picture}"), f"{names[name]}: {title}", "")
        for run, (name, pictures) in enumerate(report.curves.items())
        for picture, (title, lines) in enumerate(pictures.items())
    ]
    if not figures:
        return ""
    return f'<section><h2>How they learned</h2><div class="pictures">{"".join(figures)}</div></section>'


def _provenance(report: Report) -> str:
    """Return how the report was made."""
    evaluation = report.evaluation
    plan = evaluation.plan
    rows = {
        "command": report.command,
        "made": report.made_at,
        "code": report.code,
        "scenarios": f"{plan.scenarios}, numbers 0 to {plan.scenarios - 1} of seed {plan.seed}; "
        f"{plan.batch} at a time; {plan.bootstrap} resamples",
        "world": json.dumps(plan.world.to_json(), indent=1),
    }
    for name, meta in evaluation.meta.items():
        rows[f"run {name}"] = json.dumps(meta, indent=1, default=str)
    parts = []
    for name, text in rows.items():
        content = f"<pre>{escape(text)}</pre>"
        if text.count("\n") > 3:
            content = f"<details><summary>{escape(name)}</summary>{content}</details>"
        else:
            content = f"<h3>{escape(name)}</h3>{content}"
        parts.append(content)
    return "".join(parts)


def _definition(metric: Metric) -> str:
    """Return a metric's definition, from its docstring."""
    first, _, rest = cleandoc(metric.ratio.__doc__ or "").partition("\n")
    return (
        f"<dt>{escape(metric.heading)} <small><code>{escape(metric.name)}</code></small></dt>"
        f'<dd>{escape(first)}<span class="formula">{escape(" ".join(rest.split()))}</span></dd>'
    )
