"""What BlueSky makes of scenario files: python read_in_bluesky.py WORKDIR SECONDS FILE... A program of the tests.

BlueSky is a process-wide singleton, and this needs its navigation data, which take 7 s to read. The files lie in
WORKDIR/scenario. One JSON object comes on the last line of stdout: for each file every aircraft as it is created,
and all of them in the end, without conflict resolution.
"""

import json
import sys
import warnings
from typing import Any


def main(folder: str, seconds: float, names: list[str]) -> dict[str, Any]:
    """Read each file, and fly it for a while."""
    import bluesky as bs
    from bluesky.stack import simstack

    bs.init(mode="sim", detached=True, workdir=folder)
    navigation = {name: value.copy() for name, value in vars(bs.navdb).items() if hasattr(value, "copy")}
    bs.navdb.reset = lambda: [setattr(bs.navdb, name, value.copy()) for name, value in navigation.items()]
    found = {}
    for name in names:
        created: dict[str, Any] = {}
        bs.stack.stack(f"IC {name}")
        simstack.process()
        bs.stack.stack("RESO OFF")
        while bs.sim.simt < seconds:
            bs.sim.op()  # whatever HOLD says
            simstack.process()  # so that aircraft are seen before they have moved
            _see(bs, created)
            bs.sim.step()
            _see(bs, created)
        found[name] = {"created": created, "end": {each["id"]: each for each in _all(bs)}}
    return found


def _see(bs: Any, created: dict[str, Any]) -> None:
    """Remember those that were not there before."""
    if any(name not in created for name in bs.traf.id):
        for each in _all(bs):
            created.setdefault(each["id"], each)


def _all(bs: Any) -> list[dict[str, Any]]:
    """Return all aircraft."""
    made = []
    for index, name in enumerate(bs.traf.id):
        route = bs.traf.ap.route[index]
        points = [*zip(route.wplat, route.wplon, route.wptype)][max(route.iactwp, 0) :]
        made.append({
            "id": name,
            "type": bs.traf.type[index],
            "time": bs.sim.simt,
            **{key: float(getattr(bs.traf, key)[index]) for key in ("lat", "lon", "hdg", "tas", "gs")},
            "route": [(float(north), float(east)) for north, east, kind in points if kind != route.orig],
        })  # fmt: skip
    return made


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print("\n" + json.dumps(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])))
