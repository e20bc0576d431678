import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skyclone import ctrl_c
from skyclone.cli import main

PRESSED = """
import os, signal, sys
from skyclone import ctrl_c
signal.signal(signal.SIGINT, signal.default_int_handler)
ctrl_c.install()
sys.path.insert(0, sys.argv[1])
press = lambda _: os.kill(os.getpid(), signal.SIGINT)
try:
    {body}
except BaseException as error:
    print("caught", type(error).__name__)
    os.kill(os.getpid(), signal.SIGINT)
    print("never said")
"""


@pytest.mark.parametrize(
    ("body", "out", "err"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", "caught KeyboardInterrupt\n", ""),  # the second one ends it
        ("import pressed", "", f"{ctrl_c.MESSAGE}\n"),  # although the module swallows it
        ("type('Freed', (), {'__del__': press})()", "", f"{ctrl_c.MESSAGE}\n"),  # although Python swallows it
        ("from numba_of_mine.numba import late; late.press()", "caught KeyboardInterrupt\n", ""),  # no compiler
    ],
)
def test_within_an_import_and_the_second_time_it_ends_at_once(
    tmp_path: Path, body: str, out: str, err: str
) -> None:
    (tmp_path / "pressed.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    pass\n"
    )
    (tmp_path / "numba_of_mine" / "numba").mkdir(parents=True)
    (tmp_path / "numba_of_mine" / "numba" / "late.py").write_text(
        "import os, signal\ndef press():\n    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    command = [sys.executable, "-u", "-c", PRESSED.format(body=body), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (ctrl_c.EXIT_CODE, out, err)


COMPILED = """
import os, signal, numba
from numba.extending import overload

def press():
    pass

@overload(press)
def typed():  # called by the compiler
    os.kill(os.getpid(), signal.SIGINT)
    return lambda: None

@numba.njit
def go():
    press()
"""


def test_within_the_compiler_it_ends_at_once(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    (tmp_path / "compiled.py").write_text(COMPILED)
    code = PRESSED.format(body="import compiled; compiled.go()")
    done = subprocess.run([sys.executable, "-u", "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (ctrl_c.EXIT_CODE, "", f"{ctrl_c.MESSAGE}\n")


def test_an_ignored_signal_stays_ignored_and_another_handler_stays() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.SIG_IGN, lambda number, frame: None):
            signal.signal(signal.SIGINT, handler)
            ctrl_c.install()
            assert signal.getsignal(signal.SIGINT) is handler
            ctrl_c.uninstall()
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_that_is_called_from_python_leaves_the_signal_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        main(["datasets", "info", "nowhere"])
    assert signal.getsignal(signal.SIGINT) is before
