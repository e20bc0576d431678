"""A command of skyclone in a fork of a process that has imported everything and started no thread.

So its work begins at once, where Python and what it imports take two seconds. It is never forked from the test's
own process: a fork beside threads that earlier tests started (of torch, of Arrow) waits for ever for what those
held. What is under test while a command starts, or in what it imports, needs a real process.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from importlib import import_module
from multiprocessing import get_context
from multiprocessing import process as processes
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any, cast

import pytest

from skyclone.evaluate.deployment.onnx_export import Speed

LONGEST_S = 60
LATE = ("torch._dynamo", "torch.utils.tensorboard", "matplotlib.pyplot", "skyclone.smoke", "skyclone.demo")
PLOTS = [
    ("skyclone.train.cloning.plots", "losses", b"plot"),
    ("skyclone.train.cloning.plots", "attention", None),
    ("skyclone.train.finetuning.plots", "safety", b"plot"),
    ("skyclone.evaluate.comparison.plot", "draw", b"plot"),
]
EXPORT = "skyclone.evaluate.deployment.onnx_export"
EXPORTED = [
    (EXPORT, "_translate", b"\x12\x08skyclone" + bytes(20_000)),
    (EXPORT, "_session", None),
    (EXPORT, "_compare", ({"flown": 0.0, "random": 0.0}, 0)),
    (EXPORT, "_race", Speed(1, 1, 1.0, 1.0)),
]
"""What torch and onnxruntime make of an export, while no file is open."""


def prepare() -> None:
    """Import what commands import late; draw no plots and translate no network: that takes longer than all else."""
    for name in LATE:
        import_module(name)
    for name, function, drawn in PLOTS + EXPORTED:
        module = import_module(name)
        setattr(module, function, wraps(getattr(module, function))(lambda *_, drawn=drawn: drawn))


def command(*arguments: str) -> None:
    """Do what `python -m skyclone` does; for `Forked`."""
    from skyclone.__main__ import main

    sys.argv = ["skyclone", *arguments]
    main()


def code(text: str, *arguments: str) -> None:
    """Do what `python -c` does; for `Forked`."""
    sys.argv = ["-c", *arguments]
    exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})


def _begin(
    work: Callable[..., object], arguments: tuple[str, ...], streams: list[Any], place: dict[str, Any]
) -> None:
    """Become the process that a test asked for: the leader of a group, with streams and variables of its own."""
    os.setsid()
    os.chdir(place["cwd"])
    os.environ.clear()
    os.environ.update(place["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in zip((1, 2), streams):
        to = os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if isinstance(stream, str) else stream.fileno()
        os.dup2(to, number)
    for stream in {id(each): each for each in streams if isinstance(each, Connection)}.values():
        stream.close()
    sys.stdout, sys.stderr = (open(number, "w", 1, closefd=False) for number in (1, 2))  # noqa: SIM115
    work(*arguments)


class Forked:
    """A process in a fork, with what tests use of `subprocess.Popen`; the leader of a group.

    Args:
        work: What it does, with the arguments: `command` or `code`.
        arguments: Texts.
        stdout: A file to add to; None for a pipe.
        stderr: The same; `subprocess.STDOUT` for where the other goes.
        cwd: Where.
        env: The environment; None for this process's. What is read while Python imports is not read again.
    """

    def __init__(
        self,
        work: Callable[..., object],
        *arguments: str,
        stdout: Path | None = None,
        stderr: Path | int | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["forked_commands_prepared"])
        streams: list[Any] = []
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        self._writers: list[Connection] = []
        for name, wanted in (("stdout", stdout), ("stderr", stderr)):
            if wanted == subprocess.STDOUT:
                streams.append(streams[0])
            elif wanted is None:
                streams.append(self._piped(name, context))
            else:
                streams.append(str(wanted))
        place = {"cwd": os.fspath(cwd or Path.cwd()), "env": dict(os.environ if env is None else env)}
        self._process: BaseProcess = context.Process(target=_begin, args=(work, arguments, streams, place))
        with pytest.MonkeyPatch.context() as patched:  # for the server, which starts with the first command
            patched.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
            patched.setenv("OMP_NUM_THREADS", "1")
            self._process.start()
        processes._children.discard(self._process)  # type: ignore[attr-defined]  # none that this process waits for
        for writer in self._writers:
            writer.close()

    def _piped(self, name: str, context: Any) -> Connection:
        """Make a pipe, of which this process reads one end; return the other."""
        reader, writer = context.Pipe(duplex=False)
        setattr(self, name, os.fdopen(os.dup(reader.fileno()), encoding="utf-8"))
        reader.close()
        self._writers.append(writer)
        return cast(Connection, writer)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Its exit code, below 0 if a signal ended it; None while it runs."""
        return self._process.exitcode

    poll = returncode.fget

    def wait(self, timeout: float = LONGEST_S) -> int:
        """Wait for its end; return the exit code."""
        self._process.join(timeout)
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
            pytest.fail(f"still running after {timeout:.0f} s")
        return self.returncode

    def communicate(self, timeout: float = LONGEST_S) -> tuple[str, str]:
        """Wait for its end; return what it and those that it started have said since."""
        with ThreadPoolExecutor(2) as pool:
            said = [pool.submit(each.read) if each else None for each in (self.stdout, self.stderr)]
            self.wait(timeout)
            out, err = (each.result(timeout) if each else "" for each in said)
        for each in filter(None, (self.stdout, self.stderr)):
            each.close()
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and none of those that it started."""
        self.send_signal(signal.SIGKILL)


def started(arguments: list[str], said: Path, environment: dict[str, str]) -> Forked:
    """Start a command that says all to a file, with further variables; return its process."""
    return Forked(command, *arguments, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, **environment})


def ended(process: Forked, said: Path) -> int:
    """Return the exit code of a command when it has ended (of one that was killed below 0); fail if it does not."""
    try:
        return process.wait()
    except pytest.fail.Exception as failure:
        pytest.fail(f"{failure}; it said: {said.read_text()[-3000:]}")
