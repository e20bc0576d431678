"""The command `skyclone report`: it makes a report again from what an evaluation has recorded."""

from pathlib import Path

import click

from ..datasets.errors import ConfigurationError


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The report's file.  [default: DIR/report.html]")
def report(folder: Path, out: Path | None) -> None:
    """Make the report and its replay again from what `skyclone evaluate --out DIR` left; nothing is flown.

    Neither the policies nor the scenarios' files are needed for it, only DIR/recording.json.
    """
    from . import recording
    from .output import REPORT_NAME
    from .report import Report, render

    path = out or folder / REPORT_NAME
    page = render(recording.read(folder, Report))
    _write(path, page)
    click.echo(f"Report: {path}", err=True)


def _write(path: Path, page: str) -> None:
    """Write the page, whole or not at all."""
    from ..datasets.publication import publish

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, page.encode())
    except OSError as error:
        raise ConfigurationError(
            f"--out {path}: expected a file that can be written, got: {error.strerror}. Choose another."
        ) from None
