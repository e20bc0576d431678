"""The end of a cloning run: its figures, the verdict and the diagnosis, for machines and for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from .diagnosis import CRITERIA, diagnose, judge
from .iteration import Iteration


def best_of(history: Sequence[Iteration]) -> Iteration | None:
    """Return the iteration with the lowest held-out loss, the earliest of equals; None if there is none."""
    return min(history, key=lambda each: each.heldout.mse, default=None)


def summarise(
    history: Sequence[Iteration],
    seconds: Mapping[str, float],
    is_saved: bool,
    trouble: str | None,
    model: str = "",
    labels_know_more: bool = False,
) -> dict[str, Any]:
    """Return what `RUN/summary.json` holds; the figures are those of the best iteration.

    Args:
        history: All iterations.
        seconds: Where the time went, by name.
        is_saved: Whether the best checkpoint is on disk and can be read.
        trouble: What stopped the run if it met NaN or infinity.
        model: The network, as on the command line.
        labels_know_more: Whether labels are made of more than aircraft know.
    """
    best = best_of(history)
    figures = best.heldout if best else None
    learning = sum(seconds.get(name, 0.0) for name in ("loading", "forward and backward"))
    rows_per_second = [each.samples_per_second for each in history]
    return {
        "heldout_mse": figures.mse if figures else None,
        "heldout_mse_conflict": figures.mse_conflict if figures else None,
        "heldout_mse_free": figures.mse_free if figures else None,
        "heldout_rows": figures.rows if figures else None,
        "train_mse": best.train_loss if best else None,
        "attention_sharpness": figures.sharpness if figures else None,
        "has_attention": not figures.lacks_attention if figures else None,
        "samples_per_second": sum(rows_per_second) / len(rows_per_second) if history else None,
        "best_iteration": best.iteration if best else None,
        "iterations": len(history),
        "batches": history[-1].batches if history else 0,
        "learning_seconds": learning,
        "seconds": dict(seconds),
        "criteria": judge(best, trouble is None, is_saved),
        "diagnosis": diagnose(history, seconds, trouble, model, labels_know_more),
    }


def verdict_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the verdict and the diagnosis as lines for people."""
    figures = {
        "heldout_loss": summary["heldout_mse"],
        "attention_sharpness": summary["attention_sharpness"],
    }
    lines = ["Verdict:"]
    for name, holds in summary["criteria"].items():
        value = figures.get(name)
        said = "" if value is None else f" ({value:.3g})"
        if name == "attention_sharpness" and summary["has_attention"] is False:
            said = " (this network has no attention)"
        lines.append(f"  {'yes' if holds else 'NO ':<4}{CRITERIA[name]}{said}")
    for trouble, words in summary["diagnosis"].items():
        lines.append(f"Diagnosis, {trouble}: {words}")
    return lines
