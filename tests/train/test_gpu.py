"""What only a GPU can show: `python -m pytest tests/train/test_gpu.py -s -m "slow or not slow"`."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from cloning_runs import read_metrics

from skyclone.datasets import Dataset
from skyclone.datasets.loading.loader import Batch
from skyclone.train import checkpoint
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.run import Cloning

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
MODELS = ("attention-additive", "pairwise")


def cloning_of(data: Dataset, out: Path, device: str, **options: Any) -> Cloning:
    config = CloningConfig(**{"model": "pairwise", "observation": "ego:intruders=8", "epochs": 3, **options})
    return Cloning([data], out, config, device=device, say=print)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("model", MODELS)
def test_the_loop_never_waits_for_the_gpu(
    small_dataset: Dataset, tmp_path: Path, model: str, optimizer: str
) -> None:
    """Loader and updates run under torch's own guard, which raises at every synchronisation."""
    options = {"model": model, "observation": "seed", "batch_size": 256, "optimizer": optimizer}
    cloning = cloning_of(small_dataset, tmp_path / "run", "cuda", **options)
    cloning._began = time.perf_counter()
    assert cloning.loader.source.device.type == "cuda", "the data are there"

    def epoch(number: int) -> int:
        cloning.loader.set_epoch(number)
        batches = iter(cloning.loader)
        cloning._step(next(batches))  # the epoch's order crosses over, the optimizer's state is made
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch in batches:
                cloning._step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return len(cloning.loader)

    assert epoch(0) > 20
    epoch(1)
    assert cloning.updater.check().bad is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_gpu_learns_what_a_processor_learns(small_dataset: Dataset, tmp_path: Path, stream: bool) -> None:
    """The order of the rows is the same, so the losses differ by rounding only."""
    for device in ("cpu", "cuda"):
        cloning_of(small_dataset, tmp_path / device, device, stream=stream).train()
    cpu, gpu = (read_metrics(tmp_path / device) for device in ("cpu", "cuda"))
    for one, other in zip(cpu, gpu, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-2)
        assert other.heldout.mse == pytest.approx(one.heldout.mse, rel=2e-2)


def test_a_nan_between_two_looks_is_never_saved(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloning = cloning_of(small_dataset, tmp_path / "run", "cuda", batch_size=256)
    update, calls = cloning.updater.update, 0

    def spoiled(batch: Batch, rows: int, learning_rate: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            batch.action[3, 0] = torch.nan
        update(batch, rows, learning_rate)

    monkeypatch.setattr(cloning.updater, "update", spoiled)
    with pytest.raises(Exception, match="in batch 7 of iteration 1"):
        cloning.train()
    assert calls > 7, "it looked later"
    last = checkpoint.load(tmp_path / "run", "last").network.state_dict()
    assert all(torch.isfinite(weight).all() for weight in last.values())


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("batch_size", [1024, 8192])
def test_speed(small_dataset: Dataset, tmp_path: Path, model: str, batch_size: int) -> None:
    """Prints samples/s of the loop, data and observation on the GPU included."""
    options = {"model": model, "observation": "seed", "batch_size": batch_size}
    cloning = cloning_of(small_dataset, tmp_path / "run", "cuda", **options)
    cloning._began = time.perf_counter()
    rows, start = 0, 0.0
    for number in range(40):
        if number == 5:  # warm by now
            torch.cuda.synchronize()
            rows, start = 0, time.perf_counter()
        cloning.loader.set_epoch(number)
        for batch in cloning.loader:
            cloning._step(batch)
            rows += len(batch.action)
    assert cloning.updater.check().bad is None
    print(f"{model}, batches of {batch_size}: {rows / (time.perf_counter() - start):,.0f} samples/s")
