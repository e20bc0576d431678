import json

import pytest
from click.testing import CliRunner

from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.files import atomic
from skyclone.evaluate.cli import evaluate
from skyclone.evaluate.report import cli, output, page

EVALUATE = ["--baselines", "none", "--scenarios", "1", "--aircraft", "3", "--bootstrap", "100", "--out"]


def _run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What an evaluation leaves."""
    folder = tmp_path_factory.mktemp("out")
    assert _run(evaluate, *EVALUATE, folder).exit_code == 0
    return folder


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("recording.json", "an archive"),
        ("evaluation.json", "an evaluation's results"),
        ("report.html", "a report"),
        ("flown", "a folder"),
    ],
)
def test_a_file_of_somebody_else_is_refused_before_anything_is_flown(tmp_path, monkeypatch, name, what):
    (tmp_path / name).write_text('{"my": "own"}')
    monkeypatch.setattr("skyclone.evaluate.evaluation.batches.fly_scenarios", None)  # nothing is flown
    with pytest.raises(ConfigurationError, match=rf"{name}: expected .*{what}.*, got .* file.* left as it is"):
        _run(evaluate, *EVALUATE, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ['{"my": "own"}']


@pytest.mark.parametrize("name", ["recording.json", "evaluation.json", "report.html"])
def test_a_folder_where_a_file_should_be_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError, match=rf"{name}: expected .*, got a folder. It is left as it is"):
        output.check(tmp_path)


@pytest.mark.parametrize("name", ["recording.json", "evaluation.json", "notes.txt"])
def test_a_report_replaces_only_a_report(folder, name):
    path = folder / name
    path.touch()
    path.write_text(before := path.read_text() or "mine")
    with pytest.raises(ConfigurationError, match=rf"{name}: expected no file or a report .*, got another file"):
        _run(cli.report, folder, "--out", path)
    assert path.read_text() == before
    (folder / "notes.txt").unlink(missing_ok=True)


def test_what_is_ours_is_replaced(folder):
    output.check(folder)
    for name in ("evaluation.json", "recording.json"):  # an editor may have set it out anew
        text = json.dumps(json.loads((folder / name).read_text()), indent=4)
        (folder / name).write_text(text)
        output.check(folder)
    (folder / "report.html").write_text("")
    output.check(folder)


def test_killed_between_two_files_the_same_command_goes_on(folder, monkeypatch):
    """The report is the last of the three, and none gets its name before all are made and written."""
    replace, written = atomic.os.replace, []

    def killed(temporary, path):
        if path.parent == folder:
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(path.name)
        replace(temporary, path)

    def full(handle):
        raise OSError(28, "No space left on device")

    def fails(report):
        raise MemoryError

    names = ["evaluation.json", "recording.json", "report.html"]
    before = {name: (folder / name).stat().st_mtime_ns for name in names}
    with monkeypatch.context() as patched:
        patched.setattr(page, "render", fails)
        with pytest.raises(MemoryError):
            _run(evaluate, *EVALUATE, folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in names} == before
    with monkeypatch.context() as patched:
        patched.setattr(atomic.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            _run(evaluate, *EVALUATE, folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in names} == before
    with monkeypatch.context() as patched:
        patched.setattr(atomic.os, "replace", killed)
        assert _run(evaluate, *EVALUATE, folder).exit_code == 1
    assert written == ["recording.json", "evaluation.json"]
    again = _run(evaluate, *EVALUATE, folder)
    assert "1 of 1 scenario had been flown before" in again.stderr
    assert again.exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "flown"])
