"""Fly scenario files of drones in BlueSky with the plugin: python survey_bluesky.py [--report DIR] FILE.scn...

Prints the table of docs/bluesky.md: for each scenario, and for eight drones through one point, the losses of
separation, the pair-seconds in them and the arrivals within 300 s without resolution, with BlueSky's MVP and with
the policies that ship, also with a monitor. With --report, DIR/NAME.html shows the flights side by side, from
BlueSky's own states. All in one process: BlueSky takes longer to start than to fly. Its compiled bearings are wrong
(BlueSky's issue 616), which harms MVP; they are switched off.
"""

import argparse
import contextlib
import io
import math
import os
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "evaluate" / "deployment"))

import fly_in_bluesky  # noqa: E402 -- a program of the tests
import test_bluesky_plugin  # noqa: E402

from skyclone.collect.airspace.geodesy import Plane  # noqa: E402
from skyclone.collect.airspace.world_config import WorldConfig  # noqa: E402
from skyclone.datasets.files.atomic import publish  # noqa: E402
from skyclone.evaluate.deployment.cli import install  # noqa: E402
from skyclone.evaluate.recorded_flights import Recorded, replay_of  # noqa: E402
from skyclone.evaluate.report.page import render_flights  # noqa: E402

SECONDS = 300
METHODS = {
    "none": "RESO OFF",
    "MVP": "RESO MVP",
    "pretrained:clone": "SKYCLONE pretrained:clone;RESO SKYCLONE",
    "pretrained:tuned": "SKYCLONE pretrained:tuned;RESO SKYCLONE",
    "pretrained:clone@rta": "SKYCLONE pretrained:clone@rta;RESO SKYCLONE",
    "pretrained:tuned@rta": "SKYCLONE pretrained:tuned@rta;RESO SKYCLONE",
}
NOTES = (
    "Positions, tracks and speeds are BlueSky's own, once a second. The filled arrow is what was then commanded, "
    "by the resolution or the autopilot.",
    "The hollow arrow is skyclone's MVP, asked about the same state: BlueSky's differs from it in details.",
    "The picture is the plane: aircraft at different altitudes are drawn as if level. The counts above are "
    "BlueSky's.",
)


class Camera:
    """Keeps what each decision of BlueSky saw and commanded: states (8,) by callsign, in degrees and m/s."""

    def __init__(self) -> None:
        self.seconds: list[dict[str, tuple[float, ...]]] = []
        self._before: dict[str, tuple[float, ...]] = {}

    def __call__(self, traf: Any) -> None:
        """Look at BlueSky's traffic after a step of it."""
        if traf.asastimer.readynext:  # it has resolved in this step, from the state before
            targets = dict(zip(traf.id, zip(traf.aporasas.trk, traf.aporasas.tas), strict=True))
            there = {name: state for name, state in self._before.items() if name in targets}
            self.seconds.append({name: (*state[:4], *targets[name], *state[4:]) for name, state in there.items()})
        has_route = [route.nwp > 0 for route in traf.ap.route]
        waypoints = (np.where(has_route, place, np.nan) for place in (traf.actwp.lat, traf.actwp.lon))
        columns = (traf.lat, traf.lon, traf.trk, traf.gs, *waypoints)
        self._before = dict(zip(traf.id, zip(*columns, strict=True), strict=True))


def recorded(cameras: dict[str, Camera]) -> tuple[dict[str, Recorded], list[str], list[int]]:
    """Return the flights on one plane, the callsigns, and the numbers of those that hover in all of them."""
    everything = [second for camera in cameras.values() for second in camera.seconds]
    names = list(dict.fromkeys(name for second in everything for name in second))
    plane = Plane.around([state[:2] for second in everything for state in second.values()])
    flights = {}
    for method, camera in cameras.items():
        states = np.full((len(camera.seconds), len(names), 8), np.nan)
        for row, second in enumerate(camera.seconds):
            for name, state in second.items():
                states[row, names.index(name)] = state
        is_there = ~np.isnan(states[..., 0])
        place, waypoint = np.full((2, *is_there.shape, 2), np.nan)
        track, target = np.full((2, *is_there.shape), np.nan)
        points = [tuple(each) for each in states[is_there][:, :2]]
        place[is_there] = plane.points(points)
        track[is_there], target[is_there] = (plane.tracks(points, states[is_there][:, at]) for at in (2, 4))
        has_one = ~np.isnan(states[..., 6])
        waypoint[has_one] = plane.points([tuple(each) for each in states[has_one][:, 6:]])
        flights[method] = Recorded(
            *np.moveaxis(place, -1, 0), track, states[..., 3], target, states[..., 5], *np.moveaxis(waypoint, -1, 0)
        )
    fastest = np.max([np.nanmax(np.nan_to_num(each.speed_mps), axis=0) for each in flights.values()], axis=0)
    return flights, names, np.flatnonzero(fastest < 0.1).tolist()


def page(name: str, cameras: dict[str, Camera], counts: list[str]) -> bytes:
    """Return the page of a scenario."""
    flights, names, hovers = recorded(cameras)
    replay = replay_of(flights, WorldConfig(), hovers=hovers)
    who = ", ".join(f"{number} {each}" for number, each in enumerate(names))
    return render_flights(replay, f"{name}.scn in BlueSky", [*counts, *NOTES, f"Aircraft: {who}."], "MVP")


def survey(bs: Any, names: list[str], report: Path | None) -> None:
    """Fly each scenario with each method, and print the table."""
    print(f"| scenario | {' | '.join(METHODS)} |", f"|---|{'---|' * len(METHODS)}", sep="\n")
    for name in names:
        cells, counts, cameras = [], [], {method: Camera() for method in METHODS}
        for method, commands in METHODS.items():
            with contextlib.redirect_stdout(io.StringIO()):
                flown = fly_in_bluesky.fly(bs, commands, SECONDS, name, cameras[method])
            los, in_los_s, arrived = flown["los"], flown["in_los_s"], len(flown["arrived_s"])
            nearest = flown["nearest_m"] if math.isfinite(flown["nearest_m"]) else 0.0
            cells.append(f"{los}, {in_los_s:.0f} s, {arrived}")
            counts.append(
                f"{method}: {los} losses of separation, {in_los_s:.0f} pair-seconds in them, "
                f"nearest {nearest:.0f} m; {arrived} arrived within {SECONDS} s."
            )
            print(name, counts[-1], flown["arrived_s"], file=sys.stderr, flush=True)
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
        if report is not None:
            publish(report / f"{name}.html", page(name, cameras, counts))


def main(files: list[Path], report: Path | None) -> None:
    """Fly each file with each method."""
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="skyclone-survey-") as home:
        os.environ.update(dict.fromkeys(("HOME", "XDG_CONFIG_HOME"), home))
        install(Path(home))
        origin = find_spec("bluesky").origin  # type: ignore[union-attr]
        settings = (Path(origin).parent / "resources" / "default.cfg").read_text()  # type: ignore[arg-type]
        Path(home, "settings.cfg").write_text(settings + "\nprefer_compiled = False\n")
        folder = Path(home, "scenario")
        folder.mkdir()
        for file in files:
            (folder / file.name).write_text(test_bluesky_plugin.HEAD + file.read_text())
        (folder / "eight.scn").write_text(test_bluesky_plugin.HEAD + test_bluesky_plugin.through_one_point(8))
        with contextlib.redirect_stdout(io.StringIO()):
            bs, _ = fly_in_bluesky.start(home)
            fly_in_bluesky.fly(bs, "RESO OFF", 1, "eight")  # commands take another step in the first flight
        survey(bs, [*(file.stem for file in files), "eight"], report)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description="Fly scenario files in BlueSky with the plugin.")
    parser.add_argument("files", metavar="FILE.scn", nargs="*", type=Path)
    parser.add_argument("--report", metavar="DIR", type=Path, help="write a page of each scenario's flights")
    given = parser.parse_args()
    main(given.files, given.report)
