"""Engines: where a command's work is done, in processes of this machine or as tasks of a Ray cluster."""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from ...datasets.errors import ConfigurationError
from . import ray_engine, workers

LOCAL, RAY = "local", "ray"
ENGINES = (LOCAL, RAY)

Made = TypeVar("Made")


def check(engine: str) -> None:
    """Check that an engine exists and is installed.

    Raises:
        ConfigurationError: It does not, or is not.
    """
    if engine not in ENGINES:
        raise ConfigurationError(f"unknown engine '{engine}'. There are: {', '.join(ENGINES)}.")
    if engine == RAY:
        ray_engine.import_ray()


def work(
    engine: str,
    make: Callable[[int], Made],
    numbers: Sequence[int],
    at_once: int | None,
    report: Callable[[str], None] = lambda line: None,
) -> Generator[Made]:
    """Make things by number, yielding each as soon as it is done.

    Args:
        engine: One of `ENGINES`.
        make: Makes one thing; picklable, unless one process of this machine makes all.
        numbers: Which.
        at_once: How many: processes, 1 if None; or tasks, as many as the cluster takes if None.
        report: Gets a line that says which cluster it is.

    Raises:
        ConfigurationError: The cluster is not there, or a node of it has other versions.
        DatasetError: A worker died, or Ray gave up on a task.
        Exception: Whatever `make` raises.
    """
    if engine == RAY:
        return ray_engine.work(make, numbers, at_once, report)
    return workers.work(make, numbers, at_once or 1)
