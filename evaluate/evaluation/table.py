"""The table on the screen."""

from textwrap import wrap

from ...collect.simulators import is_embedded
from ...collect.surveillance.config import PERFECT
from ..metrics.formulas import METRICS
from ..metrics.numerals import NOTHING, counted, with_interval
from . import assured
from .evaluation import Evaluation
from .verdict import judge

COLUMNS = ("los_events", "ipr", "extra_distance", "waypoint_rate")
BY_SURVEILLANCE = ("los_events", "time_in_los_s", "extra_distance")
WIDTH = 100
_GAP = "  "
_NAME = 24  # characters of a contender or a surveillance, where both stand in a line


def render(evaluation: Evaluation) -> str:
    """Return the contenders with their main figures and intervals, and the verdict, in 100 columns."""
    columns = [_column(evaluation, name) for name in COLUMNS]
    room = WIDTH - sum(len(column[0]) + len(_GAP) for column in columns)
    names = ["", *(shortened(name, max(room, 12)) for name in evaluation.plan.short_names.values())]
    width = max(map(len, names))
    lines = [_GAP.join([name.ljust(width), *cells]).rstrip() for name, *cells in zip(names, *columns, strict=True)]
    verdict = judge(evaluation)
    lines += by_surveillance(evaluation)
    lines += ["", *wrap(conditions(evaluation), WIDTH), *wrap(verdict.headline, WIDTH)]
    for text in verdict.details:
        lines += wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def by_surveillance(evaluation: Evaluation) -> list[str]:
    """Return the lines of a table of each contender's figures under each surveillance; none where there is one."""
    found, names = evaluation.by_surveillance, evaluation.plan.short_names
    if not found:
        return []
    rows = [(name, text) for name in names for text in found]
    columns = [["", *(shortened(names[name], _NAME) for name, _ in rows)]]
    columns.append(["", *(shortened(text, _NAME) for _, text in rows)])
    for metric in map(METRICS.__getitem__, BY_SURVEILLANCE):
        cells = (with_interval(found[text][name][metric.name], metric) for name, text in rows)
        columns.append([metric.heading, *(" ".join(cell).strip() for cell in cells)])
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*([cell.ljust(wide) for cell in column] for column, wide in zip(columns, widths, strict=True)))
    return ["", "By surveillance", *(_GAP.join(cells).rstrip() for cells in lines)]


def conditions(evaluation: Evaluation) -> str:
    """Return what the figures rest on, and what monitors did, in a line."""
    plan = evaluation.plan
    world = plan.world
    where = "" if is_embedded(world) else f", in {world.simulator}"
    if world.surveillance != PERFECT:
        where += f", surveillance {world.surveillance}"
    monitors = (
        assured.sentence(name, evaluation.figures[key], world)
        for key, name in plan.short_names.items()
        if key in evaluation.figures
    )
    rest = "".join(f" {each}" for each in monitors if each)
    return (
        f"[low, high]: 95 % intervals. {counted(plan.scenarios, 'scenario')} of {world.aircraft} aircraft, "
        f"the same for all ({world.scenario}, seed {plan.seed}{where}).{rest}"
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
