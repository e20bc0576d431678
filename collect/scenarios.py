"""Scenarios: how the traffic of an episode is laid out, from (seed, episode) alone.

A scenario is a function (generator, config, **parameters) -> Layout, registered by name. Another run,
another batch, another worker: the same seed and episode give the same layout.
"""

import inspect
from collections.abc import Callable, Sequence
from math import pi

import numpy as np
import torch
from torch import Tensor

from ..datasets.errors import ConfigurationError
from ..datasets.traffic import Traffic
from . import scenario_files
from .configuration import EMBEDDED, WorldConfig, parse_parameters
from .layout import Layout as Layout
from .sector import Corners, along_perimeter, contains, random_polygon

LAYOUT_STREAM, NOISE_STREAM = 0, 1
"""Which of an episode's independent random streams: its layout, the pilot's noise."""
REFERENCE = WorldConfig()


Scenario = Callable[..., Layout]
_SCENARIOS: dict[str, Scenario] = {}


def register(name: str) -> Callable[[Scenario], Scenario]:
    """Register a scenario under a name."""

    def add(scenario: Scenario) -> Scenario:
        _SCENARIOS[name] = scenario
        return scenario

    return add


def names() -> tuple[str, ...]:
    """Return the names of all scenarios."""
    return tuple(sorted(_SCENARIOS))


def generator_of(seed: int, episode: int, stream: int) -> np.random.Generator:
    """Return the random generator of one stream of an episode: a function of its arguments only."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, episode, stream))))


def check(text: str) -> None:
    """Raise ConfigurationError unless the text names a scenario and its parameters, or files that can be read."""
    if scenario_files.is_file(text):
        scenario_files.read_all(text)
    else:
        _find(text)


def count_of(text: str) -> int | None:
    """Return how many scenarios there are, None where there is no end of them."""
    return len(scenario_files.read_all(text)) if scenario_files.is_file(text) else None


def world_for(scenario: str, aircraft: int | None = None, simulator: str = EMBEDDED) -> WorldConfig:
    """Return the reference world for a scenario as named on the command line.

    For files, their content becomes part of the scenario's name, the number of aircraft is that of the largest
    file, and the time limit grows with the way: three times the longest straight line at cruise speed.

    Raises:
        ConfigurationError: A number of aircraft that is not the file's, or anything else that makes no sense.
    """
    if not scenario_files.is_file(scenario):
        count = REFERENCE.aircraft if aircraft is None else aircraft
        return WorldConfig(aircraft=count, scenario=scenario, simulator=simulator)
    layouts = [each.layout for each in scenario_files.read_all(scenario)]
    most = max(len(layout.position_m) for layout in layouts)
    if aircraft not in (None, most):
        raise ConfigurationError(
            f"scenario '{scenario}' has {most} aircraft, got --aircraft {aircraft}. Leave --aircraft out."
        )
    longest_m = max(float(np.hypot(*(each.waypoint_m - each.position_m).T).max()) for each in layouts)
    steps = int(3 * longest_m / REFERENCE.cruise_mps / REFERENCE.step_s) + 1
    world = WorldConfig(
        aircraft=most,
        scenario=scenario_files.pinned(scenario),
        simulator=simulator,
        max_steps=min(max(steps, REFERENCE.max_steps), 32_000),
    )
    for number in range(len(layouts)):
        lay_out(world, 0, number)  # so that what cannot be flown is said at once
    return world


def warnings_about(text: str) -> list[str]:
    """Return what was left out of a scenario's files, or is flown otherwise than written there."""
    if not scenario_files.is_file(text):
        return []
    return [warning for each in scenario_files.read_all(text) for warning in each.warnings]


def _find(text: str) -> tuple[Scenario, dict[str, float]]:
    """Return the scenario function and its parameters."""
    name, parameters = parse_parameters(text, "scenario")
    if name not in _SCENARIOS:
        raise ConfigurationError(f"unknown scenario '{name}'. There are: {', '.join(names())}.")
    known = list(inspect.signature(_SCENARIOS[name]).parameters)[2:]
    for key in parameters:
        if key not in known:
            raise ConfigurationError(
                f"scenario '{name}' has no parameter '{key}'. It has: {', '.join(known) or 'none'}."
            )
    return _SCENARIOS[name], parameters


def lay_out(config: WorldConfig, seed: int, episode: int) -> Layout:
    """Lay out one episode.

    Raises:
        ConfigurationError: Unknown scenario, or the aircraft do not fit into the sector.
    """
    if scenario_files.is_file(config.scenario):
        return scenario_files.layout_of(config, episode)
    scenario, parameters = _find(config.scenario)
    return scenario(generator_of(seed, episode, LAYOUT_STREAM), config, **parameters)


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
    """Lay out so many aircraft at random in a random polygon."""
    corners = random_polygon(generator, config.sector_radius_m, config.sector_area_m2)
    position = _scatter(generator, corners, aircraft, config)
    waypoint = along_perimeter(corners, generator.uniform(size=aircraft))
    return Layout(corners, position, waypoint)


def _scatter(generator: np.random.Generator, corners: Corners, aircraft: int, config: WorldConfig) -> np.ndarray:
    """Draw positions (n, 2) uniformly in the polygon, each at least the start separation from the others."""
    radius, gap2 = config.sector_radius_m, config.start_separation_m**2
    chosen = np.empty((0, 2))
    for _ in range(200):
        candidates = generator.uniform(-radius, radius, (4 * aircraft, 2))
        points = np.concatenate((chosen, candidates[contains(corners, candidates)]))
        east, north = points[:, 0], points[:, 1]
        is_close = (east[:, None] - east) ** 2 + (north[:, None] - north) ** 2 < gap2
        is_taken = np.zeros(len(points), bool)
        kept = []
        for index in range(len(points)):  # in the order drawn, each that is far from all kept before
            if not is_taken[index]:
                kept.append(index)
                is_taken |= is_close[index]
                if len(kept) == aircraft:
                    return points[kept]
        chosen = points[kept]
    raise ConfigurationError(
        f"could not place {aircraft} aircraft {config.start_separation_m:g} m apart in the sector "
        f"(placed {len(chosen)}). Ask for fewer aircraft, a larger sector or a smaller start separation."
    )


@register("circle")
def circle(generator: np.random.Generator, config: WorldConfig, jitter_m: float = 10.0) -> Layout:
    """Superconflict: evenly spaced on a circle, each waypoint opposite, all meet in the centre.

    Starts are moved by up to `jitter_m` along each axis, so that no two episodes are the same.
    """
    angles = generator.uniform(0, 2 * pi) + np.arange(config.aircraft) * 2 * pi / config.aircraft
    ring = config.sector_radius_m - config.outside_m
    direction = np.stack((np.cos(angles), np.sin(angles)), axis=-1)
    position = ring * direction + generator.uniform(-jitter_m, jitter_m, direction.shape)
    gap = 2 * ring * np.sin(pi / config.aircraft) - 2.9 * jitter_m if config.aircraft > 1 else np.inf
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
    heading = generator.uniform(0, 2 * pi) + np.array([0.0, np.radians(angle_deg)])
    positions: list[np.ndarray] = []
    waypoints: list[np.ndarray] = []
    for count, angle in zip(half, heading):
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-along[1], along[0]])
        for _ in range(int(count)):
            positions.append(_stream_start(generator, config, along, across, positions))
            offset = float(positions[-1] @ across)
            waypoints.append(along * np.sqrt(radius**2 - offset**2) + across * offset)
    return Layout(_disc(config), np.array(positions), np.array(waypoints))


def _stream_start(
    generator: np.random.Generator,
    config: WorldConfig,
    along: np.ndarray,
    across: np.ndarray,
    taken: list[np.ndarray],
) -> np.ndarray:
    """Draw a start in a stream's first 60 %, far enough from those already placed."""
    radius = config.sector_radius_m
    for _ in range(2000):
        offset = generator.uniform(-0.35, 0.35) * radius
        start = -along * generator.uniform(0.2, 0.95) * np.sqrt(radius**2 - offset**2) + across * offset
        if not taken or min(np.hypot(*(start - other)) for other in taken) >= config.start_separation_m:
            return start
    raise ConfigurationError(
        f"scenario 'crossing': could not place {config.aircraft} aircraft {config.start_separation_m:g} m apart. "
        "Ask for fewer aircraft or a larger sector."
    )


def _disc(config: WorldConfig) -> Corners:
    """Return a 36-cornered polygon on the sector's circle."""
    angles = np.arange(36) * 2 * pi / 36
    return config.sector_radius_m * np.stack((np.cos(angles), np.sin(angles)), axis=-1)


def stack(layouts: Sequence[Layout], config: WorldConfig, corners: int = 0) -> tuple[Traffic, Tensor]:
    """Make one batch of layouts.

    Args:
        layouts: B layouts of at most N aircraft each.
        config: The world; N is `config.aircraft`.
        corners: Pad polygons to at least so many corners.

    Returns:
        Traffic (B, N) float32 with aircraft heading for their waypoints at cruise speed, unless the layout says
        otherwise (missing ones do not fly), and the polygons (B, C, 2) float32.
    """
    count = max([corners, *(len(layout.corners_m) for layout in layouts)])
    polygons = np.zeros((len(layouts), count, 2), np.float32)
    state = np.zeros((6, len(layouts), config.aircraft), np.float32)
    is_flying = np.zeros((len(layouts), config.aircraft), bool)
    for index, layout in enumerate(layouts):
        polygons[index] = layout.corners_m[-1]
        polygons[index, : len(layout.corners_m)] = layout.corners_m
        n = len(layout.position_m)
        state[0:2, index, :n], state[4:6, index, :n] = layout.position_m.T, layout.waypoint_m.T
        is_flying[index, :n] = True
    heading = (state[4] - state[0], state[5] - state[1])
    state[2], state[3] = np.arctan2(*heading), config.cruise_mps
    for index, layout in enumerate(layouts):
        for row, values in ((2, layout.track_rad), (3, layout.speed_mps)):
            if values is not None:
                state[row, index, : len(values)] = values
    east, north, track, speed, waypoint_east, waypoint_north = torch.from_numpy(state).unbind(0)
    flying = torch.from_numpy(is_flying)
    traffic = Traffic(east, north, track, speed, waypoint_east, waypoint_north, flying)
    return traffic, torch.from_numpy(polygons)
