"""PPO in two processes: started, stopped, killed, and gone on with. Starting one takes seconds."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetuning_runs import LEFT, assert_same_end, figures, read_metrics, runner, state, weights_hash
from forked_command import Forked
from forked_command import command as skyclone

from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.train.finetuning import team
from skyclone.train.finetuning.config import FinetuneConfig, PPOConfig, load_config
from skyclone.train.finetuning.rollout import Crew
from skyclone.train.runs.processes import ProcessError

pytestmark = pytest.mark.slow

CONFIG = FinetuneConfig(
    steps=1000,
    envs=4,
    horizon=16,
    warmup=1,
    gate_every=2,
    gate_scenarios=4,
    processes=2,
    ppo=PPOConfig(minibatch=64, epochs=2, lr=1e-3),
)
SOON_S = 8.0  # a helper has ended by then
run = runner(CONFIG)


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Whatever a test leaves does not disturb the next one."""
    yield
    for helper in multiprocessing.active_children():
        helper.kill()
        helper.join()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def at(iteration: int, do: Callable[[], object]) -> Callable[[str], None]:
    """Return what is told a run's lines, and does something once it has heard of an iteration."""

    def say(line: str) -> None:
        if line.startswith(f"Stage 2 - Iter {iteration}/"):
            do()

    return say


def assert_nothing_is_left() -> None:
    assert not multiprocessing.active_children()
    assert not torch.distributed.is_initialized()


def test_what_a_run_leaves(clone: Path, undisturbed: Path) -> None:
    assert {path.name for path in undisturbed.iterdir()} == LEFT
    assert load_config(undisturbed)[0] == CONFIG
    rounds = read_metrics(undisturbed)
    assert rounds[-1].steps >= CONFIG.steps > rounds[-2].steps
    assert weights_hash(undisturbed, "last") != weights_hash(undisturbed, "clone") == weights_hash(clone)
    saved = state(undisturbed)
    episodes = [saved[f"process{rank}.crew0.world.episodes"].tolist() for rank in (0, 1)]
    assert [len(each) for each in episodes] == [2, 2]
    assert not set(episodes[0]) & set(episodes[1])
    assert_nothing_is_left()


def test_the_gate_flies_what_one_process_would(clone: Path, undisturbed: Path, tmp_path: Path) -> None:
    """The clone, in its scenarios; what it becomes differs by the noise it learned with."""
    run(clone, tmp_path / "alone", replace(CONFIG, processes=1, steps=200))
    names = ("steps", "los_events", "at_waypoint", "path", "outside")
    for name, together, alone in zip(names, *(_flown(each, names) for each in (undisturbed, tmp_path / "alone"))):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-2, msg=name)


def _flown(out: Path, names: tuple[str, ...]) -> list[torch.Tensor]:
    from skyclone.train.runs.gate import GateFlights

    flown = GateFlights(*state(out)["flown.clone"].unbind(0))
    return [getattr(flown, name) for name in names]


@pytest.mark.signals
def test_interrupted_then_without_its_helper_then_dead_and_resumed_each_time_it_ends_the_same(
    clone: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt, match="--resume continues from here"):
        run(clone, tmp_path / "run", say=at(1, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert_nothing_is_left()
    assert len(figures(tmp_path / "run")) == 1

    def kill() -> None:
        (helper,) = multiprocessing.active_children()
        helper.kill()
        helper.join(SOON_S)

    with pytest.raises(ProcessError, match=r"has ended: it was killed, or ran out of memory.* --resume continues"):
        run(None, tmp_path / "run", resume=True, say=at(2, kill))
    assert_nothing_is_left()

    restart: Callable[[Crew], None] = Crew.restart
    died = []

    def die(crew: Crew) -> None:
        """Let the first one die in the middle; the helper waits for its gradients then, and is not waited for."""
        restart(crew)
        if crew.steps == 40:
            died.append(time.monotonic())
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Crew, "restart", die)
        patch.setattr(team, "_PATIENCE_S", 60.0)
        with pytest.raises(MemoryError):
            run(clone, tmp_path / "run", resume=True)
    assert time.monotonic() - died[0] < 30
    assert_nothing_is_left()
    assert len(figures(tmp_path / "run")) == 2
    run(clone, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", undisturbed)


def test_ctrl_c_leaves_helpers_alone_while_they_start(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reaches all processes of a terminal; one that still imports would end in a traceback."""
    blocked: list[set[Any]] = []

    def start(helper: Any) -> None:
        blocked.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
        raise OSError("not started")

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start)
    with pytest.raises(OSError, match="not started"):
        run(clone, tmp_path / "run")
    assert [signal.SIGINT in each for each in blocked] == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_helper_killed_while_all_learn_is_said_in_words(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restart: Callable[[Crew], None] = Crew.restart

    def kill(crew: Crew) -> None:
        restart(crew)
        if crew.steps == 40:
            for helper in multiprocessing.active_children():
                helper.kill()

    monkeypatch.setattr(Crew, "restart", kill)
    with pytest.raises(ProcessError, match=r"(has ended|lost another one).* --resume continues"):
        run(clone, tmp_path / "run")
    assert_nothing_is_left()


def test_resuming_with_other_processes(clone: Path, undisturbed: Path) -> None:
    with pytest.raises(CheckpointError, match=r"was begun with processes 2 .got 1"):
        run(clone, undisturbed, replace(CONFIG, processes=1), resume=True)
    assert_nothing_is_left()


@pytest.mark.parametrize("few", [{"envs": 1}, {"gate_scenarios": 2, "processes": 3}])
def test_more_processes_than_there_is_to_do(clone: Path, tmp_path: Path, few: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="processes"):
        run(clone, tmp_path / "run", replace(CONFIG, **few))
    assert_nothing_is_left()
    assert not (tmp_path / "run").exists()


def test_a_state_that_does_not_fit_leaves_no_helper(clone: Path, undisturbed: Path, tmp_path: Path) -> None:
    run(clone, tmp_path / "run", replace(CONFIG, steps=100))
    path = tmp_path / "run" / "last.state.safetensors"
    path.write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="could not read it"):
        run(clone, tmp_path / "run", replace(CONFIG, steps=100), resume=True)
    assert_nothing_is_left()


DIES_WHILE_ALL_LEARN = """
import os, signal, sys, time
from dataclasses import replace
from pathlib import Path
from finetuning_runs import finetuned
from skyclone.train.finetuning.config import FinetuneConfig, PPOConfig
from skyclone.train.finetuning.rollout import Crew

restart = Crew.restart


def die(crew):
    restart(crew)
    if crew.steps == 20:
        time.sleep(1)  # the helper has flown by then, and waits
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Crew.restart = die
    config = FinetuneConfig(envs=4, horizon=8, gate_scenarios=4, processes=2, ppo=PPOConfig(minibatch=64))
    finetuned(Path(sys.argv[1]), Path(sys.argv[2]), config)
"""


def test_a_helper_that_waits_for_a_killed_process_ends_without_a_traceback(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(DIES_WHILE_ALL_LEARN)
    path = os.pathsep.join([str(Path(__file__).parents[2] / "shared"), os.environ.get("PYTHONPATH", "")])
    with (tmp_path / "said.txt").open("w") as said:  # the helper may hold it for longer
        done = subprocess.run(
            [sys.executable, str(tmp_path / "script.py"), str(clone), str(tmp_path / "run")],
            stdout=said,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            timeout=60,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL
    time.sleep(SOON_S / 2)
    assert "Traceback" not in (tmp_path / "said.txt").read_text()


# --- the command ---


def command(clone: Path, out: Path) -> Forked:
    """Start a long run of two processes, as the leader of a group."""
    small = "--envs 4 --gate-scenarios 4 --horizon 8 --warmup 1 --minibatch 64 --processes 2 --steps 1000000"
    arguments = ["finetune", "--from", str(clone), "--out", str(out), *small.split()]
    process = Forked(skyclone, *arguments, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = ""
    while "Iter 3/" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return process


def helpers_of(process: Forked) -> list[int]:
    """The processes it started that do its work."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_with_the_command_its_helper_ends_without_a_traceback(
    clone: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = command(clone, tmp_path / "run")
    (helper,) = helpers_of(process)
    if number == signal.SIGINT:  # Ctrl-C: everybody in the foreground gets it
        os.killpg(process.pid, number)
    else:
        process.kill()
    said = process.communicate(timeout=60)[0]
    end = time.monotonic() + 2 * SOON_S
    while Path(f"/proc/{helper}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not Path(f"/proc/{helper}").exists(), "the helper is left alone"
    assert "Traceback" not in said, said
    if number == signal.SIGINT:
        assert said.count("all is saved. The same command with --resume continues from here.") == 1, said
