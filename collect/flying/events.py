"""Conflicts and losses of separation, counted as events of a pair of aircraft.

An event begins when a pair enters the condition; leaving and entering again is another one (raw); merged,
a pair counts once per episode. Always on the protected zone R itself, never on a teacher's margin.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..airspace.conflicts import find
from ..airspace.world_config import WorldConfig


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
        self._shape = (episodes, config.aircraft, config.aircraft)
        size = episodes * config.aircraft * config.aircraft
        self._was_conflict, self._was_los, self._ever_conflict = (
            torch.zeros(size, dtype=torch.bool, device=device) for _ in range(3)
        )
        self._least2 = torch.full((size,), torch.inf, device=device)  # of pairs in LoS only
        self._least2_of_episode = torch.full((episodes,), torch.inf, device=device)
        self._sums = torch.zeros((5, episodes), dtype=torch.int64, device=device)

    def count(self, traffic: Traffic, pairs: Pairs, slots: Tensor | None = None) -> None:
        """Count the events that begin in this state.

        Args:
            traffic: (B', N) the state.
            pairs: (B', N, N) its pairs.
            slots: (B',) which of the counter's episodes these are; all by default. Those not named are over:
                what they were in is forgotten.
        """
        zone = self.config.protected_zone_m
        episodes, aircraft, _ = self._shape
        if slots is None:
            slots = torch.arange(episodes, device=pairs.east_m.device)
        conflicts = find(pairs, zone, self.config.lookahead_s)
        episode = slots[conflicts.episode]
        pair = (episode * aircraft + conflicts.ownship) * aircraft + conflicts.intruder  # (P,)
        distance2 = conflicts.east_m * conflicts.east_m + conflicts.north_m * conflicts.north_m
        is_los = distance2 < zone * zone  # a pair in LoS is always in conflict as well
        los_pair, los_episode = pair[is_los], episode[is_los]
        events = (
            episode[~self._was_conflict[pair]],
            los_episode[~self._was_los[los_pair]],
            los_episode,
            episode,
        )
        for row, of_episode in enumerate(events):
            self._sums[row] += torch.bincount(of_episode, minlength=episodes)
        self._sums[4, slots] += traffic.is_flying.sum(-1)
        self._was_conflict.zero_()[pair] = True
        self._was_los.zero_()[los_pair] = True
        self._ever_conflict[pair] = True
        self._least2[los_pair] = torch.minimum(self._least2[los_pair], distance2[is_los])
        least2 = pairs.nearest2_m2().amin(-1)
        self._least2_of_episode[slots] = torch.minimum(self._least2_of_episode[slots], least2)

    def result(self) -> Safety:
        """Return the figures so far, one per episode; each pair counts once, not once per ownship."""
        zone = self.config.protected_zone_m
        events = self._sums.double()
        least = self._least2.view(self._shape).flatten(1).sqrt().double()
        depth = ((zone - least) / zone).clamp_min(0.0)
        return Safety(
            conflicts=events[0] / 2,
            conflicts_merged=self._ever_conflict.view(self._shape).flatten(1).sum(-1).double() / 2,
            los_events=events[1] / 2,
            los_merged=(least < zone).sum(-1).double() / 2,
            los_steps=events[2] / 2,
            conflict_steps=events[3] / 2,
            least_m=self._least2_of_episode.sqrt().double(),
            severity=depth.sum(-1) / 2,
            flight_s=events[4] * self.config.step_s,
        )
