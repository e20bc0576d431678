"""The examples of `--help`: every command has some, each parses, and each runs, at a small size."""

import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from command_lines import command_paths, parse

from skyclone.cli import main, skyclone
from skyclone.datasets.options import HelpfulCommand, arguments_of
from skyclone.evaluate.deployment import onnx_export
from skyclone.evaluate.deployment.onnx_export import Export
from skyclone.train import Policy

ROOT = Path(__file__).parents[2]
TINY = {
    "collect": "--episodes 2 --aircraft 3 --workers 1 --out made",
    "train": "--epochs 1 --processes 1",
    "dagger": "--rounds 1 --episodes 2 --epochs 1 --probe 2 --gate-scenarios 2 --workers 1",
    "finetune": "--steps 50 --envs 2 --gate-scenarios 2 --aircraft 3",
    "evaluate": "--scenarios 2 --aircraft 3 --bootstrap 100",
    "compare": "--seeds 1 --steps 2 --seconds 0 --scenarios 2 --bootstrap 100",
}
"""What makes the examples of a command small."""
LONG = ("skyclone demo", "skyclone demo --out trial", "skyclone demo --small")
"""Minutes: `tests/test_demo.py` has the small one."""
FAST = ("worlds", "datasets info", "datasets verify", "datasets convert")
NEEDS = {
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "plugin": ("bluesky",),
    "datasets export-minari": ("minari",),
}


def helpful(path: str) -> Any:
    """Return a command."""
    command: Any = skyclone
    for name in path.split():
        command = command.get_command(click.Context(command), name)
    return command


PATHS = [path for path in command_paths(skyclone) if not isinstance(helpful(path), click.Group)]
EXAMPLES = [
    pytest.param(path, example, marks=[] if path in FAST else pytest.mark.slow, id=example[9:])
    for path in PATHS
    for example in getattr(helpful(path), "examples", ())
    if "s3://" not in example and example not in LONG
]


EXPORTED = "skyclone export runs/clone --onnx clone.onnx"
"""One export is real; of all policies that ship, `tests/evaluate/deployment/test_onnx_export.py`."""


def as_if_exported(policy: Policy, path: str | Path) -> Export:
    """Write nothing but a file."""
    Path(path).write_bytes(bytes(10))
    return Export(Path(path), 10, {"flown": 0.0, "random": 0.0}, 0, ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two datasets and a clone, as the examples expect them."""
    folder = tmp_path_factory.mktemp("reader")
    for run in ["runs/clone"]:
        (folder / run).mkdir(parents=True)
        for weights in (ROOT / "pretrained").glob("clone.*"):
            for name in ("best", "last"):
                shutil.copy(weights, folder / run / f"{name}{weights.suffix}")
    for name, seed in (("mvp", "0"), ("dense", "1")):
        small = f"--episodes 24 --aircraft 3 --workers 1 --world m600:max_steps=60 --seed {seed}".split()
        main(["collect", "--out", str(folder / "data" / name), *small])
    return folder


@pytest.mark.parametrize("path", PATHS)
def test_every_command_has_examples_that_parse(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = helpful(path)
    assert isinstance(command, HelpfulCommand)
    options = [each.opts[0].lstrip("-") for each in command.params]
    assert len(command.examples) >= (3 if len(options) > 2 else 2 if options else 1)
    for example in command.examples:
        assert example.startswith(f"skyclone {path}")
        assert len(example) < 120
        parse(arguments_of(example))
    grouped = " ".join(command.groups.values()).split()
    assert set(grouped) <= set(options), "a group names no option that is gone"
    assert len(set(grouped)) == len(grouped), "an option stands in one group"
    assert len(options) < 10 or len(command.groups) > 1, "so many options are read in groups"


@pytest.mark.filterwarnings("ignore")  # of the packages that exports write with
@pytest.mark.parametrize(("path", "example"), EXAMPLES)
def test_an_example_runs(path: str, example: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDS.get(path, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
    (folder / "src").mkdir(exist_ok=True)
    if path == "export" and example != EXPORTED:
        monkeypatch.setattr(onnx_export, "export_onnx", as_if_exported)
    if path in ("report", "gallery", "export-flight") and not (folder / "report").exists():
        main(["evaluate", "--baselines", "none", "--out", "report", *TINY["evaluate"].split()])
    out = arguments_of(example)[arguments_of(example).index("--out") + 1] if "--out" in example else ""
    for made in ("made", out if "--resume" not in example and out.startswith("runs/") else "made"):
        shutil.rmtree(made, ignore_errors=True)  # another example's
    main([*arguments_of(example), *TINY.get(path, "").split()])
    assert not out or Path("made" if path == "collect" else out).exists()
