"""A gallery: one page over all the reports in a folder, which links to each."""

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ...datasets.errors import ConfigurationError
from ...datasets.files.atomic import check_ours, publish
from ..evaluation.evaluation import Evaluation, conditions
from ..evaluation.verdict import judge
from ..metrics.formulas import METRICS
from ..metrics.numerals import with_interval
from . import archive
from .animation import picture
from .archive import ArchiveError
from .content import Report
from .output import REPORT_NAME, check_folder
from .page import environment

NAME = "index.html"
MARK = b'<p class="kicker">skyclone gallery</p>'
METRICS_SHOWN = ("los_events", "extra_distance", "waypoint_rate")
_DEEPEST = 3  # folders below the gallery's that are looked into
_THUMBNAIL = 260  # pixels of a panel


@dataclass(frozen=True)
class Entry:
    """A report in a gallery.

    Attributes:
        address: Of its page, from the gallery's folder, as a link has it.
        folder: Its folder, from there.
        title: Its verdict.
        conditions: What was flown.
        made_at: When.
        rows: For each contender its name and its figures, as text: (value, interval).
        thumbnail: PNG in base64; empty for a report without a replay.
    """

    address: str
    folder: str
    title: str
    conditions: str
    made_at: str
    rows: list[tuple[str, list[tuple[str, str]]]]
    thumbnail: str


def write(folder: Path) -> tuple[Path, list[str]]:
    """Write the gallery of a folder, and return its path and what was left out, each with the reason.

    Args:
        folder: Where reports are, up to three folders down: `report.html` beside `recording.json`.

    Raises:
        ConfigurationError: There is no report, or the page cannot be written.
    """
    path, entries, left_out = folder / NAME, [], []
    for place in sorted(_places(folder)):
        try:
            if (place / REPORT_NAME).is_file():
                report = archive.read(place)
                with archive.in_agreement(place):
                    entries.append(_entry(folder, place, report))
            else:
                left_out.append(f"{place}: no {REPORT_NAME}. Make it: skyclone report {place}")
        except ArchiveError as error:
            left_out.append(str(error))
    if not entries:
        more = "".join(f"\n{line}" for line in left_out)
        raise ConfigurationError(
            f"expected reports in {folder}, which `skyclone evaluate --out` writes, got none.{more}"
        )
    check_folder(folder)
    check_ours(path, MARK, "a gallery")
    css = (Path(__file__).parent / "assets" / "report.css").read_text(encoding="utf-8")
    headings = [METRICS[name].heading for name in METRICS_SHOWN]
    page = environment().get_template("gallery.html").render(entries=entries, headings=headings, style=css)
    publish(path, page.encode(errors="backslashreplace"))
    return path, left_out


def _places(folder: Path) -> Iterator[Path]:
    """Yield the folders with an archive, as far down as is looked; hidden folders and links are not followed."""
    for name, below, files in os.walk(folder):
        place = Path(name)
        is_deepest = len(place.relative_to(folder).parts) >= _DEEPEST
        below[:] = [] if is_deepest else [each for each in below if not each.startswith(".")]
        if archive.NAME in files:
            yield place


def _entry(folder: Path, where: Path, report: Report) -> Entry:
    """Return a report's entry."""
    evaluation, there = report.evaluation, where.relative_to(folder)
    image = picture(report.replay, evaluation.plan.short_names, _THUMBNAIL) if report.replay else b""
    return Entry(
        quote(os.fsencode((there / REPORT_NAME).as_posix())),  # also a name that is no UTF-8
        there.as_posix(),
        judge(evaluation).headline,
        conditions(evaluation),
        report.made_at,
        [(evaluation.plan.short_names[name], _figures(evaluation, name)) for name in evaluation.estimates],
        base64.b64encode(image).decode(),
    )


def _figures(evaluation: Evaluation, name: str) -> list[tuple[str, str]]:
    """Return a contender's figures as text, with their intervals."""
    estimates = evaluation.estimates[name]
    return [with_interval(estimates[metric], METRICS[metric]) for metric in METRICS_SHOWN]
