"""The end of a fine-tuning run, and its flights through the gate, for machines and for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..runs.gate import GateFlights, compare
from .iteration import TuningIteration


def gate_line(gate: dict[str, Any], clone: dict[str, Any]) -> str:
    """Return the line a person reads about a flight through the gate."""
    return (
        f"  gate: objective {gate['objective']:.3f} m (clone {clone['objective']:.3f}) | "
        f"LoS {gate['los_events']:.3f} per scenario (clone {clone['los_events']:.3f}), "
        f"{gate['time_in_los_s']:.2f} s ({clone['time_in_los_s']:.2f}) | "
        f"extra distance {gate['extra_distance']:.2%} (clone {clone['extra_distance']:.2%}) | "
        f"waypoint {gate['waypoint_rate']:.2%}, no progress {gate['stalled_rate']:.2%}, "
        f"left {gate['left_sector_rate']:.2%} | {gate['mean_speed_mps']:.2f} m/s | "
        f"{'NEW BEST' if gate['is_best'] else 'not published'}: {gate['reason']}"
    )


def summarise(
    history: Sequence[TuningIteration],
    best_iteration: int,
    flown: Mapping[str, GateFlights],
    seconds: Mapping[str, float],
    is_saved: bool,
    trouble: str | None,
) -> dict[str, Any]:
    """Return what `RUN/summary.json` holds.

    Args:
        history: All iterations.
        best_iteration: The one whose policy is the best; 0 is the clone.
        flown: Flights through the gate of `clone` and `best`.
        seconds: Where the time went, by name.
        is_saved: Whether the best checkpoint is on disk and can be read.
        trouble: What stopped the run if it met NaN or infinity.
    """
    last = history[-1] if history else None
    rates = sorted(each.steps_per_second for each in history if not each.is_warmup and not each.gate)
    return {
        "steps": last.steps if last else 0,
        "iterations": len(history),
        "best_iteration": best_iteration,
        "is_better_than_clone": best_iteration > 0,
        "gate": {"clone": flown["clone"].figures(), "best": compare(flown["best"], flown["clone"])},
        "steps_per_second": last.steps / sum(seconds.values()) if last else None,
        "steps_per_second_learning": rates[len(rates) // 2] if rates else None,
        "seconds": dict(seconds),
        "criteria": {"finite": trouble is None, "checkpoint_saved": is_saved, "not_worse_than_clone": is_saved},
        "trouble": trouble,
    }


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the end of a run as lines for people."""
    clone, best = summary["gate"]["clone"], summary["gate"]["best"]
    if not summary["is_better_than_clone"]:
        return ["Nothing flew better than the clone on the gate: `best` is the clone itself. Try more --steps."]
    return [
        f"Best: iteration {summary['best_iteration']}. On the gate, clone -> best: "
        f"objective {clone['objective']:.3f} -> {best['objective']:.3f} m per agent-step, "
        f"LoS {clone['los_events']:.3f} -> {best['los_events']:.3f} per scenario, "
        f"extra distance {clone['extra_distance']:.2%} -> {best['extra_distance']:.2%}, "
        f"time in LoS {clone['time_in_los_s']:.2f} -> {best['time_in_los_s']:.2f} s per scenario, "
        f"waypoint {clone['waypoint_rate']:.2%} -> {best['waypoint_rate']:.2%}, "
        f"no progress {clone['stalled_rate']:.2%} -> {best['stalled_rate']:.2%}, "
        f"{clone['mean_speed_mps']:.2f} -> {best['mean_speed_mps']:.2f} m/s"
    ]
