"""The plot of a fine-tuning run: losses of separation and detour against the agent-steps flown.

On the gate, without noise, where every policy flies the same scenarios, beside the parent; and in training.
Series differ in marker and dashes as well as in colour: nothing depends on colour vision.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from ..cloning.plots import SETTINGS, saved
from .iteration import TuningIteration

_CLONE, _POLICY, _BEST, _FLOWN = "#222222", "#4477aa", "#ee6677", "#228833"  # Paul Tol's bright scheme
_SMOOTHED = 20  # the training curve is a mean over this many parts of the run


def safety(history: Sequence[TuningIteration], clone: Mapping[str, float], kind: str = "png") -> bytes:
    """Draw LoS and extra distance on the gate and, below them, LoS in training, over the agent-steps.

    Args:
        history: One iteration or more.
        clone: The clone's figures on the gate: `los_events` and `extra_distance`.
        kind: `png` or `svg`.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.0, 7.4))
        los, way, training = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
        _gate(los, history, "los_events", clone)
        los.set_ylabel("LoS per scenario\non the gate")
        los.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=4, fontsize=8.5)
        _gate(way, history, "extra_distance", clone)
        way.yaxis.set_major_formatter(PercentFormatter(1.0))
        way.set_ylabel("extra distance\non the gate")
        _training(training, history)
        training.set_ylabel("LoS in training\n(s per flight hour)")
        training.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), fontsize=8.5)
        training.set_xlabel("agent-steps flown")
        training.xaxis.set_major_formatter(EngFormatter(sep=" "))
        warmup = max((each.steps for each in history if each.is_warmup), default=0)
        for axes in (los, way, training) if warmup else ():
            axes.axvspan(0, warmup, color="#eeeeee", zorder=0)
        if warmup:
            los.annotate("critic only", (0, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8)
        los.set_ylim(bottom=0)
        training.set_ylim(bottom=0)
        training.set_xlim(0, history[-1].steps * 1.02)
        return saved(figure, kind)


def _gate(axes: Axes, history: Sequence[TuningIteration], key: str, clone: Mapping[str, float]) -> None:
    """Draw a figure of the gate's flights beside the clone's; of LoS also the interval of their difference."""
    flights: list[tuple[int, dict[str, Any]]] = [(each.steps, each.gate) for each in history if each.gate]
    axes.axhline(clone[key], color=_CLONE, linestyle=(0, (5, 2)), linewidth=1.2, label="the clone")
    if not flights:
        return
    steps, values = [0, *(step for step, _ in flights)], [clone[key], *(gate[key] for _, gate in flights)]
    if key == "los_events":  # of the extra distance it would be of another mean: over scenarios, not over metres
        intervals = np.array([(0.0, 0.0), *(gate["los_events_difference"] for _, gate in flights)])  # (flights, 2)
        low, high = clone[key] + intervals.T
        label = "95 % (paired with the clone)"
        axes.fill_between(steps, low, high, color=_POLICY, alpha=0.15, linewidth=0, label=label)
    axes.plot(steps, values, color=_POLICY, marker="o", markersize=3.5, linewidth=1.5, label="the policy")
    published = [(step, gate[key]) for step, gate in flights if gate["is_best"]]
    across, up = zip(*published) if published else ((), ())
    axes.plot(across, up, color=_BEST, marker="*", markersize=11, linestyle="", label="published as best")


def _training(axes: Axes, history: Sequence[TuningIteration]) -> None:
    """Draw the LoS of the training flights: rare events, so the mean over each twentieth of the run."""
    steps = np.array([each.steps for each in history], float)
    values = np.array([each.rollout["los_s_per_flight_hour"] for each in history])
    flown = np.diff(steps, prepend=0.0)  # by each iteration
    part = np.ceil(_SMOOTHED * steps / max(steps[-1], 1.0)).astype(int)
    sums = [np.bincount(part, flown * each) for each in (np.ones_like(steps), steps, values)]
    total, *means = (each[sums[0] > 0] for each in sums)
    axes.plot(
        means[0] / total, means[1] / total, color=_FLOWN, marker="v", markersize=4, linestyle=(0, (4, 1)),
        linewidth=1.5, label="mean of each twentieth of the run",
    )  # fmt: skip
