"""Small fine-tuning runs and what is left of them: shared by the tests of both methods."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.traffic.view import View
from skyclone.train import checkpoint, networks
from skyclone.train.finetuning.config import FinetuneConfig
from skyclone.train.finetuning.iteration import TuningIteration
from skyclone.train.finetuning.run import Finetuning
from skyclone.train.runs.metrics_log import read_log
from skyclone.train.tensor_file import read_tensors

WORLD = WorldConfig(aircraft=5, max_steps=16, sector_radius_m=300.0, sector_area_m2=150_000.0)
SIZES = {
    "pairwise": {"hidden": 8, "width": 8, "heads": 1, "head_size": 4},
    "attention-additive": {"hidden": 8, "heads": 2},
}
CHECKPOINTS = {f"{name}.{suffix}" for name in ("best", "last", "clone") for suffix in ("safetensors", "json")}
FILES = {"config.json", "last.state.safetensors", "metrics.jsonl", "summary.json", "tensorboard"}
LEFT = CHECKPOINTS | FILES | {"los.png", "los.svg"}
"""What a finished run leaves in its folder."""


def quiet(line: str) -> None:
    """Say nothing."""


def make_clone(
    folder: Path, name: str = "pairwise", view: str = "ego:intruders=3", seed: int = 0, world: WorldConfig = WORLD
) -> Path:
    """Write a clone that has learned nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = View.parse(view)
    network = networks.make(name, seen, seed=seed, **SIZES[name])
    checkpoint.save(folder / "best", network, seen, {"stage": "clone", "world": world.to_json(), "teacher": "mvp"})
    return folder


def finetuned(source: Path | None, out: Path, config: FinetuneConfig, **options: Any) -> dict[str, Any]:
    """Fine-tune to the end; return the summary."""
    return Finetuning(source, out, config, **{"device": "cpu", "say": quiet, **options}).train()


def runner(config: FinetuneConfig) -> Callable[..., dict[str, Any]]:
    """Return `finetuned` with this configuration where no other is given."""

    def run(source: Path | None, out: Path, config: FinetuneConfig = config, **options: Any) -> dict[str, Any]:
        return finetuned(source, out, config, **options)

    return run


def weights_hash(run_or_file: Path, which: str = "best") -> str:
    return str(checkpoint.load(run_or_file, which).meta["weights_sha256"])


def figures(out: Path) -> list[dict[str, Any]]:
    """The metrics without what depends on the clock."""
    timed = ("steps_per_second", "seconds")
    return [{k: v for k, v in each.to_json().items() if k not in timed} for each in read_metrics(out)]


def read_metrics(out: Path) -> list[TuningIteration]:
    """The log of a run."""
    return read_log(out / "metrics.jsonl", TuningIteration.from_json)


def state(out: Path) -> dict[str, torch.Tensor]:
    return read_tensors(out / "last.state.safetensors")[0]


def assert_same_end(out: Path, other: Path) -> None:
    assert figures(out) == figures(other)
    for which in ("best", "last"):
        assert weights_hash(out, which) == weights_hash(other, which)
    one, two = (
        {name: tensor for name, tensor in state(each).items() if name != "history"} for each in (out, other)
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
