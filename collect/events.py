"""Conflicts and losses of separation, counted as events of a pair of aircraft.

An event begins when a pair enters the condition; leaving and entering again is another one (raw); merged,
a pair counts once per episode. Always on the protected zone R itself, never on a teacher's margin.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..datasets.traffic import Pairs, Traffic
from .configuration import WorldConfig
from .conflicts import detect


class Safety(NamedTuple):
    """Figures per episode, each (B,) float64.

    Attributes:
        conflicts: Conflict events, re-entries counted again.
        conflicts_merged: Pairs that were ever in conflict.
        los_events: Losses of separation, re-entries counted again.
        los_merged: Pairs that ever lost separation.
        los_steps: Pair-steps (s at 1 s a step) spent in loss of separation.
        conflict_steps: Pair-steps spent in conflict.
        least_m: Smallest distance of any pair; infinite if there was no pair.
        severity: Sum over the merged losses of (R - smallest distance of the pair) / R.
        flight_s: Aircraft-seconds flown.
    """

    conflicts: Tensor
    conflicts_merged: Tensor
    los_events: Tensor
    los_merged: Tensor
    los_steps: Tensor
    conflict_steps: Tensor
    least_m: Tensor
    severity: Tensor
    flight_s: Tensor


class EventCounter:
    """Counts events over one batch of episodes; call `count` for every state, the first one included.

    Args:
        config: The world.
        episodes: B.
        device: Where the tensors live.
    """

    def __init__(self, config: WorldConfig, episodes: int, device: str | torch.device = "cpu") -> None:
        self.config = config
        shape = (episodes, config.aircraft, config.aircraft)
        self._was_conflict, self._was_los, self._ever_conflict = (
            torch.zeros(shape, dtype=torch.bool, device=device) for _ in range(3)
        )
        self._least2 = torch.full(shape, torch.inf, device=device)
        self._sums = torch.zeros((5, episodes), dtype=torch.int64, device=device)

    def count(self, traffic: Traffic, pairs: Pairs, slots: Tensor | None = None) -> None:
        """Count the events that begin in this state.

        Args:
            traffic: (B', N) the state.
            pairs: (B', N, N) its pairs.
            slots: (B',) which of the counter's episodes these are; all by default.
        """
        zone = self.config.protected_zone_m
        index = slice(None) if slots is None else slots
        is_los = pairs.distance2_m2 < zone * zone
        is_conflict = detect(pairs, zone, self.config.lookahead_s)
        sums = (
            is_conflict & ~self._was_conflict[index],
            is_los & ~self._was_los[index],
            is_los,
            is_conflict,
        )
        for row, events in enumerate(sums):
            self._sums[row, index] += events.flatten(1).sum(-1)
        self._sums[4, index] += traffic.is_flying.sum(-1)
        self._was_conflict[index], self._was_los[index] = is_conflict, is_los
        self._ever_conflict[index] |= is_conflict
        self._least2[index] = torch.minimum(self._least2[index], pairs.distance2_m2)

    def result(self) -> Safety:
        """Return the figures so far, one per episode; each pair counts once, not once per ownship."""
        zone = self.config.protected_zone_m
        events = self._sums.double()
        least = self._least2.sqrt().double()
        depth = ((zone - least) / zone).clamp_min(0.0)
        return Safety(
            conflicts=events[0] / 2,
            conflicts_merged=self._ever_conflict.flatten(1).sum(-1).double() / 2,
            los_events=events[1] / 2,
            los_merged=(least < zone).flatten(1).sum(-1).double() / 2,
            los_steps=events[2] / 2,
            conflict_steps=events[3] / 2,
            least_m=least.flatten(1).amin(-1),
            severity=depth.flatten(1).sum(-1) / 2,
            flight_s=events[4] * self.config.step_s,
        )
