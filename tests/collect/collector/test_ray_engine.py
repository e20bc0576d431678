import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector import ray_engine as cluster
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets.errors import ConfigurationError, DatasetError

RAY = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
MANY = ["--episodes", "16", "--episodes-per-shard", "1", "--aircraft", "3", "--seed", "7"]
WANTED = CollectConfig(world=WorldConfig(aircraft=3), episodes=16, episodes_per_shard=1, seed=7)


def test_without_ray_people_are_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"needs Ray, .* pip install 'skyclone\[ray\]', here and on every"):
        collect(tmp_path / "data", WANTED, engine="ray")
    with pytest.raises(ConfigurationError, match=r"unknown engine 'spark'\. There are: local, ray"):
        collect(tmp_path / "data", WANTED, engine="spark")
    assert not (tmp_path / "data").exists()


class _TaskError(Exception):
    cause: Any = None


class _RayError(Exception):
    pass


@pytest.mark.parametrize(
    ("cause", "expected", "message"),
    [
        (DatasetError("cut"), DatasetError, "cut"),
        (OSError(28, "No space left on device"), OSError, "No space left"),
        (ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
        (FileNotFoundError(2, "No such file", "/data/x"), DatasetError, "A Ray node does not see /data/x. Name a"),
        (None, DatasetError, "Ray gave up on a task: node died. Is skyclone installed on every node"),
    ],
)
def test_what_goes_wrong_on_a_node_comes_through(
    cause: Exception | None, expected: type[Exception], message: str
) -> None:
    def get(reference: object) -> None:
        error = _RayError("node died.\nmore") if cause is None else _TaskError()
        error.cause = cause  # type: ignore[union-attr]
        raise error

    ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayTaskError=_TaskError, RayError=_RayError))
    with pytest.raises(expected, match=message):
        cluster._take(ray, None)


def test_a_node_with_other_versions_makes_nothing() -> None:
    assert cluster._make(lambda number: number * 2, 4, cluster._versions()) == 8
    with pytest.raises(ConfigurationError, match="expected the driver's versions on every Ray node"):
        cluster._make(lambda number: number, 4, {**cluster._versions(), "torch": "0.1"})


def test_a_wrong_address_is_an_error_at_once() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"expected a Ray cluster at 127\.0\.0\.1:1 \(RAY_ADDRESS\), got: .*refused.* `ray start --head`",
    ):
        cluster._connect(None, "127.0.0.1:1")


def test_the_address_of_a_cluster_that_was_killed_is_not_waited_for() -> None:
    joined: list[str | None] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        alive = f"127.0.0.1:{server.getsockname()[1]}"
        for left in (None, "127.0.0.1:1", "nonsense", alive):
            private = SimpleNamespace(utils=SimpleNamespace(read_ray_address=lambda left=left: left))
            ray = SimpleNamespace(_private=private, init=lambda address, **options: joined.append(address))
            cluster._connect(ray, "")
    assert joined == [None, "local", "local", None]  # None: Ray joins the one there is, or begins one


needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'skyclone[ray]'")


def test_a_driver_that_dies_is_an_error() -> None:
    heard, said = multiprocessing.Pipe(duplex=False)
    said.close()
    with pytest.raises(DatasetError, match=r"Ray crashed\. What is finished is kept; the same command continues"):
        cluster._next(heard)


@pytest.mark.parametrize(("tasks", "processors", "most"), [(None, 3, 6), (None, 0, 2), (4, 3, 4)])
def test_no_more_tasks_wait_than_the_cluster_needs(tasks: int | None, processors: int, most: int) -> None:
    waiting = []

    def wait(references: list[int], timeout: float) -> tuple[list[int], list[int]]:
        waiting.append(len(references))
        return references[:1], references[1:]

    task = SimpleNamespace(remote=lambda make, number, versions: number)
    ray = SimpleNamespace(
        remote=lambda **options: lambda function: task,
        put=lambda thing: thing,
        cluster_resources=lambda: {"CPU": processors} if processors else {},
        wait=wait,
        get=lambda reference: reference,
        exceptions=SimpleNamespace(RayTaskError=_TaskError, RayError=_RayError),
    )
    assert list(cluster._hand_out(ray, str, list(range(9)), tasks)) == list(range(9))
    assert max(waiting) == most


@needs_ray
@pytest.mark.slow
@pytest.mark.signals
@pytest.mark.parametrize("delay_s", [0.5, 4.0, 9.0], ids=["before Ray", "while it starts", "while it works"])
def test_ctrl_c_ends_it_and_all_that_it_has_started(tmp_path: Path, delay_s: float) -> None:
    command = [sys.executable, "-m", "skyclone", "collect", "--out", str(tmp_path / "data"), "--engine", "ray"]
    process = subprocess.Popen(
        [*command, "--episodes", "100000", "--aircraft", "3"],
        env={**RAY, "MARK": str(tmp_path / "data")},
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    try:
        while not (tmp_path / "data" / "dataset.json").exists():
            assert process.poll() is None, "it has ended before it began"
            time.sleep(0.05)
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        _, said = process.communicate(timeout=15)
    finally:
        process.kill()
    assert process.returncode == 1
    assert b"Interrupted" in said, said.decode()
    end = time.monotonic() + 30
    while (left := _processes_with(str(tmp_path / "data"))) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


def _processes_with(text: str) -> list[str]:
    """Return the processes whose environment names a text: what a command has started inherits it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text.encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
    return found
