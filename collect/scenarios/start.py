"""Layouts side by side: how a batch of episodes begins.

Notation: B episodes, N aircraft, C corners, L waypoints after the first, Z no-fly polygons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...datasets.traffic.state import Traffic
from ..airspace.fleet import limits_of_types, number_of, zone_scales_of
from ..airspace.world_config import WorldConfig
from ..arithmetic.geometry import bearings, directions
from .layout import Layout
from .registry import lay_out
from .wind import winds_of

NOBODY = -1
"""The entry step of an aircraft that an episode does not have, or not before its time limit."""


@dataclass(frozen=True)
class Start:
    """How a batch of episodes begins.

    Attributes:
        traffic: (B, N) float32, each aircraft where it begins; those that enter later, and those that an episode
            does not have, do not fly.
        corners_m: (B, C, 2) float32 the sectors; polygons with fewer corners repeat their last one.
        entry_steps: (B, N) int64, before which step each aircraft enters; `NOBODY` where there is none.
        waits: (B,) bool, whether those that enter later wait for room.
        routes_m: (B, N, L, 2) float32, the waypoints after the first.
        legs: (B, N) int64, how many of them each aircraft has.
        no_fly_m: (B, Z, C, 2) float32; where there are fewer, polygons whose corners are all in one place.
        winds_mps: (B, T + 1, 2) float32, wind towards east and north before each of T steps, and after the last;
            None where there is none.
    """

    traffic: Traffic
    corners_m: Tensor
    entry_steps: Tensor
    waits: Tensor
    routes_m: Tensor
    legs: Tensor
    no_fly_m: Tensor
    winds_mps: Tensor | None


def start_of(config: WorldConfig, seed: int, episodes: Sequence[int], corners: int = 0) -> Start:
    """Return how some episodes begin, their sectors with at least so many corners.

    Raises:
        ConfigurationError: As `registry.lay_out`.
    """
    layouts = [lay_out(config, seed, episode) for episode in episodes]
    return stack(layouts, config, corners, winds_of(config, layouts, seed, episodes))


def stack(
    layouts: Sequence[Layout], config: WorldConfig, corners: int = 0, winds_mps: np.ndarray | None = None
) -> Start:
    """Make one batch of layouts.

    Aircraft head for their waypoints at cruise speed, unless the layout says otherwise, within the limits of their
    types; in wind, speed and track over ground are what these leave.

    Args:
        layouts: B layouts of at most N aircraft each.
        config: The world; N is `config.aircraft`.
        corners: Pad the sectors to at least this many corners.
        winds_mps: (B, T + 1, 2), see `Start`.
    """
    shape = (len(layouts), config.aircraft)
    state = np.zeros((6, *shape), np.float32)
    entry_steps, legs = np.full(shape, NOBODY, np.int64), np.zeros(shape, np.int64)
    is_hovering = np.zeros(shape, bool)
    kinds = np.zeros(shape, np.int64)
    for index, layout in enumerate(layouts):
        n = len(layout.position_m)
        state[0:2, index, :n], state[4:6, index, :n] = layout.position_m.T, layout.waypoint_m.T
        entry_s = np.zeros(n) if layout.entry_s is None else layout.entry_s
        entry_steps[index, :n] = np.rint(entry_s / config.step_s)
        if layout.hovers is not None:
            is_hovering[index, :n] = layout.hovers
        if layout.kinds is not None and config.fleet:
            kinds[index, :n] = [number_of(config, kind) for kind in layout.kinds]
        if layout.routes_m is not None:
            legs[index, :n] = [len(route) for route in layout.routes_m]
    entry_steps[entry_steps >= config.max_steps] = NOBODY
    _get_going(state, layouts, config, kinds)
    if winds_mps is not None:
        _drift(state, entry_steps, winds_mps)
    state[3][is_hovering] = 0.0
    hovering = torch.from_numpy(is_hovering) if is_hovering.any() else None
    east_m, north_m, track, speed, waypoint_east, waypoint_north = torch.from_numpy(state).unbind(0)
    is_here = torch.from_numpy(entry_steps == 0)
    traffic = Traffic(east_m, north_m, track, speed, waypoint_east, waypoint_north, is_here, hovering)
    if config.fleet:
        traffic.kind = torch.from_numpy(kinds)
        scales = zone_scales_of(config)
        if any(scale != 1.0 for scale in scales):
            traffic.zone_scale = torch.tensor(scales, dtype=torch.float32)[traffic.kind]
    return Start(
        traffic,
        torch.from_numpy(_polygons([(layout.corners_m,) for layout in layouts], corners)[:, 0]),
        torch.from_numpy(entry_steps),
        torch.tensor([layout.waits for layout in layouts], dtype=torch.bool),
        torch.from_numpy(_routes(layouts, shape, int(legs.max(initial=0)))),
        torch.from_numpy(legs),
        torch.from_numpy(_polygons([layout.no_fly_m for layout in layouts])),
        None if winds_mps is None else torch.from_numpy(winds_mps.astype(np.float32)),
    )


def _get_going(state: np.ndarray, layouts: Sequence[Layout], config: WorldConfig, kinds: np.ndarray) -> None:
    """Set track and speed of each aircraft, state (6, B, N), of type `kinds` (B, N)."""
    east, north = state[4] - state[0], state[5] - state[1]
    state[2] = bearings(east.ravel().astype(np.float64), north.ravel().astype(np.float64)).reshape(east.shape)
    limits = np.array(limits_of_types(config))[kinds]  # (B, N, 5)
    state[3] = limits[..., 0]
    for index, layout in enumerate(layouts):
        for row, values in ((2, layout.track_rad), (3, layout.speed_mps)):
            if values is not None:
                state[row, index, : len(values)] = values
    if config.fleet:
        state[3] = np.clip(state[3], limits[..., 1], limits[..., 2])


def _drift(state: np.ndarray, entry_steps: np.ndarray, winds_mps: np.ndarray) -> None:
    """Add the wind in which it enters to each aircraft's velocity, state (6, B, N)."""
    shape = entry_steps.shape
    at = np.clip(entry_steps, 0, winds_mps.shape[1] - 1)
    wind = winds_mps[np.arange(len(at))[:, None], at]  # (B, N, 2)
    air = state[3][..., None] * directions(state[2].ravel().astype(np.float64)).reshape(*shape, 2)
    east, north = air[..., 1] + wind[..., 0], air[..., 0] + wind[..., 1]
    state[2] = bearings(east.ravel(), north.ravel()).reshape(shape)
    state[3] = np.sqrt(east * east + north * north)


def _polygons(polygons: Sequence[Sequence[np.ndarray]], corners: int = 0) -> np.ndarray:
    """Return polygons (B, Z, C, 2) float32, the last corner repeated; of all zeros where there is none."""
    most = max((len(each) for each in polygons), default=0)
    corners = max([corners, *(len(polygon) for each in polygons for polygon in each)])
    made = np.zeros((len(polygons), most, corners, 2), np.float32)
    for index, each in enumerate(polygons):
        for place, polygon in enumerate(each):
            made[index, place] = polygon[-1]
            made[index, place, : len(polygon)] = polygon
    return made


def _routes(layouts: Sequence[Layout], shape: tuple[int, int], most: int) -> np.ndarray:
    """Return the waypoints after the first, (B, N, L, 2) float32."""
    routes = np.zeros((*shape, most, 2), np.float32)
    for index, layout in enumerate(layouts):
        for number, route in enumerate(layout.routes_m or ()):
            routes[index, number, : len(route)] = route
    return routes
