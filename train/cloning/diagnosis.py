"""Is the run healthy? The verdict on the four criteria, and a diagnosis in words, from the logged figures."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log
from statistics import median

from .iteration import Iteration

LOSS_BAR = 0.01
SHARPNESS_BAR = 0.5
SLOW_SAMPLES_PER_SECOND = (
    8000.0  # what BlueSky itself flies per second on one core: slower, and fitting is the wait
)
CRITERIA = {
    "heldout_loss": f"held-out loss < {LOSS_BAR}",
    "attention_sharpness": f"attention sharpness > {SHARPNESS_BAR}",
    "finite": "no NaN or infinity",
    "checkpoint_saved": "checkpoint saved",
}


def judge(best: Iteration | None, is_finite: bool, is_saved: bool) -> dict[str, bool]:
    """Return which of the `CRITERIA` hold.

    Args:
        best: The iteration with the lowest held-out loss, None if there was none. That of a network without
            attention does not fulfil `attention_sharpness`: the criterion says that a run has shown sharp
            attention, and such a run has not; `summary.verdict_lines` says why.
        is_finite: Whether every loss and gradient was.
        is_saved: Whether the best checkpoint is on disk and can be read.
    """
    sharpness = best.heldout.sharpness if best else None
    return {
        "heldout_loss": best is not None and best.heldout.mse < LOSS_BAR,
        "attention_sharpness": sharpness is not None and sharpness > SHARPNESS_BAR,
        "finite": is_finite,
        "checkpoint_saved": is_saved,
    }


def diagnose(
    history: Sequence[Iteration],
    seconds: Mapping[str, float],
    trouble: str | None = None,
    model: str = "",
    labels_know_more: bool = False,
) -> dict[str, str]:
    """Say in words what is wrong and what to try; empty if nothing is.

    Args:
        history: All iterations.
        seconds: Where the time went, by name; see `Stopwatch`.
        trouble: What stopped the run if it met NaN or infinity.
        model: The network, as on the command line: what was tried is not advised.
        labels_know_more: Whether labels are made of more than aircraft know.

    Returns:
        Sentences by trouble: `not finite`, `loss stays high`, `oscillates`, `all attention equal`, `slow`.
    """
    found: dict[str, str] = {}
    if trouble:
        found["not finite"] = (
            f"{trouble}. Try a tenth of --lr; if it comes at once, check the data: `skyclone datasets verify`."
        )
    if not history:
        return found
    best = min(history, key=lambda each: each.heldout.mse)
    if best.heldout.mse >= LOSS_BAR:
        found["loss stays high"] = _why_high(history, best, model) + _BLIND * labels_know_more
    if _oscillates([each.heldout.mse for each in history]):
        found["oscillates"] = (
            "the held-out loss rises and falls from iteration to iteration. "
            "Try a third of --lr, or --schedule cosine, or a larger --batch-size."
        )
    if _is_uniform(best):
        found["all attention equal"] = (
            f"the largest weight is {best.heldout.sharpness:.2f} where looking at all intruders alike gives "
            f"{best.heldout.uniform_sharpness:.2f}: the network averages. Do the labels depend on the intruders "
            f"at all? If so, {_finer(model)}."
        )
    slow = _why_slow(history, seconds)
    if slow:
        found["slow"] = slow
    return found


_BLIND = (
    " Part of it no network can learn: labels are made of the truth, of which aircraft do not know all. Compare it "
    "with --labels perceived, or with --surveillance perfect."
)


def _finer(model: str) -> str:
    """Say which network sees each pair better than this one."""
    if model.split(":")[0] == "thresholds":
        return "try a wider network (--model thresholds:width=128), more --epochs, or --conflict-weight 3"
    return "try --model thresholds and --observation ego:intruders=8"


def _why_high(history: Sequence[Iteration], best: Iteration, model: str) -> str:
    """Say why the held-out loss is not below the bar."""
    figures, train = best.heldout, best.train_loss
    start = f"the best held-out loss is {figures.mse:.3g}, the bar is {LOSS_BAR}. "
    if figures.mse > 2 * figures.spread:
        return start + f"A constant action would reach {figures.spread:.3g}: --lr is too high. Try a tenth of it."
    if figures.mse > 0.9 * figures.spread:
        return start + (
            f"A constant action would reach {figures.spread:.3g}: nothing was learned. "
            "Try another --lr (3e-4 to 3e-3), and look at the data with `skyclone datasets verify`."
        )
    if train < 0.6 * figures.mse:
        return start + (
            f"The training loss is far lower ({train:.3g}): it memorises the episodes. "
            "Collect more of them, or try --weight-decay 0.01."
        )
    if best is history[-1] and len(history) > 1 and figures.mse < 0.95 * history[-2].heldout.mse:
        return start + "It was still falling at the end: train on (--epochs), with --schedule cosine."
    if (
        figures.mse_conflict is not None
        and figures.mse_free is not None
        and (figures.mse_conflict > 5 * figures.mse_free)
    ):
        return start + (
            f"The error is in the conflicts ({figures.mse_conflict:.3g} there, {figures.mse_free:.3g} elsewhere), "
            f"which need each pair's geometry: {_finer(model)}."
        )
    return start + "Training and held-out loss agree: try a larger network, or --schedule cosine and more --epochs."


def _oscillates(losses: Sequence[float]) -> bool:
    """Return whether the later losses change by more than a tenth at a time, and mostly back and forth."""
    late = losses[len(losses) // 3 :]
    steps = [log(after / before) for before, after in pairwise(late) if before > 0 and after > 0]
    if len(steps) < 4:
        return False
    path, gained = sum(map(abs, steps)), abs(sum(steps))
    return median(map(abs, steps)) > 0.1 and gained < 0.5 * path


def _is_uniform(best: Iteration) -> bool:
    """Return whether the attention is within a tenth of the way from uniform to one intruder only."""
    sharpness, uniform = best.heldout.sharpness, best.heldout.uniform_sharpness
    if sharpness is None or uniform is None:
        return False
    return sharpness - uniform < 0.1 * (1 - uniform)


def _why_slow(history: Sequence[Iteration], seconds: Mapping[str, float]) -> str:
    """Say why training was slow; "" if it was not."""
    rate = median(each.samples_per_second for each in history)
    loading, learning = seconds.get("loading", 0.0), seconds.get("forward and backward", 0.0)
    if loading > learning and loading > 1.0:
        return (
            f"loading took {loading:.0f} s, learning {learning:.0f} s: the network waits for its data. "
            "Try an observation with fewer intruders (--observation ego:intruders=8)."
        )
    if rate < SLOW_SAMPLES_PER_SECOND:
        return (
            f"{rate:,.0f} samples/s. Try a larger --batch-size, a smaller network, --threads, or --device cuda; "
            "and look whether something else is using the processor."
        )
    return ""
