"""Learning curves, read from what a run left in `metrics.jsonl`."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ...collect.airspace.objective import TERMS
from ...train.runs.run_folder import METRICS_NAME


class Curve(NamedTuple):
    """One line of a plot; there are two points or more.

    Attributes:
        name: For the legend.
        x: Iterations or steps.
        y: The figures.
        x_label: Name of x.
        y_label: Name of y.
    """

    name: str
    x: list[float]
    y: list[float]
    x_label: str
    y_label: str


# Plots by title; in each: the axis across, the axis up, and the lines: (name, places in a line of metrics.jsonl, of
# which the first that is there counts).
_DRAWABLE = 1e100  # larger figures are not drawn: the axes would overflow
_MOST_RAW = 4  # of more curves only the smoothed ones are drawn: they would hide one another
_SHOWN = 5  # of the terms of an objective, the largest; the others are added up
_SMOOTHED, _WINDOWS = 40, 20  # curves of so many points are smoothed, over this part of them
_Lines = tuple[tuple[str, *tuple[tuple[str, ...], ...]], ...]
_BY_TERM = "m of detour/agent-step, by term"
_PLOTS: dict[str, tuple[tuple[str, str], str, _Lines]] = {
    "imitation": (
        ("iteration", "iteration"),
        "squared error to the teacher",
        (
            ("training", ("train_loss",)),
            ("held out", ("heldout", "mse")),
            ("held out, in conflict", ("heldout", "mse_conflict")),
            ("held out, free", ("heldout", "mse_free")),
        ),
    ),
    "objective in training, by term": (
        ("steps", "agent-steps"),
        _BY_TERM,
        tuple((name, ("rollout", f"reward_{name}"), ("learning", name)) for name in TERMS),
    ),
    "objective on the gate": (
        ("steps", "agent-steps"),
        "m of detour per agent-step",
        (("objective", ("gate", "objective")),),
    ),
    "objective on the gate, by term": (
        ("steps", "agent-steps"),
        _BY_TERM,
        tuple((name, ("gate", "objective_terms", name)) for name in TERMS),
    ),
    "reward in training": (
        ("steps", "agent-steps"),
        "reward per agent-step",
        (("reward", ("rollout", "reward")),),
    ),
    "safety in training": (
        ("steps", "agent-steps"),
        "LoS seconds per flight hour",
        (("LoS", ("rollout", "los_s_per_flight_hour")),),
    ),
    "safety on the gate": (
        ("steps", "agent-steps"),
        "LoS per scenario",
        (("LoS", ("gate", "los_events")),),
    ),
    "route length on the gate": (
        ("steps", "agent-steps"),
        "extra distance (fraction)",
        (("extra distance", ("gate", "extra_distance")),),
    ),
}


def read(run: str) -> dict[str, list[Curve]]:
    """Return a run's curves by the title of their plot; none for pretrained weights or without such a file."""
    path = Path(run)
    log = (path.parent if path.suffix == ".safetensors" else path) / METRICS_NAME
    try:
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    except OSError:
        return {}
    entries = [entry for entry in map(_parsed, text.splitlines()) if entry]
    plots = {title: _curves(entries, *spec) for title, spec in _PLOTS.items()}
    return {title: curves for title, curves in plots.items() if curves}


def _curves(entries: Sequence[Any], across: tuple[str, str], up: str, lines: _Lines) -> list[Curve]:
    """Return the lines of a plot that have two points or more."""
    curves = []
    for name, *places in lines:
        points = [(_number(entry, (across[0],)), _first_number(entry, places)) for entry in entries]
        there = [(x, y) for x, y in points if x is not None and y is not None]
        if len(there) >= 2:
            curves.append(Curve(name, [x for x, _ in there], [y for _, y in there], across[1], up))
    return _by_term(curves) if up == _BY_TERM else curves


def _by_term(terms: Sequence[Curve]) -> list[Curve]:
    """Return an objective's terms that are the largest on average, and the sum of the others."""
    terms = [term for term in terms if term.x == terms[0].x]
    order = sorted(terms, key=lambda term: -sum(term.y))
    shown = [term for term in terms if term in order[:_SHOWN]]
    rest = [term for term in terms if term not in shown and any(term.y)]
    return [*shown, *_sum("others", rest)]


def _sum(name: str, terms: Sequence[Curve]) -> list[Curve]:
    """Return the sum of curves under a name; none for none."""
    sums = [sum(values) for values in zip(*(term.y for term in terms))]
    return [terms[0]._replace(name=name, y=sums)] if terms else []


def window_of(curve: Curve) -> int:
    """Return over how many points a curve is smoothed: an odd number, 1 for one of few points."""
    return 1 if len(curve.y) < _SMOOTHED else 2 * (len(curve.y) // _WINDOWS // 2) + 1


def shows_raw(curves: Sequence[Curve]) -> bool:
    """Return whether curves are drawn as they are, too, under the smoothed ones."""
    return len(curves) <= _MOST_RAW


def smoothed(curve: Curve) -> list[float]:
    """Return a curve's running median; towards its ends the windows get shorter, and stay centred."""
    half, count = window_of(curve) // 2, len(curve.y)
    reaches = [min(half, place, count - 1 - place) for place in range(count)]
    return [median(curve.y[place - reach : place + reach + 1]) for place, reach in enumerate(reaches)]


def caption(curves: Sequence[Curve]) -> str:
    """Say how the curves of a plot are smoothed; nothing if they are not."""
    most = max(map(window_of, curves))
    raw = "; faint: each iteration" if shows_raw(curves) else ""
    return "" if most == 1 else f"Lines: running median of {most} iterations{raw}."


def _parsed(line: str) -> Any:
    """Return a line's object; None for a line that was cut or is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _first_number(entry: Any, places: Sequence[Sequence[str]]) -> float | None:
    """Return the first number that is at one of some places."""
    return next((found for place in places if (found := _number(entry, place)) is not None), None)


def _number(entry: Any, place: Sequence[str]) -> float | None:
    """Return the number at a place in an object; None if none is there that can be drawn."""
    for key in place:
        if not isinstance(entry, dict):
            return None
        entry = entry.get(key)
    if isinstance(entry, bool) or not isinstance(entry, int | float) or not abs(entry) < _DRAWABLE:
        return None
    return float(entry)
