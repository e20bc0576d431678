"""How far a cloning run is, saved with its weights so that it continues exactly from there."""

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ..networks import Network
from ..runs.metrics_log import packed, read_log, unpacked
from ..runs.run_folder import METRICS_NAME, RunFolder
from ..tensor_file import named, optimizer_tensors, restore_optimizer, under
from .iteration import Iteration


@dataclass
class CloningProgress:
    """How far a cloning run is.

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
        split: Says which episodes are held out; "" in what an older version began.
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
    split: str = ""

    def next_epoch(self) -> None:
        """Go to the beginning of the next epoch."""
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss = self.gradient_norm = self.learning_s = 0.0
        self.rows = 0


def save_state(
    folder: RunFolder, progress: CloningProgress, history: list[Iteration], network: Network, optimizer: Optimizer
) -> None:
    """Write all that is needed to continue, whole or not at all.

    Raises:
        TrainingError: A weight is not finite.
        OSError: It cannot be written.
    """
    tensors = {**named("network", network.state_dict()), **optimizer_tensors(optimizer)}
    folder.save_state({**tensors, "history": packed(history)}, {"progress": asdict(progress)})


def restore_state(
    folder: RunFolder, network: Network, optimizer: Optimizer
) -> tuple[CloningProgress, list[Iteration]] | None:
    """Give a network and its optimizer the saved state; None without one (killed before the first).

    Raises:
        CheckpointError: It is damaged, or of another network.
    """

    def put_back(
        tensors: dict[str, Tensor], description: dict[str, Any]
    ) -> tuple[CloningProgress, list[Iteration]]:
        network.load_state_dict(under("network", tensors))
        restore_optimizer(optimizer, tensors)
        return _figures_in(folder, tensors, description)

    return folder.restore(put_back)


def read_progress(folder: RunFolder) -> tuple[CloningProgress, list[Iteration]] | None:
    """Return how far a run is and its figures, from its state, which has a hash; None if nothing was saved.

    Raises:
        CheckpointError: The state is damaged.
    """
    return folder.restore(lambda tensors, description: _figures_in(folder, tensors, description))


def _figures_in(
    folder: RunFolder, tensors: dict[str, Tensor], description: dict[str, Any]
) -> tuple[CloningProgress, list[Iteration]]:
    """Return what a saved state says of a run."""
    progress = CloningProgress(**description["progress"])
    if "history" in tensors:
        return progress, unpacked(tensors["history"], Iteration.from_json)
    log = read_log(folder.path / METRICS_NAME, Iteration.from_json)  # begun by an older version
    return progress, [each for each in log if each.batches <= progress.batches]
