"""The report's plots of what the attention looks at, as SVG; how they look: `plot_style`."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import matplotlib
import numpy as np

from ...train.runs.confidence_intervals import Estimate
from ..attention.attention import Attention, Profile
from ..attention.masking import Choice, Masking
from .plots import MUTED, SETTINGS, add_legend, arms, mark, new_axes, to_svg


def profiles(figures: Attention, name: str) -> tuple[str, str, str]:
    """Draw weight against distance, against tcpa and against dcpa."""
    return (
        _profile(figures.by_distance, f"{name}-distance", "distance to the intruder (m)"),
        _profile(figures.by_tcpa, f"{name}-tcpa", "tcpa of those that will pass within R (s)"),
        _profile(figures.by_dcpa, f"{name}-dcpa", "dcpa of those passing within the look-ahead (m)"),
    )


def _profile(profile: Profile, name: str, label: str) -> str:
    """Draw the mean attention weight of each head against a quantity."""
    centres = (np.array(profile.edges[1:]) + np.array(profile.edges[:-1])) / 2
    with matplotlib.rc_context(SETTINGS):
        figure, axes = new_axes()
        uniform = [np.nan if value is None else value for value in profile.uniform]
        axes.plot(centres, uniform, color=MUTED, linestyle=(0, (1, 1.5)), linewidth=1.5, label="all alike")
        for head, weights in enumerate(profile.weight):
            look = mark(head)
            values = [np.nan if value is None else value for value in weights]
            axes.plot(
                centres, values, color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=5,
                linewidth=1.6, label=f"head {head + 1}",
            )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.set_xlabel(label)
        axes.set_ylabel("mean attention weight")
        add_legend(figure, axes)
        return to_svg(figure, name)


class _Series(NamedTuple):
    """One kind of dot: its name, and a figure for each row of the plot."""

    name: str
    values: Sequence[Estimate]


def largest_change(figures: Attention, name: str) -> str:
    """Draw how often masking the most-attended intruder changes the velocity most."""
    kinds = [("all rows", figures.masking), ("rows in conflict", figures.masking_in_conflict)]
    found = [(title, each) for title, each in kinds if each]
    if not found:
        return ""
    series = [
        _Series(title, [_percent(choice.largest) for choice in _choices(each).values()]) for title, each in found
    ]
    chance = 100 * found[0][1].chance
    label = "changes the velocity most (% of rows)"
    return _dots(list(_choices(found[0][1])), series, label, f"{name}-largest", chance)


def change(masking: Masking | None, name: str) -> str:
    """Draw how much masking the most-attended intruder, another one, and the least-attended one changes."""
    if masking is None:
        return ""
    choices = _choices(masking)
    series = [
        _Series("most attended", [choice.highest_mps for choice in choices.values()]),
        _Series("another one", [choice.other_mps for choice in choices.values()]),
        _Series("least attended", [choice.lowest_mps for choice in choices.values()]),
    ]
    return _dots(list(choices), series, "change of velocity if it is masked (m/s)", f"{name}-change")


def _choices(masking: Masking) -> dict[str, Choice]:
    """Return the choices by the names of the plot's rows."""
    heads = {f"head {number}": choice for number, choice in enumerate(masking.heads, 1)}
    together = {"heads' mean": masking.mean} if len(heads) > 1 else {}
    return {**heads, **together, "the nearest": masking.nearest}


def _percent(estimate: Estimate) -> Estimate:
    """Return a share in percent."""
    return Estimate(*(100 * part for part in estimate))


def _dots(
    names: Sequence[str], series: Sequence[_Series], label: str, name: str, chance: float | None = None
) -> str:
    """Draw figures with intervals, a row for each name, the series of a row below one another."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = new_axes(0.9 + 0.42 * len(names))
        if chance is not None:
            axes.axvline(chance, color=MUTED, linestyle=(0, (1, 1.5)), linewidth=1.5, label="at random")
        for number, (title, values) in enumerate(series):
            look, drop = mark(number), 0.22 * (number - (len(series) - 1) / 2)
            for row, estimate in enumerate(values):
                if isfinite(estimate.value):
                    axes.errorbar(
                        estimate.value, row + drop, xerr=arms(estimate), fmt=look.marker, color=look.colour,
                        markersize=6, capsize=2.5, linewidth=1.4,
                    )  # fmt: skip
            axes.plot([], [], look.marker, color=look.colour, markersize=6, label=title)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(left=-0.02 * axes.get_xlim()[1])  # a whole marker at 0
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(label)
        add_legend(figure, axes)
        return to_svg(figure, name)
