import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.datasets.console import command_line, printable, say


def test_what_steers_a_terminal_is_written_out() -> None:
    assert printable("a\x1b[31mb\x07\r\x9b\u202e\udcff\0") == r"a\x1b[31mb\x07\r\x9b\u202e\udcff\x00"
    assert printable("Zürich → 3 µm\n\tdone") == "Zürich → 3 µm\n\tdone"


@given(text=st.text(st.characters(exclude_categories=())))
def test_nothing_that_is_said_steers(text: str) -> None:
    said = printable(text)
    assert said.isascii() or said.encode("utf-8"), "it can be written"
    assert not set(said) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))
    assert printable(said) == said


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("data/\x1b[2Jmvp")
    assert capsys.readouterr() == ("", "data/\\x1b[2Jmvp\n")


@pytest.mark.parametrize(
    ("system", "shown"),
    [
        ("posix", r"skyclone report 'C:\my data' --out b"),
        ("nt", r'skyclone report "C:\my data" --out b'),
    ],
)
def test_commands_are_shown_as_one_types_them(system: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "name", system)
        line = command_line("report", r"C:\my data", "--out", "b")
    assert line == shown
