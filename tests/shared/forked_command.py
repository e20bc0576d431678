"""A command of skyclone in a fork of a process that has imported everything and started no thread.

So its work begins at once. It is never forked from the test's own process: a fork beside threads that earlier tests
started (of torch, of Arrow) waits for ever for what those held.
"""

import os
import signal
import sys
import traceback
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from skyclone.cli import main

LONGEST_S = 60
LATE = ("torch._dynamo", "torch.utils.tensorboard", "matplotlib.pyplot", "skyclone.smoke")
PLOTS = [
    ("skyclone.train.cloning.plots", "losses", b"plot"),
    ("skyclone.train.cloning.plots", "attention", None),
    ("skyclone.train.finetuning.plots", "safety", b"plot"),
    ("skyclone.evaluate.comparison.plot", "draw", b"plot"),
]


def prepare() -> None:
    """Import what commands import late, and draw no plots: both take longer than all else."""
    for name in LATE:
        import_module(name)
    for name, function, drawn in PLOTS:
        setattr(import_module(name), function, lambda *_, drawn=drawn: drawn)


def obey(arguments: list[str], said: Path, environment: dict[str, str]) -> None:
    """Run a command, in this process, as the leader of a group; write what it says."""
    code = 99
    try:
        os.setsid()
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(file, number)
        sys.stdout, sys.stderr = (open(number, "w", 1, closefd=False) for number in (1, 2))  # noqa: SIM115
        main(arguments)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def started(arguments: list[str], said: Path, environment: dict[str, str]) -> BaseProcess:
    """Start a command; return its process."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["forked_commands_prepared"])
    process = context.Process(target=obey, args=(arguments, said, environment))
    with pytest.MonkeyPatch.context() as patched:  # for the server, which starts with the first command
        patched.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        patched.setenv("OMP_NUM_THREADS", "1")
        process.start()
    return process


def ended(process: BaseProcess, said: Path) -> int:
    """Return the exit code of a command when it has ended (of one that was killed below 0); fail if it does not."""
    process.join(timeout=LONGEST_S)
    if process.exitcode is None:
        os.killpg(process.pid or 0, signal.SIGKILL)
        pytest.fail(f"still running after {LONGEST_S} s; it said: {said.read_text()[-3000:]}")
    return process.exitcode
