"""The commands `skyclone report` and `skyclone gallery`: they make pages from the archives of evaluations."""

from pathlib import Path

import click

from ...datasets.console import say
from ...datasets.options import PLACE, HelpfulCommand


@click.command(
    "report",
    cls=HelpfulCommand,
    examples=[
        "skyclone report report",
        "skyclone report report --out shared.html",
        "skyclone report report --picture busiest.png",
    ],
)
@click.argument("folder", metavar="DIR", type=PLACE)
@click.option("--out", type=PLACE, help="The report's file.  [default: DIR/report.html]")
@click.option("--animation", type=PLACE, help="Write 10 s of the replay here instead, as a GIF.")
@click.option("--picture", type=PLACE, help="Write its busiest moment here instead, as a PNG.")
def report(folder: Path, out: Path | None, animation: Path | None, picture: Path | None) -> None:
    """Make the report and its replay again from what `skyclone evaluate --out DIR` left; nothing is flown.

    Neither the policies nor the scenarios' files are needed for it, only DIR/recording.json.
    """
    from . import output

    for path, ending in ((animation, ".gif"), (picture, ".png")):
        if path is not None:
            output.draw(folder, path, ending)
            say(f"Replay: {path}")
    if out is None and (animation or picture):
        return
    path = out or folder / output.REPORT_NAME
    output.write_again(folder, path)
    say(f"Report: {path}")


@click.command(
    "gallery",
    cls=HelpfulCommand,
    examples=["skyclone gallery .", "skyclone gallery report"],
)
@click.argument("folder", metavar="DIR", type=PLACE)
def gallery(folder: Path) -> None:
    """Write DIR/index.html, a page over all reports below a folder: titles, headline figures, a picture of each."""
    from .gallery import write

    path, left_out = write(folder)
    for line in left_out:
        say(f"Left out: {line}")
    say(f"Gallery: {path}")
