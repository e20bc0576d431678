"""A Ray cluster as the engine of the collector: each shard a task, the manifest stays with the driver.

A task that is lost with its node is done again on another one, and makes the same there, bit for bit: every node
must run the driver's versions, and one whose arithmetic is not the dataset's makes nothing (see `ShardMaker`).
"""

import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from ...datasets.errors import ConfigurationError, DatasetError, SkycloneError
from ...datasets.provenance import code_version, package_versions
from .workers import one_thread

Made = TypeVar("Made")

_RETRIES = 3  # of a task whose node or process died


def work(
    make: Callable[[int], Made],
    numbers: Sequence[int],
    tasks: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Generator[Made]:
    """Make things by number as tasks of a Ray cluster, yielding each as soon as it is done.

    The cluster is the one that `RAY_ADDRESS` names or that runs on this machine; without any, Ray starts one
    of this machine alone.

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
    began = not ray.is_initialized()
    if began:
        _connect(ray)
    try:
        processors = int(ray.cluster_resources().get("CPU", 0))
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        report(f"Ray cluster: {nodes} node(s), {processors} processors.")
        yield from _hand_out(ray, make, list(numbers), tasks or len(numbers))
    finally:
        if began:
            ray.shutdown()


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
            "Without it: --engine local, with --workers, and --shards for several machines."
        ) from None
    return ray


def _connect(ray: Any) -> None:
    """Join the cluster there is, or begin one."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        if port.isdecimal():
            socket.create_connection((host, int(port)), timeout=10).close()  # Ray itself tries for minutes
        ray.init(log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"expected a Ray cluster{f' at {address} (RAY_ADDRESS)' if address else ''}, got: {_first_line(error)}."
            " Start one with `ray start --head`, or unset RAY_ADDRESS to use this machine alone."
        ) from None


def _hand_out(ray: Any, make: Callable[[int], Made], numbers: list[int], tasks: int) -> Iterator[Made]:
    """Keep this many tasks in the cluster until all are done."""
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_make)
    shared, versions = ray.put(make), _versions()
    numbers = numbers[::-1]
    running: list[Any] = []
    try:
        while numbers or running:
            while numbers and len(running) < tasks:
                running.append(task.remote(shared, numbers.pop(), versions))
            done, running = ray.wait(running)
            yield _take(ray, done[0])
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


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
        f"Ray gave up on a shard: {_first_line(cause)}. Is skyclone installed on every node, and is there memory "
        "enough? Finished shards are kept; the same command continues from there."
    )


def _first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
