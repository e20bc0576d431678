"""The command `skyclone report`: it makes a report again from the archive of an evaluation."""

from pathlib import Path

import click

from ...datasets.command import HelpfulCommand
from ...datasets.console import say
from ...datasets.options import PLACE


@click.command(
    "report", cls=HelpfulCommand, examples=["skyclone report report", "skyclone report report --out shared.html"]
)
@click.argument("folder", metavar="DIR", type=PLACE)
@click.option("--out", type=PLACE, help="The report's file.  [default: DIR/report.html]")
def report(folder: Path, out: Path | None) -> None:
    """Make the report and its replay again from what `skyclone evaluate --out DIR` left; nothing is flown.

    Neither the policies nor the scenarios' files are needed for it, only DIR/recording.json.
    """
    from . import output

    path = out or folder / output.REPORT_NAME
    output.write_again(folder, path)
    say(f"Report: {path}")
