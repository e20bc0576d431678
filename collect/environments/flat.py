"""Flat observations, which stock libraries accept: the ownship's features, then each intruder's, then the mask.

Notation: M ownships, K intruders seen, nearest first, F features per intruder; W = 7 + K F + K numbers.
"""

import numpy as np
from gymnasium import spaces

from ...datasets.traffic.view import View
from ..airspace.world_config import WorldConfig
from .episodes import Arrays, observation_space

PARTS = ("ownship", "intruders", "is_present")


def flatten_arrays(observation: Arrays) -> np.ndarray:
    """Return (..., W) float32 of an observation ownship (..., 7), intruders (..., K, F), is_present (..., K)."""
    leading = observation["ownship"].shape[:-1]
    parts = [observation[name].reshape(*leading, -1).astype(np.float32, copy=False) for name in PARTS]
    return np.concatenate(parts, axis=-1)


def flat_space(config: WorldConfig, view: View) -> spaces.Box:
    """Return the space of one flat observation."""
    parts = observation_space(config, view)
    boxes = [parts[name] for name in PARTS]
    low, high = (
        np.concatenate([np.ravel(getattr(box, side)).astype(np.float32) for box in boxes])
        for side in ("low", "high")
    )
    return spaces.Box(low, high, dtype=np.float32)
