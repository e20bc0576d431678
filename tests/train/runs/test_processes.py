import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cloning_runs import read_metrics
from forked_command import Forked, code, command
from processes_in_threads import in_threads
from torch import Tensor, nn

from skyclone.datasets import Dataset
from skyclone.datasets.errors import ConfigurationError, DatasetError
from skyclone.train import checkpoint
from skyclone.train.cloning import run as cloning
from skyclone.train.cloning.config import CloningConfig
from skyclone.train.cloning.run import Cloning
from skyclone.train.cloning.update import Updater
from skyclone.train.runs.processes import ProcessError, Processes, joined, own_device
from skyclone.train.tensor_file import read_tensors

CONFIG = CloningConfig(
    model="pairwise:width=8:hidden=8", observation="ego:intruders=4", epochs=2, batch_size=512, schedule="cosine"
)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"WORLD_SIZE": "x"},
            r"expected a whole number of 1 or more .* WORLD_SIZE, got 'x'\. torchrun sets it; unset",
        ),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE, got '-1'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE, got '0'"),
        ({"WORLD_SIZE": "2", "RANK": "9" * 99}, "expected a whole number of 0 or more .* RANK, got '999"),
        ({"WORLD_SIZE": "2"}, "cannot be joined: .* MASTER_ADDR expected"),
    ],
)
def test_an_environment_that_torchrun_did_not_set(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message), joined("cpu"):
        pass


def test_alone_everything_is_done_here() -> None:
    alone = Processes()
    assert alone.is_first
    assert alone.total(torch.tensor(3.0)) == 3.0
    assert alone.agree(7.0, True) == (7.0, 1.0)
    assert alone.from_first(lambda: 5) == 5
    with pytest.raises(DatasetError, match="as it was"):
        alone.together(lambda: (_ for _ in ()).throw(DatasetError("as it was")))


def gradients() -> list[nn.Parameter]:
    """Three parameters, of which one has no gradient."""
    parameters = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[2].grad = torch.arange(6.0).view(2, 3), torch.tensor([10.0])
    return parameters


def test_gradients_and_figures_are_added_up() -> None:
    each = [gradients() for _ in range(3)]

    def work(processes: Processes) -> list[float]:
        figures = torch.tensor([1.0, float(processes.rank)])
        return processes.total_gradient(each[processes.rank], figures).tolist()

    assert in_threads(3, work) == [[3.0, 3.0]] * 3
    for first, second, third in each:
        assert first.grad is not None
        assert third.grad is not None
        assert torch.equal(first.grad, 3 * torch.arange(6.0).view(2, 3))
        assert (second.grad, third.grad.tolist()) == (None, [30.0])
    alone = gradients()
    figures = torch.tensor([1.0])
    assert Processes().total_gradient(alone, figures) is figures
    assert torch.equal(alone[0].grad, torch.arange(6.0).view(2, 3))  # type: ignore[arg-type]


def test_a_lost_process_is_said_in_words_and_nothing_else_is() -> None:
    with (
        pytest.raises(ProcessError, match=r"process 1 of 2 lost another one, .* with --resume continues from"),
        Processes(0, 2).reaching(),
    ):
        raise RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error")
    for size in (1, 2):
        with pytest.raises(RuntimeError, match="out of memory"), Processes(0, size).reaching():
            raise RuntimeError("out of memory")


def test_without_torchrun_nobody_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("auto") as (processes, device):
        assert (processes.size, device) == (1, "auto")
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("device", "gpus", "own"),
    [("auto", 0, "cpu"), ("auto", 1, "cpu"), ("auto", 4, "cuda:1"), ("cuda", 2, "cuda:1"), ("cpu", 4, "cpu")],
)
def test_each_process_has_its_gpu(monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, own: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert own_device(device, 1, 2) == own


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 1), ("cuda:0", 4), ("cuda", 0)])
def test_a_gpu_is_not_shared(monkeypatch: pytest.MonkeyPatch, device: str, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ConfigurationError, match=f"each of the 2 processes on this machine, got --device {device}"):
        own_device(device, 1, 2)


def torchrun(port: int, *arguments: str) -> subprocess.Popen[str]:
    """Start two processes; a port of its own for each test, as they may run at the same time."""
    return subprocess.Popen(
        [*TORCHRUN, str(port + os.getpid() % 1000), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )


def as_by_torchrun(port: int, plan: dict[str, Any]) -> tuple[list[int], str]:
    """Let two processes do what a plan says, in the environment that torchrun gives them.

    Returns:
        Their exit codes, and what they said.
    """
    host = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port + os.getpid() % 1000)}
    both = {**os.environ, **host, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    text = Path(__file__).with_name("torchrun_worker.py").read_text()
    started = [
        Forked(
            code, text, json.dumps(plan), stderr=subprocess.STDOUT, env={**both, "RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in ("0", "1")
    ]
    said = "".join(process.communicate(timeout=200)[0] for process in started)
    return [process.wait() for process in started], said


def losses_alone(data: Dataset, out: Path, config: CloningConfig, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Train in this process and return what each step lost."""
    losses: list[float] = []
    note: Callable[..., None] = Updater._note

    def noted(self: Updater, loss: Tensor, norm: Tensor, rows: int) -> None:
        losses.append(float(loss))
        note(self, loss, norm, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Updater, "_note", noted)
        Cloning([data], out, config, device="cpu", say=lambda line: None).train()
    return losses


def assert_same_run(one: Path, other: Path) -> None:
    """Two runs differ by rounding only."""
    for which in ("best", "last"):
        theirs = checkpoint.load(other, which).network.state_dict()
        for name, weight in checkpoint.load(one, which).network.state_dict().items():
            torch.testing.assert_close(theirs[name], weight, rtol=1e-4, atol=1e-5)
    for mine, yours in zip(
        read_metrics(one),
        read_metrics(other),
        strict=True,
    ):
        assert (mine.batches, mine.heldout.rows) == (yours.batches, yours.heldout.rows)
        assert yours.train_loss == pytest.approx(mine.train_loss, rel=1e-5)
        assert yours.heldout.mse == pytest.approx(mine.heldout.mse, rel=1e-5)
        assert yours.heldout.mse_conflict == pytest.approx(mine.heldout.mse_conflict, rel=1e-5)
        assert yours.heldout.sharpness == pytest.approx(mine.heldout.sharpness, rel=1e-5)
        assert yours.gradient_norm == pytest.approx(mine.gradient_norm, rel=1e-4)
        assert yours.gradient_norms["W_q"] == pytest.approx(mine.gradient_norms["W_q"], rel=1e-2, abs=1e-6)


@pytest.mark.slow
def test_two_train_as_one(small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same losses step by step; the last batch has one row, so one process has none of it."""
    rows = Cloning([small_dataset], tmp_path / "count", CONFIG, say=lambda line: None).loader.rows
    uneven = next(size for size in range(400, rows) if rows % size == 1)
    configs = {
        "plain": replace(CONFIG, batch_size=uneven),
        "stream": replace(CONFIG, stream=True, conflict_weight=2.5, batch_size=601),
        "resumed": CONFIG,
    }
    alone = {
        name: losses_alone(small_dataset, tmp_path / f"{name}-alone", config, monkeypatch)
        for name, config in configs.items()
    }
    with monkeypatch.context() as patch:  # killed in the second epoch of one process, gone on with in two
        patch.setattr(cloning, "SAVE_EVERY", 4)
        steps = iter(range(21))
        step: Callable[..., None] = Cloning._step
        patch.setattr(Cloning, "_step", lambda self, batch: (next(steps), step(self, batch)))
        with pytest.raises(StopIteration):
            Cloning([small_dataset], tmp_path / "resumed", CONFIG, device="cpu", say=lambda line: None).train()

    runs: list[dict[str, Any]] = [
        {"out": str(tmp_path / name), "config": config.to_json(), "resume": name == "resumed"}
        for name, config in configs.items()
    ]
    codes, said = as_by_torchrun(21000, {"data": str(small_dataset.path), "runs": runs})
    for name in configs:
        losses = json.loads((tmp_path / f"{name}.losses.json").read_text())
        assert losses == pytest.approx(alone[name][-len(losses) :], rel=1e-5), name
        assert_same_run(tmp_path / f"{name}-alone", tmp_path / name)
    assert 0 < len(losses) < len(alone["resumed"]), "it went on, and did not begin again"
    assert said.count("Going on from iteration 2") == 1, said
    assert said.count("Verdict:") == len(configs), said
    assert said.count("| Imitation Loss:") == sum(config.epochs for config in configs.values()) - 1, said
    # and at the end one process fails: the first one raises its error, and so all fail
    assert codes == [1, 0], said
    assert said.count("DatasetError: only the second process met this") == 1, said


@pytest.mark.slow
def test_a_nan_in_one_process_stops_all(small_dataset: Dataset, tmp_path: Path) -> None:
    run = {"out": str(tmp_path / "run"), "config": replace(CONFIG, epochs=3).to_json()}
    codes, said = as_by_torchrun(22000, {"data": str(small_dataset.path), "nan_at": 5, "runs": [run]})
    assert codes == [1, 0], said
    assert said.count("TrainingError: expected a finite loss and gradient, got nan and nan in batch 5 of iter") == 1
    assert said.count("Diagnosis, not finite:") == 1
    last = checkpoint.load(tmp_path / "run", "last").network.state_dict()
    assert all(torch.isfinite(weight).all() for weight in last.values())
    _, state, _ = read_tensors(tmp_path / "run" / "last.state.safetensors")
    assert state["progress"]["batch"] == 4


def options(data: Dataset, out: Path, epochs: int = 100000) -> list[str]:
    """The command line of a run that does not end before it is stopped."""
    small = f"--model {CONFIG.model} --batch-size 512 --epochs {epochs}"
    return ["train", "--data", str(data.path), "--out", str(out), *small.split()]


def helped(data: Dataset, out: Path, epochs: int = 100000) -> Forked:
    """Start a command that starts another process of its run by itself."""
    return Forked(command, *options(data, out, epochs), "--processes", "2", stderr=subprocess.STDOUT)


def heard(process: subprocess.Popen[str] | Forked, words: str) -> str:
    """Wait until a process says something; return what it has said."""
    assert process.stdout is not None
    said = ""
    while words not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def second_of(process: Forked) -> int:
    """The second process of the run."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(int(each) for each in children if b"\0RANK=1\0" in Path(f"/proc/{each}/environ").read_bytes())


@pytest.mark.signals
@pytest.mark.slow
@pytest.mark.parametrize("starter", ["torchrun", "itself"])
def test_ctrl_c_stops_all_and_one_process_goes_on(small_dataset: Dataset, tmp_path: Path, starter: str) -> None:
    out = tmp_path / "run"
    process: subprocess.Popen[str] | Forked
    if starter == "torchrun":
        process = torchrun(23000, "-m", "skyclone", *options(small_dataset, out))
    else:
        process = helped(small_dataset, out)
    said = heard(process, "Iter 3/100000 |")
    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert said.count("all is saved. The same command with --resume continues from here.") == 1, said
    assert "Traceback" not in said.split("The same command with")[0], said
    lines: list[str] = []
    config = replace(CloningConfig.of(CONFIG.model), batch_size=512, epochs=100000)
    resumed = Cloning([small_dataset], out, config, resume=True, device="cpu", say=lines.append)
    assert lines[0].startswith("Going on from iteration ")
    assert resumed.progress.batches >= 3 * len(resumed.loader)


@pytest.mark.slow
def test_a_killed_process_ends_all_without_a_traceback(small_dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = helped(small_dataset, out)
    said = heard(process, "Iter 2/100000 |")
    os.kill(second_of(process), signal.SIGKILL)
    said += process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert "Traceback" not in said, said
    assert said.count("process 1 of 2 lost another one, which was stopped or ended by itself") == 1, said
    checkpoint.load(out, "last")


@pytest.mark.slow
def test_a_command_starts_its_helper_and_trains_as_one(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CloningConfig.of(CONFIG.model), batch_size=512, epochs=2)
    losses_alone(small_dataset, tmp_path / "alone", config, monkeypatch)
    process = helped(small_dataset, tmp_path / "two", epochs=2)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert said.count("| Imitation Loss:") == 2, "only the first one speaks"
    assert_same_run(tmp_path / "alone", tmp_path / "two")


@pytest.mark.slow
def test_a_helper_ends_with_the_first_process(small_dataset: Dataset, tmp_path: Path) -> None:
    process = helped(small_dataset, tmp_path / "run")
    heard(process, "Iter 2/100000 |")
    helper = second_of(process)
    process.kill()
    said = process.communicate(timeout=60)[0]
    end = time.monotonic() + 20
    while Path(f"/proc/{helper}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{helper}").exists(), said
    assert "Traceback" not in said, said


@pytest.mark.slow
def test_a_helper_that_ends_at_once_is_noticed() -> None:
    """Here it is given a command that there is not."""
    code = "import sys; sys.argv = ['skyclone', 'fly']\nfrom skyclone.train.runs.processes import joined\n"
    code += "with joined('cpu', 2): print('joined')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "joined" not in done.stdout
