"""Fly a scenario in BlueSky, headless: python fly_in_bluesky.py WORKDIR SECONDS RESO... A program of the tests.

BlueSky is a process-wide singleton, so each test of the plugin runs this in a process of its own. One JSON object
comes on the last line of stdout: for each RESO the losses of separation and where everybody is in the end.
"""

import json
import sys
import types
import warnings
from typing import Any


class _NoNavigationData:
    """Stands in for BlueSky's navigation database, which takes 7 s to read: these scenarios name no places."""

    def reset(self) -> None:
        """Do nothing."""

    def defwpt(self, name: str = "", lat: float = 0.0, lon: float = 0.0, wptype: str = "") -> None:
        """Do nothing."""

    def getaptidx(self, name: str) -> int:
        """Know no airport."""
        return -1


def main(folder: str, seconds: int, methods: list[str]) -> dict[str, Any]:
    """Fly `own.scn` with each method."""
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
    flown = {}
    for method in methods:
        said.clear()
        bs.stack.stack("IC own")
        bs.sim.step()
        for command in method.split(";"):
            bs.stack.stack(command)
        events, inside = 0, set()
        for _ in range(seconds * round(1 / bs.settings.simdt)):
            bs.sim.step()
            pairs = {frozenset(pair) for pair in bs.traf.cd.lospairs}
            events, inside = events + len(pairs - inside), pairs
        columns = {name: getattr(bs.traf, name).tolist() for name in ("lat", "lon", "alt", "trk", "gs")}
        flown[method] = {"los": events, "id": list(bs.traf.id), "said": list(said), **columns}
    return flown


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
