"""A flown episode at a place on the earth: what all formats of flights are written from.

Notation: R rows of an episode, N aircraft, T moments of one of them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import torch

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.state import Traffic
from ..airspace.dynamics import advance
from ..airspace.fleet import Limits, limits_of_types, types_of
from ..airspace.geodesy import Plane
from ..airspace.world_config import WorldConfig
from .places import places_of

START = datetime(2000, 1, 1, tzinfo=UTC)
"""When a flight begins unless it is said otherwise."""
_STATES = ("east_m", "north_m", "track_rad", "speed_mps")
_MOST_LATITUDE_DEG = 85.0


@dataclass(frozen=True)
class Place:
    """Where the sector's centre is.

    Attributes:
        latitude_deg: Its latitude.
        longitude_deg: Its longitude.
        altitude_m: The altitude at which everyone flies.
    """

    latitude_deg: float
    longitude_deg: float
    altitude_m: float = 0.0

    @classmethod
    def parse(cls, text: str, altitude_m: float = 0.0) -> "Place":
        """Read `52.31,4.76`.

        Raises:
            ConfigurationError: It is no place.
        """
        try:
            latitude, longitude = (float(part) for part in text.split(","))
        except ValueError:
            latitude = longitude = float("nan")
        if not math.isfinite(altitude_m):
            raise ConfigurationError(f"expected an altitude that is a number, got {altitude_m}.")
        if not (abs(latitude) <= _MOST_LATITUDE_DEG and abs(longitude) <= 180.0):
            raise ConfigurationError(
                f"expected a place LATITUDE,LONGITUDE, in degrees, within {_MOST_LATITUDE_DEG:g} of the equator, "
                f"such as 52.31,4.76, got {text[:40]!r}."
            )
        return cls(latitude, longitude, altitude_m)


@dataclass(frozen=True)
class Track:
    """One aircraft's flight.

    Attributes:
        number: The aircraft's in its episode.
        callsign: Of it.
        kind: Its type, as BlueSky calls it.
        time_s: (T,) since the beginning of the episode; the last one is after its last step.
        place_deg: (T, 2) latitude and longitude.
        track_deg: (T,) direction of travel over ground, true, clockwise from north.
        speed_mps: (T,) over ground.
        to_track_deg: (T - 1,) the track that was steered for.
        to_speed_mps: (T - 1,) the speed that was aimed at.
    """

    number: int
    callsign: str
    kind: str
    time_s: np.ndarray
    place_deg: np.ndarray
    track_deg: np.ndarray
    speed_mps: np.ndarray
    to_track_deg: np.ndarray
    to_speed_mps: np.ndarray


@dataclass(frozen=True)
class Flight:
    """A flown episode.

    Attributes:
        title: What it is, in a line.
        start: When it began.
        step_s: Time between two moments.
        zone_m: The protected zone.
        altitude_m: Of all aircraft.
        tracks: One for each aircraft.
    """

    title: str
    start: datetime
    step_s: float
    zone_m: float
    altitude_m: float
    tracks: tuple[Track, ...]

    @property
    def end(self) -> datetime:
        """When the last aircraft has ended."""
        return self.start + timedelta(seconds=max(float(track.time_s[-1]) for track in self.tracks))


def flight_of(
    rows: Mapping[str, np.ndarray], config: WorldConfig, place: Place, title: str, start: datetime = START
) -> Flight:
    """Place an episode on the earth.

    Args:
        rows: (R,) each, by step: step, aircraft, state, `pilot_turn`, `pilot_speed` of one episode; the type and
            the wind where the world has them.
        config: The world.
        place: Where its centre is.
        title: What it is, in a line.
        start: When it begins.
    """
    plane = Plane((place.latitude_deg, place.longitude_deg))
    tracks = tuple(_tracks(rows, config, plane))
    return Flight(title, start, config.step_s, config.protected_zone_m, place.altitude_m, tracks)


def _tracks(rows: Mapping[str, np.ndarray], config: WorldConfig, plane: Plane) -> Iterator[Track]:
    """Yield the track of each aircraft."""
    limits, types = limits_of_types(config), types_of(config)
    for number in np.unique(rows["aircraft"]).tolist():
        own = {name: values[rows["aircraft"] == number] for name, values in rows.items()}
        kind = int(own["kind"][0]) if "kind" in own else 0
        after = _after(own, config)
        states = {name: np.append(own[name], after[name]).astype(np.float64) for name in _STATES}
        points = np.stack((states["east_m"], states["north_m"]), axis=1)
        places, tracks = places_of(plane, points, states["track_rad"])
        steered, speed = _aims(own, config, limits[kind])
        yield Track(
            number,
            f"SC{number:03d}",
            types[kind].blue_sky,
            np.append(own["step"], own["step"][-1] + 1).astype(np.float64) * config.step_s,
            places,
            tracks,
            states["speed_mps"],
            places_of(plane, points[:-1], steered)[1],
            speed,
        )


def _aims(own: Mapping[str, np.ndarray], config: WorldConfig, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Return the tracks (T,), rad, and the speeds over ground (T,), m/s, that an aircraft aims at."""
    track, speed, turn, change = (
        own[name].astype(np.float64) for name in ("track_rad", "speed_mps", "pilot_turn", "pilot_speed")
    )
    if np.isnan(own["waypoint_east_m"][0]):
        return track, speed  # it hovers, whatever its type could do
    wind = np.hypot(own["wind_east_mps"], own["wind_north_mps"]) if "wind_east_mps" in own else 0.0
    aimed = speed + change * config.speed_change_mps  # the limits are those of the airspeed
    least = np.maximum(limits.min_speed_mps - wind, 0.0)
    return track + turn * config.turn_rad, np.clip(aimed, least, limits.max_speed_mps + wind)


def _after(own: Mapping[str, np.ndarray], config: WorldConfig) -> dict[str, float]:
    """Return the state of an aircraft after its last row; of one that hovers, the same."""
    last = {name: torch.from_numpy(values[-1:].copy()) for name, values in own.items()}
    state = Traffic(**{name: last[name] for name in _STATES}, **_rest(last))
    if bool(torch.isnan(last["waypoint_east_m"])):
        return {name: float(own[name][-1]) for name in _STATES}
    action = torch.stack((last["pilot_turn"], last["pilot_speed"]), dim=-1)
    after = advance(state, action, config)
    return {name: float(getattr(after, name)) for name in _STATES}


def _rest(last: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what else a state consists of, (1,) each."""
    names = ("waypoint_east_m", "waypoint_north_m", "wind_east_mps", "wind_north_mps")
    found = {name: last[name] for name in names if name in last}
    kind = {"kind": last["kind"].long()} if "kind" in last else {}
    return {**found, **kind, "is_flying": torch.ones(1, dtype=torch.bool)}
