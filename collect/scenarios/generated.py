"""Generated scenarios: random traffic in a sector, on a circle, in crossing streams."""

from math import pi

import numpy as np

from ...datasets.errors import ConfigurationError
from ..airspace.sector import Corners, along_perimeter, random_polygon
from ..airspace.world_config import WorldConfig
from ..arithmetic.geometry import directions, scatter
from .layout import Layout
from .registry import register


@register("sector")
def sector(generator: np.random.Generator, config: WorldConfig) -> Layout:
    """Random convex polygon, uniform positions a start separation apart, waypoints along the perimeter."""
    return _random_traffic(generator, config, config.aircraft)


@register("random-n")
def random_n(generator: np.random.Generator, config: WorldConfig, low: float = 2) -> Layout:
    """As `sector`, the number of aircraft uniform from `low` to the world's number."""
    low = int(min(max(low, 1), config.aircraft))
    return _random_traffic(generator, config, int(generator.integers(low, config.aircraft + 1)))


def _random_traffic(generator: np.random.Generator, config: WorldConfig, aircraft: int) -> Layout:
    """Lay out `aircraft` aircraft at random in a random polygon."""
    corners = random_polygon(generator, config.sector_radius_m, config.sector_area_m2)
    position = scattered(generator, corners, aircraft, config)
    waypoint = along_perimeter(corners, generator.random(aircraft))
    return Layout(corners, position, waypoint)


def scattered(generator: np.random.Generator, corners: Corners, aircraft: int, config: WorldConfig) -> np.ndarray:
    """Draw positions (n, 2) uniformly in the polygon, each at least the start separation from the others."""
    radius, gap = float(config.sector_radius_m), float(config.start_separation_m)
    most = most_points(corners, config.start_separation_m)
    if aircraft > most:
        raise ConfigurationError(
            f"could not place {aircraft} aircraft {config.start_separation_m:g} m apart in the sector (at most "
            f"{most:.0f} fit). Ask for fewer aircraft, a larger sector or a smaller start separation."
        )
    kept, count = np.empty((aircraft, 2)), 0
    for _ in range(200):
        candidates = uniform(generator, -radius, radius, (4 * aircraft, 2))
        count = scatter(corners, candidates, kept, count, radius, gap)
        if count == aircraft:
            return kept
    raise ConfigurationError(
        f"could not place {aircraft} aircraft {config.start_separation_m:g} m apart in the sector "
        f"(placed {count}). Ask for fewer aircraft, a larger sector or a smaller start separation."
    )


def most_points(corners: Corners, gap_m: float) -> float:
    """Return a bound on the points in a convex polygon that are a gap apart (Groemer, Math. Z. 73, 1960)."""
    if not gap_m:
        return np.inf
    east, north = corners.T
    area_m2 = abs(float(east @ np.roll(north, -1) - north @ np.roll(east, -1))) / 2
    sides = corners - np.roll(corners, -1, axis=0)
    around_m = float(np.sqrt((sides * sides).sum(axis=1)).sum())
    return np.floor(2 / np.sqrt(3) * area_m2 / (gap_m * gap_m) + around_m / (2 * gap_m) + 1)


@register("circle")
def circle(generator: np.random.Generator, config: WorldConfig, jitter_m: float = 10.0) -> Layout:
    """Superconflict: evenly spaced on a circle, each waypoint opposite, all meet in the centre.

    Starts are moved by up to `jitter_m` along each axis, so that no two episodes are the same.
    """
    if jitter_m < 0:
        raise ConfigurationError(f"scenario 'circle': expected jitter_m of 0 or more, got {jitter_m:g}")
    angles = 2 * pi * generator.random() + np.arange(config.aircraft) * 2 * pi / config.aircraft
    ring = config.sector_radius_m - config.outside_m
    direction = directions(angles)
    position = ring * direction + uniform(generator, -jitter_m, jitter_m, direction.shape)
    gap = (
        2 * ring * float(directions(np.array([pi / config.aircraft]))[0, 1]) - 2.9 * jitter_m
        if config.aircraft > 1
        else np.inf
    )
    if gap < config.protected_zone_m:
        raise ConfigurationError(
            f"scenario 'circle': {config.aircraft} aircraft on a circle of {ring:.0f} m would start within "
            f"{config.protected_zone_m:g} m of each other. Ask for fewer aircraft or a larger sector."
        )
    return Layout(_disc(config), position, -ring * direction)


@register("crossing")
def crossing(generator: np.random.Generator, config: WorldConfig, angle_deg: float = 90.0) -> Layout:
    """Two streams that cross in the centre at an angle; aircraft of a stream are spread along and across it."""
    radius = config.sector_radius_m
    half = np.array([config.aircraft - config.aircraft // 2, config.aircraft // 2])
    heading = 2 * pi * generator.random() + np.array([0.0, np.radians(angle_deg)])
    positions, waypoints = np.empty((2, config.aircraft, 2))
    for number, along in enumerate(directions(heading).repeat(half, axis=0)):
        across = np.array([-along[1], along[0]])
        start = _stream_start(generator, config, along, across, positions[:number])
        offset = float((start * across).sum())
        positions[number] = start
        waypoints[number] = along * np.sqrt(radius * radius - offset * offset) + across * offset
    return Layout(_disc(config), positions, waypoints)


def _stream_start(
    generator: np.random.Generator,
    config: WorldConfig,
    along: np.ndarray,
    across: np.ndarray,
    taken: np.ndarray,
) -> np.ndarray:
    """Draw a start in a stream's first 60 %, far enough from those already placed."""
    radius, least2 = config.sector_radius_m, config.start_separation_m * config.start_separation_m
    for _ in range(2000):
        offset = uniform(generator, -0.35, 0.35) * radius
        half = np.sqrt(radius * radius - offset * offset)
        start = -along * uniform(generator, 0.2, 0.95) * half + across * offset
        gaps = taken - start
        if not len(gaps) or (gaps * gaps).sum(axis=1).min() >= least2:
            return start
    raise ConfigurationError(
        f"scenario 'crossing': could not place {config.aircraft} aircraft {config.start_separation_m:g} m apart. "
        "Ask for fewer aircraft or a larger sector."
    )


def _disc(config: WorldConfig) -> Corners:
    """Return a 36-cornered polygon on the sector's circle."""
    angles = np.arange(36) * 2 * pi / 36
    return config.sector_radius_m * directions(angles)


def uniform(
    generator: np.random.Generator, low: float, high: float, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Draw uniformly from [low, high); `Generator.uniform` may fuse product and sum on some processors."""
    return low + (high - low) * np.asarray(generator.random(shape))
