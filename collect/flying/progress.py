"""Who gets nowhere: aircraft that have made no progress towards their waypoint for a minute.

Notation: B episodes, B' of them still flown, N aircraft.
"""

import torch
from torch import Tensor

from ...datasets.traffic.state import Traffic
from ..airspace.distances import STALL_S, distance_to_go, stall_m
from ..airspace.world_config import WorldConfig


class Progress:
    """Watches how near each aircraft of a batch has come to its waypoint.

    Args:
        config: The world.
        start: (B, N) traffic at the start.

    Attributes:
        has_stalled: (B, N) bool, who made no progress for `STALL_S` at some time.
    """

    def __init__(self, config: WorldConfig, start: Traffic) -> None:
        self._step_s = config.step_s
        self._least_m = torch.zeros_like(start.east_m) + stall_m(config, start)
        self._mark_m, self._since_s = distance_to_go(start), torch.zeros_like(start.east_m)
        self._last_m = self._mark_m.clone()
        self.has_stalled = torch.zeros_like(start.is_flying)

    def count(self, slots: Tensor, who: Tensor, before_m: Tensor, after_m: Tensor) -> None:
        """Add a step.

        Args:
            slots: (B',) which episodes of the batch these are.
            who: (B', N) bool, who was flown.
            before_m: (B', N) distance to the waypoint before it.
            after_m: (B', N) after it, to the same waypoint.
        """
        mark_m, since_s = self._mark_m[slots], self._since_s[slots]
        is_another = before_m != self._last_m[slots]  # the next waypoint of its route
        mark_m = torch.where(is_another, before_m, mark_m)
        has_come = after_m <= mark_m - self._least_m[slots]
        since_s = torch.where(is_another, 0.0, since_s) + self._step_s * who
        since_s = torch.where(has_come, 0.0, since_s)
        self._mark_m[slots], self._since_s[slots] = torch.where(has_come, after_m, mark_m), since_s
        self._last_m[slots] = after_m
        self.has_stalled[slots] |= who & (since_s >= STALL_S)
