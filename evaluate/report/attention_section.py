"""The report's section on what the attention looks at."""

from collections.abc import Iterable, Mapping
from html import escape
from math import isfinite

from ...train.runs.intervals import Estimate
from ..attention.attention import Attention, HeadPair
from ..attention.masking import LEAST_CHANGE_MPS, Masking
from ..metrics.numerals import NOTHING, number
from . import attention_plots, plots
from .markup import figure, table

_EXPLANATION = (
    "Sharpness: mean of the largest weight. Entropy: 0 one intruder only, 1 all alike. Agreement with MVP: "
    "rank correlation (Somers' D) between the weights and the pushes MVP would give, 1 same order, 0 no "
    "relation. Finds the main push: how often the heaviest intruder is the one MVP avoids most. "
    "Jensen-Shannon distance of two heads' weights: 0 the same, 1 not one intruder in common. Masking: each "
    "intruder is taken out of view in turn; the change is the distance between the velocities asked for with it "
    "and without. Intervals are over scenarios."
)


def render(attention: Mapping[str, Attention], names: Mapping[str, str]) -> str:
    """Return the section, with a part for each policy that has attention; nothing if there is none.

    Args:
        attention: What each policy looks at, by name.
        names: What people read instead of each name.
    """
    if not attention:
        return ""
    parts = (
        _policy(figures, names[name], f"attention-{index}")
        for index, (name, figures) in enumerate(attention.items())
    )
    head = f'<h2>What the attention looks at</h2><p class="muted">{_EXPLANATION}</p>'
    return f"<section>{head}{''.join(parts)}</section>"


def _policy(figures: Attention, name: str, prefix: str) -> str:
    """Return what one policy looks at."""
    by_distance, by_tcpa, by_dcpa = attention_plots.profiles(figures, prefix)
    pictures = (
        figure(
            attention_plots.largest_change(figures, prefix),
            "Is the intruder looked at most the one that matters?",
            "How often masking it changes the velocity more than masking any other.",
        ),
        figure(
            attention_plots.change(figures.masking, prefix),
            "What masking an intruder changes",
            "The further right the most, and the further left the least, the truer the attention.",
        ),
        figure(by_distance, "Weight against distance", ""),
        figure(by_tcpa, "Weight against time to the closest point of approach", ""),
        figure(by_dcpa, "Weight against distance at the closest point of approach", ""),
    )
    sentences = "".join(f"<li>{text}</li>" for text in findings(figures))
    return (
        f"<h3>{escape(name)}</h3><ul>{sentences}</ul>{_padding(figures)}"
        f'{_heads(figures)}<div class="pictures">{"".join(pictures)}</div>{_pairs(figures.pairs)}'
    )


def findings(figures: Attention) -> list[str]:
    """Say in sentences whether the intruders looked at are those that matter, and whether heads differ."""
    if not isfinite(figures.uniform_sharpness):
        return ["No ownship ever had two intruders in view: there was nobody to choose between."]
    texts = [_matters(figures.masking, "")] if figures.masking else []
    if figures.masking_in_conflict:
        texts.append(_matters(figures.masking_in_conflict, " in conflict"))
    if not texts:
        texts.append(f"Masking an intruder never changes the velocity by more than {LEAST_CHANGE_MPS} m/s.")
    if figures.pairs:
        ranked = sorted(figures.pairs, key=lambda pair: pair.distance.value)
        least, most = ranked[0], ranked[-1]
        text = f"The heaviest intruders of heads {_and(most)} differ in {_share(most.other_top)} of the rows"
        rest = f", those of heads {_and(least)}, the most alike, in {_share(least.other_top)}"
        texts.append(f"{text}{rest if least is not most else ''}.")
    return texts


def _matters(masking: Masking, where: str) -> str:
    """Say how often the intruder looked at most is the one that matters most."""
    looked_at, nearest = masking.mean, masking.nearest
    return (
        f"In {masking.rows:,} rows{where} masking some intruder changes the velocity by more than "
        f"{LEAST_CHANGE_MPS} m/s. Masking the one looked at most (mean of the heads) changes it most in "
        f"{_share(looked_at.largest)} of them; the nearest would be right in {_share(nearest.largest)}, one drawn "
        f"by lot in {100 * masking.chance:.0f} %. It changes it by {_mps(looked_at.highest_mps)}, another one by "
        f"{_mps(looked_at.other_mps)}, the one looked at least by {_mps(looked_at.lowest_mps)}."
    )


def _and(pair: HeadPair) -> str:
    """Return the numbers of two heads."""
    return f"{pair.heads[0]} and {pair.heads[1]}"


def _share(estimate: Estimate) -> str:
    """Return a share with its interval, in percent."""
    low, high = (f"{100 * bound:.0f}" for bound in estimate[1:])
    return f"{100 * estimate.value:.0f} %" + (f" [{low}, {high}]" if isfinite(estimate.low) else "")


def _mps(estimate: Estimate) -> str:
    """Return a speed."""
    return f"{number(estimate.value, 2)} m/s"


def _padding(figures: Attention) -> str:
    """Say whether padding is looked at."""
    if figures.leaks:
        return (
            '<p class="warning">Warning: places without an intruder are looked at, with weights of up to '
            f"{figures.padding_weight:.2g}: the network's mask does not work.</p>"
        )
    if not figures.padded:
        return '<p class="muted">Every place for an intruder was taken: nothing can be said about padding.</p>'
    return (
        f'<p class="muted">{figures.rows:,} rows looked at, {figures.rows_in_conflict:,} of them in conflict. '
        f"Weight on the {figures.padded:,} places without an intruder: exactly 0.</p>"
    )


def _cell(estimate: Estimate, note: str = "") -> str:
    """Return a table cell with a figure and its interval, or a note where there is none."""
    low, high = (number(bound, 2) for bound in estimate[1:])
    below = note or (f"[{low}, {high}]" if isfinite(estimate.low) else NOTHING)
    return f'<td>{number(estimate.value, 2)}<span class="interval">{escape(below)}</span></td>'


def _row(heading: str, cells: Iterable[str]) -> str:
    """Return a table row; the heading is HTML."""
    return f"<tr><th scope=row>{heading}</th>{''.join(cells)}</tr>"


def _heads(figures: Attention) -> str:
    """Return the figures of each head as a table."""
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    masked = figures.masking
    columns = {
        "sharpness": figures.sharpness,
        "entropy": figures.entropy,
        "agreement with MVP": figures.agreement,
        "finds the main push": figures.top_push,
        "agreement with what masking changes": [head.agreement for head in masked.heads] if masked else [],
    }
    rows = [
        _row(
            f"{plots.swatch(plots.mark(head))}head {head + 1}",
            (_cell(values[head] if values else nothing) for values in columns.values()),
        )
        for head in range(len(figures.sharpness))
    ]
    comparison = (
        _cell(nothing._replace(value=figures.uniform_sharpness), "all alike"),
        _cell(nothing._replace(value=1.0), "all alike"),
        _cell(figures.nearest_agreement, "nearest first"),
        _cell(figures.nearest_top_push, "nearest first"),
        _cell(masked.nearest.agreement if masked else nothing, "nearest first"),
    )
    return table(list(columns), [*rows, _row("for comparison", comparison)])


def _pairs(pairs: list[HeadPair]) -> str:
    """Return how the heads differ from one another, folded away."""
    if not pairs:
        return ""
    rows = (
        _row(f"heads {_and(pair)}", map(_cell, (pair.distance, pair.rank_correlation, pair.other_top)))
        for pair in pairs
    )
    head = ("Jensen-Shannon distance", "rank correlation", "heaviest intruder differs")
    return f"<details><summary>Each two heads beside one another</summary>{table(head, rows)}</details>"
