import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import Dataset, open_dataset
from skyclone.datasets.config import fields_of
from skyclone.datasets.errors import CheckpointError, ConfigurationError, DatasetError, ObservationError
from skyclone.datasets.files.storage import as_folder
from skyclone.train.cloning import cli
from skyclone.train.cloning.cli import OF_RECIPES, train
from skyclone.train.cloning.config import CloningConfig, describe, load_config, recipes, surveillance_of

SMALL = ("--model", "pairwise:width=8:hidden=8", "--observation", "ego:intruders=4", "--batch-size", 512)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(train, [str(argument) for argument in arguments])


def test_a_dataset_that_was_moved_is_named_anew(small_dataset: Dataset, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(small_dataset.path, data)
    assert invoke("--data", data, "--out", out, *SMALL, "--epochs", 1).exit_code == 0
    moved = data.rename(tmp_path / "moved")
    error = invoke("--out", out, "--resume").exception
    assert str(error) == f"the run's dataset is no longer at {data}. If it was moved, say where: --data DIR"
    assert invoke("--data", moved, "--out", out, "--resume").exit_code == 0


def test_train_resume_and_more(small_dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = invoke("--data", small_dataset.path, "--out", out, *SMALL, "--epochs", 2)
    assert result.exit_code == 0, result.exception
    assert "Stage 1 - Iter 2/2 | Imitation Loss: " in result.stderr
    assert f"Next: skyclone evaluate {out}" in result.stderr
    assert json.loads((out / "config.json").read_text())["config"]["epochs"] == 2

    again = invoke("--out", out, "--resume")
    assert again.exit_code == 0, again.exception
    assert "Going on from iteration 2, finished." in again.stderr

    for extra in (("--lr", 0.5), ("--observation", "seed")):
        different = invoke("--data", small_dataset.path, "--out", out, *SMALL, *extra, "--resume")
        assert isinstance(different.exception, CheckpointError)
        assert f"got {extra[1]}" in str(different.exception)


def test_the_surveillance_is_that_of_the_dataset_or_the_one_typed(
    small_dataset: Dataset, tmp_path: Path, trained: list[CloningConfig]
) -> None:
    heard = tmp_path / "heard"
    collect(heard, CollectConfig(WorldConfig(aircraft=3, max_steps=5, surveillance="ads-b"), episodes=20))
    assert surveillance_of([small_dataset]) == "perfect"
    for typed, expected in ((), "ads-b"), (("--surveillance", "perfect"), "perfect"):
        invoke("--data", heard, "--out", tmp_path / "run", *SMALL, *typed)
        assert trained[-1].surveillance == expected
    both = invoke("--data", heard, "--data", small_dataset.path, "--out", tmp_path / "run", *SMALL)
    assert "collected under one surveillance, got ads-b, perfect" in str(both.exception)
    described = describe([open_dataset(heard), small_dataset])
    assert [each.get("surveillance") for each in described] == ["ads-b", None]


# --- the recipe of the model ---


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[CloningConfig]:
    """The configurations of runs that are begun, and not carried out."""
    begun: list[CloningConfig] = []

    class Noted:
        def __init__(self, datasets: list[Dataset], out: Path, config: CloningConfig, **options: Any) -> None:
            begun.append(config)

        def train(self) -> None:
            """Do nothing."""

    monkeypatch.setattr("skyclone.train.cloning.run.Cloning", Noted)
    return begun


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), CloningConfig.of("attention-additive")),
        (("--model", "lstm"), CloningConfig.of("lstm")),
        (
            ("--model", "pairwise:width=8"),
            replace(CloningConfig.of("pairwise"), model="pairwise:width=8"),
        ),
        (
            ("--model", "thresholds", "--lr", 0.5, "--epochs", 3, "--optimizer", "adamw", "--schedule", "constant"),
            replace(CloningConfig.of("thresholds"), lr=0.5, epochs=3, optimizer="adamw", schedule="constant"),
        ),
        (
            ("--observation", "cpa", "--conflict-weight", 1, "--seed", 4),
            replace(CloningConfig.of("attention-additive"), observation="cpa", conflict_weight=1.0, seed=4),
        ),
    ],
)
def test_a_recipe_is_what_holds_where_nothing_is_said(
    small_dataset: Dataset,
    tmp_path: Path,
    trained: list[CloningConfig],
    arguments: tuple[object, ...],
    expected: CloningConfig,
) -> None:
    done = invoke("--data", small_dataset.path, "--out", tmp_path / "run", *arguments)
    assert done.exit_code == 0, done.output
    assert trained == [expected]


def test_a_run_that_goes_on_keeps_what_it_began_with(small_dataset: Dataset, tmp_path: Path) -> None:
    """Also what its model's recipe says otherwise."""
    own = ("--lr", 0.0123, "--schedule", "cosine", "--optimizer", "adamw")
    out = tmp_path / "run"
    assert invoke("--data", small_dataset.path, "--out", out, *SMALL, "--epochs", 1, *own).exit_code == 0
    begun = load_config(out)[0]
    assert (begun.lr, begun.schedule, begun.optimizer, begun.epochs) == (0.0123, "cosine", "adamw", 1)
    again = invoke("--out", out, "--resume")
    assert again.exit_code == 0, again.output
    assert load_config(out)[0] == begun


def test_the_help_names_the_recipe_of_the_usual_model() -> None:
    assert set(OF_RECIPES) == {key for recipe in recipes().values() for key in recipe}
    usual = CloningConfig.of("attention-additive")
    said = " ".join(invoke("--help").output.split())
    for name in OF_RECIPES:
        assert f"[default: the model's recipe; attention-additive: {getattr(usual, name)}]" in said
        assert str(fields_of(CloningConfig)[name].description) in said


# --- as many processes as are busy ---


@pytest.mark.parametrize(
    ("processors", "changes", "expected"),
    [
        (2, {}, 2),
        (8, {}, 2),  # 1024 rows a batch, of which each has 512 at least
        (32, {}, 2),
        (8, {"batch_size": 4096}, 8),
        (32, {"batch_size": 4096}, 8),
        (128, {"batch_size": 65536}, 64),
        (1, {}, 1),
        (8, {"batch_size": 256}, 1),
        (8, {"max_seconds": 59.0}, 1),
        (8, {"max_seconds": 60.0}, 2),
        (8, {"epochs": 1}, 1),  # over before others have started
    ],
)
def test_as_many_processes_as_are_busy(
    small_dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    changes: dict[str, Any],
    expected: int,
) -> None:
    monkeypatch.setattr(cli, "processors", lambda: processors)
    data = (as_folder(str(small_dataset.path)),) * 2
    config = CloningConfig(**{"epochs": -(-cli.LONG_ROWS // (2 * small_dataset.rows)), **changes})
    assert cli._processes(config, data, "cpu") == expected
    assert cli._processes(config, data, "cuda") == 1, "a GPU takes the batch whole"
    fewer = replace(config, epochs=max(1, config.epochs - 1))
    assert cli._processes(fewer, data, "cpu") == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ["--model", "mpl"],
            ConfigurationError,
            "unknown model 'mpl'. There are: attention-additive, attention-dot, ",
        ),
        (["--observation", "sead"], ObservationError, "unknown observation 'sead'. There are: seed, ego, cpa"),
        (["--device", "tpu9"], ConfigurationError, "no device 'tpu9'. There are: cpu"),
        (["--epochs", "0"], ConfigurationError, "expected epochs of 1 or more"),
    ],
)
def test_wrong_values(
    small_dataset: Dataset, tmp_path: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    result = invoke("--data", small_dataset.path, "--out", tmp_path / "run", *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_wrong_use(tmp_path: Path) -> None:
    assert invoke("--out", tmp_path / "run").exit_code == 2
    assert "Missing option '--data'" in invoke("--out", tmp_path / "run").stderr
    assert invoke("--out", tmp_path / "run", "--epochs", "many").exit_code == 2
    result = invoke("--data", tmp_path, "--out", tmp_path / "run")
    assert isinstance(result.exception, DatasetError)
    assert "is no dataset" in str(result.exception)


def test_no_permission(small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = invoke("--data", small_dataset.path, "--out", tmp_path / "run", *SMALL, "--epochs", 1)
    assert isinstance(result.exception, PermissionError)
