"""Workers: processes that make shards side by side, and what happens when one of them dies.

The processes are spawned, never forked (torch keeps threads; Windows knows nothing else). Each computes on one
thread, so that neither their number nor the machine's changes a bit of what they make.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from ...datasets.errors import DatasetError

Made = TypeVar("Made")


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
    crew = _Crew(make, min(workers, len(numbers)))
    try:
        yield from crew.hand_out(numbers)
    finally:
        crew.stop()


class _Crew:
    """Spawned processes that make things.

    Args:
        make: Makes one thing; goes to each process once.
        size: How many processes.
    """

    def __init__(self, make: Callable[[int], Made], size: int) -> None:
        self.size = size
        self.processes: set[BaseProcess] = set()
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(size, context, initializer=_begin, initargs=(make,))

    def hand_out(self, numbers: Sequence[int]) -> Iterator[Any]:
        """Give each idle process the next number until all are made."""
        rest = iter(numbers)
        running = {self._submit(number) for _, number in zip(range(self.size), rest)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {self._submit(number) for _, number in zip(done, rest)}
            for future in done:
                try:
                    made = future.result()
                except BrokenProcessPool:
                    raise self._died() from None
                yield made

    def _submit(self, number: int) -> Future[Any]:
        """Give the pool something to make; it starts a process for it if none is idle."""
        before = multiprocessing.active_children()
        try:
            with without_ctrl_c():
                return self._pool.submit(_make_one, number)
        except BrokenProcessPool:
            raise self._died() from None
        finally:
            self.processes |= set(multiprocessing.active_children()).difference(before)

    def _died(self) -> DatasetError:
        """Say how a worker died and what to do; the pool ends all others by SIGTERM."""
        self._pool.shutdown()
        codes = [process.exitcode for process in self.processes]
        code = next((code for code in codes if code not in (None, -signal.SIGTERM)), -signal.SIGTERM)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        is_killed = code == -getattr(signal, "SIGKILL", 0)
        hint = " (perhaps the machine ran out of memory: try fewer --workers)" if is_killed else ""
        return DatasetError(
            f"A worker {how}{hint}. Finished shards are kept; the same command continues from there."
        )

    def stop(self) -> None:
        """End all processes now, idle or not; what they are making is lost."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Let processes that are started in the block leave Ctrl-C to this one, from their first instruction on.

    Ctrl-C reaches every process of the terminal. Windows can keep it from a process only once that runs.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # first: starting it together with a process would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_made_by: list[Callable[[int], Any]] = []  # in a worker: what makes its things


def _begin(make: Callable[[int], Any]) -> None:
    """Become a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    torch.set_num_threads(1)
    _made_by.append(make)


def _make_one(number: int) -> Any:
    """Make one thing in a worker."""
    try:
        return _made_by[0](number)
    except Exception as error:
        raise portable(error) from None


def _follow_parent() -> None:
    """End this process when the driver has died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def portable(error: Exception) -> Exception:
    """Return the error if it can go through a pipe, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
