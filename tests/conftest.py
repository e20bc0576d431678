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
