"""The figures of one iteration of cloning."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from ...datasets.errors import CheckpointError
from .heldout import HeldOut


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

    @property
    def step(self) -> int:
        """Its place on a tracker's axis: batches."""
        return self.batches

    def scalars(self) -> dict[str, float]:
        """Return a tracker's names and values."""
        figures = self.heldout
        scalars = {
            "loss/train": self.train_loss,
            "loss/heldout": figures.mse,
            "loss/heldout_conflict": figures.mse_conflict,
            "loss/heldout_free": figures.mse_free,
            "attention/sharpness": figures.sharpness,
            "learning_rate": self.learning_rate,
            "samples_per_second": self.samples_per_second,
            "gradient_norm/all": self.gradient_norm,
        }
        for kind, norms in (("weight_norm", self.weight_norms), ("gradient_norm", self.gradient_norms)):
            for name, heads in norms.items():
                scalars.update({f"{kind}/{name}/head_{head}": norm for head, norm in enumerate(heads)})
        return {name: value for name, value in scalars.items() if value is not None}

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


def _figure(value: float | None) -> str:
    """Return three significant digits; `none` if there is no such figure."""
    return "none" if value is None else f"{value:.3g}"
