from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from skyclone.datasets.errors import CheckpointError
from skyclone.train import checkpoint
from skyclone.train.finetuning import cli
from skyclone.train.finetuning.cli import finetune
from skyclone.train.finetuning.config import FinetuneConfig, load_config, save_config


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(finetune, [str(each) for each in arguments])


def test_command(clone: Path, tmp_path: Path) -> None:
    small = ("--envs", 2, "--horizon", 8, "--gate-scenarios", 2, "--warmup", 1, "--minibatch", 64, "--lr", 0.001)
    out = tmp_path / "run"
    done = invoke("--from", clone, "--out", out, "--steps", 100, "--threads", 1, *small)
    assert done.exit_code == 0, done.output
    assert "Stage 2 - Iter 1/" in done.output
    assert f"Next: skyclone evaluate {clone} {out}" in done.output
    config, _ = load_config(out)
    assert (config.steps, config.envs, config.ppo.lr) == (100, 2, 0.001)
    assert "was trained with" not in done.output
    again = invoke("--out", out, "--resume")  # everything else comes from the run
    assert again.exit_code == 0, again.output
    assert "Going on after iteration" in again.output


def test_command_without_a_start(tmp_path: Path) -> None:
    done = invoke("--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "Missing option '--from'" in done.output


def test_command_from_nothing(tmp_path: Path) -> None:
    done = invoke("--from", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert isinstance(done.exception, CheckpointError)
    assert "expected a trained network" in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_options_default_to_the_configuration() -> None:
    ppo, analytic = FinetuneConfig.of("ppo"), FinetuneConfig.of("analytic")
    methods = ({**vars(ppo), **vars(ppo.ppo)}, {**vars(analytic), **vars(analytic.analytic)})
    of_both = {key for method in methods for key in method} - {"ppo", "analytic"}
    for parameter in finetune.params:
        defaults = [method[parameter.name] for method in methods if parameter.name in method]
        if parameter.name == "aircraft":  # text
            assert parameter.default == ""
        elif parameter.name == "world":
            assert "[default: as the clone]" in str(parameter.help)
        elif parameter.name == "processes":
            assert "[default: one for each processor" in str(parameter.help)
        elif defaults and parameter.name != "method" and "; analytic" not in str(parameter.help):
            assert {parameter.default} == set(defaults), parameter.name
        elif defaults and parameter.name != "method":
            assert f"[default: {defaults[0]}; analytic {defaults[1]}]" in str(parameter.help)
    assert of_both <= {parameter.name for parameter in finetune.params}


@pytest.mark.parametrize(
    ("processors", "changes", "expected"),
    [
        (2, {}, 2),
        (8, {}, 4),  # 64 episodes, of which each has 16 at least
        (32, {}, 4),
        (32, {"envs": 512}, 32),
        (128, {"envs": 4096}, 64),
        (1, {}, 1),
        (8, {"envs": 4}, 1),
        (8, {"steps": 299_999}, 1),
        (8, {"steps": 300_000}, 4),
        (8, {"method": "analytic"}, 1),
    ],
)
def test_as_many_processes_as_are_busy(
    monkeypatch: pytest.MonkeyPatch, processors: int, changes: dict[str, Any], expected: int
) -> None:
    monkeypatch.setattr(cli, "processors", lambda: processors)
    config = FinetuneConfig(**changes)
    assert cli._processes(config, "cpu") == expected
    assert cli._processes(config, "cuda") == 1, "a GPU flies all episodes at once"


def test_the_processes_of_a_run_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new run is given as many as are busy, or as many as were asked for; one that goes on keeps its own."""
    begun: list[FinetuneConfig] = []

    class Noted:
        def __init__(self, parent: str, out: Path, config: FinetuneConfig, **options: Any) -> None:
            begun.append(config)

        def train(self) -> None:
            """Do nothing."""

    monkeypatch.setattr("skyclone.train.finetuning.run.Finetuning", Noted)
    monkeypatch.setattr(cli, "processors", lambda: 3)
    save_config(tmp_path, FinetuneConfig(processes=2), {"path": "clone", "weights_sha256": "0"})
    new = ("--from", "clone", "--out", tmp_path / "new")
    for arguments in (new, (*new, "--processes", 5), (*new, "--steps", 10), ("--out", tmp_path, "--resume")):
        done = invoke(*arguments)
        assert done.exit_code == 0, done.output
    assert [each.processes for each in begun] == [3, 5, 1, 2]


def test_command_in_another_world(clone: Path, tmp_path: Path) -> None:
    small = ("--envs", 2, "--horizon", 8, "--gate-scenarios", 2, "--warmup", 1, "--minibatch", 64)
    out, world = (
        tmp_path / "run",
        "m600:protected_zone_m=50:sector_radius_m=300:sector_area_m2=150000:aircraft=4:max_steps=30",
    )
    done = invoke("--from", clone, "--out", out, "--steps", 60, "--threads", 1, "--world", world, *small)
    assert done.exit_code == 0, done.exception
    assert f"Warning: {clone} was trained with protected_zone_m 100; here it is 50." in done.output
    found = checkpoint.load(out).meta["world"]
    assert (found["protected_zone_m"], found["aircraft"], found["max_steps"]) == (50.0, 4, 30)
    assert checkpoint.load(out).view == checkpoint.load(clone).view
    again = invoke("--out", out, "--resume")
    assert again.exit_code == 0, again.exception
    other = invoke("--out", out, "--resume", "--world", "m600")
    assert "was begun with world" in str(other.exception)
