import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skyclone.datasets.errors import CheckpointError
from skyclone.train.runs.run_folder import FILE_NAMES, HOLDER_NAME, LOCK_NAME, RunFolder, TrainingError


def quiet(line: str) -> None:
    """Say nothing."""


def begun(path: Path) -> RunFolder:
    """A run that has begun."""
    folder = RunFolder(path)
    folder.begin()
    (path / "config.json").write_text('{\n "stage": "clone"\n}')
    return folder


def test_a_new_folder_an_occupied_one_and_one_to_go_on_with(tmp_path: Path) -> None:
    lines: list[str] = []
    assert not RunFolder(tmp_path / "run").open(resume=True, say=lines.append)
    assert lines == [f"Nothing to resume in {tmp_path}/run: starting from the beginning."]
    assert not (tmp_path / "run").exists()
    begun(tmp_path / "run").close()
    with pytest.raises(CheckpointError, match=r"already holds a run. Continue it with --resume"):
        RunFolder(tmp_path / "run").open(resume=False, say=quiet)
    with RunFolder(tmp_path / "run") as folder:
        assert folder.open(resume=True, say=quiet)
    assert os.listdir(tmp_path / "run") == ["config.json"], "no trace of the lock"
    with pytest.raises(CheckpointError, match=r"expected a folder for the run, but .*config.json is a file"):
        RunFolder(tmp_path / "run" / "config.json").open(resume=True, say=quiet)


@pytest.mark.parametrize("name", FILE_NAMES)
@pytest.mark.parametrize("resume", [True, False])
def test_no_file_of_somebody_else_is_written_over(tmp_path: Path, name: str, resume: bool) -> None:
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(CheckpointError, match=rf"{name}: expected no file or .*, got another file. It is left as"):
        RunFolder(tmp_path).open(resume, quiet)
    with pytest.raises(CheckpointError, match=f"{name}: expected no file"):
        RunFolder(tmp_path).begin()
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_a_folder_of_that_name_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(CheckpointError, match=r"summary.json: expected no file or .*, got a folder. It is left"):
        RunFolder(tmp_path).open(False, quiet)


def test_other_files_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert not RunFolder(tmp_path).open(False, quiet)
    begun(tmp_path).close()
    with RunFolder(tmp_path) as folder:
        assert folder.open(True, quiet)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_in_use_is_refused_with_who_holds_it(tmp_path: Path, resume: bool) -> None:
    with begun(tmp_path):
        with pytest.raises(CheckpointError, match=rf"is in use by process {os.getpid()} on .*, since 20.* Wait"):
            RunFolder(tmp_path).open(resume, quiet)
        with pytest.raises(CheckpointError, match="is in use by process"):
            RunFolder(tmp_path).begin()
        (tmp_path / HOLDER_NAME).write_text("{")
        with pytest.raises(CheckpointError, match="is in use by another process"):
            RunFolder(tmp_path).open(resume, quiet)


def test_a_run_begun_meanwhile_is_found(tmp_path: Path) -> None:
    late = RunFolder(tmp_path)
    assert not late.open(resume=False, say=quiet)
    begun(tmp_path).close()
    with pytest.raises(CheckpointError, match="already holds a run"):
        late.begin()
    with RunFolder(tmp_path) as folder:
        assert folder.open(resume=True, say=quiet), "who was refused holds nothing"


def test_a_failure_frees_the_lock(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder.closed_on_error():
        raise KeyboardInterrupt
    with RunFolder(tmp_path) as other:
        assert other.open(resume=True, say=quiet)


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from skyclone.train.runs.run_folder import RunFolder\n"
        "folder = RunFolder(sys.argv[1]); folder.begin(); open(sys.argv[1] + '/config.json', 'w').close()\n"
        "print('begun', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    with pytest.raises(CheckpointError, match=f"is in use by process {process.pid} on "):
        RunFolder(tmp_path).open(resume=True, say=quiet)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / LOCK_NAME).exists()
    with pytest.raises(CheckpointError, match="already holds a run"):
        RunFolder(tmp_path).open(resume=False, say=quiet)
    with RunFolder(tmp_path) as folder:
        assert folder.open(resume=True, say=quiet)
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_file_system_without_locks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*arguments: object, **options: object) -> None:
        raise OSError(37, "No locks available")

    folder = RunFolder(tmp_path)
    monkeypatch.setattr(folder._lock, "acquire", unsupported)
    folder.begin()
    folder.close()
    assert os.listdir(tmp_path) == []


def test_the_state_is_what_was_saved(tmp_path: Path) -> None:
    with begun(tmp_path) as folder:
        assert folder.restore(lambda tensors, description: description) is None
        folder.save_state({"weight": torch.ones(2)}, {"progress": {"steps": 7}})
        assert folder.restore(lambda tensors, description: (tensors["weight"].sum(), description)) == (
            2.0,
            {"progress": {"steps": 7}},
        )
        with pytest.raises(CheckpointError, match=r"state.safetensors does not fit this run: 'gone'. Begin again"):
            folder.restore(lambda tensors, description: description["gone"])


def test_a_state_that_is_not_finite_is_never_saved_over_a_good_one(tmp_path: Path) -> None:
    with begun(tmp_path) as folder:
        folder.save_state({"weight": torch.ones(2)}, {"steps": 7})
        with pytest.raises(TrainingError, match=r"expected a finite state, got NaN or infinity in weight; stopped"):
            folder.save_state({"weight": torch.tensor([1.0, torch.nan])}, {"steps": 8})
        assert folder.restore(lambda tensors, description: description) == {"steps": 7}


def test_a_flipped_bit_in_the_state_is_found(tmp_path: Path) -> None:
    with begun(tmp_path) as folder:
        folder.save_state({"weight": torch.ones(2)}, {"steps": 7})
        path = tmp_path / "last.state.safetensors"
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"is damaged: .* Begin again with another --out"):
            folder.restore(lambda tensors, description: description)


def test_summary(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_summary({"steps": 3})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"steps": 3}
