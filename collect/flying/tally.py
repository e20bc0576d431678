"""The safety figures of a batch recorded in torch, from the conflicts that were found while it was flown.

They are counted once, at the end, so that counting costs collecting next to nothing.
"""

import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ..airspace.conflicts import Conflicts, detect, find
from ..airspace.world_config import WorldConfig
from ..teachers.registry import Teacher
from .encounters import Seen, encounters_of, sums_of
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
        self._seen: list[list[Tensor]] = []

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
        slot, step, own, intruder, east, north, velocity_east, velocity_north = (
            tensor.index_select(0, once) for tensor in (slot, step, *conflicts[1:7])
        )
        distance2 = east * east + north * north
        scale = None if conflicts.scale is None else conflicts.scale.index_select(0, once)
        is_pair = torch.ones_like(own, dtype=torch.bool)
        pairs = Pairs(east, north, velocity_east, velocity_north, distance2, is_pair, None, scale)
        is_seen = detect(pairs, self.config.protected_zone_m, self.config.lookahead_s)
        scale = torch.ones_like(distance2) if scale is None else scale
        self._seen.append([tensor[is_seen] for tensor in (slot, step, own, intruder, distance2, scale)])

    def figures(self) -> dict[str, float]:
        """Return the counts so far, in events, pairs (merged) and steps, and the sum of severities."""
        seen = Seen(*(torch.cat(parts).numpy() for parts in zip(*self._seen)))
        episodes = int(seen.episode.max()) + 1 if len(seen.episode) else 1
        return sums_of([encounters_of(seen, self.config, episodes)])
