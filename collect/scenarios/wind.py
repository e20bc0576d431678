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
    steady = np.array([[config.wind_east_mps, config.wind_north_mps]]) + [each.wind_mps for each in layouts]
    if not steady.any() and not config.gust_mps:
        return None
    made = np.repeat(steady[:, None], config.max_steps + 1, axis=1)
    if config.gust_mps:
        kept = max(2.0 * config.gust_s - config.step_s, 0.0) / (2.0 * config.gust_s + config.step_s)
        keys = [stream_of(seed, episode, WIND_STREAM).generate_state(2) for episode in episodes]
        drawn = gusts(np.array(keys, np.int64).reshape(len(keys), 2), config.max_steps + 1, kept)
        made += config.gust_mps * drawn
    return made
