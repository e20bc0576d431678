"""Trackers: what they are given, with packages that only write it down, and with the real ones where they are."""

import json
import os
import re
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cloning_runs import iteration, read_metrics
from finetuning_runs import finetuned, make_clone

from skyclone.cli import skyclone
from skyclone.datasets import Dataset
from skyclone.datasets.errors import ConfigurationError
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.iteration import Iteration
from skyclone.train.cloning.run import Cloning
from skyclone.train.finetuning.config import FinetuneConfig, PPOConfig
from skyclone.train.runs import trackers
from skyclone.train.runs.metrics_log import MetricsLog
from skyclone.train.runs.trackers import TrackerError, own_run, tracker_of

CONFIG = {"lr": 0.001, "max_seconds": None, "ppo": {"epochs": 3}}
PARAMETERS = {"lr": "0.001", "max_seconds": "None", "ppo.epochs": "3"}


class Record:
    """What a fake package was given."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.scalars: list[tuple[int, dict[str, float]]] = []
        self.others: list[tuple[int, str]] = []
        self.ends: list[Any] = []


def fake_mlflow(record: Record) -> ModuleType:
    """A package that knows one run."""

    class Client:
        def __init__(self, tracking_uri: str) -> None:
            self.uri = tracking_uri

        def get_experiment_by_name(self, name: str) -> Any:
            return SimpleNamespace(experiment_id="7") if record.begun else None

        def create_experiment(self, name: str, place: str | None) -> str:
            record.begun.append({"experiment": name, "uri": self.uri, "place": place})
            return "7"

        def create_run(self, experiment: str, run_name: str) -> Any:
            assert experiment == "7"
            record.begun.append({"name": run_name})
            return SimpleNamespace(info=SimpleNamespace(run_id="one"))

        def update_run(self, ident: str, status: str) -> None:
            record.begun.append({"again": ident, "status": status})

        def log_batch(self, ident: str, metrics: Any = (), params: Any = ()) -> None:
            assert ident == "one"
            if params:
                record.begun.append(dict(params))
            for step in sorted({each[3] for each in metrics}):
                record.scalars.append((step, {each[0]: each[1] for each in metrics if each[3] == step}))

        def log_image(self, ident: str, image: np.ndarray, artifact_file: str) -> None:
            record.others.append((image.shape[0], artifact_file))

        def set_terminated(self, ident: str, status: str) -> None:
            record.ends.append(status)

    module: Any = ModuleType("mlflow")
    module.MlflowClient = Client
    module.entities = SimpleNamespace(Metric=lambda *each: each, Param=lambda *each: each)
    return module


def fake_wandb(record: Record) -> ModuleType:
    """A package that has one run."""

    class Run:
        id = "one"

        def log(self, figures: dict[str, Any], step: int) -> None:
            numbers = {name: value for name, value in figures.items() if isinstance(value, float)}
            record.others += [(step, name) for name in figures if name not in numbers]
            if numbers:
                record.scalars.append((step, numbers))

        def finish(self, exit_code: int) -> None:
            record.ends.append(exit_code)

    def init(**options: Any) -> Run:
        record.begun.append(options)
        return Run()

    module: Any = ModuleType("wandb")
    module.init, module.Settings, module.Histogram, module.Image = init, dict, np.asarray, np.asarray
    return module


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """Both packages, replaced, and an environment that says nothing of them."""
    for name in [*os.environ]:
        if name.startswith(("MLFLOW_", "WANDB_")):
            monkeypatch.delenv(name)
    for name in trackers._QUIET:
        monkeypatch.setenv(name, "true")
    record = Record()
    for name, module in (("mlflow", fake_mlflow(record)), ("wandb", fake_wandb(record))):
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    return record


def logged(run: Path, numbers: range, track: str | None) -> None:
    """Log iterations, each a step of 100, as a run that begins or continues before the first of them."""
    history = [iteration(number) for number in range(1, numbers.start)]
    with MetricsLog(run, history, 100 * len(history), track, CONFIG) as log:
        for number in numbers:
            log.add(iteration(number))


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_each_iteration_is_written_once_also_by_a_run_that_goes_on(
    tmp_path: Path, record: Record, name: str
) -> None:
    logged(tmp_path, range(1, 4), name)
    assert [step for step, _ in record.scalars] == [100, 200, 300]
    assert record.scalars[1][1] == iteration(2).scalars()
    begun = len(record.begun)
    logged(tmp_path, range(3, 6), None)  # the state was saved after 2; 3 is flown again
    assert [step for step, _ in record.scalars] == [100, 200, 300, 400, 500]
    again = record.begun[begun:]
    assert len(again) == 1, "the same run goes on, in the tracker it has begun with"
    assert "one" in (again[0].get("again"), again[0].get("id"))
    assert not (tmp_path / "tensorboard").exists()
    assert json.loads((tmp_path / name / "skyclone.json").read_text()) == {"run": "one", "step": 500}


def test_mlflow_begins_in_the_folder_of_the_run(tmp_path: Path, record: Record) -> None:
    run = tmp_path / "a run"
    run.mkdir()
    logged(run, range(1, 2), "mlflow")
    place = f"{run.as_uri()}/mlflow/artifacts"
    uri = f"sqlite:///{run}/mlflow/mlflow.db"
    assert record.begun == [
        {"experiment": "skyclone", "uri": uri, "place": place},
        {"name": str(run)},
        PARAMETERS,
    ]
    assert record.ends == ["FINISHED"]


def test_wandb_begins_offline_in_the_folder_of_the_run(tmp_path: Path, record: Record) -> None:
    logged(tmp_path, range(1, 2), "wandb")
    options = record.begun[0]
    chosen = (options["mode"], options["dir"], options["id"], options["resume"], options["config"])
    assert chosen == ("offline", str(tmp_path), None, None, CONFIG)
    assert record.ends == [0]


def test_their_own_variables_lead_elsewhere(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there")
    monkeypatch.setenv("WANDB_MODE", "online")
    for name in ("mlflow", "wandb"):
        logged(tmp_path, range(1, 2), name)
    assert (record.begun[0]["uri"], record.begun[0]["place"]) == ("http://there", None)
    assert record.begun[-1]["mode"] == "online"


@pytest.mark.parametrize(("name", "end"), [("mlflow", "FAILED"), ("wandb", 1)])
def test_a_run_that_fails_is_marked(tmp_path: Path, record: Record, name: str, end: object) -> None:
    def fail() -> None:
        with MetricsLog[Iteration](tmp_path, [], 0, name):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert record.ends == [end]


def test_a_tracker_that_does_not_end_hides_no_ctrl_c(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("no server")

    monkeypatch.setattr(sys.modules["mlflow"].MlflowClient, "set_terminated", refuse)

    def run(error: BaseException | None) -> None:
        with own_run("mlflow", tmp_path, {}):
            if error:
                raise error

    with pytest.raises(KeyboardInterrupt):
        run(KeyboardInterrupt())
    with pytest.raises(TrackerError, match="mlflow takes no figures: no server"):
        run(None)


def test_mlflow_s_database_lands_in_no_other_place(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "which?one"
    with pytest.raises(ConfigurationError, match=r"expected a folder without '\?', got .*which\?one"):
        own_run("mlflow", run, {})
    assert (record.begun, run.exists()) == ([], False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    own_run("mlflow", run, {})
    assert record.begun[0]["uri"] == "http://server"


@pytest.mark.parametrize(
    ("name", "others"), [("mlflow", [(4, "scene-5.png")]), ("wandb", [(5, "weights"), (5, "scene")])]
)
def test_weights_and_pictures(tmp_path: Path, record: Record, name: str, others: object) -> None:
    with own_run(name, tmp_path, {}) as board:
        board.add_scalar("loss", 0.5, 5)
        board.add_histogram("weights", torch.zeros(3), 5)
        board.add_image("scene", np.zeros((4, 6, 3), np.uint8), 5, dataformats="HWC")
        board.flush()
    assert (record.scalars, record.others) == ([(5, {"loss": 0.5})], others)


def test_what_a_tracker_refuses_is_one_error(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("no server")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with pytest.raises(TrackerError, match=r"wandb takes no figures: no server. The run is saved; continue"):
        own_run("wandb", tmp_path, {})


def test_a_tracker_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    for name in ("mlflow", "wandb"):
        expected = rf"--track {name} needs the package {name}, .* pip install 'skyclone\[{name}\]', or leave out"
        with pytest.raises(ConfigurationError, match=expected):
            trackers.check(name)
        for command in (["train", "--data", "d"], ["finetune", "--from", "c"], ["dagger", "--from", "c"]):
            with pytest.raises(ConfigurationError, match=expected):
                skyclone.main([*command, "--out", str(tmp_path / "run"), "--track", name], standalone_mode=False)
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ConfigurationError, match="expected a tracker of tensorboard, mlflow, wandb, got 'paper'"):
        trackers.check("paper")


def test_a_run_stays_with_its_tracker(tmp_path: Path) -> None:
    assert tracker_of(tmp_path, None) == "tensorboard"
    (tmp_path / "wandb").mkdir()
    assert tracker_of(tmp_path, None) == "wandb"
    assert tracker_of(tmp_path, "mlflow") == "mlflow"


def test_a_cloning_run_and_one_of_fine_tuning_are_tracked(
    small_dataset: Dataset, tmp_path: Path, record: Record
) -> None:
    config = CloningConfig(
        model="attention-additive:hidden=8:heads=2", observation="ego:intruders=3", epochs=2, batch_size=512
    )
    Cloning([small_dataset], tmp_path / "c", config, device="cpu", say=lambda line: None, track="wandb").train()
    steps = [each.batches for each in read_metrics(tmp_path / "c")]
    assert [step for step, _ in record.scalars] == steps
    assert {step for step, name in record.others if name.startswith("weights/")} == {*steps}
    assert record.begun[0]["config"]["batch_size"] == 512
    assert record.ends == [0]

    tuned = FinetuneConfig(steps=200, envs=4, horizon=8, gate_scenarios=2, warmup=1, ppo=PPOConfig(epochs=1))
    record.scalars.clear()
    finetuned(make_clone(tmp_path / "clone"), tmp_path / "t", tuned, track="mlflow")
    assert record.scalars[-1][0] >= 200
    assert "learning/kl" in record.scalars[-1][1]
    assert record.ends == [0, "FINISHED"]


REAL = """
import sys
from cloning_runs import iteration
from pathlib import Path
import numpy as np, torch
from skyclone.train.runs.metrics_log import MetricsLog
run, name = Path(sys.argv[1]), sys.argv[2]
for first, last in ((1, 3), (3, 5)):
    history = [iteration(number) for number in range(1, first)]
    with MetricsLog(run, history, 100 * len(history), name, {"lr": 0.001}) as log:
        for number in range(first, last + 1):
            log.add(iteration(number))
            log.board.add_histogram("weights", torch.zeros(3), 100 * number)
            log.board.add_image("scene", np.zeros((4, 6, 3), np.uint8), 100 * number)
            log.board.flush()
"""


def _really(run: Path, name: str) -> None:
    """Log five iterations in two attempts with the real package, in a process of its own: it starts threads."""
    run.mkdir()
    path = os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parents[2] / "shared")])
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "WANDB_"))}
    command = [sys.executable, "-c", REAL, str(run), name]
    done = subprocess.run(
        command, env={**kept, "PYTHONPATH": path}, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of packages that MLflow reads with
def test_the_real_mlflow(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs MLflow (extra 'mlflow')")
    run = tmp_path / "run"
    _really(run, "mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run}/mlflow/mlflow.db")
    [found] = client.search_runs([client.get_experiment_by_name("skyclone").experiment_id])
    assert (found.info.status, found.data.params) == ("FINISHED", {"lr": "0.001"})
    history = client.get_metric_history(found.info.run_id, "weight_norm/W_q/head_2")
    assert [(each.step, each.value) for each in history] == [(100 * n, 3.0) for n in range(1, 6)]
    names = sorted(each.name for each in (run / "mlflow" / "artifacts").rglob("*.png") if each.is_file())
    assert names == [f"scene-{100 * n}.png" for n in range(1, 6)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_real_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs Weights & Biases (extra 'wandb')")
    run = tmp_path / "run"
    _really(run, "wandb")
    folders = sorted((run / "wandb").glob("offline-run-*"))
    assert len({re.sub(r".*-", "", folder.name) for folder in folders}) == 1, "both attempts are one run"
    for folder, count in zip(folders, (2, 3), strict=True):  # 3 is flown again, and is not written again
        assert next(folder.glob("*.wandb")).read_bytes().count(b"loss/heldout_conflict") >= count
