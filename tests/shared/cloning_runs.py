"""What is left of cloning runs: shared by the tests that look at them."""

from pathlib import Path

from skyclone.train.cloning.heldout import HeldOut
from skyclone.train.cloning.iteration import Iteration
from skyclone.train.runs.metrics_log import read_log


def read_metrics(out: Path) -> list[Iteration]:
    """The log of a run."""
    return read_log(out / "metrics.jsonl", Iteration.from_json)


def iteration(number: int) -> Iteration:
    """An iteration as it might be."""
    return Iteration(
        iteration=number,
        batches=100 * number,
        train_loss=0.0312,
        heldout=HeldOut(0.0298, 0.11, 0.009, 0.61, 0.1, 0.07, 5),
        learning_rate=1e-3,
        samples_per_second=61_000.4,
        gradient_norm=0.2,
        weight_norms={"W_q": [1.0, 2.0, 3.0]},
        gradient_norms={"W_q": [0.1, 0.2, 0.3]},
        seconds=1.5,
    )
