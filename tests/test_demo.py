"""`skyclone demo`: four commands in a row, each as if it had been typed, and one that goes on after Ctrl-C."""

import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
from forked_command import ended, started
from until_work_begins import call

from skyclone.cli import skyclone
from skyclone.datasets.errors import SkycloneError
from skyclone.demo import REAL, SMALL, Demo, stages

COMMANDS = ["collect", "train", "finetune", "evaluate"]


def command(name: str) -> click.Command:
    found = skyclone.get_command(click.Context(skyclone), name)
    assert found is not None
    return found


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let the four commands do nothing but remember what the process was called with."""
    calls: list[list[str]] = []
    for name in COMMANDS:
        monkeypatch.setattr(command(name), "callback", lambda *_, **__: calls.append(sys.argv[1:]))
    return calls


def failing(name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command fail."""

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(command(name), "callback", fail)


@pytest.mark.parametrize("sizes", [REAL, SMALL])
def test_each_stage_takes_what_the_one_before_it_made(sizes: Demo) -> None:
    folder = Path("a demo")
    params = []
    for name, stage in zip(COMMANDS, stages(folder, sizes), strict=True):
        assert stage.arguments[0] == name
        params.append(command(name).make_context(name, stage.arguments[1:]).params)
    collect, train, finetune, evaluate = params
    assert collect["out"] == folder / "data"
    assert train["data"] == (collect["out"],)
    assert finetune["parent"] == str(train["out"])
    assert evaluate["runs"] == (str(train["out"]), str(finetune["out"]))
    assert evaluate["aircraft"] == (collect["aircraft"],)
    assert train["resume"]
    assert finetune["resume"]


@pytest.mark.parametrize("name", ["-x", "--", "pretrained:mine"])
def test_no_folder_s_name_is_taken_for_something_else(name: str, typed: list[list[str]]) -> None:
    code, said, _ = call(["demo", f"--out={name}"])
    assert code == 0, said
    assert typed[3][1:3] == [str(Path(name, "runs", run).absolute()) for run in ("clone", "tuned")]


def test_each_stage_is_a_command_that_could_be_typed(
    typed: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Helpers of a run start with what is in `sys.argv`: with `demo`, each would start all stages again."""
    monkeypatch.setattr(sys, "argv", ["skyclone", "demo"])
    out = tmp_path / "it's here"
    code, said, _ = call(["demo", "--out", str(out)])
    assert code == 0, said
    assert typed == [stage.arguments for stage in stages(out, REAL)]
    assert sys.argv == ["skyclone", "demo"]
    assert f"into {out}." in said
    assert said.endswith(f"{out / 'report' / 'report.html'}\n")


def test_ctrl_c_ends_all_stages(typed: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.argv
    failing("train", KeyboardInterrupt("The same command with --resume continues from here."), monkeypatch)
    code, said, _ = call(["demo"])
    assert (code, len(typed), sys.argv) == (1, 1, before)
    last = "Interrupted in stage 2 of 4. What was finished is kept; the same command goes on."
    assert said.splitlines()[-1] == last, "the demo has no --resume"


def test_a_stage_that_fails_is_the_last(typed: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.argv
    failing("finetune", SkycloneError("expected this, got that."), monkeypatch)
    code, said, _ = call(["demo"])
    assert (code, len(typed), sys.argv) == (1, 2, before)
    assert said.endswith("Error: expected this, got that.\n")


def test_small_and_real_ones_do_not_share_a_folder(typed: list[list[str]]) -> None:
    call(["demo"])
    call(["demo", "--small"])
    assert [typed[number][2] for number in (0, 4)] == [str(Path(name, "data")) for name in ("demo", "demo-small")]


@pytest.mark.slow
@pytest.mark.signals
def test_the_same_command_goes_on(tmp_path: Path) -> None:
    said, out = tmp_path / "said.txt", tmp_path / "demo"
    said.write_text("")
    arguments = ["demo", "--small", "--out", str(out)]
    process = started(arguments, said, {})
    while "Stage 2 - Iter 2/" not in said.read_text():
        assert process.poll() is None, said.read_text()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert ended(process, said) == 1
    words = said.read_text()
    assert words.endswith("Interrupted in stage 3 of 4. What was finished is kept; the same command goes on.\n")
    assert "Traceback" not in words

    code, words, _ = call(arguments)
    assert code == 0, words
    assert "Nothing to do: all 1 shards are sound" in words
    assert "Going on after iteration" in words
    assert (out / "report" / "report.html").is_file()
