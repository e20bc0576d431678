"""The command `skyclone report`: it makes a report again from what an evaluation has recorded."""

from pathlib import Path

import click


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The report's file.  [default: DIR/report.html]")
def report(folder: Path, out: Path | None) -> None:
    """Make the report and its replay again from what `skyclone evaluate --out DIR` left; nothing is flown.

    Neither the policies nor the scenarios' files are needed for it, only DIR/recording.json.
    """
    from ...datasets.errors import ConfigurationError
    from ...datasets.files.atomic import publish
    from . import archive as recording
    from . import output
    from .page import Report, encoded, render

    path = out or folder / output.REPORT_NAME
    if path.is_dir():
        raise ConfigurationError(
            f"expected the report's file, got the folder {path}. Try --out {path / output.REPORT_NAME}"
        )
    content = recording.read(folder, Report)
    output.check_folder(path.parent)
    publish(path, encoded(render(content)))
    click.echo(f"Report: {path}", err=True)
