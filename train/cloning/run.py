"""Behavioural cloning: fit a network to the teacher's actions, and lose nothing when it is stopped.

A run is a folder: `config.json` (its settings), `last.state.safetensors` (all that is needed to continue),
`best.*` and `last.*` (checkpoints), `metrics.jsonl` and `tensorboard/` or another tracker's (figures),
`summary.json` and `loss.png` (the end). It may be trained by several processes (`processes.py`): each does all that
is written here on its part of every batch, and only the first writes and reports.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ...datasets.dataset import Dataset
from ...datasets.errors import CheckpointError, ConfigurationError
from ...datasets.files.atomic import publish
from ...datasets.loading.loader import Batch
from ...datasets.traffic.record import TRUTH
from .. import checkpoint
from ..networks import Network
from ..runs import envelope
from ..runs.device import choose_device, torch_threads
from ..runs.interruption import Interruption, remembered
from ..runs.metrics_log import MetricsLog
from ..runs.processes import Processes
from ..runs.run_folder import RunFolder, TrainingError
from ..runs.stopwatch import Stopwatch
from . import batches as material
from .config import CloningConfig, check_same, describe, save_config
from .heldout import HeldOut, measure
from .iteration import Iteration
from .progress import CloningProgress, restore_state, save_state
from .summary import summarise, verdict_lines
from .tensorboard import is_power_of_two, show_network
from .update import Updater

PLOT_NAMES = ("loss.png", "loss.svg")
SAVE_EVERY = 200  # batches between two saved states: a few seconds of work are lost at most
CHECK_EVERY = 50  # batches between two looks at what a GPU has computed; a look waits for it
READING, LOADING, LEARNING = "reading", "loading", "forward and backward"
EVALUATING, SAVING = "evaluation", "saving"


class Cloning:
    """One run of behavioural cloning.

    Args:
        datasets: What to learn from. Held-out figures are on episodes flown by the pure teacher, if any.
        run: The run's folder; made if it is missing.
        config: What to do; numbers of its observation that it does not say are those of the first dataset's world.
        resume: Continue the run in the folder, if there is one; otherwise a run there is an error.
        device: `auto`, `cpu`, `cuda`, ...
        say: Receives each line for people.
        processes: Those that train together; None: this one alone.
        parent: A trained run (or file, or `pretrained:NAME`) whose weights it begins with; None for new ones.
        track: Where figures go besides the log (`trackers`); by default as begun, or TensorBoard.

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
        processes: Processes | None = None,
        parent: str | Path | None = None,
        track: str | None = None,
    ) -> None:
        config = config.scaled(datasets[0].manifest.world) if datasets else config
        self.run, self.config, self.processes = Path(run), config, processes or Processes()
        self._track = track
        self._say = say if self.processes.is_first else _keep_quiet
        self.device = choose_device(device)
        if config.max_processor_seconds is not None and self.processes.size > 1:
            raise ConfigurationError(
                f"expected one process with max_processor_seconds, got {self.processes.size}: each would stop at "
                "another step. Use max_batches or max_seconds."
            )
        described = describe(datasets)
        self.folder = RunFolder(self.run)
        with self.folder.closed_on_error():
            is_there = self.processes.from_first(lambda: self._is_there(described, resume))
            self._prepare(datasets, described, parent)
            if is_there:
                self.processes.together(self._restore)
            else:
                self.processes.from_first(lambda: self._begin(described))

    def _is_there(self, described: list[dict[str, Any]], resume: bool) -> bool:
        """Return whether there is a run to continue, after checking that it may be."""
        is_there = self.folder.open(resume, self._say)
        if is_there:
            check_same(self.run, self.config, described)
        return is_there

    def _prepare(
        self, datasets: Sequence[Dataset], described: list[dict[str, Any]], parent: str | Path | None
    ) -> None:
        """Read the data, and make the network and all that trains it."""
        config = self.config
        self.progress = CloningProgress(split=material.split_of(datasets, config.heldout))
        self.datasets, self.clock = datasets, Stopwatch()
        self.history: list[Iteration] = []
        with self.clock.measure(READING):
            part = (self.processes.rank, self.processes.size)
            self.loader, self.heldout = self.processes.together(
                lambda: material.read(datasets, config, self.device, part, self._say)
            )
        self._all_batches = min(len(self.loader) * config.epochs, config.max_batches or 2**63)
        self._iterations = -(-self._all_batches // len(self.loader))
        self.network: Network = config.network().to(self.device)
        self._meta = {
            "stage": "clone",
            "world": config.world(datasets[0].manifest.world),
            "teacher": datasets[0].manifest.teacher,
            "datasets": described,
            "config": config.to_json(),
        }
        self.processes.from_first(self._see_envelope)
        if parent is not None:
            self._adopt(parent)
        self.updater = Updater(self.network, config, self.processes)
        self._check_every = 1 if self.device.type == "cpu" else CHECK_EVERY
        self._elapsed_s, self._is_stopped = 0.0, False  # as all processes agreed at the last look

    def _begin(self, described: list[dict[str, Any]]) -> None:
        """Make the run's folder."""
        self.folder.begin()
        save_config(self.run, self.config, described)

    def _see_envelope(self) -> None:
        """Say between which bounds the rows of training lie."""
        self.loader.set_epoch(0)
        self._meta["envelope"] = envelope.of_batches(self.loader).to_json()

    def _adopt(self, parent: str | Path) -> None:
        """Take the weights of a trained network of the same kind."""
        loaded = checkpoint.load(parent, view=self.config.view)
        if loaded.network.spec != self.network.spec:
            raise CheckpointError(
                f"{loaded.path} holds the network {loaded.network.spec}, expected {self.network.spec}. "
                "Continue with the model it was trained as."
            )
        self.network.load_state_dict(loaded.network.state_dict())
        self._meta["parent"] = {"path": str(parent), "weights_sha256": loaded.meta["weights_sha256"]}

    def train(self) -> dict[str, Any]:
        """Train to the end, and return the summary that is also written to `RUN/summary.json`.

        Raises:
            TrainingError: A loss or gradient became NaN or infinite.
            KeyboardInterrupt: Ctrl-C was pressed; the state is saved.
        """
        count = sum(parameter.numel() for parameter in self.network.parameters())
        self._say(
            f"Stage 1 - {self.config.model} on {self.config.observation}, {count:,} parameters; "
            f"{self.loader.rows:,} training rows, {self.heldout.rows:,} held out; {self.device}"
        )
        if self.config.knows_less:
            self._say(f"Surveillance {self.config.surveillance}; labels: {self.config.labels}")
        self._began = time.perf_counter() - self.progress.elapsed_s
        threads = torch_threads(self.config.threads)
        with self.folder, threads, remembered() as interruption, self._logged() as log:
            try:
                while not self.progress.is_finished:
                    self._use_batches(interruption)
                    self._end_iteration(log)
                    self._look(interruption)
                    self._stop_if_wanted()
            except TrainingError as error:
                trouble = str(error)
                self.processes.from_first(lambda: self._finish(trouble))
                raise self._spoken(error) from None
            return self.processes.from_first(self._finish)

    def _logged(self) -> AbstractContextManager[MetricsLog[Iteration] | None]:
        """Return the log, None in all processes but the first."""
        if not self.processes.is_first:
            return nullcontext()
        return MetricsLog(self.run, self.history, self.progress.batches, self._track, self.config.to_json())

    def _spoken(self, error: BaseException) -> BaseException:
        """Return what to raise where all processes stop: the first speaks, and fails, for all."""
        return error if self.processes.is_first else SystemExit(0)

    def _use_batches(self, interruption: Interruption) -> None:
        """Use the epoch's batches that are left, or as many as the time allows."""
        progress = self.progress
        self.loader.set_epoch(progress.epoch, progress.batch)
        self.updater.begin(progress.loss, progress.gradient_norm, progress.batch)
        with tqdm(
            total=len(self.loader),
            initial=progress.batch,
            desc=f"Iter {progress.epoch + 1}/{self._iterations}",
            unit="batch",
            leave=False,
            disable=None if self.processes.is_first else True,
        ) as bar:
            start, processor = time.perf_counter() - progress.learning_s, time.process_time() - progress.processor_s
            for batch in self.clock.waiting(LOADING, self.loader):
                with self.clock.measure(LEARNING):
                    self._step(batch)
                    is_last, saves = progress.batch == len(self.loader), progress.batches % SAVE_EVERY == 0
                    looks = is_last or saves or progress.batches % self._check_every == 0
                    if looks:
                        self._look(interruption)
                progress.learning_s = time.perf_counter() - start
                progress.processor_s = time.process_time() - processor
                bar.update()
                if not looks:
                    continue
                if self._fraction() >= 1:
                    return
                if is_last:
                    continue  # the end of the epoch evaluates first, and then saves
                if saves:
                    self._save_state()
                    start = time.perf_counter() - progress.learning_s
                    processor = time.process_time() - progress.processor_s
                self._stop_if_wanted()

    def _step(self, batch: Batch) -> None:
        """Make one update."""
        progress = self.progress
        rows = len(batch.action) if self.processes.size == 1 else self.loader.rows_in(progress.batch)
        self.updater.update(batch, rows, self.config.learning_rate(self._fraction()))
        progress.batch += 1
        progress.batches += 1
        progress.rows += rows

    def _look(self, interruption: Interruption) -> None:
        """See what the device has computed since the last look, and agree on the time and on whether to stop."""
        found = self.updater.check()
        self.progress.loss, self.progress.gradient_norm = found.loss, found.gradient_norm
        if found.bad:
            loss, norm, number = found.bad
            self.processes.from_first(lambda: self._save_last(None))
            raise TrainingError(
                f"expected a finite loss and gradient, got {loss} and {norm} in batch {number} "
                f"of iteration {self.progress.epoch + 1}; stopped, with the last good weights kept in {self.run}"
            )
        elapsed = time.perf_counter() - self._began
        self._elapsed_s, presses = self.processes.agree(elapsed, interruption.is_wanted)
        self._is_stopped = presses > 0

    def _fraction(self) -> float:
        """Return how much of the training is done: of the batches, or of the time if that is further."""
        config, done = self.config, [self.progress.batches / self._all_batches]
        if config.max_seconds is not None:
            done.append(self._elapsed_s / config.max_seconds)
        if config.max_processor_seconds is not None:
            done.append(self.progress.processor_s / config.max_processor_seconds)
        return max(done)

    def _end_iteration(self, log: MetricsLog[Iteration] | None) -> None:
        """Evaluate, report and save."""
        progress = self.progress
        with self.clock.measure(EVALUATING):
            self.network.eval()
            heldout = measure(self.network, self.heldout, self.device, self.processes.total)
            self.network.train()
        if not math.isfinite(heldout.mse):
            raise TrainingError(
                f"expected a finite held-out loss, got {heldout.mse} after iteration {progress.epoch + 1}; "
                f"stopped, with the last good weights kept in {self.run}"
            )
        is_best = progress.best is None or heldout.mse < progress.best
        progress.is_finished = self._fraction() >= 1
        self.processes.from_first(lambda: self._report(log, heldout, is_best))
        if is_best:
            progress.best = heldout.mse
        progress.next_epoch()
        self.updater.begin(0.0, 0.0, 0)
        self._save_state()

    def _report(self, log: MetricsLog[Iteration] | None, heldout: HeldOut, is_best: bool) -> None:
        """Keep the figures of the iteration that has ended, say them, and save the weights."""
        assert log is not None, "only the first process reports"
        iteration = self._iteration(heldout)
        log.add(iteration)
        draws = self.progress.is_finished or is_power_of_two(iteration.iteration)
        show_network(log.board, self.network, self.config.view, iteration.step, draws)
        self._say(iteration.line(self._iterations))
        with self.clock.measure(SAVING):
            self._save_checkpoints(iteration, is_best)

    def _save_checkpoints(self, iteration: Iteration, is_best: bool) -> None:
        """Save the last weights, and the best ones if these are."""
        mse, before = iteration.heldout.mse, self.progress.best
        if is_best:
            meta = {**self._meta, "metrics": iteration.to_json()}
            checkpoint.save(self.run / "best", self.network, self.config.view, meta)
            was = "" if before is None else f" (was {before:.4g})"
            self._say(f"  new best: held-out {mse:.4g}{was}, saved to {self.run}/best.safetensors")
        self._save_last(iteration)

    def _save_last(self, iteration: Iteration | None) -> None:
        """Save the last weights, with the figures of the iteration if it was finished."""
        meta = {**self._meta, "metrics": iteration.to_json()} if iteration else self._meta
        checkpoint.save(self.run / "last", self.network, self.config.view, meta)

    def _iteration(self, heldout: HeldOut) -> Iteration:
        """Put the figures of the iteration that has ended together."""
        progress = self.progress
        projections = self.network.projections()
        return Iteration(
            iteration=progress.epoch + 1,
            batches=progress.batches,
            train_loss=progress.loss / progress.rows,
            heldout=heldout,
            learning_rate=self.updater.optimizer.param_groups[0]["lr"],
            samples_per_second=progress.rows / max(progress.learning_s, 1e-9),
            gradient_norm=progress.gradient_norm / progress.batch,
            weight_norms={name: _per_head(weight.detach()) for name, weight in projections.items()},
            gradient_norms={name: _per_head(grad) for name, grad in self.updater.gradients().items()},
            seconds=time.perf_counter() - self._began,
        )

    def _stop_if_wanted(self) -> None:
        """Save the state and stop if Ctrl-C was pressed, in whichever process."""
        if self._is_stopped and not self.progress.is_finished:
            self._save_state()
            stop = KeyboardInterrupt(
                f"Stopped in iteration {self.progress.epoch + 1} of {self._iterations}; all is saved. "
                "The same command with --resume continues from here."
            )
            raise self._spoken(stop)

    def _save_state(self) -> None:
        """Save all that is needed to continue exactly from here."""
        with self.clock.measure(SAVING):
            self.progress.elapsed_s = time.perf_counter() - self._began
            self.progress.seconds = self.clock.seconds
            self.processes.from_first(
                lambda: save_state(self.folder, self.progress, self.history, self.network, self.updater.optimizer)
            )

    def _restore(self) -> None:
        """Continue from the saved state; without one (killed before the first) from the beginning."""
        restored = restore_state(self.folder, self.network, self.updater.optimizer)
        if restored is None:
            return
        progress, self.history = restored
        split, progress.split = progress.split, self.progress.split
        material.check_split(self.run, split, progress.split, self.datasets, self._say)
        self.progress, self.clock = progress, Stopwatch(progress.seconds)
        self._elapsed_s = progress.elapsed_s
        done = "finished" if progress.is_finished else f"{progress.batch} batches into it"
        self._say(f"Going on from iteration {progress.epoch + (not progress.is_finished)}, {done}.")

    def _finish(self, trouble: str | None = None) -> dict[str, Any]:
        """Write the summary and the loss plot, and say how it went."""
        from . import plots  # pulls in matplotlib, which takes a second

        config, seconds = self.config, self.clock.seconds
        knows_more = config.knows_less and config.labels == TRUTH
        summary = summarise(self.history, seconds, self._is_saved(), trouble, config.model, knows_more)
        summary["processor_seconds"] = self.progress.processor_s
        self.folder.write_summary(summary)
        for name in PLOT_NAMES if self.history else ():
            publish(self.run / name, plots.losses(self.history, name.rpartition(".")[2]))
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


def _keep_quiet(line: str) -> None:
    """Say nothing."""


def _per_head(weight: Tensor) -> list[float]:
    """Return the norm of each head's matrix, (H, D, F) -> H numbers."""
    return [float(norm) for norm in weight.flatten(1).norm(dim=1)]
