"""Where a run is, saved with its weights so that it goes on exactly from there."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch.optim import Optimizer

from ...datasets.errors import CheckpointError
from ..networks import Network
from ..tensor_file import named, optimizer_tensors, read_tensors, restore_optimizer, under, write_tensors

STATE_NAME = "last.state.safetensors"


@dataclass
class Progress:
    """Where a run is, saved with its weights.

    Attributes:
        epoch: The epoch it is in, from 0.
        batch: Batches of that epoch already used.
        batches: Batches used since the start.
        loss: Sum over the epoch's batches of loss times rows.
        rows: Rows of the epoch already used.
        gradient_norm: Sum over the epoch's batches of the norm of all gradients.
        learning_s: Seconds of loading, forward and backward in this epoch.
        best: Lowest held-out loss so far; None before the first evaluation.
        is_finished: Whether nothing is left to do.
        elapsed_s: Seconds spent so far, all attempts together.
        processor_s: Processor seconds of loading, forward and backward so far.
        seconds: Where they went, by name.
    """

    epoch: int = 0
    batch: int = 0
    batches: int = 0
    loss: float = 0.0
    rows: int = 0
    gradient_norm: float = 0.0
    learning_s: float = 0.0
    best: float | None = None
    is_finished: bool = False
    elapsed_s: float = 0.0
    processor_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def next_epoch(self) -> None:
        """Go to the beginning of the next epoch."""
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss = self.gradient_norm = self.learning_s = 0.0
        self.rows = 0


def save_state(run: Path, progress: Progress, network: Network, optimizer: Optimizer) -> None:
    """Write all that is needed to go on, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    tensors = {**named("network", network.state_dict()), **optimizer_tensors(optimizer)}
    write_tensors(run / STATE_NAME, tensors, {"progress": asdict(progress)})


def restore_state(run: Path, network: Network, optimizer: Optimizer) -> Progress | None:
    """Give a network and its optimizer the saved state; None without one (killed before the first).

    Raises:
        CheckpointError: It is damaged, or of another network.
    """
    path = run / STATE_NAME
    if not path.exists():
        return None
    tensors, description, _ = read_tensors(path)
    try:
        progress = Progress(**description["progress"])
        network.load_state_dict(under("network", tensors))
        restore_optimizer(optimizer, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit this run: {error}. Train into another folder.") from None
    return progress
