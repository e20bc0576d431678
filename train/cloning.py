"""Behavioural cloning: fit a network to the teacher's actions, and lose nothing when it is stopped.

A run is a folder: `config.json` (what it shall do), `last.state.safetensors` (all that is needed to go on),
`best.*` and `last.*` (checkpoints), `metrics.jsonl` and `tensorboard/` (figures), `summary.json` (the end).
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..datasets.dataset import Dataset
from ..datasets.errors import CheckpointError, ConfigurationError, SkycloneError
from ..datasets.loader import Batch, Loader
from ..datasets.publication import clean, publish
from ..datasets.snapshots import Snapshots
from ..datasets.streaming import Stream
from . import checkpoint
from .configuration import CONFIG_NAME, CloningConfig, check_same, describe, load_config, save_config
from .heldout import HeldOut, measure, on_device
from .interruption import Interruption, remembered
from .monitor import METRICS_NAME, Iteration, Monitor
from .networks import Network
from .stopwatch import Stopwatch
from .summary import summarise, verdict_lines

STATE_NAME = "last.state.safetensors"
SUMMARY_NAME = "summary.json"
SAVE_EVERY = 200  # batches between two saved states: a few seconds of work are lost at most
HELDOUT_BATCH = 4096
READING, LOADING, LEARNING = "reading", "loading", "forward and backward"
EVALUATING, SAVING = "evaluation", "saving"


class TrainingError(SkycloneError):
    """A loss or gradient became NaN or infinite; the last good checkpoint is kept."""


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


class Cloning:
    """One run of behavioural cloning.

    Args:
        datasets: What to learn from. Held-out figures are on episodes flown by the pure teacher, if any.
        run: The run's folder; made if it is missing.
        config: What to do.
        resume: Go on with the run in the folder, if there is one; otherwise a run there is an error.
        device: `auto`, `cpu`, `cuda`, ...
        say: Receives each line for people.
        parent: A trained run (or file, or `pretrained:NAME`) whose weights it begins with; None for new ones.

    Raises:
        CheckpointError: The folder holds a run and resume is False, or a run of another configuration; or the
            parent is another network.
        DatasetError: A dataset is damaged, or has too few episodes to hold some out.
        ConfigurationError: The device is not there, or the datasets do not go together.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        run: str | Path,
        config: CloningConfig,
        *,
        resume: bool = False,
        device: str = "auto",
        say: Callable[[str], None] = print,
        parent: str | Path | None = None,
    ) -> None:
        self.run, self.config, self._say = Path(run), config, say
        self.device = choose_device(device)
        described = describe(datasets)
        is_there = is_run(self.run)
        if is_there and not resume:
            raise CheckpointError(
                f"{self.run} already holds a run. Go on with it with --resume, or choose another --out."
            )
        if is_there:
            check_same(self.run, config, described, load_config(self.run))
        elif resume:
            say(f"Nothing to resume in {self.run}: starting from the beginning.")
        self.progress, self.clock = Progress(), Stopwatch()
        with self.clock.measure(READING):
            self._read(datasets)
        self.network: Network = config.network().to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self._meta = {
            "stage": "clone",
            "world": dict(datasets[0].manifest.world),
            "teacher": datasets[0].manifest.teacher,
            "datasets": described,
            "config": config.to_json(),
        }
        if parent is not None:
            self._adopt(parent)
        self._clipped_to = 1.0  # what the last batch's gradients were multiplied by
        if is_there:
            self._restore()
        else:
            self.run.mkdir(parents=True, exist_ok=True)
            save_config(self.run, config, described)

    def _read(self, datasets: Sequence[Dataset]) -> None:
        """Read training and held-out rows into memory, or count them to stream them."""
        config = self.config
        pure = [each for each in datasets if each.manifest.pilot == "teacher" and each.manifest.noise == 0]
        if not pure:
            self._say("No dataset was flown by the pure teacher: held-out figures are on what was flown.")
        source: type[Snapshots] | type[Stream] = Stream if config.stream else Snapshots
        train = source.of(datasets, "train", config.heldout)
        heldout = source.of(pure or datasets, "heldout", config.heldout)
        weights: dict[str, Any] = {"conflict_weight": config.conflict_weight, "mix": config.shares}
        self.loader = Loader(train, config.view, config.batch_size, config.seed, **weights)
        self.heldout = Loader(heldout, config.view, HELDOUT_BATCH, shuffle=False)
        self._all_batches = min(len(self.loader) * config.epochs, config.max_batches or 2**63)
        self._iterations = -(-self._all_batches // len(self.loader))

    def _adopt(self, parent: str | Path) -> None:
        """Take the weights of a trained network of the same kind."""
        loaded = checkpoint.load(parent, view=self.config.view)
        if loaded.network.spec != self.network.spec:
            raise CheckpointError(
                f"{loaded.path} holds the network {loaded.network.spec}, expected {self.network.spec}. "
                "Go on with the model it was trained as."
            )
        self.network.load_state_dict(loaded.network.state_dict())
        self._meta["parent"] = {"path": str(parent), "weights_sha256": loaded.meta["weights_sha256"]}

    def train(self) -> dict[str, Any]:
        """Train to the end, and return the summary that is also written to `RUN/summary.json`.

        Raises:
            TrainingError: A loss or gradient became NaN or infinite.
            KeyboardInterrupt: Somebody pressed Ctrl-C; the state is saved.
        """
        count = sum(parameter.numel() for parameter in self.network.parameters())
        self._say(
            f"Stage 1 - {self.config.model} on {self.config.observation}, {count:,} parameters; "
            f"{self.loader.rows:,} training rows, {self.heldout.rows:,} held out; {self.device}"
        )
        self._began = time.perf_counter() - self.progress.elapsed_s
        with (
            torch_threads(self.config.threads),
            remembered() as interruption,
            Monitor(self.run, self.progress.batches) as monitor,
        ):
            try:
                while not self.progress.is_finished:
                    self._use_batches(interruption)
                    self._end_iteration(monitor)
                    self._stop_if(interruption)
            except TrainingError as error:
                checkpoint.save(self.run / "last", self.network, self.config.view, self._meta)
                self._finish(monitor, str(error))
                raise
            return self._finish(monitor)

    def _use_batches(self, interruption: Interruption) -> None:
        """Use the epoch's batches that are left, or as many as the time allows."""
        progress = self.progress
        self.loader.set_epoch(progress.epoch, progress.batch)
        description = f"Iter {progress.epoch + 1}/{self._iterations}"
        with tqdm(
            total=len(self.loader),
            initial=progress.batch,
            desc=description,
            unit="batch",
            leave=False,
            disable=None,
        ) as bar:
            start, processor = time.perf_counter() - progress.learning_s, time.process_time() - progress.processor_s
            for batch in self.clock.waiting(LOADING, self.loader):
                with self.clock.measure(LEARNING):
                    self._step(batch)
                progress.learning_s = time.perf_counter() - start
                progress.processor_s = time.process_time() - processor
                bar.update()
                if self._fraction() >= 1:
                    return
                if progress.batch == len(self.loader):
                    continue  # the end of the epoch evaluates first, and then saves
                if progress.batches % SAVE_EVERY == 0:
                    self._save_state()
                    start = time.perf_counter() - progress.learning_s
                    processor = time.process_time() - progress.processor_s
                self._stop_if(interruption)

    def _step(self, batch: Batch) -> None:
        """Make one update."""
        progress, clip = self.progress, self.config.gradient_clip
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate(self._fraction())
        observation, action, _ = on_device(batch, self.device)
        self.optimizer.zero_grad()
        loss = (self.network(observation) - action).square().mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), clip).item()
        if not (math.isfinite(loss.item()) and math.isfinite(norm)):
            raise TrainingError(
                f"expected a finite loss and gradient, got {loss.item()} and {norm} in batch {progress.batch + 1} "
                f"of iteration {progress.epoch + 1}; stopped, with the last good weights kept in {self.run}"
            )
        self._clipped_to = min(1.0, clip / (norm + 1e-6))
        self.optimizer.step()
        progress.batch += 1
        progress.batches += 1
        progress.rows += len(action)
        progress.loss += loss.item() * len(action)
        progress.gradient_norm += norm

    def _fraction(self) -> float:
        """Return how much of the training is done: of the batches, or of the time if that is further."""
        config, done = self.config, [self.progress.batches / self._all_batches]
        if config.max_seconds is not None:
            done.append((time.perf_counter() - self._began) / config.max_seconds)
        if config.max_processor_seconds is not None:
            done.append(self.progress.processor_s / config.max_processor_seconds)
        return max(done)

    def _end_iteration(self, monitor: Monitor) -> None:
        """Evaluate, tell and save."""
        progress = self.progress
        with self.clock.measure(EVALUATING):
            self.network.eval()
            heldout = measure(self.network, self.heldout, self.device)
            self.network.train()
        iteration = self._iteration(heldout, monitor)
        monitor.add(iteration)
        self._say(iteration.line(self._iterations))
        with self.clock.measure(SAVING):
            meta = {**self._meta, "metrics": iteration.to_json()}
            if progress.best is None or heldout.mse < progress.best:
                checkpoint.save(self.run / "best", self.network, self.config.view, meta)
                before = "" if progress.best is None else f" (was {progress.best:.4g})"
                self._say(f"  new best: held-out {heldout.mse:.4g}{before}, saved to {self.run}/best.safetensors")
                progress.best = heldout.mse
            checkpoint.save(self.run / "last", self.network, self.config.view, meta)
        progress.is_finished = self._fraction() >= 1
        progress.epoch, progress.batch = progress.epoch + 1, 0
        progress.loss = progress.gradient_norm = progress.learning_s = 0.0
        progress.rows = 0
        self._save_state()

    def _iteration(self, heldout: HeldOut, monitor: Monitor) -> Iteration:
        """Put the figures of the iteration that has ended together."""
        progress = self.progress
        projections = self.network.projections()
        return Iteration(
            iteration=progress.epoch + 1,
            batches=progress.batches,
            train_loss=progress.loss / progress.rows,
            heldout=heldout,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            samples_per_second=progress.rows / max(progress.learning_s, 1e-9),
            gradient_norm=progress.gradient_norm / progress.batch,
            weight_norms={name: _per_head(weight.detach()) for name, weight in projections.items()},
            gradient_norms={
                name: _per_head(weight.grad / self._clipped_to)
                for name, weight in projections.items()
                if weight.grad is not None
            },
            seconds=time.perf_counter() - self._began,
        )

    def _stop_if(self, interruption: Interruption) -> None:
        """Save the state and stop if Ctrl-C was pressed."""
        if interruption.is_wanted and not self.progress.is_finished:
            self._save_state()
            raise KeyboardInterrupt(
                f"Stopped in iteration {self.progress.epoch + 1} of {self._iterations}; all is saved. "
                "The same command with --resume goes on from here."
            )

    def _save_state(self) -> None:
        """Save all that is needed to go on exactly from here."""
        with self.clock.measure(SAVING):
            self.progress.elapsed_s = time.perf_counter() - self._began
            self.progress.seconds = self.clock.seconds
            tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
            tensors.update(checkpoint.optimizer_tensors(self.optimizer))
            checkpoint.write_tensors(self.run / STATE_NAME, tensors, {"progress": asdict(self.progress)})

    def _restore(self) -> None:
        """Go on from the saved state; without one (killed before the first) from the beginning."""
        clean(self.run)
        path = self.run / STATE_NAME
        if not path.exists():
            return
        tensors, description = checkpoint.read_tensors(path)
        try:
            self.progress = Progress(**description["progress"])
            prefix = "network."
            weights = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
            self.network.load_state_dict(weights)
            checkpoint.restore_optimizer(self.optimizer, tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit this run: {error}. Train into another folder.") from None
        self.clock = Stopwatch(self.progress.seconds)
        done = "finished" if self.progress.is_finished else f"{self.progress.batch} batches into it"
        self._say(f"Going on from iteration {self.progress.epoch + (not self.progress.is_finished)}, {done}.")

    def _finish(self, monitor: Monitor, trouble: str | None = None) -> dict[str, Any]:
        """Write the summary, and say how it went."""
        summary = summarise(monitor.history, self.clock.seconds, self._is_saved(), trouble)
        summary["processor_seconds"] = self.progress.processor_s
        publish(self.run / SUMMARY_NAME, json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")
        for line in verdict_lines(summary):
            self._say(line)
        self._say(f"Where the time went: {self.clock.line()}")
        return summary

    def _is_saved(self) -> bool:
        """Return whether the best checkpoint can be read."""
        try:
            checkpoint.load(self.run, view=self.config.view)
        except CheckpointError:
            return False
        return True


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads within the block; 0 leaves it the number it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is the GPU if there is one.

    Raises:
        ConfigurationError: It is not there, or no device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError):
        there = "cpu, cuda" if torch.cuda.is_available() else "cpu (torch sees no GPU here)"
        raise ConfigurationError(f"no device '{device}'. There are: {there}. Use --device auto.") from None
    return chosen


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a run, or what is left of one.

    Raises:
        CheckpointError: It is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"expected a folder for the run, but {folder} is a file. Choose another --out.")
    names = (CONFIG_NAME, STATE_NAME, METRICS_NAME, SUMMARY_NAME, "best.safetensors", "last.safetensors")
    return any((folder / name).exists() for name in names)


def _per_head(weight: Tensor) -> list[float]:
    """Return the norm of each head's matrix, (H, D, F) -> H numbers."""
    return [float(norm) for norm in weight.flatten(1).norm(dim=1)]
