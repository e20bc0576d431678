"""Deployment: a trained policy flies aircraft given in degrees and metres, on the scale it was trained on.

It flies in the plane, whatever they climb, and only those that somebody is near to: all others fly what their
autopilots hold. Aircraft outside its training (airliners, other protected zones) are left alone, with a reason.
In wind it sees velocities over ground, and turns headings and changes airspeeds, as in a world with wind.

Notation: N aircraft, M of them flown.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from ...collect.airspace.geodesy import EARTH_RADIUS_M
from ...collect.airspace.units import KNOT_MPS, NAUTICAL_MILE_M
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.assurance import AssuranceConfig
from ...datasets.errors import ConfigurationError
from ...datasets.traffic.observation import observe
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ...train.policy import Policy, load_policy
from ..evaluation.assured import split
from .monitor import Monitor

_ZONE_TOLERANCE = 0.02
_HOVER_MPS = 0.5
_SPEED_TOLERANCE_MPS = 0.1
_CALM_MPS = 1e-6
_NEAR_LOOKAHEADS = 2.0  # intruders that could reach the protected zone within so many look-ahead times are near


@dataclass(frozen=True)
class AirTraffic:
    """Aircraft as a simulator has them, each (N,) float64.

    Attributes:
        latitude_deg: Of each aircraft.
        longitude_deg: Of each aircraft.
        track_deg: Over ground, clockwise from north.
        speed_mps: Over ground.
        heading_deg: Clockwise from north; the track where there is no wind.
        airspeed_mps: True airspeed; the speed over ground where there is no wind.
        altitude_m: Above sea level.
        climb_mps: Vertical speed.
        commanded_mps: Airspeed that its autopilot holds; 0 to hover.
        waypoint_latitude_deg: Of the waypoint it flies to.
        waypoint_longitude_deg: Of the waypoint it flies to.
        zone_m: Radius of its protected zone.
        zone_height_m: Vertical separation; an aircraft that stays farther above or below is no intruder.
        slowest_mps: Least airspeed it can fly.
        fastest_mps: Highest airspeed it can fly.
        is_avoided: (N,) bool, False for aircraft that are not avoided.
        avoids: (N,) bool, False for aircraft that must avoid nobody.
        callsigns: By these a monitor knows aircraft again, N of them.
    """

    latitude_deg: np.ndarray
    longitude_deg: np.ndarray
    track_deg: np.ndarray
    speed_mps: np.ndarray
    heading_deg: np.ndarray
    airspeed_mps: np.ndarray
    altitude_m: np.ndarray
    climb_mps: np.ndarray
    commanded_mps: np.ndarray
    waypoint_latitude_deg: np.ndarray
    waypoint_longitude_deg: np.ndarray
    zone_m: np.ndarray
    zone_height_m: np.ndarray
    slowest_mps: np.ndarray
    fastest_mps: np.ndarray
    is_avoided: np.ndarray
    avoids: np.ndarray
    callsigns: Sequence[str]


class Orders(NamedTuple):
    """What the aircraft fly next.

    Attributes:
        is_flown: (N,) bool, True where the policy flies.
        heading_deg: (N,) in [0, 360).
        airspeed_mps: (N,).
        reasons: Why others cannot be flown, and which (N,) bool. Who has nobody near is in none of them.
    """

    is_flown: np.ndarray
    heading_deg: np.ndarray
    airspeed_mps: np.ndarray
    reasons: dict[str, np.ndarray]


class Deployment:
    """A deployed policy; the centre of an aircraft's sector is the middle of the traffic around it at first.

    Others within a sector's diameter of that centre share it, whenever they come, so far traffic moves no centre.

    Its view bounds what is far (`View.bound`), as everywhere, so routes of any length can be flown.

    Args:
        policy: The policy.
        name: Where it comes from, for messages.
        assurance: The numbers of a monitor around it; None for no monitor.

    Attributes:
        centres_deg: Latitude and longitude of the sectors so far.
        decide: What flies: a function of the flown aircraft (M,), the pairs (M, N) and nothing else that returns
            actions (M, 2). It is the policy's own; assign another one to put something around it.
        monitor: Hands aircraft to a fallback where what `decide` returns is not to be trusted; or None.
    """

    def __init__(self, policy: Policy, name: str, assurance: AssuranceConfig | None = None) -> None:
        self.policy, self.name = policy, name
        saved = policy.meta.get("world")
        self.config = WorldConfig.from_json(saved) if saved else WorldConfig()
        self.centres_deg: list[tuple[float, float]] = []
        self._sector: dict[str, int] = {}  # in which of them each aircraft flies, by callsign
        self.decide: Callable[[Traffic, Pairs], Any] = self._decide
        self.monitor = None if assurance is None else Monitor(self.config, assurance)

    @classmethod
    def load(cls, name: str) -> "Deployment":
        """Load a checkpoint: a run's folder or `pretrained:NAME`, `@rta` behind it for a monitor around it.

        Raises:
            CheckpointError: There is none, or it is damaged.
            ConfigurationError: Its world is damaged, or the monitor has no such parameter.
        """
        run, assurance = split(name)
        return cls(load_policy(run), name, assurance)

    @property
    def scale(self) -> str:
        """Say in one line what it was trained for."""
        config = self.config
        return (
            f"{config.cruise_mps:g} m/s cruise, up to {config.max_speed_mps:g} m/s, protected zone "
            f"{config.protected_zone_m:g} m (ZONER {config.protected_zone_m / NAUTICAL_MILE_M:.4f}), "
            f"sectors of {config.sector_radius_m:g} m"
        )

    def fly(self, air: AirTraffic) -> Orders:
        """Return what each aircraft flies until the next decision, never faster than it was commanded."""
        config, reasons = self.config, self._reasons(air)
        is_flown = ~np.any(list(reasons.values()), axis=0)
        heading, airspeed = air.heading_deg % 360.0, air.airspeed_mps.copy()
        if is_flown.any():
            rows = np.flatnonzero(is_flown)
            own, pairs = self._seen(air, rows)
            is_near = self._is_near(air, rows, pairs)
            is_flown[rows], rows = is_near.numpy(), rows[is_near.numpy()]
        if is_flown.any():
            action = self._actions(air, rows, own.of(is_near), pairs.map(lambda each: each[is_near]))
            heading[rows] = (heading[rows] + np.degrees(action[:, 0] * config.turn_rad)) % 360.0
            low = np.maximum(air.slowest_mps[rows], config.min_speed_mps)
            high = np.minimum(np.minimum(air.fastest_mps, air.commanded_mps)[rows], config.max_speed_mps)
            wanted = airspeed[rows] + action[:, 1] * config.speed_change_mps
            airspeed[rows] = np.clip(wanted, low, np.maximum(low, high))
        elif self.monitor is not None:
            self.monitor.rest()
        return Orders(is_flown, heading, airspeed, {reason: who for reason, who in reasons.items() if who.any()})

    def _actions(self, air: AirTraffic, rows: np.ndarray, own: Traffic, pairs: Pairs) -> np.ndarray:
        """Return the actions that are flown, of the policy or of the fallback, (M, 2) float64."""
        action = self.decide(own, pairs)
        if self.monitor is not None:
            view, envelope = self.policy.view, self.policy.envelope
            is_outside = None if envelope is None else envelope.is_outside(observe(own, pairs, view))
            latitude, longitude = air.waypoint_latitude_deg[rows], air.waypoint_longitude_deg[rows]
            east, north = _tensors(*_offset(*self._centres(air, rows), latitude, longitude))
            own = replace(own, waypoint_east_m=east, waypoint_north_m=north)  # always the same, to the bit
            action = self.monitor.fly(air.callsigns, rows, own, pairs, torch.as_tensor(action), is_outside)
        return np.asarray(action, np.float64)

    def _decide(self, own: Traffic, pairs: Pairs) -> torch.Tensor:
        """Return the policy's actions, (M, 2)."""
        action: torch.Tensor = self.policy.act(observe(own, pairs, self.policy.view))
        return action

    def _is_near(self, air: AirTraffic, rows: np.ndarray, pairs: Pairs) -> torch.Tensor:
        """Return for whom (M,) an intruder could soon be within the protected zone, whichever way both turned."""
        speed = np.maximum(air.airspeed_mps, air.commanded_mps)  # the wind moves all alike
        soon_s = _NEAR_LOOKAHEADS * self.config.lookahead_s
        (reach_m,) = _tensors(self.config.protected_zone_m + soon_s * (speed[rows, None] + speed[None]))
        return (pairs.distance2_m2 < reach_m**2).any(1)

    def _reasons(self, air: AirTraffic) -> dict[str, np.ndarray]:
        """Return why aircraft are outside the policy's scale, and which, (N,) bool each; one reason each."""
        config = self.config
        zone = config.protected_zone_m
        reasons = {
            f"faster than the {config.max_speed_mps:g} m/s ({config.max_speed_mps / KNOT_MPS:.0f} kt) it was "
            "trained for": air.speed_mps > config.max_speed_mps + _SPEED_TOLERANCE_MPS,
            f"of a type that cannot fly its cruise speed of {config.cruise_mps:g} m/s": (
                (air.slowest_mps > config.cruise_mps) | (air.fastest_mps < config.cruise_mps)
            ),
            f"with a protected zone other than the {zone:g} m it was trained for: ZONER "
            f"{zone / NAUTICAL_MILE_M:.4f}, after CDMETHOD or ASAS, which undo it": (
                np.abs(air.zone_m - zone) > _ZONE_TOLERANCE * zone
            ),
            "told to hover (0 kt): it stays, and is avoided": air.commanded_mps < _HOVER_MPS,
            "told to avoid nobody (RESOOFF)": ~air.avoids,
        }
        is_explained = np.zeros(len(air.speed_mps), bool)
        for reason, who in reasons.items():
            reasons[reason] = who & ~is_explained
            is_explained |= who
        return reasons

    def _seen(self, air: AirTraffic, rows: np.ndarray) -> tuple[Traffic, Pairs]:
        """Return the flown aircraft as ownships (M,), and all others around each of them, (M, N)."""
        latitude, longitude = air.latitude_deg, air.longitude_deg
        east, north = _offset(*self._centres(air, rows), latitude[rows], longitude[rows])
        ahead_east, ahead_north = _offset(
            latitude[rows], longitude[rows], air.waypoint_latitude_deg[rows], air.waypoint_longitude_deg[rows]
        )
        track = _wrapped(air.track_deg) * math.pi / 180.0
        speed = air.speed_mps
        own = (east, north, track[rows], speed[rows], east + ahead_east, north + ahead_north)
        flying = np.ones(len(rows), bool)

        d_east, d_north = _offset(latitude[rows, None], longitude[rows, None], latitude[None], longitude[None])
        velocity = speed * np.sin(track), speed * np.cos(track)
        d_velocity = [part[None] - part[rows, None] for part in velocity]
        is_pair = _is_level(air, rows, self.config.lookahead_s)
        is_pair &= air.is_avoided[None] & (np.arange(len(speed))[None] != rows[:, None])
        distance2 = np.where(is_pair, d_east**2 + d_north**2, np.inf)
        around = (d_east, d_north, d_velocity[0], d_velocity[1], distance2)
        flown = Traffic(*_tensors(*own, flying))
        wind = [ground[rows] - through for ground, through in zip(velocity, _air_velocity(air, rows))]
        if np.abs(wind).max() > _CALM_MPS:
            flown.wind_east_mps, flown.wind_north_mps = _tensors(*wind)
        return flown, Pairs(*_tensors(*around, is_pair))

    def _centres(self, air: AirTraffic, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return latitude and longitude of the centre of each flown aircraft's sector, (M,)."""
        latitude, longitude = air.latitude_deg[rows], air.longitude_deg[rows]
        present = set(air.callsigns)
        self._sector = {name: sector for name, sector in self._sector.items() if name in present}
        for place, row in enumerate(rows):
            if air.callsigns[row] not in self._sector:
                self._sector[air.callsigns[row]] = self._nearest_sector(place, latitude, longitude)
        centres = np.array([self.centres_deg[self._sector[air.callsigns[row]]] for row in rows])
        return centres[:, 0], centres[:, 1]

    def _nearest_sector(self, place: int, latitude: np.ndarray, longitude: np.ndarray) -> int:
        """Return the number of the sector that an aircraft begins in, of flown ones (M,): perhaps a new one."""
        here, diameter_m = (float(latitude[place]), float(longitude[place])), 2.0 * self.config.sector_radius_m
        if self.centres_deg:
            away_m = np.hypot(*_offset(*here, *np.array(self.centres_deg).T))
            if away_m.min() < diameter_m:
                return int(away_m.argmin())
        is_around = np.hypot(*_offset(*here, latitude, longitude)) < diameter_m
        mean = here[1] + _wrapped(longitude[is_around] - here[1]).mean()  # also across the date line
        self.centres_deg.append((float(latitude[is_around].mean()), float(mean)))
        return len(self.centres_deg) - 1


def _air_velocity(air: AirTraffic, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the velocity through the air of some aircraft, east and north, (M,) each."""
    heading, airspeed = _wrapped(air.heading_deg[rows]) * math.pi / 180.0, air.airspeed_mps[rows]
    return airspeed * np.sin(heading), airspeed * np.cos(heading)


def _is_level(air: AirTraffic, rows: np.ndarray, lookahead_s: float) -> np.ndarray:
    """Return who (M, N) is within the height of the zone now, or will be within the look-ahead time."""
    above, climb = (each[None] - each[rows, None] for each in (air.altitude_m, air.climb_mps))
    until_level_s = np.where(climb == 0, 0.0, -above / np.where(climb == 0, 1.0, climb))
    nearest = above + climb * np.clip(until_level_s, 0.0, lookahead_s)
    return np.abs(nearest) < np.maximum(air.zone_height_m[rows, None], air.zone_height_m[None])


def require(run: str) -> Deployment:
    """Load a checkpoint, or say what to name instead.

    Raises:
        ConfigurationError: Nothing was named.
        CheckpointError: There is none of that name, or it is damaged.
    """
    if not run.strip():
        raise ConfigurationError(
            "expected the folder of a trained policy, or pretrained:NAME. Try SKYCLONE runs/clone"
        )
    return Deployment.load(run.strip().strip("'\""))


def _wrapped(degrees: np.ndarray) -> np.ndarray:
    """Return angles in [-180, 180)."""
    return (degrees + 180.0) % 360.0 - 180.0


def _offset(
    latitude: np.ndarray | float, longitude: np.ndarray | float, to_latitude: np.ndarray, to_longitude: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vector from one point to another, east and north, m, on a flat earth between them."""
    middle = np.radians((latitude + to_latitude) / 2)
    east = EARTH_RADIUS_M * np.radians(_wrapped(to_longitude - longitude)) * np.cos(middle)
    return east, EARTH_RADIUS_M * np.radians(to_latitude - latitude)


def _tensors(*values: np.ndarray) -> list[Any]:
    """Return values as tensors, float64 as float32."""
    return [torch.from_numpy(each if each.dtype == bool else each.astype(np.float32)) for each in values]
