"""A Ray cluster as the engine of a command: each thing it makes is a task, and this process keeps what is made.

A task that is lost with its node is done again on another one, and makes the same there, bit for bit: every node
must run the same versions, and one of another arithmetic makes nothing that depends on it (see `ShardMaker` and
`BatchFlyer`).

Ray is not made to be interrupted. Ctrl-C while it starts leaves processes behind, while tasks are handed out it
may crash, and afterwards Python may never end. So a driver process calls it, in a session of its own that no Ctrl-C
of the terminal reaches, and its whole process group is killed when it is not wanted any more.
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from ...datasets.errors import ConfigurationError, DatasetError, SkycloneError
from ...datasets.provenance import code_version, package_versions
from .workers import one_thread, portable, without_ctrl_c

Made = TypeVar("Made")

_RETRIES = 3  # of a task whose node or process died
_AHEAD = 2  # tasks in the cluster for each of its processors: a larger cluster is noticed, and none waits for work
_LOOK_S = 1.0  # how often the size of the cluster is looked at
_END_S = 10.0  # Ray may take to end in order
_MADE, _LINE, _ERROR, _END = "made", "line", "error", "end"


def work(
    make: Callable[[int], Made],
    numbers: Sequence[int],
    tasks: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Generator[Made]:
    """Make things by number as tasks of a Ray cluster, yielding each as soon as it is done.

    The cluster is the one that this process has joined, that `RAY_ADDRESS` names or that runs on this machine;
    without any, Ray starts one of this machine alone.

    Args:
        make: Makes one thing; picklable.
        numbers: Which.
        tasks: How many at once; None for as many as the cluster has processors for.
        report: Gets which cluster it is.

    Raises:
        ConfigurationError: Ray is not installed, there is no cluster, or a node has other versions.
        DatasetError: Ray gave up on a task, or its node does not see the folder.
        Exception: Whatever `make` raises.
    """
    ray = import_ray()
    address = str(ray.get_runtime_context().gcs_address) if ray.is_initialized() else ""
    context = multiprocessing.get_context("spawn")
    heard, said = context.Pipe(duplex=False)
    driver = context.Process(target=_drive, args=(said, make, list(numbers), tasks, address), daemon=True)
    patience_s = 0.0
    try:
        with without_ctrl_c():
            driver.start()
        said.close()
        while True:
            what, value = _next(heard)
            if what == _MADE:
                yield value
            elif what == _LINE:
                report(value)
            elif what == _ERROR:
                raise value
            else:
                patience_s = _END_S
                return
    finally:
        _kill(driver, patience_s)


def _next(heard: Connection) -> tuple[str, Any]:
    """Return what the driver says next."""
    try:
        what, value = heard.recv()
    except (EOFError, OSError):
        raise DatasetError(
            "Ray crashed. What is finished is kept; the same command continues from there. What Ray itself says is "
            "in /tmp/ray/session_latest/logs."
        ) from None
    return what, value


def _kill(driver: BaseProcess, patience_s: float) -> None:
    """End the driver and, where sessions are known, all that it has started; tasks elsewhere end with it."""
    if driver.pid is None:
        return
    connection.wait([driver.sentinel], patience_s)
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # it is not waited for yet: its number is still its own
            os.killpg(driver.pid, signal.SIGKILL)
    driver.kill()
    driver.join()


def _drive(
    said: Connection, make: Callable[[int], Made], numbers: list[int], tasks: int | None, address: str
) -> None:
    """Join the cluster, have everything made and leave it, saying what comes of it: the driver's whole life."""
    os.dup2(2, 1)  # Ray prints what it pleases; standard output belongs to the command
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_follow_parent, daemon=True).start()
    ray = import_ray()
    try:
        _connect(ray, address or os.environ.get("RAY_ADDRESS", ""))
        processors = int(ray.cluster_resources().get("CPU", 0))
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        said.send((_LINE, f"Ray cluster: {nodes} node(s), {processors} processors."))
        for made in _hand_out(ray, make, numbers, tasks):
            said.send((_MADE, made))
        said.send((_END, None))
    except Exception as error:
        said.send((_ERROR, portable(error)))
    finally:
        ray.shutdown()


def _follow_parent() -> None:
    """End this process, and all that it has started, when the parent has died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def import_ray() -> Any:
    """Import Ray.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ConfigurationError(
            "--engine ray needs Ray, which is not installed: pip install 'skyclone[ray]', here and on every node. "
            "Without it: --engine local, with --workers; and `collect --shards` for several machines."
        ) from None
    return ray


def _connect(ray: Any, address: str) -> None:
    """Join the cluster there is, or begin one."""
    try:
        if not address and (left := _left_address(ray)):
            address = "" if _answers(left, timeout_s=2.0) else "local"
        elif address.rpartition(":")[2].isdecimal():
            _answers(address, timeout_s=10.0, must=True)
        ray.init(address or None, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"expected a Ray cluster{f' at {address} (RAY_ADDRESS)' if address else ''}, got: {_first_line(error)}."
            " Start one with `ray start --head`, or unset RAY_ADDRESS to use this machine alone."
        ) from None


def _left_address(ray: Any) -> str:
    """Return where Ray would look for a cluster on this machine: one that was killed leaves its address behind."""
    with suppress(AttributeError, OSError):  # inside of Ray, where it may move
        return str(ray._private.utils.read_ray_address() or "")
    return ""


def _answers(address: str, timeout_s: float, must: bool = False) -> bool:
    """Return whether somebody listens at HOST:PORT, which Ray itself would try for minutes.

    Raises:
        OSError: Nobody does, and somebody must.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
    except (OSError, ValueError):
        if must:
            raise
        return False
    return True


def _hand_out(ray: Any, make: Callable[[int], Made], numbers: list[int], tasks: int | None) -> Iterator[Made]:
    """Keep tasks in the cluster until all are done."""
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_make)
    shared, versions = ray.put(make), _versions()
    numbers = numbers[::-1]
    running: list[Any] = []
    most, looked = 0, -_LOOK_S
    while numbers or running:
        if time.monotonic() >= looked + _LOOK_S:  # nodes come and go
            most = tasks or _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            looked = time.monotonic()
        while numbers and len(running) < most:
            running.append(task.remote(shared, numbers.pop(), versions))
        done, running = ray.wait(running, timeout=_LOOK_S)
        for reference in done:
            yield _take(ray, reference)


def _make(make: Callable[[int], Made], number: int, versions: dict[str, str]) -> Made:
    """Make one thing on a node."""
    if _versions() != versions:
        raise ConfigurationError(
            f"expected the driver's versions on every Ray node, {versions}, got {_versions()}: other versions may "
            "make other rows. Install the same ones everywhere."
        )
    with one_thread():
        return make(number)


def _versions() -> dict[str, str]:
    """Return the versions that decide what a node makes."""
    return {"skyclone": code_version(), **package_versions()}


def _take(ray: Any, reference: Any) -> Any:
    """Return what a task made, or raise what went wrong."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
    except ray.exceptions.RayError as error:
        cause = error
    if isinstance(cause, FileNotFoundError):
        raise DatasetError(
            f"A Ray node does not see {cause.filename}. Name a folder that all nodes share, or s3://bucket/folder."
        )
    if isinstance(cause, SkycloneError | OSError) or not isinstance(cause, ray.exceptions.RayError):
        raise cause
    raise DatasetError(
        f"Ray gave up on a task: {_first_line(cause)}. Is skyclone installed on every node, and is there memory "
        "enough? What is finished is kept; the same command continues from there."
    )


def _first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
