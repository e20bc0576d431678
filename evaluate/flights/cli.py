"""The command `skyclone export-flight`."""

from datetime import UTC, datetime
from pathlib import Path

import click

from ...datasets.console import say
from ...datasets.files.storage import Folder, as_folder
from ...datasets.options import PLACE, HelpfulCommand

_LAST_YEAR = 9998  # a flight has to end before what there are dates for


@click.command(
    "export-flight",
    cls=HelpfulCommand,
    groups={
        "What is exported": "episode contender",
        "Where and when": "place altitude-ft start",
        "Files": "scn czml table",
    },
    examples=[
        "skyclone export-flight data/mvp --episode 3 --place 52.31,4.76 --scn flight.scn",
        "skyclone export-flight report --episode 0 --contender none --place 48.14,11.58 --czml flight.czml",
        "skyclone export-flight data/mvp --episode 1 --place 52.31,4.76 --table flight.parquet",
    ],
)
@click.argument("folder", metavar="DIR", type=as_folder)
@click.option("--episode", type=click.IntRange(0), required=True, help="Number of the episode, or of the scenario.")
@click.option("--place", metavar="LAT,LON", required=True, help="Where the sector's centre is to be, in degrees.")
@click.option(
    "--altitude-ft", type=click.FloatRange(-1000, 60_000), default=0.0, show_default=True, help="Of all aircraft."
)
@click.option("--contender", metavar="NAME", help="Who flies, of an evaluation.  [default: its only policy]")
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]),
    default="2000-01-01",
    show_default=True,
    help="When it begins, UTC.",
)
@click.option("--scn", type=PLACE, metavar="FILE", help="Write it as a scenario file that BlueSky plays back.")
@click.option("--czml", type=PLACE, metavar="FILE", help="Write it as CZML, for Cesium.")
@click.option(
    "--table", type=PLACE, metavar="FILE", help="Write it as Parquet in the columns of the library traffic."
)
def export_flight(
    folder: Folder,
    episode: int,
    place: str,
    altitude_ft: float,
    contender: str | None,
    start: datetime,
    scn: Path | None,
    czml: Path | None,
    table: Path | None,
) -> None:
    """Write one flown episode for BlueSky, Cesium or the library traffic, at a place on the earth.

    DIR is a dataset, or a folder of `skyclone evaluate --out DIR`, whose scenario is flown again and held against
    what the evaluation kept of it.
    """
    from ...collect.airspace.units import FOOT_M
    from ...collect.exports.flight import Place
    from . import flown

    named = {"scn": scn, "czml": czml, "table": table}
    paths = {name: path for name, path in named.items() if path}
    if not paths:
        raise click.UsageError("expected --scn, --czml or --table with the name of a file, got none of them.")
    if start.year > _LAST_YEAR:
        raise click.UsageError(f"expected a --start up to the year {_LAST_YEAR}, got {start.year}.")
    where = Place.parse(place, altitude_ft * FOOT_M)
    flown.check(paths)
    flight = flown.find(folder, episode, contender, where, start.replace(tzinfo=UTC))
    sizes = flown.write(flight, paths)
    seconds = max(float(track.time_s[-1]) for track in flight.tracks)
    say(f"{flight.title}: {len(flight.tracks)} aircraft, {seconds:g} s")
    for name, size in sizes.items():
        say(f"{paths[name]}: {size:,} bytes")
