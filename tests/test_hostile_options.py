"""Every option of every command, with values that nobody means: an exit code and a few lines, never a traceback.

The options come from click's own parameters, so that a new one is tried without anybody thinking of it. Where a
command has accepted what it was given, and the work begins, it is stopped.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from until_work_begins import HAS_BEGUN, stop_there
from until_work_begins import call as called

from skyclone.cli import skyclone
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.datasets import effort
from skyclone.datasets.traffic.view import View
from skyclone.train import checkpoint, networks

CHEAP = {
    "collect": ["--out", "new", "--episodes", "2", "--aircraft", "2", "--workers", "1"],
    "worlds": [],
    "datasets info": ["data"],
    "datasets verify": ["data"],
    "datasets convert": ["data", "new", "--format", "hdf5"],
    "datasets export-minari": ["data", "skyclone/new-v0"],
    "datasets select": ["data", "--out", "new", "--episodes", "0-3"],
    "datasets merge": ["data", "other", "--out", "new"],
    "datasets export": ["data", "new", "--to", "lerobot"],
    "export-flight": ["data", "--episode", "0", "--place", "52.31,4.76", "--scn", "new.scn"],
    "train": ["--data", "data", "--out", "new", "--model", "pairwise:width=8:hidden=8"],
    "dagger": ["--from", "run", "--data", "data", "--out", "new"],
    "finetune": ["--from", "run", "--out", "new"],
    "evaluate": ["run", "--scenarios", "2", "--aircraft", "2"],
    "report": ["nowhere"],
    "gallery": ["nowhere"],
    "compare": ["--data", "data", "--out", "new", "--models", "pairwise,deepsets"],
    "export": ["run", "--onnx", "new.onnx"],
    "plugin": ["bluesky"],
    "demo": ["--out", "new", "--small"],
    "smoke": ["--help"],
}
"""What makes each command begin its work; further options are added."""
VALUES = (
    *(
        "",
        "-1",
        "0",
        "1",
        "2",
        "0.5",
        "nan",
        "inf",
        "-inf",
        "1e308",
        "-1e308",
        "1e-320",
        "1e400",
        "9" * 400,
        "9" * 5000,
    ),
    *(str(2**31), str(2**63 - 1), str(2**63), str(-(2**63) - 1), str(2**64), "99999999", "1_0", "٣", "0x10", "1,2"),
    *(
        "x" * 10_000,
        "\udcff",
        "\0",
        "\x1b[31m",
        ":",
        "=",
        "::=",
        ",",
        ",,1",
        "1," * 3000,
        "@",
        "x@",
        "-",
        "--",
        "\n",
    ),
    *(
        "meta",
        "cuda:99",
        "s3://",
        "s3://b/",
        "s3://b/f/..",
        "http://x/y",
        "file:",
        "file:nowhere",
        "file:/dev/zero",
    ),
    *("file:\0", "file:\udcff", "file:data#000000000000", "pretrained:", "pretrained:../x", ".", "..", "/", "data"),
)
SPECS = {
    "model": ("pairwise:width=", "attention-additive:heads=", "lstm:order=", "transformer:"),
    "critic": ("pairwise:width=", "mlp:hidden="),
    "models": ("pairwise:width=", "pairwise@ego:intruders=", "pairwise,"),
    "observation": ("ego:intruders=", "seed:", "cpa:length_m="),
    "teacher": ("mvp:margin=", "mvp:lookahead_s=", "rvo:"),
    "baselines": ("mvp:margin=", "none,mvp:lookahead_s=", "rvo:"),
    "scenario": ("random-n:low=", "circle:jitter_m=", "crossing:angle_deg=", "file:"),
    "world": ("m600:step_s=", "enroute:aircraft=", "m600:", "data:step_s=", "x.toml:"),
    "simulator": ("bluesky:simdt_s=", "embedded:"),
    "reward": ("detour:path=", "detour:path=2:margin=", "seed:"),
    "shards": ("0:", ":"),
    "where": ("los > ", "los >= 0", "reward <"),
    "episodes": ("0-", "0,", "1,"),
    "place": ("52,", "1,2,"),
    "mix": ("1,",),
}
"""What stands before a value in an option that is a text with parts."""


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield all commands that are no groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(skyclone))
OPTIONS = [(name, each) for name, command in COMMANDS.items() for each in command.params]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small dataset and a small network."""
    folder: Path = tmp_path_factory.mktemp("place")
    collect(folder / "data", CollectConfig(world=WorldConfig(aircraft=3, max_steps=10), episodes=24))
    collect(folder / "other", CollectConfig(world=WorldConfig(aircraft=3, max_steps=10), episodes=2, seed=1))
    view = View.parse("ego:intruders=2")
    (folder / "run").mkdir()
    checkpoint.save(folder / "run" / "best", networks.make("pairwise", view, width=8, hidden=8), view, {})
    return folder


@pytest.fixture
def call(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], tuple[int, str]]:
    """Run a command in that folder, up to its work; return the exit code and what it said."""

    stop_there(monkeypatch)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(place / "minari"))
    monkeypatch.chdir(place)
    there = set(os.listdir(place))

    def run(arguments: list[str]) -> tuple[int, str]:
        code, said, _ = called(arguments)
        for name in set(os.listdir(place)) - there:
            shutil.rmtree(name) if os.path.isdir(name) else os.remove(name)
        return code, said

    return run


def check(arguments: list[str], code: int, said: str) -> None:
    """Assert that a command ended as commands end."""
    assert code in (0, 1, 2), (arguments, code, said)
    assert "Traceback" not in said, (arguments, said)
    if code:
        assert said.count("\n") <= 8, (arguments, said)
        assert "Error: " in said, (arguments, said)


def arguments_with(name: str, given: list[tuple[click.Parameter, str]]) -> list[str]:
    """Return the arguments of a command that begins its work, with some of them changed or added."""
    arguments = list(CHEAP[name])
    for parameter, value in given:
        if isinstance(parameter, click.Argument):
            arguments.append(value)
        elif getattr(parameter, "is_flag", False):
            arguments.append(parameter.opts[0])
        else:
            arguments += [parameter.opts[0], value]
    return [*name.split(), *arguments]


def values_of(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """Return hostile values of an option."""
    value = st.sampled_from(VALUES)
    starts = SPECS.get(str(parameter.name))
    return st.one_of(value, st.builds(str.__add__, st.sampled_from(starts), value)) if starts else value


@st.composite
def hostile(draw: st.DrawFn) -> list[str]:
    """Draw a command with one or two hostile values."""
    name, parameter = draw(st.sampled_from(OPTIONS))
    given = [(parameter, draw(values_of(parameter)))]
    if draw(st.booleans()):
        other = draw(st.sampled_from(COMMANDS[name].params))
        given.append((other, draw(values_of(other))))
    return arguments_with(name, given)


def test_every_command_begins_its_work(call: Callable[[list[str]], tuple[int, str]]) -> None:
    for name in COMMANDS:
        code, said = call([*name.split(), *CHEAP[name]])
        is_done = name in ("datasets info", "datasets verify", "smoke", "worlds")
        begins = (code, HAS_BEGUN in said) == (1, True)
        assert begins or is_done or name in ("report", "gallery", "plugin"), (name, said)
        check([name], code, said)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_value_alone(call: Callable[[list[str]], tuple[int, str]], name: str) -> None:
    """A value that breaks one option; the slow test below tries all of them, and pairs."""
    for parameter in COMMANDS[name].params:
        for value in ("nan", "9" * 400, "\udcff"):
            arguments = arguments_with(name, [(parameter, value)])
            check(arguments, *call(arguments))


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("collect", "--episodes 2147483647", "got 2,147,483,647 episodes of 2 aircraft"),
        ("collect", "--episodes 40000000", "Warning: 40,000,000 episodes of 2 aircraft, 128 at once: about"),
        (
            "collect",
            "--episodes 16384 --aircraft 100 --episodes-per-shard 16384",
            "expected what fits into the memory",
        ),
        ("collect", "--aircraft 1000", "could not place 1000 aircraft 125 m apart in the sector (at most 2"),
        ("train", "--epochs 9223372036854775807", "expected what ends within a hundred years, got 9,223,372"),
        ("train", "--epochs 1000000000", "Warning: 1,000,000,000 epochs of "),
        ("dagger", "--epochs 9223372036854775807", "got 3 rounds of 256 episodes of 3 aircraft, 9,223,372"),
        ("dagger", "--rounds 100 --episodes 1048576", "Warning: 100 rounds of 1,048,576 episodes of 3 aircraft"),
        ("finetune", "--steps 1000000000000000000", "within a hundred years, got 1,000,000,000,000,000,000 agent"),
        (
            "finetune",
            "--steps 10000000000 --envs 4 --processes 1",
            "Warning: 10,000,000,000 agent-steps in 4 episodes",
        ),
        ("finetune", "--envs 1048576 --aircraft 200", "expected what fits into the memory"),
        ("finetune", "--horizon 9223372036854775807", "expected horizon from 1 to 32,000"),
        ("evaluate", "--scenarios 2147483647", "expected what fits into the memory"),
        (
            "evaluate",
            "--scenarios 1000000 --bootstrap 100",
            "Warning: 1,000,000 scenarios of 2 aircraft, 64 at once",
        ),
        ("evaluate", "--bootstrap 9223372036854775807", "expected bootstrap from 100 to 1,000,000"),
        ("compare", "--steps 1000000000000000000", "got 12 trainings of 1,000,000,000,000,000,000 steps"),
        ("compare", "--seconds 1e8", "Warning: 12 trainings of 2,000 steps and 1e+08 processor seconds: about"),
        ("compare", "--seeds 18446744073709551616,", "expected seeds up to"),
        ("compare", "--conflict-weight inf", "expected conflict_weight above 0"),
    ],
)
def test_what_is_absurd_is_said_before_any_work(
    call: Callable[[list[str]], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    options: str,
    says: str,
) -> None:
    monkeypatch.setattr(effort, "memory_bytes", lambda: 32e9)
    monkeypatch.setattr(effort, "free_bytes", lambda folder: 500e9)
    code, said = call([command, *CHEAP[command], *options.split()])
    assert code, said
    assert says in said
    assert "Error: " in said
    assert HAS_BEGUN not in said or said.startswith("Warning: "), said
    check([command, options], code, said)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=hostile())
def test_any_values(call: Callable[[list[str]], tuple[int, str]], arguments: list[str]) -> None:
    check(arguments, *call(arguments))


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=hostile())
def test_many_values(call: Callable[[list[str]], tuple[int, str]], arguments: list[str]) -> None:
    check(arguments, *call(arguments))
