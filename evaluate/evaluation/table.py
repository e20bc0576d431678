"""The table on the screen."""

from textwrap import wrap

from ...collect.simulators import is_embedded
from ..metrics.formulas import METRICS
from ..metrics.numerals import NOTHING, counted, with_interval
from .evaluation import Evaluation
from .verdict import judge

COLUMNS = ("los_events", "ipr", "extra_distance", "waypoint_rate")
WIDTH = 100
_GAP = "  "


def render(evaluation: Evaluation) -> str:
    """Return the contenders with their main figures and intervals, and the verdict, in 100 columns."""
    columns = [_column(evaluation, name) for name in COLUMNS]
    room = WIDTH - sum(len(column[0]) + len(_GAP) for column in columns)
    names = ["", *(shortened(name, max(room, 12)) for name in evaluation.plan.short_names.values())]
    width = max(map(len, names))
    lines = [_GAP.join([name.ljust(width), *cells]).rstrip() for name, *cells in zip(names, *columns, strict=True)]
    verdict = judge(evaluation)
    lines += ["", *wrap(conditions(evaluation), WIDTH), *wrap(verdict.headline, WIDTH)]
    for text in verdict.details:
        lines += wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def conditions(evaluation: Evaluation) -> str:
    """Return what the figures rest on, in a line."""
    plan = evaluation.plan
    world = plan.world
    where = "" if is_embedded(world) else f", in {world.simulator}"
    return (
        f"[low, high]: 95 % intervals. {counted(plan.scenarios, 'scenario')} of {world.aircraft} aircraft, "
        f"the same for all ({world.scenario}, seed {plan.seed}{where})."
    )


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
