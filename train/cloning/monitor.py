"""What a training run leaves to look at: `metrics.jsonl`, TensorBoard, and lines for people."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ...datasets.errors import CheckpointError
from ...datasets.files.atomic import publish
from ...datasets.traffic.view import View
from ..networks import Network
from .iteration import Iteration

METRICS_NAME = "metrics.jsonl"


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
        _wait_for_next_second(run / "tensorboard")
        self._board: Any = SummaryWriter(str(run / "tensorboard"), purge_step=batches + 1)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()

    def add(
        self, iteration: Iteration, network: Network | None = None, view: View | None = None, is_last: bool = False
    ) -> None:
        """Keep one more iteration; of its network the distribution of the weights and, at times, its attention.

        Args:
            iteration: The figures.
            network: As it is after the iteration.
            view: What it observes.
            is_last: Whether no iteration follows: then its attention is drawn in any case.
        """
        self.history.append(iteration)
        self._file.write(_metrics_line(iteration))
        self._file.flush()
        for name, value in _scalars(iteration).items():
            self._board.add_scalar(name, value, iteration.batches)
        if network is not None and view is not None:
            for name, weight in network.named_parameters():
                self._board.add_histogram(f"weights/{name}", weight.detach().cpu(), iteration.batches)
            if is_last or is_power_of_two(iteration.iteration):
                self._draw_attention(network, view, iteration.batches)
        self._board.flush()

    def _draw_attention(self, network: Network, view: View, batches: int) -> None:
        """Add the picture of the network's attention on the fixed scene, if it has any."""
        from . import pictures  # pulls in matplotlib, which takes a second

        picture = pictures.attention(network, view)
        if picture is not None:
            self._board.add_image("attention/scene", picture, batches, dataformats="HWC")


def _wait_for_next_second(board: Path) -> None:
    """Let the next file sort behind those that are there: their names begin with the second they were made in.

    TensorBoard reads files in order of their names; a file of a run that goes on, read before the one it goes on
    from, would be taken for what is to be dropped.
    """
    names = [path.name.split(".") for path in board.glob("events.out.tfevents.*")]
    made = [int(name[3]) for name in names if len(name) > 3 and name[3].isdigit()]
    lacking = max(made, default=0) + 1 - time.time()
    if 0 < lacking <= 1:
        time.sleep(lacking)


def is_power_of_two(number: int) -> bool:
    """Return whether a number from 1 on is 1, 2, 4, 8, ...: pictures are dear, and change fastest at first."""
    return number & (number - 1) == 0


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
