"""What every test may rely on, however the suite was started."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def ctrl_c_arrives() -> Iterator[None]:
    """Let Ctrl-C reach every test, and the commands it starts.

    A background job of a script inherits an ignored SIGINT; Python then installs no handler, and neither do the
    processes it starts. A handler, unlike an ignored signal, is not inherited: the commands get the default.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Let torch use one thread: the arrays here are tiny, and two threads spend their time waiting for each other.

    Commands in processes of their own keep what they take for themselves.
    """
    import torch  # not above: xdist's own process reads this file, and calculates nothing

    torch.set_num_threads(1)
