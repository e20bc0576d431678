"""The front door: every command has help and is in the README; people see messages, never tracebacks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from skyclone.cli import COMMANDS, skyclone

ROOT = Path(__file__).parents[1]


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "skyclone", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=120)


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


@pytest.mark.parametrize("path", [" ".join(path) for path, _ in command_tree(skyclone)])
def test_every_command_is_in_the_readme(path: str) -> None:
    assert f"skyclone {path}" in (ROOT / "README.md").read_text()


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in (ROOT / "README.md").read_text().splitlines():
        for word in line.split("`")[1::2]:
            if word.startswith("make "):
                assert f"\n{word.split()[1]}:" in makefile, f"the README names `{word}`"


def test_help_answers_without_importing_torch() -> None:
    code = (
        "import sys, skyclone.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fly",), 2, "No such command 'fly'"),
        (("collect",), 2, "Missing option '--out'"),
        (("collect", "--out", "d", "--aircraft", "0"), 2, "0 is not in the range"),
        (("collect", "--out", "d", "--teacher", "best"), 1, "unknown teacher 'best'. There are: mvp, none, rvo."),
        (("collect", "--out", "d", "--scenario", "sea"), 1, "unknown scenario 'sea'. There are: circle, crossing,"),
        (("collect", "--out", "d", "--aircraft", "400"), 1, "could not place 400 aircraft"),
        (("collect", "--out", "d", "--teacher", "mvp:margin=wide"), 1, "expected NAME:key=number"),
        (("datasets", "info", "nowhere"), 1, "nowhere"),
        (("train", "--data", "nowhere", "--out", "r"), 1, "nowhere"),
        (("train", "--data", "nowhere", "--out", "r", "--model", "oracle"), 1, "unknown model 'oracle'. There"),
        (("finetune", "--from", "nowhere", "--out", "r"), 1, "nowhere"),
        (("evaluate", "nowhere", "--scenarios", "1"), 1, "nowhere"),
        (("evaluate", "pretrained:gold", "--scenarios", "1"), 1, "no pretrained weights 'gold'"),
        (("evaluate", "--scenarios", "1", "--baselines", "best"), 1, "unknown teacher 'best'"),
    ],
)
def test_errors_say_what_to_do(arguments: tuple[str, ...], code: int, message: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir()), "something was written although nothing was done"


@pytest.mark.skipif(os.getuid() == 0 and not Path("/proc/sys").exists(), reason="root may write anywhere")
def test_no_write_permission(tmp_path: Path) -> None:
    """Below /proc nobody may make a folder, not even root."""
    done = run("collect", "--out", "/proc/skyclone", "--episodes", "1", "--aircraft", "2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "/proc/skyclone" in done.stderr


def interrupt(*arguments: str | Path, when: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Start a command, press Ctrl-C once it has printed something, and return how it ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "skyclone", *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    seen = ""
    os.set_blocking(process.stdout.fileno(), False)
    deadline = time.monotonic() + 60
    while when not in seen and time.monotonic() < deadline and process.poll() is None:
        seen += process.stdout.read() or ""
        time.sleep(0.02)
    assert when in seen, seen
    process.send_signal(signal.SIGINT)
    os.set_blocking(process.stdout.fileno(), True)
    rest, _ = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, seen + rest, "")


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    run("collect", "--out", "data", "--episodes", "24", "--aircraft", "8", "--workers", "1", cwd=tmp_path)
    train = ("train", "--data", "data", "--out", "run", "--epochs", "10000", "--batch-size", "64")
    cases = (
        (("collect", "--out", "more", "--episodes", "5000", "--workers", "1"), "Collecting"),
        (train, "Iter 1/"),
        (("evaluate", "--scenarios", "5000", "--baselines", "none"), "%|"),
    )
    for arguments, when in cases:
        done = interrupt(*arguments, when=when, cwd=tmp_path)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        assert "nterrupted" in done.stdout, done.stdout
    done = run(*train[:-4], "--epochs", "10000", "--batch-size", "64", cwd=tmp_path)
    assert done.returncode == 1, "a run's folder is not written over"
    done = interrupt(*train, "--resume", when="Iter", cwd=tmp_path)
    assert done.returncode == 1
    assert "nterrupted" in done.stdout
