"""`skyclone demo`: the four stages in a row, small but real, without make; `make demo` is this command."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from .datasets.console import command_line, say
from .datasets.effort import in_time
from .datasets.machine import processors
from .datasets.options import PLACE, HelpfulCommand

FOLDER, SMALL_FOLDER = Path("demo"), Path("demo-small")
MOST_PROCESSORS = 4
"""More make it hardly faster."""


class Demo(NamedTuple):
    """How much of everything.

    Attributes:
        collect: What the command of the stage is given, beside folders; the others alike.
        processor_s: Seconds of one processor that all take, about.
    """

    collect: str
    train: str
    finetune: str
    evaluate: str
    processor_s: float


REAL = Demo(
    # 40 aircraft: there even the teacher loses separation, and there is something to win.
    collect="--aircraft 40 --teacher mvp:margin=1.15 --episodes 128",
    train="--model pairwise --epochs 10",
    finetune="--method ppo --steps 5000000",
    evaluate="--aircraft 40 --scenarios 100",
    processor_s=700,
)
SMALL = Demo(
    collect="--aircraft 6 --teacher mvp:margin=1.15 --episodes 24",
    train="--model pairwise --epochs 1",
    finetune="--method ppo --steps 8000 --envs 16 --gate-scenarios 8",
    evaluate="--aircraft 6 --scenarios 8",
    processor_s=20,
)


class Stage(NamedTuple):
    """One of the four.

    Attributes:
        what: It does, for people.
        arguments: Of `skyclone`; the first is the command.
    """

    what: str
    arguments: list[str]


def stages(folder: Path, demo: Demo) -> list[Stage]:
    """Return the four stages, each of which goes on where it was interrupted and does nothing twice."""
    if str(folder).startswith(("-", "pretrained:")):  # a run's name that begins so is something else
        folder = folder.absolute()
    data, clone, tuned, report = (
        str(folder.joinpath(*parts)) for parts in (["data"], ["runs", "clone"], ["runs", "tuned"], ["report"])
    )
    return [
        Stage("The teacher flies, and what it does is stored.", ["collect", "--out", data, *demo.collect.split()]),
        Stage(
            "A network learns to do the same: a clone of the teacher.",
            ["train", "--data", data, "--out", clone, *demo.train.split(), "--resume"],
        ),
        Stage(
            "The clone flies, and is improved by what comes of it.",
            ["finetune", "--from", clone, "--out", tuned, *demo.finetune.split(), "--resume"],
        ),
        Stage(
            "Both fly new scenarios, the same as the teacher.",
            ["evaluate", clone, tuned, *demo.evaluate.split(), "--out", report],
        ),
    ]


@click.command(
    cls=HelpfulCommand,
    examples=["skyclone demo", "skyclone demo --small", "skyclone demo --out trial"],
)
@click.option("--out", type=PLACE, help=f"Folder for all of it.  [default: {FOLDER}; {SMALL_FOLDER} with --small]")
@click.option("--small", is_flag=True, help="In under a minute, to see that it runs; the results mean nothing.")
@click.pass_context
def demo(ctx: click.Context, out: Path | None, small: bool) -> None:
    """Run all four stages, small but real: collect, clone, fine-tune, evaluate.

    From nothing to a report in five to ten minutes. Interrupted, the same command goes on; finished stages stay.
    """
    folder, sizes, begin = out or (SMALL_FOLDER if small else FOLDER), SMALL if small else REAL, time.perf_counter()
    todo, count = stages(folder, sizes), min(processors(), MOST_PROCESSORS)
    say(
        f"Four stages, about {in_time(sizes.processor_s / count)} in all from nothing, into {folder.absolute()}. "
        "What is finished there is kept. Ctrl-C stops; the same command goes on."
    )
    for number, stage in enumerate(todo, 1):
        say(f"\n{number} of {len(todo)}: {stage.what}\n  {command_line(*stage.arguments)}")
        try:
            _run(ctx.find_root(), stage.arguments)
        except (KeyboardInterrupt, click.Abort):
            where = f"Interrupted in stage {number} of {len(todo)}"
            raise click.Abort(f"{where}. What was finished is kept; the same command goes on.") from None
    report = (folder / "report" / "report.html").absolute()
    say(f"\nDone, after {in_time(time.perf_counter() - begin)}. The report, for a browser: {report}")


def _run(door: click.Context, arguments: list[str]) -> None:
    """Run a command of the front door in this process."""
    assert isinstance(door.command, click.Group)
    name, command, rest = door.command.resolve_command(door, list(arguments))
    assert command is not None
    with _typed(arguments), command.make_context(name, rest, parent=door) as context:
        command.invoke(context)


@contextmanager
def _typed(arguments: list[str]) -> Iterator[None]:
    """Let it look as if this command had been typed.

    Helpers of a run start with the same command, and datasets and reports say by which one they were made.
    """
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before
