"""Fly a scenario in BlueSky, headless: python fly_in_bluesky.py WORKDIR SECONDS METHOD... A program of the tests.

BlueSky is a process-wide singleton, so each test of the plugin runs this in a process of its own. A METHOD is
commands, `;` between them. After a METHOD `NEWER`, a module of its own resumes navigation once all is resolved, as
in BlueSky after 1.1.1. One JSON object comes on the last line of stdout: for each METHOD the losses of separation,
the pair-seconds in them, the smallest distance, when each drone arrived (within 0.01 NM of its destination, where
it is deleted), and where everybody else is in the end.
"""

import json
import math
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

ARRIVED_M = 18.52
_METRES_PER_DEGREE = math.pi * 6_371_000.0 / 180.0
COLUMNS = ("lat", "lon", "alt", "trk", "gs", "hdg", "tas")


class _NoNavigationData:
    """Stands in for BlueSky's navigation database, which takes 7 s to read: these scenarios name no places."""

    def reset(self) -> None:
        """Do nothing."""

    def defwpt(self, name: str = "", lat: float = 0.0, lon: float = 0.0, wptype: str = "") -> None:
        """Do nothing."""

    def getaptidx(self, name: str) -> int:
        """Know no airport."""
        return -1


def start(folder: str) -> tuple[Any, list[str]]:
    """Start BlueSky and return it, and what it says from now on."""
    navigation: Any = types.ModuleType("bluesky.navdatabase")
    navigation.Navdatabase = _NoNavigationData
    sys.modules["bluesky.navdatabase"] = navigation
    import bluesky as bs

    bs.init(mode="sim", detached=True, workdir=folder)
    said: list[str] = []

    def send(topic: str, data: Any = "", to_group: bytes = b"") -> None:
        if topic == "ECHO":  # what would stand in the console
            said.append(data["text"])

    bs.net.send = send
    return bs, said


def resume_as_newer_ones(bs: Any) -> None:
    """Let a module of its own follow the resolution and write its `active`, as on BlueSky's branch of July 2026."""
    from bluesky.core import Entity
    from bluesky.core.entity import getproxied
    from bluesky.traffic import asas

    class ResumeNavigation(Entity, replaceable=True):  # type: ignore[misc]
        def update(self, conf: Any, ownship: Any, intruder: Any) -> None:
            pass

    class PastCPA(ResumeNavigation):
        def update(self, conf: Any, ownship: Any, intruder: Any) -> None:
            asas.ConflictResolution.resumenav(getproxied(bs.traf.cr), conf, ownship, intruder)

    def update() -> None:
        if bs.traf.asastimer.readynext:
            bs.traf.resnav.update(bs.traf.cd, bs.traf, bs.traf)
        resolved()

    def select(cls: Any, instance: Any = None) -> None:
        select_resolution(cls, instance)
        (ResumeNavigation if cls is asas.ConflictResolution else PastCPA).select()

    asas.ResumeNavigation, bs.traf.resnav = ResumeNavigation, ResumeNavigation()
    resolved, bs.traf.aporasas.update = bs.traf.aporasas.update, update  # what comes next in a step
    select_resolution, asas.ConflictResolution.select = asas.ConflictResolution.select.__func__, classmethod(select)


def fly(
    bs: Any, method: str, seconds: int, scenario: str = "own", watch: Callable[[Any], None] = lambda traf: None
) -> dict[str, Any]:
    """Fly a scenario of the folder with one method; `watch` gets BlueSky's traffic after each step."""
    bs.stack.stack(f"IC {scenario}")
    for _ in range(2):  # it is opened, and its commands at 0 s are given
        bs.sim.step()
    for command in method.split(";"):
        bs.stack.stack(command)
    steps = round(1 / bs.settings.simdt)
    events, in_los, inside, nearest, arrived = 0, 0.0, set(), math.inf, {}
    fastest: dict[str, float] = {}
    for second in range(1, seconds + 1):
        for _ in range(steps):
            bs.sim.step()
            watch(bs.traf)
            present = set(bs.traf.id)  # where nobody is left, BlueSky detects no more
            pairs = {frozenset(pair) for pair in bs.traf.cd.lospairs if present.issuperset(pair)}
            events, inside = events + len(pairs - inside), pairs
            in_los += len(pairs) / steps
            if there := _arrived(bs.traf):  # looked at in each step: some pass close by between two seconds
                arrived |= {bs.traf.id[place]: second for place in there}
                bs.traf.delete(np.array(there))
        nearest = min(nearest, _nearest_m(bs.traf))
        for name, speed in zip(bs.traf.id, bs.traf.gs.tolist(), strict=True):
            fastest[name] = max(fastest.get(name, 0.0), speed)
    columns = {name: getattr(bs.traf, name).tolist() for name in COLUMNS}
    figures = {"los": events, "in_los_s": in_los, "nearest_m": nearest}
    return {**figures, "arrived_s": arrived, "fastest_mps": fastest, "id": list(bs.traf.id), **columns}


def _offsets_m(traf: Any, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Return the distance of each aircraft from points."""
    east = (longitude - traf.lon) * np.cos(np.radians(traf.lat))
    return np.hypot(east, latitude - traf.lat) * _METRES_PER_DEGREE


def _nearest_m(traf: Any) -> float:
    """Return the smallest distance of two aircraft in the plane."""
    if traf.ntraf < 2:
        return math.inf
    return min(float(_offsets_m(traf, traf.lat[[i]], traf.lon[[i]])[:i].min()) for i in range(1, traf.ntraf))


def _arrived(traf: Any) -> list[int]:
    """Return the aircraft that are at the last waypoint of their route."""
    ends = [(route.wplat[-1], route.wplon[-1]) if route.nwp else (math.nan, math.nan) for route in traf.ap.route]
    found: list[int] = np.flatnonzero(_offsets_m(traf, *np.array(ends).reshape(-1, 2).T) < ARRIVED_M).tolist()
    return found


def main(folder: str, seconds: int, methods: list[str]) -> dict[str, Any]:
    """Fly `own.scn` with each method."""
    bs, said = start(folder)
    fly(bs, "RESO OFF", 1)  # commands take another step in the first flight of a BlueSky
    flown: dict[str, Any] = {}
    for method in methods:
        if method == "NEWER":
            resume_as_newer_ones(bs)
            continue
        said.clear()
        flown[method] = {**fly(bs, method, seconds), "said": list(said)}
    return flown


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
