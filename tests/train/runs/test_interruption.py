import os
import signal
import subprocess
import sys
import threading

import pytest

from skyclone.train.runs.interruption import remembered

pytestmark = pytest.mark.signals


def test_the_first_ctrl_c_is_remembered_and_the_second_stops() -> None:
    before = signal.getsignal(signal.SIGINT)
    with remembered() as interruption:
        assert not interruption.is_wanted
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.is_wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_goes_to_who_answered_before() -> None:
    answered: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: answered.append(number))
    with remembered():
        os.kill(os.getpid(), signal.SIGINT)
        assert answered == []
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert answered == [signal.SIGINT, signal.SIGINT]


def test_where_ctrl_c_is_ignored_it_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with remembered() as interruption:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGINT)
        assert not interruption.is_wanted
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_background_job_of_a_script_goes_on_after_ctrl_c() -> None:
    """The shell ignores SIGINT for it: the real thing, with the disposition inherited."""
    code = (
        "import os, signal\n"
        "from skyclone.train.runs.interruption import remembered\n"
        "with remembered() as interruption:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "print(interruption.is_wanted)\n"
    )
    command = ["sh", "-c", '"$0" -c "$1" & wait $!', sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_another_thread_changes_nothing() -> None:
    seen = []

    def look() -> None:
        with remembered() as interruption:
            seen.append((signal.getsignal(signal.SIGINT), interruption.is_wanted))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(signal.getsignal(signal.SIGINT), False)]
