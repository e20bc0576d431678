import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from skyclone.collect.collector.workers import one_thread, portable, work
from skyclone.datasets.errors import DatasetError


class _Text:
    """A function as text: goes to a worker that cannot import this file, whatever folder pytest runs in."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, number: int) -> Any:
        return eval(self.text)(number)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return eval, (self.text,)


_SQUARE = _Text("lambda n: (n * n, __import__('os').getpid(), __import__('torch').get_num_threads())")


def test_several_workers_share_the_work_and_end_when_it_is_broken_off() -> None:
    made = work(_SQUARE, range(100_000), 2)
    first = [next(made) for _ in range(50)]
    made.close()
    assert len({square for square, _, _ in first}) == 50
    assert all(int(square**0.5) ** 2 == square for square, _, _ in first)
    processes = {process for _, process, _ in first}
    assert os.getpid() not in processes
    assert {threads for _, _, threads in first} == {1}
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_everything_is_made_once_and_a_worker_s_error_comes_through() -> None:
    make = _Text("lambda n: n if n < 7 else 1 // 0")
    made = work(make, range(8), 2)
    with pytest.raises(ZeroDivisionError):
        assert sorted(next(made) for _ in range(9)) == []
    assert sorted(work(make, range(7), 1)) == list(range(7))  # of two: in the collector's tests


def test_a_worker_that_dies_is_a_clear_error() -> None:
    message = (
        r"A worker was killed by signal 9 \(perhaps .* memory.*Finished shards are kept; the same command continues"
    )
    with pytest.raises(DatasetError, match=message):
        list(work(_Text("__import__('signal').raise_signal"), [signal.SIGKILL, signal.SIGKILL], 2))


_LEFT_ALONE = """
import sys; sys.path.insert(0, {folder!r})
from test_workers import _Text
from skyclone.collect.collector.workers import work
list(work(_Text("lambda n: (print(n, flush=True), __import__('time').sleep(300))"), [1, 2], 2))
"""


@pytest.mark.slow
def test_workers_end_when_the_driver_is_killed() -> None:
    program = _LEFT_ALONE.format(folder=str(Path(__file__).parent))
    driver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert {driver.stdout.readline() for _ in range(2)} == {"1\n", "2\n"}
    start = time.monotonic()
    driver.kill()
    driver.communicate()  # ends when the pipe closes: when the last worker is gone
    assert time.monotonic() - start < 60


def test_one_worker_is_this_process_and_its_threads_come_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for square, process, threads in work(_SQUARE, [3], 4):
            assert (square, process, threads) == (9, os.getpid(), 1)
            assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 / 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    class Strange(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"strange {one} {two}")

    error = DatasetError("cut")
    assert portable(error) is error
    assert str(portable(Strange(1, 2))) == "Strange: strange 1 2"
