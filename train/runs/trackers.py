"""Where the figures of a run go besides `metrics.jsonl`: TensorBoard, MLflow or Weights & Biases (`--track`).

MLflow (`skyclone[mlflow]`) and Weights & Biases (`skyclone[wandb]`) work offline here: they write below the run's
folder, and nothing leaves the machine, unless their own variables (`MLFLOW_TRACKING_URI`, `WANDB_MODE`) say so.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import click

from ...datasets.errors import ConfigurationError, SkycloneError
from ...datasets.files.atomic import publish

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""The trackers, and what each imports; the first is the default. Each has a folder of its name in the run's."""
PROJECT = "skyclone"
STATE_NAME = "skyclone.json"
_LONGEST = 500
"""Characters of a parameter; MLflow takes no more."""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}

track_option = click.option(
    "--track",
    type=click.Choice(list(PACKAGES)),
    metavar="NAME",
    help="Where figures go besides metrics.jsonl: tensorboard, mlflow or wandb, all offline in the run's folder.  "
    "[default: where the run has begun, or tensorboard]",
)


class TrackerError(SkycloneError):
    """A tracker takes no figures."""


class Tracker(Protocol):
    """What is written to, as TensorBoard's `SummaryWriter` is; a context manager that closes it."""

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add one figure."""

    def add_histogram(self, tag: str, values: Any, step: int) -> None:
        """Add a distribution of numbers, a tensor of any shape on the CPU."""

    def add_image(self, tag: str, image: Any, step: int, dataformats: str = "HWC") -> None:
        """Add a picture, (H, W, 3) uint8."""

    def flush(self) -> None:
        """Write what was added."""


class Backend(Protocol):
    """A run of MLflow or of Weights & Biases.

    Attributes:
        ident: Its name there, by which it is continued.
    """

    ident: str

    def scalars(self, figures: dict[str, float], step: int) -> None:
        """Write the figures of a step."""

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """Write a distribution, where there is such a thing."""

    def image(self, tag: str, image: Any, step: int) -> None:
        """Write a picture, (H, W, 3) uint8."""

    def close(self, failed: bool) -> None:
        """End the run."""


def check(name: str | None) -> None:
    """See that a tracker is installed, before any work is done.

    Raises:
        ConfigurationError: It is not, or there is none of that name.
    """
    if name is None:
        return
    if name not in PACKAGES:
        raise ConfigurationError(f"expected a tracker of {', '.join(PACKAGES)}, got '{name}'.")
    if find_spec(PACKAGES[name]) is None:
        raise ConfigurationError(
            f"--track {name} needs the package {PACKAGES[name]}, which is not installed. "
            f"Install the extra: pip install 'skyclone[{name}]', or leave out --track."
        )


def tracker_of(run: Path, wanted: str | None) -> str:
    """Return the name of the tracker of a run: the one that is wanted, or has begun, or else the default."""
    begun = [name for name in PACKAGES if (run / name).is_dir()]
    return wanted or next(iter([*begun, *PACKAGES]))


class OwnRun:
    """A `Tracker` that hands what it is given to a run of MLflow or of Weights & Biases, each step once.

    A run that is continued repeats the steps since its last save: those that are there are not written again.

    Args:
        folder: Where it is noted which run it is, and how far it is.
        begin: Begins or continues the run: given its name, None for a new one.
    """

    def __init__(self, folder: Path, begin: Callable[[str | None], Backend]) -> None:
        self._file = folder / STATE_NAME
        folder.mkdir(parents=True, exist_ok=True)
        ident, self._known = _noted(self._file)
        with _in_words(folder.name):
            self._backend = begin(ident)
        self._step, self._scalars = self._known, dict[str, float]()
        self._note()

    def __enter__(self) -> "OwnRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        first = suppress(TrackerError) if kind else nullcontext()  # what has failed before is what is said
        with first, _in_words(self._file.parent.name):
            self._backend.close(failed=kind is not None)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Keep a figure until `flush`."""
        if self._is_new(step):
            self._scalars[tag] = float(value)

    def add_histogram(self, tag: str, values: Any, step: int) -> None:
        """Write a distribution of numbers."""
        if self._is_new(step):
            with _in_words(self._file.parent.name):
                self._backend.histogram(tag, values, step)

    def add_image(self, tag: str, image: Any, step: int, dataformats: str = "HWC") -> None:
        """Write a picture, (H, W, 3) uint8."""
        assert dataformats == "HWC"
        if self._is_new(step):
            with _in_words(self._file.parent.name):
                self._backend.image(tag, image, step)

    def flush(self) -> None:
        """Write the figures that were added."""
        if self._scalars:
            with _in_words(self._file.parent.name):
                self._backend.scalars(self._scalars, self._step)
            self._scalars = {}
            self._note()

    def _is_new(self, step: int) -> bool:
        """Return whether a step was not there when this began; figures of the one before are written first."""
        if step <= self._known:
            return False
        if step != self._step:
            self.flush()
        self._step = step
        return True

    def _note(self) -> None:
        """Note how far the run is."""
        publish(self._file, json.dumps({"run": self._backend.ident, "step": self._step}).encode() + b"\n")


class MLflowRun:
    """A run of MLflow, in `RUN/mlflow/mlflow.db` or where `MLFLOW_TRACKING_URI` says; a `Backend`.

    Args:
        run: The run's folder.
        ident: What MLflow calls it; None to begin it.
        config: What it is to do.
    """

    def __init__(self, run: Path, ident: str | None, config: Mapping[str, Any]) -> None:
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        folder = (run / "mlflow").resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        place = None if uri else (folder / "artifacts").as_uri()
        self._mlflow, self._client = (
            mlflow,
            mlflow.MlflowClient(tracking_uri=uri or f"sqlite:///{folder}/mlflow.db"),
        )
        if ident is not None:
            self.ident = ident
            self._client.update_run(ident, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        where = experiment.experiment_id if experiment else self._client.create_experiment(name, place)
        self.ident = str(self._client.create_run(where, run_name=str(run)).info.run_id)
        parameters = [mlflow.entities.Param(key, str(value)[:_LONGEST]) for key, value in _flat(config).items()]
        self._client.log_batch(self.ident, params=parameters)

    def scalars(self, figures: dict[str, float], step: int) -> None:
        """Write the figures of a step."""
        now = time.time_ns() // 1_000_000
        metrics = [self._mlflow.entities.Metric(name, value, now, step) for name, value in figures.items()]
        self._client.log_batch(self.ident, metrics=metrics)

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """Write nothing: MLflow has no distributions."""

    def image(self, tag: str, image: Any, step: int) -> None:
        """Write a picture, (H, W, 3) uint8."""
        self._client.log_image(self.ident, image, artifact_file=f"{tag}-{step}.png")

    def close(self, failed: bool) -> None:
        """End the run."""
        self._client.set_terminated(self.ident, "FAILED" if failed else "FINISHED")


class WandbRun:
    """A run of Weights & Biases, in `RUN/wandb`, offline unless `WANDB_MODE` says otherwise; a `Backend`.

    Args:
        run: The run's folder.
        ident: What W&B calls it; None to begin it.
        config: What it is to do.
    """

    def __init__(self, run: Path, ident: str | None, config: Mapping[str, Any]) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE", "offline")
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=str(run),
            id=ident,
            resume="allow" if ident and mode == "online" else None,
            config=dict(config),
            dir=os.environ.get("WANDB_DIR", str(run)),
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )
        self.ident = str(self._run.id)

    def scalars(self, figures: dict[str, float], step: int) -> None:
        """Write the figures of a step."""
        self._run.log(figures, step=step)

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """Write a distribution."""
        self._run.log({tag: self._wandb.Histogram(values.numpy())}, step=step)

    def image(self, tag: str, image: Any, step: int) -> None:
        """Write a picture, (H, W, 3) uint8."""
        self._run.log({tag: self._wandb.Image(image)}, step=step)

    def close(self, failed: bool) -> None:
        """End the run."""
        self._run.finish(exit_code=int(failed))


def own_run(name: str, run: Path, config: Mapping[str, Any]) -> OwnRun:
    """Begin or continue the run of MLflow or Weights & Biases that belongs to a run.

    Args:
        name: `mlflow` or `wandb`.
        run: The run's folder.
        config: What it is to do, as JSON: the parameters that are shown.

    Raises:
        ConfigurationError: The package is not installed, or MLflow's database cannot lie in this folder.
        TrackerError: It does not begin, such as a server that does not answer.
    """
    check(name)
    if name == "mlflow" and "MLFLOW_TRACKING_URI" not in os.environ and "?" in str(run.resolve()):
        raise ConfigurationError(
            f"--track mlflow: expected a folder without '?', got {run}: the name of its database would end there. "
            "Choose another folder, or say in MLFLOW_TRACKING_URI where figures go."
        )
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    kind = MLflowRun if name == "mlflow" else WandbRun
    return OwnRun(run / name, lambda ident: kind(run, ident, config))


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Say what a tracker refuses; that of the operating system is said as it is."""
    try:
        yield
    except (OSError, SkycloneError):
        raise
    except Exception as error:
        raise TrackerError(
            f"{name} takes no figures: {error}. The run is saved; continue it with --resume, or with "
            f"--resume --track {next(iter(PACKAGES))}."
        ) from error


def _noted(file: Path) -> tuple[str | None, int]:
    """Return which run a folder's is and how far it is; None and -1 where that is not known."""
    try:
        noted = json.loads(file.read_text("utf-8"))
        return str(noted["run"]), int(noted["step"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None, -1


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the settings of a config and of those inside it, named `ppo.epochs`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        inner = _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
        found.update(inner)
    return found
