"""Conflicts and losses of separation of a batch, counted from the pairs that were in conflict, step by step.

The same counts as `events.EventCounter`, which looks at all pairs at every step; here only at the pairs in
conflict, one in a hundred, all steps at once. Whole numbers and square roots, on which every processor agrees.

Notation: E episodes, P pair-steps in conflict on the protected zone itself, each pair once.
"""

from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

import numpy as np

from ..airspace.world_config import WorldConfig


class Encounters(NamedTuple):
    """Figures per episode, each (E,) float64; names as in `events.Safety`."""

    conflicts: np.ndarray
    conflicts_merged: np.ndarray
    los_events: np.ndarray
    los_merged: np.ndarray
    los_steps: np.ndarray
    conflict_steps: np.ndarray
    severity: np.ndarray
    nmac_events: np.ndarray
    first_los_step: np.ndarray


class Seen(NamedTuple):
    """Pairs in conflict, in any order.

    Attributes:
        episode: (P,) int64, place in the batch.
        step: (P,) int64.
        own: (P,) int64, the lower number of the two aircraft.
        intruder: (P,) int64.
        distance2_m2: (P,) square of their distance.
        zone_scale: (P,) their protected zone in units of the world's.
    """

    episode: np.ndarray
    step: np.ndarray
    own: np.ndarray
    intruder: np.ndarray
    distance2_m2: np.ndarray
    zone_scale: np.ndarray


def encounters_of(seen: Seen, config: WorldConfig, episodes: int) -> Encounters:
    """Count conflicts and losses of separation.

    Args:
        seen: The pairs.
        config: The world.
        episodes: E.
    """
    episode, step, own, intruder, distance2, scale = seen
    first_los_step = np.full(episodes, np.inf)
    zone = config.protected_zone_m
    pair = (episode * config.aircraft + own) * config.aircraft + intruder
    key = pair * (config.max_steps + 2) + step  # neighbours in time, and only they, differ by 1
    order = np.argsort(key, kind="stable")
    key, pair, episode, step, distance2, scale = (
        each[order] for each in (key, pair, episode, step, distance2, scale)
    )
    nmac = np.minimum(config.nmac_m, zone * scale)
    is_nmac = distance2 < nmac * nmac
    distance2 = distance2 / (scale * scale)  # in units of the world's R, for LoS and how deep it is
    is_los = distance2 < zone * zone

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(chosen, minlength=episodes).astype(np.float64)

    begun, begun_los = np.diff(key, prepend=-2) != 1, np.diff(key[is_los], prepend=-2) != 1
    begun_nmac = np.diff(key[is_nmac], prepend=-2) != 1
    first, first_los = np.diff(pair, prepend=-1) != 0, np.diff(pair[is_los], prepend=-1) != 0
    los_episode = episode[is_los]
    np.minimum.at(first_los_step, los_episode, step[is_los])
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
        nmac_events=count(episode[is_nmac][begun_nmac]),
        first_los_step=first_los_step,
    )


def sums_of(parts: Sequence[Encounters]) -> dict[str, float]:
    """Return the sums over all episodes of some batches, of what datasets keep."""
    kept = (name for name in Encounters._fields if name not in ("nmac_events", "first_los_step"))
    return {name: fsum(np.concatenate([getattr(part, name) for part in parts])) for name in kept}
