import os
from pathlib import Path

import pytest

from skyclone.datasets import machine


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may use eight of many processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(3, 11)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("quota", "count"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),  # two and a half
        ("50000 100000\n", 1),  # half of one
        ("6400000 100000\n", 8),
        ("0 100000\n", 1),
        ("", 8),
        ("rubbish", 8),
        ("1 2 3", 8),
    ],
)
def test_a_container_leaves_as_many_as_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, count: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    assert machine.processors() == count


@pytest.mark.usefixtures("eight")
def test_without_a_quota_it_is_what_the_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "nowhere")
    assert machine.processors() == 8
    monkeypatch.setattr(machine, "_QUOTA", tmp_path)  # a folder
    assert machine.processors() == 8


@pytest.mark.parametrize(("there", "count"), [(6, 6), (None, 1)])
def test_elsewhere_it_is_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int | None, count: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: there)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "nowhere")
    assert machine.processors() == count


def test_there_is_one_at_least() -> None:
    assert 1 <= machine.processors() <= (os.cpu_count() or 1)
