"""The report's plots of contenders and of learning curves, as SVG; how they look: `plot_style`."""

from collections.abc import Sequence
from math import isfinite

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from ...train.runs.confidence_intervals import Estimate
from ..evaluation.config import UNRESOLVED
from ..evaluation.evaluation import Evaluation
from ..evaluation.mvp_front import LOSSES, members_on_front
from ..evaluation.table import shortened
from ..metrics.formulas import METRICS
from ..metrics.numerals import scaled
from .learning_curves import Curve, shows_raw, smoothed, window_of
from .plot_style import CARD, GRID, INK, MUTED, SETTINGS, add_legend, arms, mark, marks_of, new_axes, to_svg


def safety_against_distance(evaluation: Evaluation) -> str:
    """Draw losses of separation against extra distance, both with intervals."""
    marks, names = marks_of(list(evaluation.estimates)), evaluation.plan.short_names
    with matplotlib.rc_context(SETTINGS):
        figure, axes = new_axes()
        highest = 0.0
        for name, estimates in evaluation.estimates.items():
            across, up = (scaled(estimates[key], METRICS[key]) for key in ("extra_distance", "los_events"))
            if not (isfinite(across.value) and isfinite(up.value)):
                continue
            look = marks[name]
            axes.errorbar(
                across.value, up.value, xerr=arms(across), yerr=arms(up), fmt=look.marker, color=look.colour,
                markersize=7, capsize=3, linewidth=1.5,
            )  # fmt: skip
            axes.plot([], [], look.marker, color=look.colour, markersize=7, label=_label(names[name]))
            highest = max(highest, up.value, up.high if isfinite(up.high) else 0.0)
        _losses_scale(axes, highest)
        axes.set_xlabel("extra distance (%)")
        axes.set_ylabel("LoS per scenario")
        add_legend(figure, axes)
        return to_svg(figure, "tradeoff")


def density(evaluation: Evaluation, name: str) -> str:
    """Draw a metric against the number of aircraft; nothing if only one number was flown."""
    found = evaluation.by_aircraft
    return _against(
        evaluation, name, found, [int(count) for count in found], [*found], "aircraft in the sector", "density"
    )


def surveillance(evaluation: Evaluation, name: str) -> str:
    """Draw a metric under each surveillance; nothing if only one was flown."""
    found = evaluation.by_surveillance
    labels = [text.replace(":", "\n") for text in found]
    return _against(evaluation, name, found, [*range(len(found))], labels, "surveillance", "surveillance")


def _against(
    evaluation: Evaluation,
    name: str,
    found: dict[str, dict[str, dict[str, Estimate]]],
    places: list[int],
    labels: list[str],
    title: str,
    what: str,
) -> str:
    """Draw a metric of all contenders against something; nothing if nothing was found."""
    if not found:
        return ""
    metric = METRICS[name]
    marks, names = marks_of(list(evaluation.estimates)), evaluation.plan.short_names
    with matplotlib.rc_context(SETTINGS):
        figure, axes = new_axes()
        highest = 0.0
        for contender, look in marks.items():
            values = [scaled(each[contender][name], metric) for each in found.values()]
            axes.errorbar(
                places, [value.value for value in values], yerr=np.hstack([arms(value) for value in values]),
                color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=6, capsize=3,
                linewidth=1.5, label=_label(names[contender]),
            )  # fmt: skip
            highest = max([highest, *(value.value for value in values if isfinite(value.value))])
        if name in (LOSSES, "los_events"):
            _losses_scale(axes, highest)
        axes.set_xticks(places, labels)
        axes.set_xlabel(title)
        axes.set_ylabel(metric.heading)
        add_legend(figure, axes)
        return to_svg(figure, f"{what}-{name}")


def front(evaluation: Evaluation, cost: str) -> str:
    """Draw the MVP family, its front, and the runs: losses of separation against what safety costs."""
    assert evaluation.front is not None
    marks, names = marks_of(list(evaluation.estimates)), evaluation.plan.short_names
    members = [member for member in evaluation.front.members if isfinite(member.losses.value)]
    across = np.array([100 * member.costs[cost].value for member in members])
    up = np.array([member.losses.value for member in members])
    hull = members_on_front(across, up)
    with matplotlib.rc_context(SETTINGS):
        figure, axes = new_axes(3.6)
        axes.plot(across, up, "o", color=MUTED, markersize=3.5, label="MVP, 35 settings, and none")
        fine = np.linspace(across[hull[0]], across[hull[-1]], 400)
        axes.plot(fine, np.interp(fine, across[hull], up[hull]), color=INK, linewidth=1.4, label="their front")
        highest = float(up.max())
        runs = list(evaluation.front.positions)
        for name in runs:
            look, estimates = marks[name], evaluation.estimates[name]
            x, y = (scaled(estimates[key], METRICS[key]) for key in (cost, LOSSES))
            axes.errorbar(
                x.value, y.value, xerr=arms(x), yerr=arms(y), fmt=look.marker, color=look.colour, markersize=8,
                capsize=3, linewidth=1.5,
            )  # fmt: skip
            axes.plot([], [], look.marker, color=look.colour, markersize=7, label=_label(names[name]))
            highest = max(highest, y.value)
        _losses_scale(axes, highest)
        furthest = max([across[hull[-1]], *(100 * evaluation.estimates[run][cost].value for run in runs)])
        cheapest = min([0.0, *(100 * evaluation.estimates[run][cost].value for run in runs)])
        axes.set_xlim(cheapest - furthest * 0.05, furthest * 1.15)
        _label_members(axes, [(members[number].name, across[number], up[number]) for number in hull[1:]])
        axes.set_xlabel(METRICS[cost].heading)
        axes.set_ylabel("LoS per flight hour")
        add_legend(figure, axes)
        return to_svg(figure, f"front-{cost}")


def _label_members(axes: Axes, members: Sequence[tuple[str, float, float]]) -> None:
    """Write margin and look-ahead beside members, where there is room for it."""
    last = np.array([-np.inf, np.inf])
    for name, x, y in members:
        place = axes.transData.transform((x, y))
        if abs(place[0] - last[0]) < 70 and abs(place[1] - last[1]) < 14:
            continue
        text = name.removeprefix("mvp:").replace("margin=", "").replace(":lookahead_s=", " / ")
        axes.annotate(f"{text} s", (x, y), (4, 4), textcoords="offset points", fontsize=9, color=MUTED)
        last = place


def _losses_scale(axes: Axes, highest: float) -> None:
    """Scale the upright axis for losses of separation: logarithmic, but with a place for none at all."""
    axes.set_yscale("symlog", linthresh=0.1, linscale=0.7)
    ticks = [0, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000]
    ticks = ticks[: 1 + next((i for i, tick in enumerate(ticks) if tick >= highest), len(ticks))]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(-0.01, max(highest * 1.15, ticks[-1]))


def _label(name: str) -> str:
    """Return a name for a legend; one with a leading underscore would be left out of the legend."""
    text = shortened(name, 28)
    return f"\u200b{text}" if text.startswith("_") else text


def nearest(evaluation: Evaluation) -> str:
    """Draw how near each aircraft came to another one: the share below a distance."""
    zone = evaluation.plan.world.protected_zone_m
    marks, names = marks_of(list(evaluation.estimates)), evaluation.plan.short_names
    with matplotlib.rc_context(SETTINGS):
        figure, axes = new_axes()
        axes.axvspan(0, zone, color=GRID, linewidth=0, alpha=0.5)
        for name in evaluation.estimates:
            distances = evaluation.figures[name].nearest_m.ravel()
            values = np.sort(distances[np.isfinite(distances)])
            if not len(values):
                continue
            look, share = marks[name], np.arange(1, len(values) + 1) / len(values) * 100
            picked = np.unique(np.linspace(0, len(values) - 1, 400).astype(int))
            axes.plot(
                values[picked], share[picked], color=look.colour, linestyle=look.dashes, marker=look.marker,
                markevery=(0.05, 0.12), markersize=5, linewidth=1.6, label=_label(names[name]),
            )  # fmt: skip
        axes.set_xlim(0, 4 * zone)
        axes.set_ylim(0, 100)
        axes.text(zone * 0.5, 97, "LoS", ha="center", va="top", fontsize=10, color=MUTED)
        axes.set_xlabel("smallest distance to any other aircraft (m)")
        axes.set_ylabel("aircraft that came nearer (%)")
        add_legend(figure, axes)
        return to_svg(figure, "nearest")


def differences(evaluation: Evaluation, name: str, label: str) -> str:
    """Draw the paired differences in one metric with their intervals, a row each."""
    metric = METRICS[name]
    rows = [
        (subject, reference, scaled(estimates[name], metric))
        for subject, against in evaluation.differences.items()
        for reference, estimates in against.items()
        if reference != UNRESOLVED and isfinite(estimates[name].low)
    ]
    if not rows:
        return ""
    marks, names = marks_of(list(evaluation.estimates)), evaluation.plan.short_names
    with matplotlib.rc_context(SETTINGS):
        figure, axes = new_axes(1.1 + 0.55 * len(rows))
        axes.axvline(0, color=INK, linewidth=1.2)
        for row, (subject, reference, estimate) in enumerate(rows):
            look = marks[subject]
            axes.errorbar(
                estimate.value, -row, xerr=arms(estimate), fmt=look.marker, color=look.colour, markersize=7,
                capsize=4, linewidth=2,
            )  # fmt: skip
            text = f"{_label(names[subject])} minus {_label(names[reference])}"
            axes.text(
                0.0, -row + 0.32, text, transform=axes.get_yaxis_transform(), fontsize=10,
                bbox={"facecolor": CARD, "edgecolor": "none", "pad": 1.0},
            )  # fmt: skip
        axes.set_ylim(-len(rows) + 0.5, 0.75)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
        return to_svg(figure, f"difference-{name}")


def learning(curves: Sequence[Curve], name: str) -> str:
    """Draw a run's learning curves, all of one quantity."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = new_axes()
        for index, curve in enumerate(curves):
            look = mark(index)
            if window_of(curve) > 1 and shows_raw(curves):
                axes.plot(curve.x, curve.y, color=look.colour, linewidth=0.6, alpha=0.25)
            axes.plot(
                curve.x, smoothed(curve), color=look.colour, linestyle=look.dashes, linewidth=1.6, label=curve.name,
                marker=look.marker, markersize=4, markevery=max(len(curve.x) // 10, 1),
            )  # fmt: skip
        if len(curves) > 1 and all(min(curve.y) > 0 for curve in curves):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            _leave_out_outliers(axes, curves)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel(curves[0].x_label)
        axes.set_ylabel(curves[0].y_label)
        if len(curves) > 1:
            add_legend(figure, axes)
        return to_svg(figure, name)


def _leave_out_outliers(axes: Axes, curves: Sequence[Curve]) -> None:
    """Scale the axis to 94 % of what is smoothed, and a quarter beyond: single iterations may lie outside."""
    if all(window_of(curve) == 1 for curve in curves):
        return
    drawn = [value for curve in curves for value in smoothed(curve)]
    least, most = np.quantile(drawn, (0.03, 0.97)).tolist()
    beyond = 0.25 * (most - least)
    if beyond > 0:
        axes.set_ylim(least - min(beyond, least + 0.2 * beyond) if least >= 0 else least - beyond, most + beyond)
