import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.files import atomic as publication
from skyclone.datasets.files.atomic import (
    check_ours,
    clean,
    is_temporary,
    locked,
    publish,
    publish_folder,
    publish_together,
)


def test_a_file_appears_whole_and_nothing_else_does(tmp_path: Path) -> None:
    publish(tmp_path / "a", b"one")
    publish(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    publish(tmp_path / "a", b"old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publication.os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        publish(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_several_files_appear_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """They get their names in the order given, after the last of them was written."""
    names, did = ["c", "a", "b"], []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(publication, "_flush_folder", lambda folder: None)
    monkeypatch.setattr(publication.os, "fsync", lambda handle: (did.append("written"), fsync(handle)))
    monkeypatch.setattr(publication.os, "replace", lambda old, new: (did.append(new.name), replace(old, new)))
    publish_together({tmp_path / name: b"old" for name in names})
    assert did == ["written"] * 3 + names

    def full(handle: int) -> None:
        did.append("written")
        if did.count("written") == failing:
            raise OSError(28, "No space left on device")

    did.clear()
    monkeypatch.setattr(publication.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        publish_together({tmp_path / name: b"new" for name in names})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(names, b"old")


def test_only_temporary_files_of_dead_processes_are_cleaned(tmp_path: Path) -> None:
    left = tmp_path / ".skyclone-0123456789abcdef.tmp"
    left.write_bytes(b"half")
    others = ["a.tmp", ".skyclone-123.tmp", "00000.parquet", "skyclone-0123456789abcdef.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    live = tmp_path / publication.temporary_name()
    with open(live, "xb") as file:
        assert publication.hold(file)
        assert clean(tmp_path) == 1
        assert sorted(os.listdir(tmp_path)) == sorted([*others, live.name])
    assert clean(tmp_path) == 1  # closed: nobody is writing it any more
    assert is_temporary(left.name)
    assert not any(is_temporary(name) for name in others)


def test_a_temporary_file_that_was_cleaned_before_it_was_locked_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = publication.lock_descriptor, []

    def cleaned_first(handle: int, **options: Any) -> bool:
        if not calls:
            next(tmp_path.iterdir()).unlink()
        calls.append(handle)
        return lock(handle, **options)

    monkeypatch.setattr(publication, "lock_descriptor", cleaned_first)
    publish(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert len(calls) == 2


def test_a_temporary_file_that_was_cleaned_before_it_was_renamed_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, removed = os.replace, []

    def cleaned_first(temporary: Path, path: Path) -> None:
        if not removed:
            removed.append(clean(tmp_path))
        replace(temporary, path)

    monkeypatch.setattr(publication.os, "replace", cleaned_first)
    publish(tmp_path / "a", b"whole")
    assert removed == [1]
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_leaves_no_temporary_file(tmp_path: Path) -> None:
    """At each bytecode of it, one after the other."""
    target, code = tmp_path / "a", publication._written.__code__

    def interrupted_at(moment: int) -> bool:
        left = iter(range(moment))

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode" and next(left, None) is None:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 asks the frame that calls settrace, and no other
        sys.settrace(trace)
        try:
            publish(target, b"new")
            return False
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)

    for moment in itertools.count():
        target.write_bytes(b"old")
        was_interrupted = interrupted_at(moment)
        assert os.listdir(tmp_path) == ["a"], moment
        assert target.read_bytes() in (b"old", b"new")
        if not was_interrupted:
            break
    assert moment > 50


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "gone" / "a", b"new")


HOLDER = """
import sys, time
from pathlib import Path
from skyclone.datasets.files.atomic import hold, locked, temporary_name
with locked(Path(sys.argv[1])):
    file = open(Path(sys.argv[1]) / temporary_name(), "xb")
    hold(file)
    file.write(b"half")
    print("held", flush=True)
    time.sleep(300)
"""


def test_locks_hold_while_their_process_lives_and_end_with_it(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    entered: list[int] = []

    def enter() -> None:
        with locked(tmp_path):
            entered.append(1)

    waiting = threading.Thread(target=enter, daemon=True)
    waiting.start()
    assert clean(tmp_path) == 0
    waiting.join(0.2)
    assert not entered
    holder.kill()
    holder.communicate()
    waiting.join(10)
    assert entered
    assert clean(tmp_path) == 1
    assert os.listdir(tmp_path) == []


def test_the_lock_of_a_folder_is_held_by_one(tmp_path: Path) -> None:
    inside, most = [], []

    def enter() -> None:
        for _ in range(50):
            with locked(tmp_path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 200
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [".skyclone.lock", ".skyclone-0123456789abcdef.tmp"])
def test_links_in_place_of_our_files_touch_nothing(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).symlink_to(other)
    with locked(tmp_path / "folder"):
        assert clean(tmp_path / "folder") == 0
    publish(tmp_path / "folder" / "a", b"whole")
    assert other.read_bytes() == b"mine"


def test_only_files_of_skyclone_are_replaced(tmp_path: Path) -> None:
    contents = {
        "ours": b"<!doctype html><i>skyclone",
        "empty": b"",
        "theirs": b"mine",
        "late": b" " * 65536 + b"skyclone",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    for name in ("ours", "empty", "none", "nowhere/none"):
        check_ours(tmp_path / name, b"skyclone", "a report")
    kinds = {"theirs": "another file", "late": "another file", "folder": "a folder", "pipe": "a device or a pipe"}
    for name, kind in {**kinds, "link": "another file"}.items():
        message = rf"{name}: expected no file or a report that skyclone wrote, got {kind}\. .* Choose another name"
        with pytest.raises(ConfigurationError, match=message):
            check_ours(tmp_path / name, b"skyclone", "a report")


@pytest.mark.parametrize("name", ["new", "empty", "to_empty", "to_nothing"])
def test_a_folder_appears_whole_also_where_a_link_leads(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "to_empty").symlink_to("empty")
    (tmp_path / "to_nothing").symlink_to("new")
    before = set(os.listdir(tmp_path))
    with publish_folder(tmp_path / name) as folder:
        (folder / "a").write_bytes(b"whole")
        assert not (tmp_path / name / "a").exists()
    assert (tmp_path / name / "a").read_bytes() == b"whole"
    assert set(os.listdir(tmp_path)) == before | {name} | ({"new"} if name == "to_nothing" else set())
    with (
        pytest.raises(ConfigurationError, match=rf"{name}: expected a name that is free"),
        publish_folder(tmp_path / name),
    ):
        pass
