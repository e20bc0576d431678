"""The front door: one click group, `skyclone`, that leads to the four floors.

Nothing heavy is imported before a command needs it, so `--help` answers at once.
"""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from . import __version__, ctrl_c
from .datasets.console import printable
from .datasets.errors import SkycloneError

COMMANDS = {
    "collect": ("skyclone.collect.cli", "collect", "Fly the teacher and write a dataset."),
    "worlds": ("skyclone.collect.cli", "worlds", "List the worlds there are, or print one as TOML."),
    "datasets": ("skyclone.datasets.cli", "datasets", "Look at datasets; check, convert, select, merge, export."),
    "train": ("skyclone.train.cloning.cli", "train", "Clone the teacher: fit a network to a dataset."),
    "dagger": ("skyclone.train.dagger.cli", "dagger", "Fly the clone, label what it meets, train on (DAgger)."),
    "finetune": ("skyclone.train.finetuning.cli", "finetune", "Fine-tune a clone online."),
    "evaluate": ("skyclone.evaluate.cli", "evaluate", "Compare policies and teachers, with intervals."),
    "report": ("skyclone.evaluate.report.cli", "report", "Make an evaluation's report again, without flying."),
    "gallery": ("skyclone.evaluate.report.cli", "gallery", "Make a page over all reports in a folder."),
    "compare": ("skyclone.evaluate.comparison.cli", "compare", "Train variants alike, and put them in one table."),
    "export": ("skyclone.evaluate.deployment.cli", "export", "Write a policy as ONNX, checked against torch."),
    "export-flight": (
        "skyclone.evaluate.flights.cli",
        "export_flight",
        "Write a flown episode for BlueSky, Cesium or traffic.",
    ),
    "plugin": ("skyclone.evaluate.deployment.cli", "plugin", "Install the BlueSky plugin: RESO SKYCLONE."),
    "demo": ("skyclone.demo", "demo", "All four stages, small but real, in five to ten minutes."),
    "smoke": ("skyclone.smoke", "smoke", "Check in under a minute that all parts fit together."),
}


class FrontDoor(click.Group):
    """A click group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return one command."""
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command without importing any."""
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name][2]) for name in names]
        return found or super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


def load_pilot(run: str) -> Any:
    """Load a trained policy as a pilot; handed down to the collector, which has no networks."""
    loader: Callable[[str], Any] = import_module("skyclone.train.policy").load_pilot
    return loader(run)


def export_minari(*arguments: Any) -> Any:
    """Export a dataset to Minari; handed down to `datasets`, which has no world."""
    return import_module("skyclone.collect.collector.minari_export").export_minari(*arguments)


def export_dataset(to: str, *arguments: Any) -> Any:
    """Export a dataset for another library; handed down as `export_minari` is."""
    name = {"lerobot": "lerobot.export_lerobot", "tensordict": "multi_agent.export_tensordict"}[to]
    module, _, function = name.partition(".")
    return getattr(import_module(f"skyclone.collect.exports.{module}"), function)(*arguments)


@click.group(cls=FrontDoor, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="skyclone")
@click.pass_context
def skyclone(ctx: click.Context) -> None:
    """Clone a rule-based conflict-resolution teacher into a safe, fast neural policy.

    Collect once, train many: `collect` writes a dataset, `train` fits networks to it, `finetune` improves
    them online, `evaluate` says with intervals whether the result is safer and shorter than the teacher.
    """
    ctx.obj = {"load_pilot": load_pilot, "export_minari": export_minari, "export": export_dataset}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 done, 1 failed, 2 wrong use. People never see a traceback.

    Args:
        arguments: Of the command; None for those of the process, which ends with it.
    """
    _open_streams()
    ctrl_c.install()
    try:
        code = _run(arguments)
    finally:
        if arguments is None:
            ctrl_c.is_over()
        else:
            ctrl_c.uninstall()
    if code:
        sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    """Run the command line, say what went wrong in a line, and return the exit code."""
    try:
        skyclone.main(arguments, prog_name="skyclone", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as stop:
        return _say(str(stop) or str(stop.__cause__ or "") or ctrl_c.MESSAGE, ctrl_c.EXIT_CODE)
    except SkycloneError as error:
        return _say(f"Error: {error}")
    except BrokenPipeError:
        return _say("")  # nobody reads any more
    except OSError as error:
        return _say(f"Error: {_explain(error)}")
    except UnicodeEncodeError as error:
        return _say(
            f"Error: expected names in UTF-8, got {error.object!r}. Rename it: a library takes no other name."
        )
    except ValueError as error:
        if "null byte" not in str(error) and "null character" not in str(error):
            raise
        return _say("Error: expected names of files, got one with a NUL character, which no file can have.")
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _say("Error: not enough memory. Try a smaller batch, fewer aircraft or fewer workers.")
    return 0


def _open_streams() -> None:
    """Make sure that there is something to print to, and that everything can be printed there."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who called; a file that is opened later must not take its number
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text


def _say(message: str, code: int = 1) -> int:
    """Print a message for people, if anybody listens, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is sys.stderr and message:
                click.echo(printable(message), err=True)
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):  # else Python tries again when it ends, and complains
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether memory was refused; torch says so in a RuntimeError."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _explain(error: OSError) -> str:
    """Say what the operating system refused, and what to do."""
    where = f" ({error.filename})" if error.filename else ""
    if isinstance(error, PermissionError):
        return f"no permission{where}. Choose another folder or change its permissions."
    if error.errno == 28:
        return f"the disk is full{where}. Free some space and run the same command again: it continues."
    return f"{error.strerror or error}{where}."


if __name__ == "__main__":
    main()
