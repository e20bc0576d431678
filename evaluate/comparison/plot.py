"""The picture of a comparison: a row for each variant, a panel for each figure, a marker for each budget."""

import io
from math import isfinite
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..evaluation.config import UNRESOLVED
from ..metrics.formulas import METRICS
from ..metrics.numerals import scaled
from ..report.plot_style import arms
from .config import Variant
from .table import Row, Table

_LOOKS = (("#0072b2", "o"), ("#d55e00", "s"))  # told apart by shape as well as by colour
_PANELS = (
    ("heldout_mse", "held-out MSE", "log"),
    ("heldout_mse_conflict", "held-out MSE, in conflict", "log"),
    ("sharpness", "attention sharpness", "share"),
    ("samples_per_processor_second", "samples per processor second", "log"),
    ("los_events", "LoS per scenario", "counts"),
    ("extra_distance", "extra distance (%)", "linear"),
)
_COUNTS = (0, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
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
        for panel, (name, title, scale) in zip(axes.flat, _PANELS):
            for number, budget in enumerate(plan.budgets):
                rows = [row for row in table.rows if row.budget == budget]
                _points(panel, rows, name, number, len(plan.budgets))
            _references(panel, table, name)
            panel.set_xlabel(title)
            panel.tick_params(axis="y", length=0)
            if scale in _SCALES:
                _SCALES[scale](panel, _values(table, name))
        axes[0, 0].set_ylim(len(plan.variants) - 0.5, -0.5)
        axes[0, 0].set_yticks(range(len(plan.variants)), [_label(variant) for variant in plan.variants])
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


def _label(variant: Variant) -> str:
    """Return a variant's name on two lines."""
    return f"{variant.model}\non {variant.observation}"


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
        seeds = [value * factor for value in spread.seeds if value is not None]  # a NaN is not drawn
        panel.plot(seeds, [place + shift] * len(seeds), ".", color=colour, alpha=0.45, markersize=5)
        panel.errorbar(
            estimate.value, place + shift, xerr=arms(estimate), fmt=marker, color=colour, markersize=5.5,
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


def _values(table: Table, name: str) -> list[float]:
    """Return the values to be seen whole: those of each seed and their means; of references, if they are drawn."""
    spreads = [row.figures[name] for row in table.rows]
    values = [value for spread in spreads for value in (spread.estimate.value, *spread.seeds) if value is not None]
    return [value for value in values if isfinite(value)]


def _log(panel: Any, values: list[float]) -> None:
    """Scale an axis by powers, wide enough for the values; wider intervals run off it."""
    if not values or min(values) <= 0:
        return
    low, high = min(values) / 1.25, max(values) * 1.25
    panel.set_xscale("log")
    panel.set_xlim(low, high)
    parts = (1, 2, 5) if high / low > 4 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    ticks = [part * 10.0**power for power in range(-8, 9) for part in parts]
    shown = [tick for tick in ticks if low <= tick <= high]
    panel.set_xticks(shown, [f"{tick:,.0f}" if tick >= 1000 else f"{tick:.3g}" for tick in shown])
    panel.xaxis.set_minor_locator(NullLocator())


def _counts(panel: Any, values: list[float]) -> None:
    """Scale an axis of rare events: linear near zero, by powers above."""
    panel.set_xscale("symlog", linthresh=0.1, linscale=0.7)
    highest = max([*values, panel.get_xlim()[1]])
    last = next((number for number, tick in enumerate(_COUNTS) if tick >= highest), len(_COUNTS) - 1)
    ticks = _COUNTS[: last + 1]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(-0.01, max(ticks[-1], highest))


def _share(panel: Any, values: list[float]) -> None:
    """Show the whole range from 0 to 1."""
    panel.set_xlim(0, 1)


_SCALES = {"share": _share, "log": _log, "counts": _counts}
