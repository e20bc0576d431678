"""Lines, words and the order of commands, as BlueSky has them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.collect.scenarios.scn.commands import Command, Queue, commands_of, text_of, words_of

HERE = Path("own.scn")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A,M600,52,4", ["A", "M600", "52", "4"]),
        ("A M600\t52 , 4", ["A", "M600", "52", "4"]),
        ("A,,52", ["A", "", "52"]),
        ("52.1 4.2 , , , 52.3 4.4 , ,", ["52.1", "4.2", "", "", "52.3", "4.4", ""]),
        ("ECHO 'two words', N52'18'15", ["ECHO", "two words", "N52'18'15"]),
        ("'never ends", ["never ends"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text(alphabet="ab ,'\"", max_size=12))
def test_words_of_anything_end(text: str) -> None:
    assert all("," not in word or "'" in text or '"' in text for word in words_of(text))


def test_lines() -> None:
    text = """
# 00:00:00.00>COMMENT ONLY
00:01:00.00>LATER 1 # said at the end
00:00:00.50>FIRST 1; SECOND 2;;
00:00:00.00>LONG 1, \\
# a comment between
  2
0:0:0>OP
not a line at all
0:00:00:99>TAKEN FOR 0 S
"""
    found, skipped = commands_of(HERE, text)
    assert [(each.time_s, each.text, each.line) for each in found] == [
        (60.0, "LATER 1", 3),
        (0.5, "FIRST 1", 4),
        (0.5, "SECOND 2", 4),
        (0.0, "LONG 1, 2", 5),
        (0.0, "TAKEN FOR 0 S", 10),
    ]
    assert skipped == [
        "line 8: shorter than 10 characters",
        "line 9: expected 00:00:00.00>COMMAND, got 'not a line at all'",
    ]


def test_encodings() -> None:
    assert text_of("\ufeffé".encode()) == "é"
    assert text_of(b"\xe9") == "é"


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=20))
def test_the_queue_is_in_order_of_time_and_then_of_coming(added: list[tuple[int, bool]]) -> None:
    queue, expected = Queue([]), []
    for number, (time, is_first) in enumerate(added):
        batch = [Command(float(time), f"{number}{half}", HERE, 1) for half in "ab"]
        queue.add(batch, is_first)
        expected = batch + expected if is_first else expected + batch
    taken = []
    while (command := queue.next()) is not None:
        taken.append(command)
    assert taken == sorted(expected, key=lambda each: each.time_s)
