"""Conflicts and losses of separation, counted as events of a pair of aircraft.

An event begins when a pair enters the condition; leaving and entering again is another one (raw); merged,
a pair counts once per episode. Always on the protected zone R itself, never on a teacher's margin.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..airspace.conflicts import find, that_count
from ..airspace.neighbours import FEW
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
        nmac_events: Near mid-air collisions, re-entries counted again.
        first_los_step: Number of the state in which separation was first lost, from 0; infinite if it never was.
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
    nmac_events: Tensor
    first_los_step: Tensor


class EventCounter:
    """Counts events over one batch of episodes; call `count` for every state, the first one included.

    Args:
        config: The world.
        episodes: B.
        device: Where the tensors live.
    """

    def __init__(self, config: WorldConfig, episodes: int, device: str | torch.device = "cpu") -> None:
        self.config = config
        self._episodes, self._device = episodes, torch.device(device)
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        # Pairs are coded (episode * N + ownship) * N + intruder.
        self._was_conflict = self._was_los = self._was_nmac = nothing
        self._ever_conflict, self._los = [nothing], [(nothing, torch.zeros(0, device=device))]
        self._least2_of_episode = torch.full((episodes,), torch.inf, device=device)
        self._states = 0  # counted so far
        self._first_los_step = torch.full((episodes,), torch.inf, dtype=torch.float64, device=device)
        self._sums = torch.zeros((6, episodes), dtype=torch.int64, device=device)

    def count(self, traffic: Traffic, pairs: Pairs, slots: Tensor | None = None) -> None:
        """Count the events that begin in this state.

        Args:
            traffic: (B', N) the state.
            pairs: (B', N, N) or (B', N, J) its pairs.
            slots: (B',) which of the counter's episodes these are; all by default. Those not named are over:
                what they were in is forgotten.
        """
        zone, aircraft = self.config.protected_zone_m, self.config.aircraft
        if slots is None:
            slots = torch.arange(self._episodes, device=pairs.east_m.device)
        conflicts = that_count(find(pairs, zone, self.config.lookahead_s), traffic)
        episode = slots[conflicts.episode]
        pair = (episode * aircraft + conflicts.ownship) * aircraft + conflicts.intruder  # (P,)
        distance2 = conflicts.east_m * conflicts.east_m + conflicts.north_m * conflicts.north_m
        # in units of the world's R
        relative2 = distance2 if conflicts.scale is None else distance2 / conflicts.scale.square()
        is_los = relative2 < zone * zone  # a pair in LoS is always in conflict as well
        los_pair, los_episode = pair[is_los], episode[is_los]
        has_begun = ~_is_in(pair, self._was_conflict)
        events = (episode[has_begun], los_episode[~_is_in(los_pair, self._was_los)], los_episode, episode)
        for row, of_episode in enumerate(events):
            self._sums[row] += torch.bincount(of_episode, minlength=self._episodes)
        self._sums[4, slots] += traffic.is_piloted.sum(-1)
        self._was_conflict, self._was_los = pair.sort()[0], los_pair.sort()[0]
        self._ever_conflict.append(pair[has_begun])
        self._los.append((los_pair, relative2[is_los]))
        self._count_nmac(los_pair, los_episode, distance2[is_los])
        self._first_los_step[los_episode] = self._first_los_step[los_episode].clamp_max(self._states)
        self._states += 1
        least2 = pairs.nearest2_m2()
        if traffic.is_hovering is not None:
            least2 = least2.masked_fill(~traffic.is_piloted, torch.inf)
        self._least2_of_episode[slots] = torch.minimum(self._least2_of_episode[slots], least2.amin(-1))

    def _count_nmac(self, pair: Tensor, episode: Tensor, distance2: Tensor) -> None:
        """Count the near mid-air collisions that begin, of pairs in LoS (P,) and their distances squared."""
        if not len(pair):
            self._was_nmac = pair
            return
        is_nmac = distance2 < self.config.nmac_m * self.config.nmac_m
        pair, episode = pair[is_nmac], episode[is_nmac]
        begun = episode[~_is_in(pair, self._was_nmac)]
        self._sums[5] += torch.bincount(begun, minlength=self._episodes)
        self._was_nmac = pair.sort()[0]

    def result(self) -> Safety:
        """Return the figures so far, one per episode; each pair counts once, not once per ownship."""
        zone, count, pairs = self.config.protected_zone_m, self._episodes, self.config.aircraft**2
        events = self._sums.double()
        ever = torch.cat(self._ever_conflict).unique()
        lost, place = torch.cat([pair for pair, _ in self._los]).unique(return_inverse=True)
        distance2 = torch.cat([distance2 for _, distance2 in self._los])
        least2 = distance2.new_full(lost.shape, torch.inf).scatter_reduce_(0, place, distance2, "amin")
        least = least2.sqrt().double()
        return Safety(
            conflicts=events[0] / 2,
            conflicts_merged=torch.bincount(ever // pairs, minlength=count).double() / 2,
            los_events=events[1] / 2,
            los_merged=torch.bincount(lost[least < zone] // pairs, minlength=count).double() / 2,
            los_steps=events[2] / 2,
            conflict_steps=events[3] / 2,
            least_m=self._least2_of_episode.sqrt().double(),
            severity=self._per_episode(lost, ((zone - least) / zone).clamp_min(0.0)) / 2,
            flight_s=events[4] * self.config.step_s,
            nmac_events=events[5] / 2,
            first_los_step=self._first_los_step,
        )

    def _per_episode(self, pair: Tensor, depth: Tensor) -> Tensor:
        """Return the sum over the pairs of each episode, in an order that keeps the bits of earlier versions."""
        pairs = self.config.aircraft**2
        sums = torch.zeros(self._episodes, dtype=torch.float64, device=self._device)
        if self.config.aircraft > FEW:
            return sums.index_add_(0, pair // pairs, depth)
        for episode in (pair // pairs).unique().tolist():
            is_here = pair // pairs == episode
            sums[episode] = sums.new_zeros(pairs).index_add_(0, pair[is_here] % pairs, depth[is_here]).sum(-1)
        return sums


def _is_in(keys: Tensor, ordered: Tensor) -> Tensor:
    """Return which keys (P,) are among others, which are in ascending order."""
    if not len(ordered):
        return torch.zeros_like(keys, dtype=torch.bool)
    return ordered[torch.searchsorted(ordered, keys).clamp_max(len(ordered) - 1)] == keys
