"""The picture of a comparison: a row for each variant, a panel for each figure, a marker for each budget."""

import io
from math import isfinite
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from .compare_plan import Budget
from .compare_table import Row, Table
from .contenders import UNRESOLVED
from .metrics import METRICS
from .numerals import scaled
from .statistics import Estimate

_LOOKS = (("#0072b2", "o"), ("#d55e00", "s"))  # told apart by shape as well as by colour
_PANELS = (
    ("heldout_mse", "held-out MSE", True),
    ("heldout_mse_conflict", "held-out MSE, in conflict", True),
    ("sharpness", "attention sharpness", False),
    ("samples_per_processor_second", "samples per processor second", True),
    ("los_events", "LoS per scenario", True),
    ("extra_distance", "extra distance (%)", False),
)
_ROW_INCHES = 0.42
_SETTINGS: Any = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "text.parse_math": False,
}


def draw(table: Table) -> bytes:
    """Return the picture as PNG."""
    plan = table.comparison.plan
    height = 2 * (_ROW_INCHES * len(plan.variants) + 1.1) + 0.6
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(12.0, height), layout="constrained")
        axes = figure.subplots(2, 3, sharey=True)
        for panel, (name, title, is_log) in zip(axes.flat, _PANELS):
            for number, budget in enumerate(plan.budgets):
                rows = [row for row in table.rows if row.budget == budget]
                _points(panel, rows, name, number, len(plan.budgets))
            _references(panel, table, name)
            _axis(panel, title, is_log and _is_positive(table, name))
        axes[0, 0].set_ylim(len(plan.variants) - 0.5, -0.5)
        axes[0, 0].set_yticks(range(len(plan.variants)), [_label(row) for row in _of(table, plan.budgets[0])])
        handles, labels = [], []
        for panel in axes.flat:
            for handle, label in zip(*panel.get_legend_handles_labels()):
                if label not in labels:
                    handles.append(handle)
                    labels.append(label)
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def _of(table: Table, budget: Budget) -> list[Row]:
    """Return the rows of a budget."""
    return [row for row in table.rows if row.budget == budget]


def _label(row: Row) -> str:
    """Return a variant's name on two lines."""
    return f"{row.variant.model}\non {row.variant.observation}"


def _points(panel: Any, rows: list[Row], name: str, number: int, budgets: int) -> None:
    """Draw the values of a budget with their intervals, and each seed's own as a small dot."""
    colour, marker = _LOOKS[number % len(_LOOKS)]
    shift = 0.26 * (number - (budgets - 1) / 2)
    metric = METRICS.get(name)
    for place, row in enumerate(rows):
        spread = row.figures[name]
        estimate = scaled(spread.estimate, metric) if metric else spread.estimate
        factor = 100.0 if metric and metric.unit == "%" else 1.0
        if not isfinite(estimate.value):
            continue
        seeds = [value * factor for value in spread.seeds if value is not None]
        panel.plot(seeds, [place + shift] * len(seeds), ".", color=colour, alpha=0.45, markersize=5)
        panel.errorbar(
            estimate.value, place + shift, xerr=_arms(estimate), fmt=marker, color=colour, markersize=5.5,
            capsize=2.5, linewidth=1.3,
        )  # fmt: skip
    panel.plot([], [], marker, color=colour, markersize=5.5, label=f"after {rows[0].budget.name}")


def _references(panel: Any, table: Table, name: str) -> None:
    """Draw the teacher's closed-loop figure as a line."""
    teacher = next((each for each in table.references if each != UNRESOLVED), None)
    if name in METRICS and teacher:
        estimate = scaled(table.references[teacher][name], METRICS[name])
        if isfinite(estimate.value):
            panel.axvline(estimate.value, color="#333333", linewidth=1.2, linestyle=(0, (4, 2)), label=teacher)
            panel.axvspan(estimate.low, estimate.high, color="#333333", alpha=0.1, linewidth=0)


def _axis(panel: Any, title: str, is_log: bool) -> None:
    """Name the axis, and scale it."""
    panel.set_xlabel(title)
    panel.tick_params(axis="y", length=0)
    if is_log:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        low, high = panel.get_xlim()
        if high / low < 30:
            decades = range(-8, 9)
            ticks = [factor * 10.0**power for power in decades for factor in (1, 2, 5)]
            panel.set_xticks([tick for tick in ticks if low <= tick <= high])
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xlim(low, high)


def _is_positive(table: Table, name: str) -> bool:
    """Return whether a logarithmic axis can show every figure and its interval."""
    found = [row.figures[name] for row in table.rows]
    values = [part for spread in found for part in (*spread.seeds, *spread.estimate) if part is not None]
    values += [estimates[name].low for estimates in table.references.values() if name in estimates]
    finite = [value for value in values if isfinite(value)]
    return bool(finite) and min(finite) > 0


def _arms(estimate: Estimate) -> Any:
    """Return the lengths of an error bar's two arms, (2, 1); none where there is no interval."""
    if not isfinite(estimate.low):
        return None
    return [[max(estimate.value - estimate.low, 0.0)], [max(estimate.high - estimate.value, 0.0)]]
