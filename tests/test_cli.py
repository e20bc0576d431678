"""The front door: every command has help; people see messages, never tracebacks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from skyclone.cli import COMMANDS, main, skyclone


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
        (("collect", "--out", "d", "--scenario", "sea"), 1, "unknown scenario 'sea'. There are: circle, crossing,"),
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


def interrupt(*arguments: str, when: str, cwd: Path) -> tuple[int, str]:
    """Start a command, press Ctrl-C once it has printed something, and return how it ended and what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "skyclone", *arguments]
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    assert process.stdout is not None
    seen = b""
    while when.encode() not in seen:
        more = os.read(process.stdout.fileno(), 65536)
        assert more, f"ended before it said '{when}': {seen.decode()}"
        seen += more
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, (seen + rest).decode()


@pytest.mark.signals
def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    assert call("collect", "--out", data, "--episodes", "24", "--aircraft", "8", "--workers", "1") == 0
    train = ("train", "--data", "data", "--out", "run", "--epochs", "10000", "--batch-size", "64")
    cases = (
        (("collect", "--out", "more", "--episodes", "5000", "--workers", "1"), "Collecting"),
        (train, "Iter 1/"),
        (("evaluate", "--scenarios", "5000", "--baselines", "none"), "%|"),
    )
    for arguments, when in cases:
        code, said = interrupt(*arguments, when=when, cwd=tmp_path)
        assert code == 1, said
        assert "Traceback" not in said, said
        assert "nterrupted" in said or "Stopped" in said, said
    assert call("train", "--data", data, "--out", str(tmp_path / "run")) == 1, "a run is not written over"
    code, said = interrupt(*train, "--resume", when="Iter", cwd=tmp_path)
    assert code == 1, said
    assert "Stopped" in said, said
