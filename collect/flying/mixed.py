"""Mixed equipage: several pilots in one airspace, each flying a group of the aircraft.

Which aircraft are in which group is drawn for each episode, a function of seed and episode alone; a group has as
many of them as its share says, to the aircraft.

Notation: B episodes, N aircraft.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..airspace.neighbours import Sight, pairs_around
from ..scenarios.registry import MIX_STREAM, generator_of
from .flight import Pilot, Remembering
from .world import World

NOBODY = -1
"""The group of who is flown by nobody: who hovers, and who is not in an episode."""


@dataclass(frozen=True)
class Group:
    """Some of the aircraft.

    Attributes:
        share: Of the aircraft of an episode.
        pilot: Flies them.
        is_silent: Whether they transmit nothing, so that no other aircraft knows of them.
    """

    share: float
    pilot: Pilot
    is_silent: bool = False


class Mix:
    """A pilot that has each group flown by its own.

    Args:
        groups: Their shares add up to 1. Figures are kept of the first one.
        world: Where they fly; `in_world` says.

    Attributes:
        groups: See above.
        number: (B, N) int64, the group of each aircraft in each of the world's episodes, or `NOBODY`.
    """

    def __init__(self, groups: Sequence[Group], world: World | None = None) -> None:
        self.groups, self._world = tuple(groups), world
        if world is None:
            return
        shares = [group.share for group in self.groups]
        is_flown = world.itinerary.entry_steps >= 0
        if world.traffic.is_hovering is not None:
            is_flown = is_flown & ~world.traffic.is_hovering
        numbers = draw_all(shares, is_flown.cpu().numpy(), world.seed, world.episodes)
        self.number = torch.from_numpy(numbers).to(world.device)
        self._is_silent = self._are_in([place for place, group in enumerate(groups) if group.is_silent])
        self._row = {episode: row for row, episode in enumerate(world.episodes)}
        if world.perception is not None:
            world.perception.mute(self._is_silent.cpu().numpy())

    def in_world(self, world: World) -> "Mix":
        """Return the pilot of a world's episodes, none of which has begun."""
        return self if self._world is world else Mix(self.groups, world)

    def begin(self, traffic: Traffic, is_flown: Tensor | None = None) -> None:
        """Begin a batch of episodes in this state, (B, N): those of the pilots that remember do, too."""
        for place, group in enumerate(self.groups):
            if isinstance(group.pilot, Remembering):
                group.pilot.begin(traffic, self.number == place)

    def keep(self, slots: Tensor) -> None:
        """Go on with some of the episodes only, (B',) int64."""
        for group in self.groups:
            if isinstance(group.pilot, Remembering):
                group.pilot.keep(slots)

    def _are_in(self, places: list[int]) -> Tensor:
        """Return who is in one of some groups, (B, N) bool."""
        return torch.isin(self.number, torch.tensor(places, dtype=torch.int64, device=self.number.device))

    def __call__(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        """Return the actions (B', N, 2) in the world's episodes that still go on."""
        assert self._world is not None  # `fly` asks for the pilot in its world
        rows = torch.tensor([self._row[each] for each in self._world.episodes], device=self.number.device)
        number, is_silent = self.number[rows], self._is_silent[rows]
        heard = hide(traffic, pairs, is_silent) if is_silent.any() else (traffic, pairs)
        action: Tensor | None = None
        for place, group in enumerate(self.groups):
            asked = group.pilot(*((traffic, pairs) if group.is_silent else heard))
            action = asked if action is None else torch.where((number == place).unsqueeze(-1), asked, action)
        assert action is not None
        return action


def own_of(pilot: Pilot) -> Pilot:
    """Return who flies the first group of a mix, of which figures are kept; of any other pilot itself."""
    return pilot.groups[0].pilot if isinstance(pilot, Mix) else pilot


def draw_all(shares: Sequence[float], is_flown: np.ndarray, seed: int, episodes: Sequence[int]) -> np.ndarray:
    """Return the group of each aircraft, (B, N) int64; `NOBODY` for those whom nobody ever flies.

    Args:
        shares: Of the groups.
        is_flown: (B, N) bool, for whom a pilot is needed.
        seed: Of the episodes.
        episodes: Their numbers, B.
    """
    rows = zip(episodes, is_flown, strict=True)
    return np.stack([draw(shares, there, generator_of(seed, episode, MIX_STREAM)) for episode, there in rows])


def draw(shares: Sequence[float], is_there: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the group of each aircraft, (N,) int64; `NOBODY` for those that are not there (N,)."""
    counts = counts_of(shares, int(is_there.sum()))
    order = generator.permutation(len(is_there))
    number = np.full(len(is_there), NOBODY, np.int64)
    number[order[is_there[order]]] = np.repeat(np.arange(len(counts)), counts)
    return number


def counts_of(shares: Sequence[float], aircraft: int) -> list[int]:
    """Return how many aircraft each group has, by largest remainder (Hamilton); the first of equals comes first."""
    wanted = [share / sum(shares) * aircraft for share in shares]
    counts = [floor(each + 1e-9) for each in wanted]
    by_rest = sorted(range(len(shares)), key=lambda place: (round(counts[place] - wanted[place], 9), place))
    for place in by_rest[: aircraft - sum(counts)]:
        counts[place] += 1
    return counts


def hide(traffic: Traffic, pairs: Pairs, is_hidden: Tensor) -> tuple[Traffic, Pairs]:
    """Return traffic (B, N) and its pairs as they are known without some aircraft, (B, N) bool."""
    known = traffic.map(lambda tensor: tensor)
    known.is_flying = traffic.is_flying & ~is_hidden
    if pairs.listed is not None:  # who is listed instead must be looked for
        return known, pairs_around(known, Sight(pairs.listed.zone_m, pairs.listed.lookahead_s, pairs.listed.seen))
    return known, only(pairs, ~is_hidden.unsqueeze(-2) & ~is_hidden.unsqueeze(-1))


def only(pairs: Pairs, is_kept: Tensor) -> Pairs:
    """Return some of the pairs (B, N, J), by a mask that can be broadcast; the others are no pairs."""
    is_pair = pairs.is_pair & is_kept
    return pairs._replace(is_pair=is_pair, distance2_m2=pairs.distance2_m2.masked_fill(~is_pair, torch.inf))


def between(pairs: Pairs, number: Tensor, one: int, other: int) -> Pairs:
    """Return the pairs between two groups, or within one.

    Args:
        pairs: (B, N, N) or (B, N, J).
        number: (B, N) the group of each aircraft.
        one: A group,
        other: and another one, or the same.
    """
    own = number.unsqueeze(-1)
    if pairs.listed is None:
        others = number.unsqueeze(-2)
    else:
        others = number.unsqueeze(-2).expand(*pairs.is_pair.shape[:2], -1).gather(-1, pairs.listed.number)
    return only(pairs, ((own == one) & (others == other)) | ((own == other) & (others == one)))
