"""Generated scenarios beyond the reference one: pads, starts inside each other's zone, shared waypoints, hovering
aircraft, and traffic that goes on.

Notation: n aircraft.
"""

from math import ceil, pi

import numpy as np

from ...datasets.errors import ConfigurationError
from ..airspace.sector import Corners, along_perimeter, contains, random_polygon
from ..airspace.world_config import WorldConfig
from ..arithmetic.geometry import directions
from .generated import scattered, uniform
from .layout import Layout
from .registry import register

_TRIES = 400
_PADS_AT_MOST = 12  # in a row
_CLEAR = 1.5  # of a waypoint that hovering aircraft leave free, and of pads of other rows, in units of R


@register("pads")
def pads(generator: np.random.Generator, config: WorldConfig, spacing: float = 1.01) -> Layout:
    """Rows of up to twelve pads, their neighbours a little more than R apart; all take off at once.

    Aircraft begin at rest or, in every other episode, at cruise speed, and head for waypoints along the perimeter.

    Args:
        generator: Draws.
        config: The world.
        spacing: Least distance of neighbouring pads, in units of R; the largest is half as much again.
    """
    if not 0 < spacing <= 100:
        raise ConfigurationError(f"scenario 'pads': expected a spacing above 0, at most 100, got {spacing:g}")
    corners = _polygon(generator, config)
    placed = np.empty((0, 2))
    while len(placed) < config.aircraft:
        count = min(_PADS_AT_MOST, config.aircraft - len(placed))
        placed = np.concatenate((placed, _row(generator, config, corners, count, spacing, placed)))
    waypoint = along_perimeter(corners, generator.random(config.aircraft))
    speed = 0.0 if generator.random() < 0.5 else config.cruise_mps
    speeds = np.full(config.aircraft, max(speed, config.min_speed_mps))
    return Layout(corners, placed, waypoint, speed_mps=speeds)


def _row(
    generator: np.random.Generator,
    config: WorldConfig,
    corners: Corners,
    count: int,
    spacing: float,
    placed: np.ndarray,
) -> np.ndarray:
    """Draw a row of pads inside the sector, away from those placed; where none fits, a shorter one."""
    zone, radius = config.protected_zone_m, config.sector_radius_m
    for trial in range(_TRIES):
        along = directions(np.array([2 * pi * generator.random()]))[0]
        gap = uniform(generator, spacing, 1.5 * spacing) * zone
        size = max(1, count - trial // 40)
        first = uniform(generator, -radius, radius, (2,))
        points = first + along * (gap * np.arange(size))[:, None]
        if contains(corners, points).all() and _is_clear(points, placed, _CLEAR * zone):
            return points
    raise _no_room("pads", "pads", len(placed), config)


@register("inside")
def inside(generator: np.random.Generator, config: WorldConfig, pairs: int = 0) -> Layout:
    """As `sector`, but some aircraft begin inside the protected zone of another, 0.1 R to R from it.

    Args:
        generator: Draws.
        config: The world.
        pairs: How many pairs do; 0 for a quarter of the aircraft, one pair at least.
    """
    most = config.aircraft // 2
    wanted = pairs or max(1, config.aircraft // 8)
    if not 0 < wanted <= most:
        raise ConfigurationError(f"scenario 'inside': expected 1 to {most} pairs, got {wanted}")
    corners = _polygon(generator, config)
    position = scattered(generator, corners, config.aircraft, config)
    for number in range(wanted):
        position[2 * number + 1] = _beside(generator, corners, position[2 * number], config)
    return Layout(corners, position, along_perimeter(corners, generator.random(config.aircraft)))


def _beside(generator: np.random.Generator, corners: Corners, point: np.ndarray, config: WorldConfig) -> np.ndarray:
    """Draw a point inside the sector that is inside the protected zone of another."""
    for _ in range(_TRIES):
        angle = np.array([2 * pi * generator.random()])
        there = point + uniform(generator, 0.1, 1.0) * config.protected_zone_m * directions(angle)
        if contains(corners, there)[0]:
            return there[0]
    raise _no_room("inside", "pairs", 0, config)


@register("shared")
def shared(generator: np.random.Generator, config: WorldConfig, group: int = 4) -> Layout:
    """As `sector`, but every group of aircraft has one waypoint.

    Args:
        generator: Draws.
        config: The world.
        group: How many share one.
    """
    if group < 1:
        raise ConfigurationError(f"scenario 'shared': expected a group of 1 or more, got {group}")
    corners = _polygon(generator, config)
    position = scattered(generator, corners, config.aircraft, config)
    waypoint = along_perimeter(corners, generator.random(ceil(config.aircraft / group)))
    return Layout(corners, position, waypoint.repeat(group, axis=0)[: config.aircraft])


@register("converging")
def converging(generator: np.random.Generator, config: WorldConfig, group: int = 4) -> Layout:
    """Groups of aircraft all around one waypoint of theirs inside the sector, at about the same distance from it.

    Nothing in the layout says who goes first: they begin evenly around it but for 20 degrees, and reach it within
    seconds of each other.

    Args:
        generator: Draws.
        config: The world.
        group: How many share a waypoint.
    """
    if group < 1:
        raise ConfigurationError(f"scenario 'converging': expected a group of 1 or more, got {group}")
    corners = _polygon(generator, config)
    position, waypoint = np.empty((0, 2)), np.empty((0, 2))
    while len(position) < config.aircraft:
        goal, around = _ring(generator, config, corners, min(group, config.aircraft - len(position)), position)
        position = np.concatenate((position, around))
        waypoint = np.concatenate((waypoint, goal.repeat(len(around), axis=0)))
    return Layout(corners, position, waypoint)


def _ring(
    generator: np.random.Generator, config: WorldConfig, corners: Corners, count: int, placed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a waypoint (1, 2) and starts around it (count, 2), away from those placed; fewer if there is no room."""
    radius, gap = config.sector_radius_m, config.start_separation_m
    nearest = max(1.5 * config.protected_zone_m, count * gap / 5)  # the chords of the ring are longer than the gap
    for trial in range(2 * _TRIES):
        size = max(1, count - trial // 100)
        goal = uniform(generator, -radius, radius, (1, 2))
        distance = uniform(generator, nearest, max(nearest, 0.7 * radius)) * uniform(generator, 0.97, 1.03, (size,))
        turn = 2 * pi * (generator.random() + (np.arange(size) + uniform(generator, -0.05, 0.05, (size,))) / count)
        points = goal + directions(turn) * distance[:, None]
        is_inside = contains(corners, np.concatenate((goal, points))).all()
        is_clear = _is_clear(points, placed, gap)
        if is_inside and is_clear and all(_is_clear(points[i : i + 1], points[:i], gap) for i in range(size)):
            return goal, points
    raise _no_room("converging", "aircraft", len(placed), config)


@register("hover")
def hover(generator: np.random.Generator, config: WorldConfig, share: float = 0.2) -> Layout:
    """As `sector`, but some aircraft hover where they are: nobody flies them, and they are to be avoided.

    They leave the waypoints of the others free, 1.5 R around.

    Args:
        generator: Draws.
        config: The world.
        share: Of the aircraft that hover; one at least, and one at least flies.
    """
    if not 0 <= share < 1:
        raise ConfigurationError(f"scenario 'hover': expected a share of 0 to below 1, got {share:g}")
    if config.aircraft < 2:
        raise ConfigurationError("scenario 'hover': expected 2 aircraft or more, one of them hovering, got 1")
    hovering = min(max(1, int(share * config.aircraft + 0.5)), config.aircraft - 1)
    flying = config.aircraft - hovering
    corners = _polygon(generator, config)
    waypoint = along_perimeter(corners, generator.random(config.aircraft))
    for _ in range(_TRIES):
        position = scattered(generator, corners, config.aircraft, config)
        if _is_clear(position[flying:], waypoint[:flying], _CLEAR * config.protected_zone_m):
            break
    else:
        raise _no_room("hover", "hovering aircraft", 0, config)
    waypoint[flying:] = position[flying:]
    return Layout(corners, position, waypoint, hovers=np.arange(config.aircraft) >= flying)


@register("arrivals")
def arrivals(generator: np.random.Generator, config: WorldConfig, rate_per_h: float = 0.0, pads: int = 0) -> Layout:
    """Traffic that goes on: aircraft enter at random times, cross the sector and leave it at their waypoints.

    A Poisson process. It has gone on before the episode begins: who entered then, and would not have arrived flying
    straight, is on its way, unless there is no room for it. It ends so long before the time limit that the last can
    still cross the sector. An aircraft waits until nobody is within the start separation of where it enters.

    Args:
        generator: Draws.
        config: The world; it has at most `aircraft` in an episode.
        rate_per_h: How many enter in an hour; 0 for as many as there are aircraft.
        pads: From how many pads inside the sector they take off, at rest; 0 to enter at its edge, at cruise speed.
    """
    if rate_per_h < 0 or pads < 0:
        raise ConfigurationError(
            f"scenario 'arrivals': expected rate_per_h and pads of 0 or more, got {rate_per_h:g} and {pads}"
        )
    corners = _polygon(generator, config)
    crossing_s, limit_s = 2 * config.sector_radius_m / config.cruise_mps, config.max_steps * config.step_s
    until_s = max(limit_s - 1.4 * crossing_s, 0.25 * limit_s)
    count = config.aircraft
    if rate_per_h:
        count = min(count, max(1, int(rate_per_h * (crossing_s + until_s) / 3600.0 + 0.5)))
    entry_s = np.sort(uniform(generator, -crossing_s, until_s, (count,)))
    bases = scattered(generator, corners, pads, config) if pads else np.empty((0, 2))
    start, waypoint, begins = np.empty((count, 2)), np.empty((count, 2)), np.empty((0, 2))
    is_here = np.ones(count, bool)
    for number in range(count):
        start[number], waypoint[number] = _way(generator, config, corners, bases)
        if entry_s[number] < 0.0:
            way = waypoint[number] - start[number]
            share = -entry_s[number] * config.cruise_mps / np.sqrt((way * way).sum())
            start[number] += min(share, 1.0) * way
            is_here[number] = share < 1.0 and _is_clear(start[number][None], begins, config.start_separation_m)
            begins = np.concatenate((begins, start[number][None][is_here[number:][:1]]))
    if not is_here.any():
        is_here[-1], entry_s[-1] = True, max(entry_s[-1], 0.0)
    rest = config.min_speed_mps if pads else config.cruise_mps
    speed = np.where(entry_s > 0.0, rest, config.cruise_mps)
    return Layout(
        corners,
        start[is_here],
        waypoint[is_here],
        speed_mps=speed[is_here],
        entry_s=np.clip(entry_s, 0.0, None)[is_here],
        waits=True,
    )


def _way(
    generator: np.random.Generator, config: WorldConfig, corners: Corners, bases: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw where an aircraft enters, and a waypoint at least half a radius from there."""
    for _ in range(_TRIES):
        if len(bases):
            start = bases[int(generator.random() * len(bases))]
        else:
            start = along_perimeter(corners, generator.random(1))[0]
        waypoint = along_perimeter(corners, generator.random(1))[0]
        way = waypoint - start
        if float((way * way).sum()) >= 0.25 * config.sector_radius_m * config.sector_radius_m:
            break
    return start.copy(), waypoint


def _polygon(generator: np.random.Generator, config: WorldConfig) -> Corners:
    """Draw the sector."""
    return random_polygon(generator, config.sector_radius_m, config.sector_area_m2)


def _is_clear(points: np.ndarray, others: np.ndarray, gap_m: float) -> bool:
    """Return whether points (n, 2) are at least a gap away from all others (k, 2)."""
    gaps = points[:, None] - others[None]
    return not len(others) or bool(((gaps * gaps).sum(axis=2) >= gap_m * gap_m).all())


def _no_room(name: str, what: str, placed: int, config: WorldConfig) -> ConfigurationError:
    """Return the error that a sector is too small."""
    return ConfigurationError(
        f"scenario '{name}': could not place the {what} of {config.aircraft} aircraft in the sector "
        f"({placed} placed). Ask for fewer aircraft or a larger sector."
    )
