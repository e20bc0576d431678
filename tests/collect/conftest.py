"""Fixtures of the world's tests: hand-made traffic, and BlueSky as the reference."""

import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from skyclone.collect.simulators.bluesky_process import start_bluesky
from skyclone.datasets.traffic.state import Traffic

TrafficMaker = Callable[..., Traffic]


@pytest.fixture(scope="session")
def traffic_of() -> TrafficMaker:
    """Return a function that makes (1, N) traffic out of rows (east, north, track in degrees, speed)."""

    def make(
        rows: list[tuple[float, float, float, float]],
        waypoints: list[tuple[float, float]] | None = None,
        ended: tuple[int, ...] = (),
        dtype: torch.dtype = torch.float32,
    ) -> Traffic:
        state = torch.tensor(rows, dtype=torch.float64).reshape(1, -1, 4).to(dtype)
        goal = torch.tensor(waypoints or [(0.0, 0.0)] * len(rows), dtype=dtype).reshape(1, -1, 2)
        is_flying = torch.ones((1, len(rows)), dtype=torch.bool)
        is_flying[0, list(ended)] = False
        track = torch.deg2rad(state[..., 2])
        return Traffic(state[..., 0], state[..., 1], track, state[..., 3], goal[..., 0], goal[..., 1], is_flying)

    return make


@pytest.fixture(scope="session")
def random_traffic() -> TrafficMaker:
    """Return a function that draws dense (B, N) traffic: many conflicts, some aircraft already too close."""

    def make(
        seed: int, episodes: int, aircraft: int, half_m: float = 400.0, dtype: torch.dtype = torch.float64
    ) -> Traffic:
        generator = np.random.default_rng(seed)
        shape = (episodes, aircraft)

        def draw(low: float, high: float) -> torch.Tensor:
            return torch.from_numpy(generator.uniform(low, high, shape)).to(dtype)

        return Traffic(
            draw(-half_m, half_m),
            draw(-half_m, half_m),
            draw(-np.pi, np.pi),
            draw(1.0, 18.0),
            draw(-900.0, 900.0),
            draw(-900.0, 900.0),
            torch.ones(shape, dtype=torch.bool),
        )

    return make


@pytest.fixture(scope="session")
def bluesky() -> Any:
    """BlueSky 1.1.1, headless, detached, once per process, with its pure Python geometry."""
    pytest.importorskip("bluesky")
    return start_bluesky()


EARTH_RADIUS_M = 6371000.0  # BlueSky's, in positions and in its quick distances
NAUTICAL_MILE_M = 1852.0


class BlueSkyReference:
    """BlueSky's own `StateBased.detect` and `MVP.resolve`, called on aircraft that stand in no simulation.

    BlueSky takes positions in latitude and longitude and measures with `kwikqdrdist_matrix`, a flat earth
    whose east-west scale is the cosine of each pair's mean latitude; our world is a plane. With `latitude_deg`
    None that one function is replaced by exact plane geometry (all else is BlueSky's code), so that the
    comparison is of detection and resolution alone; with a latitude BlueSky measures by itself.
    """

    def __init__(self, simulator: Any) -> None:
        from bluesky.tools import geo
        from bluesky.traffic.asas.mvp import MVP
        from bluesky.traffic.asas.statebased import StateBased

        self.simulator, self._geometry, self._detector, self._mvp = simulator, geo, StateBased, MVP
        self._measure = geo.kwikqdrdist_matrix

    def _aircraft(self, traffic: Traffic, latitude_deg: float | None) -> Any:
        """Return what BlueSky reads of its `traf`, of one episode (N,)."""
        east, north, track, speed = (
            tensor[0].double().numpy()
            for tensor in (traffic.east_m, traffic.north_m, traffic.track_rad, traffic.speed_mps)
        )
        count = len(east)
        zeros = np.zeros(count)
        if latitude_deg is not None:
            scale = np.cos(np.radians(latitude_deg))
            north, east = (
                latitude_deg + np.degrees(north / EARTH_RADIUS_M),
                np.degrees(east / EARTH_RADIUS_M / scale),
            )
        limits = types.SimpleNamespace(vmin=zeros, vmax=zeros + 18.0, vsmin=zeros - 5, vsmax=zeros + 5)
        return types.SimpleNamespace(
            ntraf=count,
            id=[f"A{number}" for number in range(count)],
            lat=north,
            lon=east,
            trk=np.degrees(track) % 360,
            gs=speed,
            gseast=speed * np.sin(track),
            gsnorth=speed * np.cos(track),
            alt=zeros,
            selalt=zeros,
            vs=zeros,
            perf=limits,
            ap=types.SimpleNamespace(vs=zeros),
        )

    @staticmethod
    def _plane(north: Any, east: Any, norths: Any, easts: Any) -> tuple[np.ndarray, np.ndarray]:
        """Measure on the plane: direction (deg) and distance (NM) from i to j, in place of kwikqdrdist_matrix."""
        d_north, d_east = np.asarray(norths - north.T), np.asarray(easts - east.T)
        return np.degrees(np.arctan2(d_east, d_north)) % 360, np.hypot(d_east, d_north) / NAUTICAL_MILE_M

    def detect(
        self, traffic: Traffic, zone_m: float, lookahead_s: float, latitude_deg: float | None = None
    ) -> tuple[np.ndarray, Any]:
        """Return BlueSky's conflicts of one episode: (N, N) bool, and all that its resolution reads."""
        own = self._aircraft(traffic, latitude_deg)
        count = own.ntraf
        zone, height, ahead = np.full(count, zone_m), np.full(count, 300.0), np.full(count, lookahead_s)
        self._geometry.kwikqdrdist_matrix = self._plane if latitude_deg is None else self._measure
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "the matrix subclass", PendingDeprecationWarning)
                found = self._detector.detect(None, own, own, zone, height, ahead)
        finally:
            self._geometry.kwikqdrdist_matrix = self._measure
        is_conflict = np.zeros((count, count), bool)
        for first, second in found[0]:
            is_conflict[own.id.index(first), own.id.index(second)] = True
        names = ("confpairs", "lospairs", "inconf", "tcpamax", "qdr", "dist", "dcpa", "tcpa", "tLOS")
        conflicts = types.SimpleNamespace(**dict(zip(names, found, strict=True)))
        conflicts.rpz, conflicts.hpz, conflicts.dtlookahead = zone, height, ahead
        return is_conflict, conflicts

    def resolve(
        self, traffic: Traffic, zone_m: float, lookahead_s: float, latitude_deg: float | None = None
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return BlueSky's resolved velocity (N, 2), who is in conflict (N,), and the conflicts themselves."""
        own = self._aircraft(traffic, latitude_deg)
        is_conflict, conflicts = self.detect(traffic, zone_m, lookahead_s, latitude_deg)
        nobody = np.zeros(own.ntraf, bool)
        resolver = types.SimpleNamespace(
            resofach=1.0, resofacv=1.0, swprio=False, noresoac=nobody, resooffac=nobody,
            swresohoriz=True, swresospd=False, swresohdg=False, swresovert=False,
        )  # fmt: skip
        resolver.MVP = types.MethodType(self._mvp.MVP, resolver)
        with np.errstate(all="ignore"):  # its vertical channel divides 0 by 0 in level flight
            track, speed, _, _ = self._mvp.resolve(resolver, conflicts, own, own)
        velocity = speed[:, None] * np.stack((np.sin(np.radians(track)), np.cos(np.radians(track))), axis=-1)
        return velocity, is_conflict.any(axis=1), conflicts


@pytest.fixture(scope="session")
def bluesky_reference(bluesky: Any) -> BlueSkyReference:
    """BlueSky's detection and resolution."""
    return BlueSkyReference(bluesky)


HAND_MADE: dict[str, list[tuple[float, float, float, float]]] = {
    "head-on": [(0, 0, 0, 9), (0, 250, 180, 9)],
    "head-on, 5 m beside": [(0, 0, 0, 9), (5, 250, 180, 9)],
    "head-on, 40 m beside": [(0, 0, 0, 9), (40, 250, 180, 9)],
    "head-on, outside the look-ahead time": [(0, 0, 0, 9), (0, 500, 180, 9)],
    "crossing at a right angle": [(0, -90, 0, 9), (-110, 0, 90, 9)],
    "crossing, 30 deg": [(0, -90, 0, 9), (-80, -150, 30, 11)],
    "parallel, far enough": [(0, 0, 20, 9), (150, 0, 20, 9)],
    "parallel, too close": [(0, 0, 20, 9), (60, 0, 20, 9)],
    "nearly parallel": [(0, 0, 20, 9), (150, 0, 19, 9)],
    "overtaking": [(0, 0, 45, 16), (120, 125, 45, 7)],
    "overtaking, out of reach": [(0, 0, 45, 10), (120, 125, 45, 9)],
    "already inside, closing": [(0, 0, 0, 9), (20, 70, 180, 6)],
    "already inside, closing, head-on": [(0, 0, 0, 9), (3, 70, 180, 6)],
    "already inside, parting": [(0, 0, 180, 9), (30, 60, 10, 6)],
    "already inside, parting, head-on": [(0, 0, 180, 9), (2, 60, 0, 6)],
    "tcpa near 0, outside": [(0, 0, 0, 9), (105, 0, 0.5, 5)],
    "tcpa near 0, inside": [(0, 0, 0, 9), (80, 0.1, 0, 5)],
    "tcpa just past 0, inside": [(0, 0, 0, 9), (80, -0.1, 0, 5)],
    "identical velocities, outside": [(0, 0, 77, 9), (300, 10, 77, 9)],
    "one stands still": [(0, 0, 90, 9), (180, 20, 0, 0)],
    "three at once": [(0, -160, 0, 9), (150, 40, -100, 10), (-140, 60, 120, 8)],
    "four meet": [(0, -180, 0, 9), (0, 180, 180, 9), (-180, 0, 90, 9), (180, 0, 270, 9)],
    "between two": [(0, 0, 0, 9), (-60, 150, 160, 9), (60, 150, 200, 9), (0, -70, 0, 12)],
}


@pytest.fixture(scope="session")
def hand_made(traffic_of: TrafficMaker) -> dict[str, Traffic]:
    """Geometries that are special cases of detection or resolution, in float64."""
    return {name: traffic_of(rows, dtype=torch.float64) for name, rows in HAND_MADE.items()}
