"""RESO SKYCLONE: a trained policy as a conflict resolution of BlueSky. Imported inside BlueSky, by its plugin.

The policy flies each aircraft on its scale along the whole route, not only in conflict: to the active waypoint,
or straight on where there is none. All others, and all altitudes, are left to the autopilot.
"""

from typing import Any

import numpy as np
from bluesky import stack
from bluesky.traffic.asas import ConflictResolution

from ...datasets.errors import SkycloneError
from .deployment import AirTraffic, Deployment, named, require

DEFAULT_RUN = "pretrained:tuned"
_AHEAD_DEG = 0.1  # where an aircraft without a route flies: straight on, beyond any policy's scale


class SkyClone(ConflictResolution):
    """The deployed policy; BlueSky knows it by the name of its class."""

    deployment: Deployment | None = None

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def reset(self) -> None:
        """Forget what was said and where the sector was; the policy stays loaded."""
        super().reset()
        self.said.clear()
        if SkyClone.deployment is not None:
            SkyClone.deployment.centre_deg = None

    @property
    def vsactive(self) -> Any:
        """Vertical speeds are left to the autopilot."""
        return np.zeros_like(self.active)

    @property
    def altactive(self) -> Any:
        """Altitudes are left to the autopilot."""
        return np.zeros_like(self.active)

    def update(self, conf: Any, ownship: Any, intruder: Any) -> None:
        """Decide what each aircraft flies until the next update; BlueSky calls this every ASAS interval."""
        self.active[:] = False
        deployment = self._ready()
        if deployment is None or not ownship.ntraf:
            return
        orders = deployment.fly(air_traffic(conf, ownship, self.noresoac))
        self.active[:] = orders.is_flown & ~self.resooffac
        self.trk, self.tas = orders.track_deg, orders.speed_mps
        self.alt, self.vs = ownship.selalt.copy(), np.zeros(ownship.ntraf)
        for reason, who in orders.reasons.items():
            self._say(
                reason,
                f"SKYCLONE: {int(who.sum())} aircraft left to the autopilot ({named(ownship.id, who)}): {reason}.",
            )

    def _ready(self) -> Deployment | None:
        """Return the policy, the one that ships with the package if none was loaded."""
        if SkyClone.deployment is None and "default" not in self.said:
            self.said.add("default")
            try:
                SkyClone.deployment = Deployment.load(DEFAULT_RUN)
            except SkycloneError as error:
                self._say(
                    "none", f"SKYCLONE: no policy is loaded, so it flies none. Load one: SKYCLONE RUN. ({error})"
                )
        return SkyClone.deployment

    def _say(self, what: str, text: str) -> None:
        """Say something once."""
        if what not in self.said:
            self.said.add(what)
            stack.echo(text)


def air_traffic(conf: Any, ownship: Any, is_not_avoided: Any) -> AirTraffic:
    """Return BlueSky's traffic: `conf` is its conflict detection, `ownship` its `traf`."""
    has_route = np.asarray(ownship.swlnav, bool)
    ahead = np.radians(ownship.ap.trk)
    return AirTraffic(
        latitude_deg=np.array(ownship.lat),
        longitude_deg=np.array(ownship.lon),
        track_deg=np.array(ownship.trk),
        speed_mps=np.array(ownship.gs),
        altitude_m=np.array(ownship.alt),
        climb_mps=np.array(ownship.vs),
        waypoint_latitude_deg=np.where(has_route, ownship.actwp.lat, ownship.lat + _AHEAD_DEG * np.cos(ahead)),
        waypoint_longitude_deg=np.where(
            has_route,
            ownship.actwp.lon,
            ownship.lon + _AHEAD_DEG * np.sin(ahead) / np.maximum(ownship.coslat, 0.01),
        ),
        zone_m=np.array(conf.rpz),
        zone_height_m=np.array(conf.hpz),
        slowest_mps=np.array(ownship.perf.vmin),
        fastest_mps=np.array(ownship.perf.vmax),
        is_avoided=~np.asarray(is_not_avoided, bool),
    )


@stack.command(name="SKYCLONE")
def load(run: "string" = "") -> tuple[bool, str]:  # type: ignore[name-defined]  # noqa: F821
    """SKYCLONE [RUN]: load the policy that RESO SKYCLONE flies, or say which one is loaded.

    RUN is the folder of a trained policy, or pretrained:NAME.
    """
    if not run.strip():
        deployment = SkyClone.deployment
        return (
            True,
            f"{deployment.name}: {deployment.scale}" if deployment else "No policy is loaded. SKYCLONE RUN.",
        )
    try:
        SkyClone.deployment = require(run)
    except SkycloneError as error:
        return False, str(error)
    return True, f"{SkyClone.deployment.name} is loaded: {SkyClone.deployment.scale}. RESO SKYCLONE flies it."
