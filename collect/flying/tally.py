"""The safety figures of a recorded batch, from the conflicts that were found while it was flown.

The same counts as `events.EventCounter`, which looks at all pairs at every step; here only at the pairs in
conflict, one in a hundred, and only once per many steps, so that counting costs collecting next to nothing.
"""

import numpy as np
import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ..airspace.conflicts import Conflicts, detect, find
from ..airspace.world_config import WorldConfig
from ..teachers.registry import Teacher
from .flight import Advice


class Tally:
    """Collects the conflicts and losses of separation of a batch, each pair once, and counts the events.

    Args:
        config: The world; its R and look-ahead time count, never a teacher's margin.
        teacher: Whose conflicts are handed in; if it looks less far than the world, they are found anew.
    """

    def __init__(self, config: WorldConfig, teacher: Teacher) -> None:
        self.config = config
        self._sees_all = (
            teacher.protected_zone_m >= config.protected_zone_m and teacher.lookahead_s >= config.lookahead_s
        )
        self._conflicts: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._depths: list[Tensor] = []

    def conflicts_of(self, advice: Advice, pairs: Pairs) -> Conflicts:
        """Return conflicts of a state among which are all on the protected zone itself."""
        if self._sees_all:
            return advice.conflicts
        return find(pairs, self.config.protected_zone_m, self.config.lookahead_s)

    def add(self, conflicts: Conflicts, slot: Tensor, step: Tensor) -> None:
        """Take conflicts of any number of states.

        Args:
            conflicts: P of them.
            slot: (P,) int64, number of the episode in the batch.
            step: (P,) int64.
        """
        once = (conflicts.ownship < conflicts.intruder).nonzero().squeeze(-1)
        own, intruder, east, north, velocity_east, velocity_north, slot, step = (
            tensor.index_select(0, once) for tensor in (*conflicts[1:7], slot, step)
        )
        count = self.config.aircraft
        pair = (slot * count + own) * count + intruder
        key = pair * (self.config.max_steps + 2) + step  # so that neighbours in time, and only they, differ by 1
        distance2 = east * east + north * north
        zone = self.config.protected_zone_m
        pairs = Pairs(east, north, velocity_east, velocity_north, distance2, torch.ones_like(own, dtype=torch.bool))
        self._conflicts.append(key[detect(pairs, zone, self.config.lookahead_s)])
        is_los = distance2 < zone * zone
        self._losses.append(key[is_los])
        self._depths.append((zone - distance2[is_los].sqrt()) / zone)

    def figures(self) -> dict[str, float]:
        """Return the counts so far, in events, pairs (merged) and steps, and the sum of severities."""
        conflicts, losses = torch.cat(self._conflicts).numpy(), torch.cat(self._losses).numpy()
        span = self.config.max_steps + 2
        pairs, place = np.unique(losses // span, return_inverse=True)
        deepest = np.zeros(len(pairs))
        np.maximum.at(deepest, place, torch.cat(self._depths).numpy())
        return {
            "conflicts": _events(conflicts),
            "conflicts_merged": float(len(np.unique(conflicts // span))),
            "los_events": _events(losses),
            "los_merged": float(len(pairs)),
            "los_steps": float(len(losses)),
            "conflict_steps": float(len(conflicts)),
            "severity": float(deepest.sum()),
        }


def _events(keys: np.ndarray) -> float:
    """Count the runs of consecutive steps of a pair."""
    return float((np.diff(np.sort(keys), prepend=-2) != 1).sum())
