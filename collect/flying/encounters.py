"""Safety figures of what the kernels flew, from the pairs they saw in conflict on the protected zone.

The same counts as `events.EventCounter`: whole numbers and square roots, on which every processor agrees.

Notation: E episodes, P pair-steps in conflict.
"""

from typing import NamedTuple

import numpy as np

from ..airspace.world_config import WorldConfig
from ..kernels.flight import Flown


class Encounters(NamedTuple):
    """Figures per episode, each (E,) float64; names as in `events.Safety`."""

    conflicts: np.ndarray
    conflicts_merged: np.ndarray
    los_events: np.ndarray
    los_merged: np.ndarray
    los_steps: np.ndarray
    conflict_steps: np.ndarray
    severity: np.ndarray


def encounters_of(flown: Flown, config: WorldConfig) -> Encounters:
    """Count conflicts and losses of separation, each pair once."""
    seen = flown.seen[: flown.seen_count]
    episode, step, own, intruder = (seen[name].astype(np.int64) for name in ("episode", "step", "own", "intruder"))
    distance2 = seen["distance2_m2"]
    episodes, zone = len(flown.figures), config.protected_zone_m
    pair = (episode * config.aircraft + own) * config.aircraft + intruder
    key = pair * (config.max_steps + 2) + step  # neighbours in time, and only they, differ by 1
    order = np.argsort(key, kind="stable")
    key, pair, episode, distance2 = key[order], pair[order], episode[order], distance2[order]
    is_los = distance2 < zone * zone

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(chosen, minlength=episodes).astype(np.float64)

    begun, begun_los = np.diff(key, prepend=-2) != 1, np.diff(key[is_los], prepend=-2) != 1
    first, first_los = np.diff(pair, prepend=-1) != 0, np.diff(pair[is_los], prepend=-1) != 0
    los_episode = episode[is_los]
    depth = (zone - np.sqrt(distance2[is_los])) / zone
    deepest = np.maximum.reduceat(depth, np.flatnonzero(first_los)) if len(depth) else depth
    return Encounters(
        conflicts=count(episode[begun]),
        conflicts_merged=count(episode[first]),
        los_events=count(los_episode[begun_los]),
        los_merged=count(los_episode[first_los]),
        los_steps=count(los_episode),
        conflict_steps=count(episode),
        severity=np.bincount(los_episode[first_los], deepest, minlength=episodes),
    )
