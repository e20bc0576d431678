"""The front door: every command has help; people see messages, never tracebacks."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from forked_command import ended, started

from skyclone.cli import COMMANDS, main, skyclone
from skyclone.datasets.cli import datasets


def call(*arguments: str) -> int:
    """Run the front door in this process and return its exit code."""
    try:
        main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def command_tree(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += command_tree(command, (*path, name))
    return found


@pytest.mark.parametrize(("path", "command"), command_tree(skyclone), ids=lambda value: str(value))
def test_every_command_and_option_has_help(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts[0]} has no help"


def test_help_answers_without_importing_torch() -> None:
    heavy = {"torch", "pyarrow", "matplotlib", "scipy"}
    code = (
        f"import sys, skyclone.cli as c\nfor name in ('', *{[*COMMANDS][:-1]}):\n"
        "    try: c.main([name, '--help'] if name else ['--help'])\n    except SystemExit: pass\n"
        f"    assert not {heavy} & set(sys.modules), name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in [*COMMANDS][:-1]:  # not `smoke`, which is made of all that is heavy
        assert f"Usage: skyclone {name} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fly",), 2, "No such command 'fly'"),
        (("collect",), 2, "Missing option '--out'"),
        (("collect", "--out", "d", "--aircraft", "0"), 2, "0 is not in the range"),
        (("collect", "--out", "d", "--teacher", "best"), 1, "unknown teacher 'best'. There are: mvp, none, rvo."),
        (
            ("collect", "--out", "d", "--scenario", "sea"),
            1,
            "unknown scenario 'sea'. There are: arrivals, circle, converging,",
        ),
        (("collect", "--out", "d", "--aircraft", "400"), 1, "could not place 400 aircraft"),
        (
            ("collect", "--out", "d", "--teacher", "mvp:margin=wide"),
            1,
            "expected a number for margin, got 'wide'. Example:",
        ),
        (("datasets", "info", "nowhere"), 1, "nowhere"),
        (("train", "--data", "nowhere", "--out", "r"), 1, "nowhere"),
        (("train", "--data", "nowhere", "--out", "r", "--model", "oracle"), 1, "unknown model 'oracle'. There"),
        (("finetune", "--from", "nowhere", "--out", "r"), 1, "nowhere"),
        (("evaluate", "nowhere", "--scenarios", "1"), 1, "nowhere"),
        (("evaluate", "nowhere", "--scenarios", "1", "--out", "d"), 1, "nowhere"),
        (("compare", "--data", "nowhere", "--out", "d"), 1, "nowhere"),
        (("compare", "--data", "nowhere", "--out", "d", "--models", "oracle"), 1, "unknown model 'oracle'"),
        (("dagger", "--from", "nowhere", "--data", "nowhere", "--out", "r"), 1, "nowhere"),
        (("report", "nowhere", "--out", "d/report.html"), 1, "nowhere"),
        (("datasets", "convert", "nowhere", "d", "--format", "hdf5"), 1, "nowhere"),
        (("export", "nowhere"), 2, "Missing option '--onnx'"),
        (("export", "nowhere", "--onnx", "clone.onnx"), 1, "nowhere"),
        (("export", "pretrained:gold", "--onnx", "clone.onnx"), 1, "no pretrained weights 'gold'"),
        (("evaluate", "pretrained:gold", "--scenarios", "1"), 1, "no pretrained weights 'gold'"),
        (("evaluate", "--scenarios", "1", "--baselines", "best"), 1, "unknown teacher 'best'"),
    ],
)
def test_errors_say_what_to_do(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir()), "something was written although nothing was done"


def test_no_write_permission(capsys: pytest.CaptureFixture[str]) -> None:
    """Below /proc nobody may make a folder, not even root."""
    assert call("collect", "--out", "/proc/skyclone", "--episodes", "1", "--aircraft", "2") == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "/proc/skyclone" in said


def interrupt(*arguments: str, when: str, said: Path) -> tuple[int, str]:
    """Start a command, press Ctrl-C once it has said something, and return how it ended and what it said."""
    said.write_text("")
    process = started(list(arguments), said, {})
    while when not in said.read_text():
        assert process.poll() is None, f"ended before it said '{when}': {said.read_text()}"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    return ended(process, said), said.read_text()


@pytest.mark.signals
def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    assert call("collect", "--out", data, "--episodes", "24", "--aircraft", "8", "--workers", "1") == 0
    said, run = tmp_path / "said.txt", str(tmp_path / "run")
    train = ("train", "--data", data, "--out", run, "--epochs", "10000", "--batch-size", "64")
    cases = (
        (("collect", "--out", str(tmp_path / "more"), "--episodes", "5000", "--workers", "1"), "Collecting"),
        (train, "Iter 1/"),
        (("evaluate", "--scenarios", "5000", "--baselines", "none"), "%|"),
    )
    for arguments, when in cases:
        code, words = interrupt(*arguments, when=when, said=said)
        assert code == 1, words
        assert "Traceback" not in words, words
        assert "nterrupted" in words or "Stopped" in words, words
    assert call("train", "--data", data, "--out", run) == 1, "a run is not written over"
    code, words = interrupt(*train, "--resume", when="Iter", said=said)
    assert code == 1, words
    assert "Stopped" in words, words


def run(command: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a shell's command line in which `skyclone` is this one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
    line = command.replace("skyclone", '"$PYTHON" -m skyclone')
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, **options
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small dataset in `data`."""
    folder = tmp_path_factory.mktemp("manners")
    call("collect", "--out", str(folder / "data"), "--episodes", "2", "--aircraft", "3", "--workers", "1")
    return folder


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("(skyclone datasets verify data && ! skyclone datasets verify nowhere) 2>&-", 0, "all sound"),
        ("skyclone collect --out data --episodes 2 --aircraft 3 --workers 1 2>&-", 0, ""),
        ("skyclone datasets info data --json >&-", 0, ""),
        ("skyclone datasets info data >/dev/full", 1, "Error: the disk is full"),
        ("set -o pipefail; skyclone datasets info data | true", 1, ""),
    ],
)
def test_whatever_the_streams_it_is_one_line(folder: Path, command: str, code: int, says: str) -> None:
    done = run(command, folder)
    said = done.stdout + done.stderr
    assert (done.returncode, says in said) == (code, True), said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


NO_TEXT = """
import os, shutil
from skyclone.cli import main
d, e, r = (os.fsdecode(name + bytes([255])) for name in (b"d", b"e", b"r"))
collect = ["collect", "--out", e, "--episodes", "2", "--aircraft", "3", "--workers", "1"]
train = ["train", "--data", "data", "--out", r]
for arguments in (["datasets", "info", d], ["datasets", "verify", d], collect, train):
    try:
        code = main(arguments) or 0
    except SystemExit as stop:
        code = stop.code or 0
    print("ended with", code, flush=True)
    if not os.path.exists(d):
        shutil.copytree("data", d)
"""


def test_names_that_are_no_text_are_one_line(folder: Path) -> None:
    """One process for all: each would import torch for itself."""
    done = subprocess.run(
        [sys.executable, "-c", NO_TEXT], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    said = done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if "ended with" in line] == [
        f"ended with {code}" for code in (1, 0, 0, 1)
    ], said
    for words in (
        "Error: d\\udcff is no dataset: there is no such folder",
        "d\\udcff: 1 shards",
        "e\\udcff: ",
        "Error: expected a name in UTF-8 for the run",
    ):
        assert words in said, said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_refused_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """As torch says it, whatever it was that wanted so much."""

    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes.")

    monkeypatch.setattr(datasets.commands["info"], "callback", refuse)
    assert call("datasets", "info", ".") == 1
    expected = "Error: not enough memory. Try a smaller batch, fewer aircraft or fewer workers.\n"
    assert capfd.readouterr() == ("", expected)


def test_other_runtime_errors_are_ours_to_mend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(skyclone.get_command(click.Context(skyclone), "smoke"), "callback", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["smoke"])


def test_tab_completes_without_importing_what_is_completed(folder: Path) -> None:
    """As bash asks; the names of commands come without torch, and so do a command's options."""
    for words, number, found in (
        ("skyclone d", 1, ["datasets", "dagger", "demo"]),
        ("skyclone train --mo", 2, ["--model"]),
    ):
        asked = f"_SKYCLONE_COMPLETE=bash_complete COMP_WORDS='{words}' COMP_CWORD={number}"
        done = subprocess.run(
            ["env", *shlex.split(asked), sys.executable, "-X", "importtime", "-m", "skyclone"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert done.stdout.split() == [f"plain,{name}" for name in found]
        assert " torch" not in done.stderr


BEGIN = (
    "import sys; print('begun', flush=True); from skyclone.__main__ import main; sys.argv[0] = 'skyclone'; main()"
)


@pytest.mark.signals
@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_at_any_moment_is_one_line(folder: Path, times: int) -> None:
    """Within imports and outside, once and again while the first one is obeyed."""
    dice, environment = random.Random(times), {**os.environ, "OMP_NUM_THREADS": "1"}
    commands = (
        ("collect", "--out", "more", "--episodes", "5000", "--workers", "2"),
        ("evaluate", "--scenarios", "5000", "--baselines", "none"),
        ("datasets", "info", "data"),
        ("finetune", "--from", "pretrained:clone", "--out", "more", "--processes", "2", "--envs", "16"),
    )
    for command in commands:
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, *command],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        for number in range(times):
            time.sleep(dice.uniform(0.05, 0.5 if number else 4))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, 1, -signal.SIGINT), said  # the last: Python itself was ending
        assert "Traceback" not in said, said
        assert "Exception ignored" not in said, said
        shutil.rmtree(folder / "more", ignore_errors=True)
