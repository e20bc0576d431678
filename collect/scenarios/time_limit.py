"""How long the episode of a scenario file has to be, so that everyone can arrive."""

import numpy as np

from ..airspace.world_config import WorldConfig
from .file_fleet import cruise_speeds_of
from .layout import Layout

MOST_STEPS = 32_000


def steps_of(layout: Layout, world: WorldConfig) -> int:
    """Return the steps an episode needs, for each aircraft from its entry, `MOST_STEPS` + 1 at most.

    That is three times its route at cruise speed, or one and a half times what that takes in the wind, if longer.
    """
    count = len(layout.position_m)
    routes = layout.routes_m or (np.zeros((0, 2)),) * count
    entries = np.zeros(count) if layout.entry_s is None else layout.entry_s
    wind_mps = np.array([world.wind_east_mps, world.wind_north_mps])
    wind_mps = wind_mps if wind_mps.any() else np.array(layout.wind_mps)
    needed_s = 0.0
    for start, first, route, entry_s, cruise_mps in zip(
        layout.position_m, layout.waypoint_m, routes, entries, cruise_speeds_of(layout, world), strict=True
    ):
        legs = np.diff(np.concatenate((start[None], first[None], route)), axis=0)
        flown_s = 3 * float(np.sqrt((legs * legs).sum(1)).sum()) / float(cruise_mps)
        if wind_mps.any():
            windy_s = 1.5 * time_along(legs, float(cruise_mps), wind_mps)
            flown_s = max(flown_s, windy_s if np.isfinite(windy_s) else 0.0)  # no time is enough against a storm
        needed_s = max(needed_s, float(entry_s) + flown_s)
    return int(min(needed_s / world.step_s, MOST_STEPS)) + 1


def time_along(legs: np.ndarray, air_mps: float, wind_mps: np.ndarray) -> float:
    """Return how long straight legs take in a wind (s), the heading kept so that the track is along each.

    Over ground that is along + sqrt(air^2 - across^2), of the wind along and across the leg.

    Args:
        legs: (L, 2) m, towards east and north.
        air_mps: The airspeed.
        wind_mps: (2,) towards east and north.

    Returns:
        Infinity where the wind does not let it.
    """
    length = np.sqrt((legs * legs).sum(1))
    legs, length = legs[length > 0], length[length > 0]
    east, north = (legs / length[:, None]).T
    along, across = east * wind_mps[0] + north * wind_mps[1], east * wind_mps[1] - north * wind_mps[0]
    ground = along + np.sqrt(np.maximum(air_mps * air_mps - across * across, 0.0))
    if (np.abs(across) > air_mps).any() or (ground <= 0).any():
        return float("inf")
    return float((length / ground).sum())
