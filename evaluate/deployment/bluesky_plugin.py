"""RESO SKYCLONE: a trained policy as a conflict resolution of BlueSky. Imported inside BlueSky, by its plugin.

The policy flies each aircraft on its scale that somebody is near to, long before BlueSky sees a conflict: to the
active waypoint, or straight on where there is none. All others, and all altitudes, are left to the autopilot.
"""

from typing import Any

import numpy as np
from bluesky import stack
from bluesky.traffic import asas

from ...datasets.errors import SkycloneError
from .deployment import AirTraffic, Deployment, require
from .monitor import Monitor, named

DEFAULT_RUN = "pretrained:tuned"
_PASSED_S = 6.0  # BlueSky's 4 s, and what is flown until the next update
_AHEAD_DEG = 0.1  # where an aircraft without a route flies: straight on, beyond any policy's scale


class SkyClone(asas.ConflictResolution):
    """The deployed policy; BlueSky knows it by the name of its class."""

    deployment: Deployment | None = None

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()
        self.is_flown = self.active.copy()
        self.has_leg = self.active.copy()  # who of them follows its route
        # `settrafarrays` would create all arrays again, for the traffic there is.
        self._ArrVars += ["is_flown", "has_leg"]

    def reset(self) -> None:
        """Forget what was said, and the policy: BlueSky forgets which resolution was selected as well."""
        super().reset()
        self.said.clear()
        SkyClone.deployment = None

    # BlueSky's `active` is written by others too: after 1.1.1, by whatever RESNAV names.

    @property
    def hdgactive(self) -> Any:
        """Whose headings are the policy's, (N,) bool."""
        return self.is_flown

    @property
    def tasactive(self) -> Any:
        """Whose speeds are the policy's, (N,) bool."""
        return self.is_flown

    @property
    def vsactive(self) -> Any:
        """Vertical speeds are left to the autopilot."""
        return np.zeros_like(self.is_flown)

    @property
    def altactive(self) -> Any:
        """Altitudes are left to the autopilot."""
        return np.zeros_like(self.is_flown)

    def update(self, conf: Any, ownship: Any, intruder: Any) -> None:
        """Decide what each aircraft flies until the next update; BlueSky calls this every ASAS interval."""
        self._resume_alone()
        before = self.has_leg.copy()
        self.has_leg[:] = self.is_flown[:] = self.active[:] = False
        deployment = self._ready()
        if deployment is None or not ownship.ntraf:
            return
        resume_legs(ownship, before, deployment.config.waypoint_radius_m)
        orders = deployment.fly(air_traffic(conf, ownship, self.noresoac, self.resooffac))
        self.is_flown[:] = self.active[:] = orders.is_flown
        follow_legs(ownship, self.is_flown)
        self.has_leg[:] = self.is_flown & ownship.swlnav
        if deployment.monitor is not None:
            self._say_who_was_handed_over(deployment.monitor)
        self.trk, self.tas = over_ground(ownship, orders.heading_deg, orders.airspeed_mps)
        self.alt, self.vs = ownship.selalt.copy(), np.zeros(ownship.ntraf)
        for reason, who in orders.reasons.items():
            self._say(
                reason,
                f"SKYCLONE: {int(who.sum())} aircraft left to the autopilot ({named(ownship.id, who)}): {reason}.",
            )

    def _resume_alone(self) -> None:
        """Switch off what leads back to the route after conflicts: policy and autopilot do so themselves."""
        resuming = getattr(asas, "ResumeNavigation", None)  # after BlueSky 1.1.1, RESO selects one
        if resuming is not None and resuming.selected() is not resuming:
            resuming.select()
            self._say("resuming", "SKYCLONE: RESNAV is off, because RESO SKYCLONE resumes navigation itself.")

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

    def _say_who_was_handed_over(self, monitor: Monitor) -> None:
        """Say once for each reason that the fallback flies somebody."""
        for name, reason in monitor.reasons.items():
            self._say(
                f"rta {reason}",
                f"SKYCLONE: the fallback flies {name} ({reason}). This is said once; SKYCLONE tells who is "
                "flown by whom.",
            )

    def _say(self, what: str, text: str) -> None:
        """Say something once."""
        if what not in self.said:
            self.said.add(what)
            stack.echo(text)


def follow_legs(ownship: Any, is_flown: np.ndarray) -> None:
    """Begin the leg of each flown aircraft where it is, as `DIRECT` does.

    BlueSky takes a waypoint for passed when it lies abeam of the leg, along which who avoids somebody does not fly.
    """
    follows = is_flown & np.asarray(ownship.swlnav, bool)
    ownship.actwp.curlegdir[follows] = ownship.ap.qdr2wp[follows]


def resume_legs(ownship: Any, had_leg: np.ndarray, arrived_m: float) -> None:
    """Go on to a last waypoint that an aircraft was pushed past; who had a leg at the last update, (N,) bool.

    BlueSky takes one for passed by who flies away from it within 4 s of flight; the aircraft would never arrive.
    """
    is_off = had_leg & ~np.asarray(ownship.swlnav, bool) & np.asarray(ownship.actwp.swlastwp, bool)
    to_go_m = ownship.ap.dist2wp
    ownship.swlnav[is_off & (to_go_m > arrived_m) & (to_go_m < _PASSED_S * ownship.gs)] = True


def air_traffic(conf: Any, ownship: Any, is_not_avoided: Any, avoids_nobody: Any) -> AirTraffic:
    """Return BlueSky's traffic: `conf` is its conflict detection, `ownship` its `traf`."""
    has_route = np.asarray(ownship.swlnav, bool)
    ahead = np.radians(ownship.ap.trk)
    return AirTraffic(
        latitude_deg=np.array(ownship.lat),
        longitude_deg=np.array(ownship.lon),
        track_deg=np.array(ownship.trk),
        speed_mps=np.array(ownship.gs),
        heading_deg=np.array(ownship.hdg),
        airspeed_mps=np.array(ownship.tas),
        altitude_m=np.array(ownship.alt),
        climb_mps=np.array(ownship.vs),
        commanded_mps=np.array(ownship.ap.tas),
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
        avoids=~np.asarray(avoids_nobody, bool),
        callsigns=tuple(ownship.id),
    )


def over_ground(ownship: Any, heading_deg: np.ndarray, airspeed_mps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the track and the ground speed of headings and airspeeds: BlueSky takes the wind off again.

    It does so below 50 ft too, where it has no wind move anybody.
    """
    if not ownship.wind.winddim:
        return heading_deg, airspeed_mps
    heading = np.radians(heading_deg)
    east = airspeed_mps * np.sin(heading) + ownship.windeast
    north = airspeed_mps * np.cos(heading) + ownship.windnorth
    return np.degrees(np.arctan2(east, north)) % 360.0, np.hypot(east, north)


@stack.command(name="SKYCLONE")
def load(run: "string" = "") -> tuple[bool, str]:  # type: ignore[name-defined]  # noqa: F821
    """SKYCLONE [RUN[@rta]]: load the policy that RESO SKYCLONE flies, or say which one is loaded.

    RUN is the folder of a trained policy, or pretrained:NAME. With @rta[:margin=1.2:patience_s=60:hold_s=5] behind
    it, a monitor hands aircraft to a fallback; SKYCLONE without RUN tells which, and why.
    """
    if not run.strip():
        deployment = SkyClone.deployment
        if deployment is None:
            return True, "No policy is loaded. SKYCLONE RUN."
        status = [] if deployment.monitor is None else deployment.monitor.lines()
        return True, "\n".join((f"{deployment.name}: {deployment.scale}", *status))
    SkyClone()  # the only one; BlueSky resets no resolution that it has not made yet
    try:
        SkyClone.deployment = deployment = require(run)
    except SkycloneError as error:
        return False, str(error)
    told = f"{deployment.name} is loaded: {deployment.scale}. RESO SKYCLONE flies it."
    if deployment.monitor is not None and deployment.policy.envelope is None:
        told += " Its checkpoint has no envelope, so only progress and lost separation are monitored."
    return True, told
