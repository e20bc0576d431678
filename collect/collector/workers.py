"""Workers: processes that make shards side by side, and what happens when one of them dies.

The processes are spawned, never forked (torch keeps threads). Each computes on one thread, so that neither
their number nor the machine's changes a bit of what they make.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

import torch

from ...datasets.errors import DatasetError

Made = TypeVar("Made")


class _Worker(NamedTuple):
    """A process and the driver's end of its pipe."""

    process: BaseProcess
    pipe: Connection


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, and on as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def work(make: Callable[[int], Made], numbers: Sequence[int], workers: int) -> Generator[Made]:
    """Make things by number, yielding each as soon as it is done.

    Args:
        make: Makes one thing; picklable if there are several workers.
        numbers: Which.
        workers: How many processes; 1 works in this one.

    Raises:
        DatasetError: A worker died.
        Exception: Whatever `make` raises.
    """
    if workers <= 1 or len(numbers) <= 1:
        for number in numbers:
            with one_thread():
                made = make(number)
            yield made
        return
    crew: list[_Worker] = []
    try:
        for _ in range(min(workers, len(numbers))):
            crew.append(_start(make))
        yield from _hand_out(crew, list(numbers))
    finally:
        _stop(crew)


def _start(make: Callable[[int], Made]) -> _Worker:
    """Spawn one worker."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make), daemon=True)
    # Ctrl-C reaches every process of the terminal; a worker leaves it to the driver, from its first instruction
    # on. The resource tracker comes first: starting it as part of the process would lift the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()
    return _Worker(process, here)


def _hand_out(crew: list[_Worker], numbers: list[int]) -> Iterator[Any]:
    """Give each idle worker the next number until all are made."""
    numbers = numbers[::-1]
    busy = {}
    for worker in crew:
        _send(worker, numbers.pop())
        busy[worker.pipe] = worker
    while busy:
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]  # only these connections were waited for
            made, error = _receive(worker)
            if error is not None:
                raise error
            if numbers:
                _send(worker, numbers.pop())
            else:
                del busy[worker.pipe]
            yield made


def _send(worker: _Worker, number: int) -> None:
    """Give a worker something to make."""
    try:
        worker.pipe.send(number)
    except OSError:
        raise _died(worker) from None


def _receive(worker: _Worker) -> tuple[Any, Exception | None]:
    """Take what a worker made, or the error it met."""
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        raise _died(worker) from None


def _died(worker: _Worker) -> DatasetError:
    """Say how a worker died and what to do."""
    worker.process.join(5)
    code = worker.process.exitcode
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    hint = " (perhaps the machine ran out of memory: try fewer --workers)" if code == -signal.SIGKILL else ""
    return DatasetError(f"A worker {how}{hint}. Finished shards are kept; the same command goes on from there.")


def _stop(crew: list[_Worker]) -> None:
    """End all workers: idle ones by closing their pipe, busy ones by a signal; shards in flight are lost."""
    for worker in crew:
        with suppress(OSError):
            worker.pipe.close()
        worker.process.terminate()
    for worker in crew:
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(pipe: Connection, make: Callable[[int], Made]) -> None:
    """Be a worker: make what comes through the pipe until it is closed."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):
        while True:
            number = pipe.recv()
            try:
                answer: tuple[Made | None, Exception | None] = (make(number), None)
            except Exception as error:
                answer = (None, _portable(error))
            pipe.send(answer)


def _follow_parent() -> None:
    """End this process when the driver has died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return the error if it can go through a pipe, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
