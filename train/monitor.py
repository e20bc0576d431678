"""What a training run leaves to look at: `metrics.jsonl`, TensorBoard, and lines for people."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from ..datasets.errors import CheckpointError
from ..datasets.publication import publish
from .heldout import HeldOut

METRICS_NAME = "metrics.jsonl"


@dataclass(frozen=True)
class Iteration:
    """The figures of one iteration (one pass over the training rows, or what a time budget left of it).

    Attributes:
        iteration: Its number, from 1.
        batches: Batches used since the start, all iterations together.
        train_loss: Mean loss over the iteration's batches, each before its own update.
        heldout: Figures over held-out rows after the iteration.
        learning_rate: That of the last batch.
        samples_per_second: Training rows per second of loading, forward and backward; nothing else.
        gradient_norm: Mean over the iteration's batches of the norm of all gradients, before clipping.
        weight_norms: Norm per head of W_q, W_k and W_v after the iteration.
        gradient_norms: Norm per head of their gradients in the last batch, before clipping.
        seconds: Wall-clock seconds since the start, all attempts together.
    """

    iteration: int
    batches: int
    train_loss: float
    heldout: HeldOut
    learning_rate: float
    samples_per_second: float
    gradient_norm: float
    weight_norms: dict[str, list[float]]
    gradient_norms: dict[str, list[float]]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Iteration":
        """Read what `to_json` made.

        Raises:
            CheckpointError: A key is missing or unknown.
        """
        if not isinstance(data, dict) or set(data) != {field.name for field in fields(cls)}:
            raise CheckpointError(f"expected the figures of an iteration, got {str(data)[:200]}")
        return cls(**{**data, "heldout": HeldOut(**data["heldout"])})

    def line(self, iterations: int) -> str:
        """Return the line a person reads."""
        figures = self.heldout
        split = f"(conflict {_figure(figures.mse_conflict)}, free {_figure(figures.mse_free)})"
        sharpness = "none" if figures.sharpness is None else f"{figures.sharpness:.2f}"
        return (
            f"Stage 1 - Iter {self.iteration}/{iterations} | Imitation Loss: {_figure(self.train_loss)} | "
            f"held-out {_figure(figures.mse)} {split} | sharpness {sharpness} | "
            f"{self.samples_per_second:,.0f} samples/s"
        )


class Monitor:
    """Keeps the figures of a run, in `metrics.jsonl` and for TensorBoard; a context manager.

    Args:
        run: The run's folder.
        batches: How many batches the run goes on from; later figures in the files are dropped.

    Attributes:
        history: All iterations so far.

    Raises:
        CheckpointError: `metrics.jsonl` was edited.
    """

    def __init__(self, run: Path, batches: int = 0) -> None:
        self.path = run / METRICS_NAME
        self.history = [each for each in read_metrics(self.path) if each.batches <= batches]
        publish(self.path, "".join(_metrics_line(each) for each in self.history).encode())
        # pulls in TensorBoard, which takes a second: only when a run starts
        from torch.utils.tensorboard import SummaryWriter

        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
        self._board: Any = SummaryWriter(str(run / "tensorboard"), purge_step=batches + 1)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()

    def add(self, iteration: Iteration) -> None:
        """Keep one more iteration."""
        self.history.append(iteration)
        self._file.write(_metrics_line(iteration))
        self._file.flush()
        for name, value in _scalars(iteration).items():
            self._board.add_scalar(name, value, iteration.batches)
        self._board.flush()


def read_metrics(path: Path) -> list[Iteration]:
    """Read `metrics.jsonl`; a last line that was cut by a crash is left out.

    Raises:
        CheckpointError: A line is no iteration.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    try:
        return [Iteration.from_json(json.loads(line)) for line in lines]
    except (ValueError, TypeError, CheckpointError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Delete it, or train into another folder.") from None


def _metrics_line(iteration: Iteration) -> str:
    """Return one line of `metrics.jsonl`."""
    return json.dumps(iteration.to_json(), allow_nan=False) + "\n"


def _scalars(iteration: Iteration) -> dict[str, float]:
    """Return TensorBoard's names and values."""
    figures = iteration.heldout
    scalars = {
        "loss/train": iteration.train_loss,
        "loss/heldout": figures.mse,
        "loss/heldout_conflict": figures.mse_conflict,
        "loss/heldout_free": figures.mse_free,
        "attention/sharpness": figures.sharpness,
        "learning_rate": iteration.learning_rate,
        "samples_per_second": iteration.samples_per_second,
        "gradient_norm/all": iteration.gradient_norm,
    }
    for kind, norms in (("weight_norm", iteration.weight_norms), ("gradient_norm", iteration.gradient_norms)):
        for name, heads in norms.items():
            scalars.update({f"{kind}/{name}/head_{head}": norm for head, norm in enumerate(heads)})
    return {name: value for name, value in scalars.items() if value is not None}


def _figure(value: float | None) -> str:
    """Return three significant digits; `none` if there is no such figure."""
    return "none" if value is None else f"{value:.3g}"
