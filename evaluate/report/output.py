"""What an evaluation leaves in its folder.

`evaluation.json` for programs, `report.html` for people, `recording.json` (the archive that the report can be made
from again), and `flown/` (the flights, so that the next evaluation there need not fly them again).

The three files are written whole, and then get their names in one step, the archive first and the report last.
Only a kill within that moment leaves older ones beside newer ones. The report, whose age `make` goes by, is then
an old one: the same command flies nothing and writes all three.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from ...datasets.errors import ConfigurationError
from ...datasets.files.atomic import check_ours, clean, publish, publish_together
from ..evaluation.contenders import Loaded
from ..evaluation.evaluation import Evaluation
from ..evaluation.verdict import judge
from . import archive, content

JSON_NAME, REPORT_NAME = "evaluation.json", "report.html"
FLOWN_NAME = "flown"
"""Folder of what was flown, for the next evaluation into the same folder."""
_REPORT_MARK = b'<p class="kicker">skyclone evaluation</p>'
_JSON_MARK = b'"contenders": {'


def check_folder(folder: Path) -> None:
    """Make the folder and see that it can be written into, before anything is flown.

    Raises:
        ConfigurationError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"{folder}: expected a folder that can be written into, got: {error.strerror}. Choose another."
        ) from None


def check(folder: Path) -> None:
    """Make an evaluation's folder and see that the results can be written there, before anything is flown.

    Raises:
        ConfigurationError: Nothing can be written, or one of the names is that of a file skyclone did not write.
    """
    check_folder(folder)
    check_ours(folder / archive.NAME, archive.MARK, "an archive")
    check_ours(folder / JSON_NAME, _JSON_MARK, "an evaluation's results")
    check_report(folder / REPORT_NAME)
    flown = folder / FLOWN_NAME
    if flown.exists() and not flown.is_dir():
        raise ConfigurationError(
            f"{flown}: expected a folder or nothing of that name, got a file. It is left as it is. Choose another "
            "--out, or move it away."
        )


def check_report(path: Path) -> None:
    """See that a report can be written under this name.

    Raises:
        ConfigurationError: It is that of a folder, or of a file that is no report.
    """
    check_ours(path, _REPORT_MARK, "a report")


def describe(evaluation: Evaluation) -> dict[str, Any]:
    """Return the JSON object of `evaluate --json`, the verdict included."""
    return {**evaluation.to_json(), "verdict": judge(evaluation)._asdict()}


def write(
    folder: Path, evaluation: Evaluation, loaded: dict[str, Loaded], command: str = "", made_at: str = ""
) -> dict[str, Any]:
    """Write the files, each whole or not at all, and return the JSON object.

    Args:
        folder: Where to; it is there.
        evaluation: The figures.
        loaded: The contenders, who fly a few scenarios once more for the attention and the replay.
        command: The command that made it.
        made_at: When.
    """
    from . import page  # matplotlib takes a second to import: only for those who want plots

    report = content.gather(evaluation, loaded, command, made_at)
    result = {
        **describe(evaluation),
        "attention": {name: figures.to_json() for name, figures in report.attention.items()},
        "command": command,
    }
    files = {
        archive.NAME: archive.write(report),
        JSON_NAME: json.dumps(result, indent=1, allow_nan=False).encode() + b"\n",
        REPORT_NAME: page.render(report),
    }
    clean(folder)
    publish_together({folder / name: data for name, data in files.items()})
    return result


def write_again(folder: Path, path: Path) -> None:
    """Write the report from the archive in an evaluation's folder.

    Args:
        folder: Where `skyclone evaluate --out` has written.
        path: The report's file.

    Raises:
        ArchiveError: There is no archive, or it is damaged.
        ConfigurationError: The file cannot be written, or is no report of skyclone's.
    """
    from . import page

    if path.is_dir():
        raise ConfigurationError(
            f"expected the report's file, got the folder {path}. Try --out {path / REPORT_NAME}"
        )
    check_report(path)
    report = archive.read(folder)
    with archive.in_agreement(folder):
        data = page.render(report)
    check_folder(path.parent)
    publish(path, data)


def draw(folder: Path, path: Path, ending: str) -> None:
    """Draw the replay in an evaluation's folder.

    Args:
        folder: Where `skyclone evaluate --out` has written.
        path: Where to.
        ending: What its name ends on: `.gif` for an animation, `.png` for a picture.

    Raises:
        ArchiveError: There is no archive, it is damaged, or has no replay.
        ConfigurationError: The file has another ending, is a folder's, or cannot be written.
    """
    from .animation import MARK, animation, picture

    if path.suffix.lower() != ending or path.is_dir():
        kind = "a folder" if path.is_dir() else "another name"
        raise ConfigurationError(f"expected a file that ends on {ending}, got {kind}: {path}")
    check_ours(path, MARK, "a drawing of a replay")
    report = archive.read(folder)
    if report.replay is None:
        raise archive.ArchiveError(f"{folder / archive.NAME}: expected a replay to draw, there is none in it.")
    make = animation if ending == ".gif" else picture
    with archive.in_agreement(folder):
        data = make(report.replay, report.evaluation.plan.short_names)
    check_folder(path.parent)
    publish(path, data)
