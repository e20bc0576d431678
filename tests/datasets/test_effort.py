from pathlib import Path
from typing import Any

import pytest

from skyclone.datasets import effort
from skyclone.datasets import machine as machine_module
from skyclone.datasets.errors import ConfigurationError

YEAR_S = 365.25 * 86_400


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 8 GB of memory and 100 GB of free disk."""
    monkeypatch.setattr(effort, "memory_bytes", lambda: 8e9)
    monkeypatch.setattr(effort, "free_bytes", lambda folder: 100e9)


def said(**needs: Any) -> list[str]:
    lines: list[str] = []
    effort.weigh("much", lines.append, **{"seconds": 1.0, "less": "fewer --of", "folder": Path("out"), **needs})
    return lines


def test_what_is_short_is_begun_without_a_word() -> None:
    assert said(seconds=59, memory=7e9, disk=40e9) == []


def test_how_long_and_where_is_said_of_what_takes_a_minute() -> None:
    assert said(seconds=3000, memory=7e9, disk=40e9) == ["much: about 50 minutes, into out. Ctrl-C stops it."]
    assert said(seconds=70, folder=None) == ["much: about 70 seconds. Ctrl-C stops it."]


@pytest.mark.parametrize(
    ("needs", "line"),
    [
        ({"seconds": 7200}, "much: about 2 hours. Ctrl-C stops it. To make it less, use fewer --of."),
        ({"disk": 60e9}, "much: about 1 seconds and 60 GB of the 100 GB that are free. Ctrl-C stops it."),
    ],
)
def test_what_takes_long_or_most_of_the_disk_is_said(needs: dict[str, float], line: str) -> None:
    (found,) = said(**needs)
    assert found.startswith(f"Warning: {line}")


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ({"memory": 9e9}, r"the memory of 8 GB, got much, which takes 9 GB or more\. Use fewer --of\.$"),
        ({"disk": 3e12}, r"\(100 GB are free at out\), got much: about 3\.0 TB\. Use fewer --of, or another --out"),
        ({"seconds": 200 * YEAR_S}, r"within a hundred years, got much: about 200 years\. Use fewer --of\.$"),
    ],
)
def test_what_cannot_be_is_refused(needs: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        said(**needs)


def test_where_nothing_is_known_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "memory_bytes", lambda: None)
    monkeypatch.setattr(effort, "free_bytes", lambda folder: None)
    assert said(memory=1e30, disk=1e30) == said(disk=1e30, folder=None) == []


def test_a_small_disk_is_simply_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "free_bytes", lambda folder: 1000)
    assert said(disk=9e8) == []


def test_a_container_s_memory_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine_module, "_MEMORY", limit)
    there = machine_module.memory_bytes()
    for text, expected in (("1000000", 1_000_000), ("max", there), (f"{2**70}", there)):
        limit.write_text(text)
        assert machine_module.memory_bytes() == expected


def test_what_episodes_come_to() -> None:
    assert effort.rows_of(10, 20, 100.0) == 20_000
    assert effort.memory_of_flight(10, 20, 0) == 10 * 400 * effort.BYTES_OF_PAIR
    assert effort.memory_of_flight(10, 20, 100.0) == pytest.approx(400_000 + 20_000 * effort.BYTES_FLOWN)


def test_sizes_and_times_for_people() -> None:
    assert [effort.in_bytes(count) for count in (999, 1500, 2e9, 6.4e15, 999.7e9)] == [
        "999 bytes",
        "1.5 kB",
        "2 GB",
        "6,400.0 TB",
        "1.0 TB",
    ]
    times = [effort.in_time(seconds) for seconds in (59, 300, 8000, 3 * 86_400, 1500 * YEAR_S)]
    assert times == ["59 seconds", "5 minutes", "2 hours", "3 days", "1,500 years"]


def test_the_disk_of_a_folder_that_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert (effort.free_bytes(tmp_path / "not" / "yet") or 0) > 0
    assert (effort.memory_bytes() or 1e9) > 1e8
