"""Wind: steady, and gusts on top, the same everywhere in a sector; a function of (seed, episode) alone."""

from collections.abc import Sequence

import numpy as np

from ..airspace.world_config import WorldConfig
from ..arithmetic.noise import gusts
from .layout import Layout
from .registry import WIND_STREAM, stream_of


def winds_of(
    config: WorldConfig, layouts: Sequence[Layout], seed: int, episodes: Sequence[int]
) -> np.ndarray | None:
    """Return the wind of some episodes towards east and north before each of T steps and after the last, m/s.

    Gusts along each axis are a Gauss-Markov process of first order, g' = a g + sqrt(1 - a^2) sigma n with
    a = (2 tau - dt) / (2 tau + dt), which is exp(-dt / tau) to the third order, and n standard normal.

    Returns:
        (B, T + 1, 2); None where there is no wind.
    """
    drawn = None
    if config.gust_mps:
        keys = [stream_of(seed, episode, WIND_STREAM).generate_state(2) for episode in episodes]
        drawn = gusts(np.array(keys, np.int64).reshape(len(keys), 2), config.max_steps + 1, kept_of(config))
    return with_gusts(config, layouts, drawn)


def kept_of(config: WorldConfig) -> float:
    """Return the correlation of gusts from one step to the next."""
    return max(2.0 * config.gust_s - config.step_s, 0.0) / (2.0 * config.gust_s + config.step_s)


def with_gusts(config: WorldConfig, layouts: Sequence[Layout], drawn: np.ndarray | None) -> np.ndarray | None:
    """Return the wind of some layouts, as `winds_of`, with gusts (B, T + 1, 2) of standard deviation 1, or none."""
    steady = np.array([[config.wind_east_mps, config.wind_north_mps]]) + [each.wind_mps for each in layouts]
    if drawn is None and not steady.any():
        return None
    made = np.repeat(steady[:, None], config.max_steps + 1, axis=1)
    return made if drawn is None else made + config.gust_mps * drawn
