"""The table on the screen."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from textwrap import wrap

from ...train.runs.confidence_intervals import Estimate
from ..metrics.formulas import METRICS
from ..metrics.numerals import NOTHING, with_interval
from .evaluation import SAFETY, WAY, Evaluation, conditions
from .shares import SELF
from .verdict import judge

BY_SURVEILLANCE = ("los_events", "time_in_los_s", "waypoint_rate")
BY_EQUIPAGE = ("los_events", "nmac_events", "extra_distance")
EQUIPAGE_TITLE = f"The aircraft that each contender flies ({SELF}), and their pairs with each group of the mix"
WIDTH = 106  # `pretrained:filtered`, the longest name of a policy that ships, is not cut
_GAP = "  "
_NAME = 24  # characters of a contender or a surveillance, where both stand in a line


def render(evaluation: Evaluation) -> str:
    """Return the contenders with their main figures and intervals, and the verdict, in `WIDTH` columns."""
    tables = [[_column(evaluation, name) for name in metrics] for metrics in (SAFETY, WAY)]  # one below the other
    room = min(WIDTH - sum(len(column[0]) + len(_GAP) for column in columns) for columns in tables)
    names = ["", *(shortened(name, max(room, 12)) for name in evaluation.plan.short_names.values())]
    width = max(map(len, names))
    lines: list[str] = []
    for columns in tables:
        rows = zip(names, *columns, strict=True)
        lines += ["", *(_GAP.join([name.ljust(width), *cells]).rstrip() for name, *cells in rows)]
    del lines[0]
    verdict = judge(evaluation)
    lines += by_equipage(evaluation) + by_surveillance(evaluation)
    lines += ["", *wrap(conditions(evaluation), WIDTH), *wrap(verdict.headline, WIDTH)]
    for text in verdict.details:
        lines += wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def by_surveillance(evaluation: Evaluation) -> list[str]:
    """Return the lines of a table of each contender's figures under each surveillance; none where there is one."""
    found, names = evaluation.by_surveillance, evaluation.plan.short_names
    if not found:
        return []
    return [
        "",
        "By surveillance",
        *_padded(_rows(names, found, BY_SURVEILLANCE, lambda name, text: found[text][name])),
    ]


def by_equipage(evaluation: Evaluation) -> list[str]:
    """Return the lines of a table of the aircraft each contender flies, where it does not fly all; none else."""
    rows = rows_by_equipage(evaluation)
    return ["", EQUIPAGE_TITLE, *_padded(rows)] if rows else []


def rows_by_equipage(evaluation: Evaluation) -> list[list[str]]:
    """Return that table cell by cell, the headings first; empty where contenders fly all."""
    found, names = evaluation.by_equipage, evaluation.plan.short_names
    if not found:
        return []
    parts = next(iter(found.values()))
    return _rows(names, parts, BY_EQUIPAGE, lambda name, part: found[name][part])


def _rows(
    names: dict[str, str],
    conditions: Iterable[str],
    metrics: Sequence[str],
    of: Callable[[str, str], dict[str, Estimate]],
) -> list[list[str]]:
    """Return a table with a row for each contender, as its name is shown, and condition, headings first."""
    shown = [METRICS[metric] for metric in metrics]
    rows = [["", "", *(metric.heading for metric in shown)]]
    for name, condition in product(names, list(conditions)):
        found = (of(name, condition).get(metric.name) for metric in shown)
        cells = (
            NOTHING if each is None else " ".join(with_interval(each, metric)).strip()
            for each, metric in zip(found, shown, strict=True)
        )
        rows.append([names[name], condition, *cells])
    return rows


def _padded(rows: list[list[str]]) -> list[str]:
    """Return the lines of a table whose first two columns are names."""
    rows = [[*(shortened(cell, _NAME) for cell in row[:2]), *row[2:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def shortened(name: str, width: int) -> str:
    """Return a name cut to a width, from the left: what distinguishes a path is its end."""
    return name if len(name) <= width else "…" + name[len(name) - width + 1 :]


def _column(evaluation: Evaluation, name: str) -> list[str]:
    """Return a metric's cells, heading first, all of one width: values right, intervals left."""
    metric = METRICS[name]
    cells = [with_interval(estimates[name], metric) for estimates in evaluation.estimates.values()]
    left = max(len(value) for value, _ in cells)
    rows = [f"{value.rjust(left)} {interval or NOTHING * (value != NOTHING)}" for value, interval in cells]
    width = max(len(text) for text in [*rows, metric.heading])
    return [metric.heading.ljust(width), *(row.ljust(width) for row in rows)]
