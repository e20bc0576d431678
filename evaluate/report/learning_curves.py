"""Learning curves, read from what a run left in `metrics.jsonl`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


# Plots by title; in each: the axis across, the axis up, and the lines: (name, place in a line of metrics.jsonl).
_DRAWABLE = 1e100  # larger figures are not drawn: the axes would overflow
_Lines = tuple[tuple[str, tuple[str, ...]], ...]
_PLOTS: dict[str, tuple[tuple[str, str], str, _Lines]] = {
    "imitation": (
        ("iteration", "iteration"),
        "mean squared error to the teacher",
        (
            ("training", ("train_loss",)),
            ("held out", ("heldout", "mse")),
            ("held out, in conflict", ("heldout", "mse_conflict")),
            ("held out, free", ("heldout", "mse_free")),
        ),
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
    for name, place in lines:
        points = [(_number(entry, (across[0],)), _number(entry, place)) for entry in entries]
        there = [(x, y) for x, y in points if x is not None and y is not None]
        if len(there) >= 2:
            curves.append(Curve(name, [x for x, _ in there], [y for _, y in there], across[1], up))
    return curves


def _parsed(line: str) -> Any:
    """Return a line's object; None for a line that was cut or is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _number(entry: Any, place: Sequence[str]) -> float | None:
    """Return the number at a place in an object; None if none is there that can be drawn."""
    for key in place:
        if not isinstance(entry, dict):
            return None
        entry = entry.get(key)
    if isinstance(entry, bool) or not isinstance(entry, int | float) or not abs(entry) < _DRAWABLE:
        return None
    return float(entry)
