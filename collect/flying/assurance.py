"""Runtime assurance: a monitor around any pilot, which hands aircraft to a fallback that can be argued about.

The Simplex pattern (Sha, Using simplicity to control complexity, IEEE Software 18(4), 2001; ASTM F3269). An
aircraft is handed over when

- it has lost separation, and what the pilot commands does not open it;
- it has made no progress towards its waypoint for a while;
- its observation lies outside what its pilot was trained on.

It is handed back when none of this holds, nobody is within the fallback's zone, and a while has passed. Who made no
progress stays with the fallback until its waypoint.

The fallback is MVP with a margin. Several aircraft that all give way can circle around one waypoint for ever. So
one that makes no progress under it either no longer gives way to aircraft of higher numbers: of those that are
stuck the lowest number goes straight on, no faster than the room before it allows, and all others avoid it as
before.

Notation: S episodes of a batch, B of them still flown, N aircraft.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..airspace.conflicts import Conflicts, find
from ..airspace.distances import STALL_SHARE, distance_to_go
from ..airspace.fleet import limits_of
from ..airspace.neighbours import Sight, complete
from ..airspace.world_config import WorldConfig
from ..teachers import registry as teachers
from ..teachers.registry import Velocity, action_towards

LOS, PROGRESS, ENVELOPE = 1, 2, 3
"""Why an aircraft is flown by the fallback; 0 where it is not. A lower one goes first."""
REASONS = ("separation", "progress", "envelope")
OPENING_SHARE = 0.1
"""A command opens a loss of separation if the distance grows by so much of the cruise speed."""
INSISTING = 1.0
"""After so many times its patience without progress, the fallback insists on a right of way."""
CAUTION_S = 5.0
"""Who insists approaches another no faster than to come within the protected zone after this time."""

_OF_EPISODES = ("reason", "_held_s", "_is_flown")
Holder = TypeVar("Holder")
Judged = Callable[[Traffic, Pairs], tuple[Tensor, Tensor | None]]
"""Returns the actions (B, N, 2) of a pilot, and whose observation lies outside its envelope, (B, N) bool; None
where no envelope is known."""


@dataclass(frozen=True)
class AssuranceConfig:
    """The numbers of a monitor.

    Attributes:
        margin: Factor on the protected zone that the fallback keeps.
        patience_s: Who comes no nearer to its waypoint in this time, by a tenth of its way at cruise speed, makes
            no progress.
        hold_s: How long the fallback keeps an aircraft at least.
    """

    margin: float = 1.2
    patience_s: float = 60.0
    hold_s: float = 5.0

    def __post_init__(self) -> None:
        if not (1.0 <= self.margin < 100 and 0 < self.patience_s < 10_000 and 0 <= self.hold_s < 10_000):
            raise ConfigurationError(
                "rta: expected margin from 1 to below 100, patience_s above 0 and hold_s of at least 0, both "
                f"below 10,000, got {self.margin}, {self.patience_s} and {self.hold_s}. Example: "
                "pretrained:tuned@rta:margin=1.2"
            )


class Approach:
    """How long each aircraft of a batch has made no progress towards its waypoint.

    Args:
        config: The world.
        patience_s: Progress is a tenth of the way at cruise speed in this time.
        traffic: (B, N) at the start.

    Attributes:
        since_s: (B, N) time since it last made progress.
        is_new: (B, N) bool, who is on its way to another waypoint than at the last look, or does not fly.
    """

    _NEW: ClassVar = {
        "since_s": 0.0, "is_new": True, "_mark_m": torch.inf, "_east_m": torch.nan, "_north_m": torch.nan
    }  # fmt: skip

    def __init__(self, config: WorldConfig, patience_s: float, traffic: Traffic) -> None:
        self._config, self._patience_s = config, patience_s
        self.since_s = torch.zeros_like(traffic.east_m)
        self.is_new = torch.ones_like(traffic.is_flying)
        self._mark_m = torch.full_like(traffic.east_m, torch.inf)
        self._east_m = self._north_m = torch.full_like(traffic.east_m, torch.nan)

    def look(self, traffic: Traffic) -> None:
        """See the state (B, N) after another step."""
        go_m = distance_to_go(traffic)
        least_m = STALL_SHARE * limits_of(self._config, traffic).cruise_mps * self._patience_s
        is_same = (traffic.waypoint_east_m == self._east_m) & (traffic.waypoint_north_m == self._north_m)
        self.is_new = ~is_same | ~traffic.is_piloted
        has_come = self.is_new | (go_m <= self._mark_m - least_m)
        self.since_s = (self.since_s + self._config.step_s).masked_fill_(has_come, 0.0)
        self._mark_m = torch.where(has_come, go_m, self._mark_m)
        self._east_m, self._north_m = traffic.waypoint_east_m, traffic.waypoint_north_m

    def keep(self, slots: Tensor) -> None:
        """Keep only some episodes of the batch."""
        for name in self._NEW:
            setattr(self, name, getattr(self, name)[slots])

    def joined(self, others: Sequence["Approach"]) -> "Approach":
        """Return that of its own episodes and then those of others."""
        return _joined(copy(self), others, self._NEW)

    def rearrange(self, places: Tensor) -> None:
        """Go on with other aircraft, see `Assured.rearrange`."""
        _rearrange(self, self._NEW, places)


class Fallback:
    """MVP with a margin, and a right of way where it makes no progress.

    Args:
        config: The world.
        assurance: The monitor's numbers.
    """

    def __init__(self, config: WorldConfig, assurance: AssuranceConfig | None = None) -> None:
        self.config, assurance = config, assurance or AssuranceConfig()
        self.patience_s = assurance.patience_s
        self.teacher = teachers.make("mvp", config, margin=assurance.margin)

    def begin(self, traffic: Traffic, is_flown: Tensor | None = None) -> None:
        """Begin a batch of episodes in this state, (B, N)."""
        self._approach = Approach(self.config, self.patience_s, traffic)

    def keep(self, slots: Tensor) -> None:
        """Go on with some of the episodes only, (B',) int64."""
        self._approach.keep(slots)

    def taken(self, slots: Tensor) -> "Fallback":
        """Return one beside this one that goes on with some episodes, (B',) int64."""
        made = copy(self)
        made._approach = copy(self._approach)
        made.keep(slots)
        return made

    def joined(self, others: Sequence["Fallback"]) -> "Fallback":
        """Return that of its own episodes and then those of others."""
        made = copy(self)
        made._approach = self._approach.joined([each._approach for each in others])
        return made

    def __call__(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        """Return its actions, (B, N, 2)."""
        self._approach.look(traffic)
        return self.resolve(traffic, pairs, self.insists(self._approach.since_s))

    def insists(self, since_s: Tensor) -> Tensor:
        """Return who no longer gives way to higher numbers, after so long without progress, (B, N) bool."""
        return since_s >= INSISTING * self.patience_s

    def resolve(self, traffic: Traffic, pairs: Pairs, insists: Tensor) -> Tensor:
        """Return the actions (B, N, 2) where some insist on their right of way, (B, N) bool."""
        zone_m, lookahead_s = self.teacher.protected_zone_m, self.teacher.lookahead_s
        conflicts = find(complete(pairs, traffic, Sight(zone_m, lookahead_s)), zone_m, lookahead_s)
        episode, own, intruder = conflicts[:3]
        yields = ~(insists[episode, own] & (own < intruder) & traffic.is_piloted[episode, intruder])
        velocity = self.teacher.velocity(traffic, conflicts.map(lambda tensor: tensor[yields]))
        if not bool(yields.all()):
            velocity = self._careful(traffic, velocity, conflicts.map(lambda tensor: tensor[~yields]))
        return action_towards(traffic, velocity, self.config)

    def _careful(self, traffic: Traffic, velocity: Velocity, ignored: Conflicts) -> Velocity:
        """Slow down who does not give way by the room before it: v cos(angle) <= (distance - R) / CAUTION_S."""
        at = ignored.episode * traffic.east_m.shape[1] + ignored.ownship
        east, north = velocity
        speed = torch.hypot(east, north)
        along = ignored.east_m * east.view(-1)[at] + ignored.north_m * north.view(-1)[at]
        cosine = along / (ignored.distance_m * speed.view(-1)[at]).clamp_min(1e-6)
        room_m = (ignored.distance_m - ignored.zone_m(self.config.protected_zone_m)).clamp_min(0.0)
        allowed = torch.where(cosine > 0.0, room_m / (CAUTION_S * cosine.clamp_min(1e-6)), torch.inf)
        most = torch.full_like(speed, torch.inf).view(-1).scatter_reduce(0, at, allowed, "amin").view_as(speed)
        least = limits_of(self.config, traffic).min_speed_mps
        factor = torch.minimum(speed, most).clamp(min=least) / speed.clamp_min(1e-9)
        return Velocity(east * factor, north * factor)


@dataclass
class Assured:
    """A pilot with a monitor around it.

    Attributes:
        pilot: Who flies, and says whose observation lies outside its envelope.
        config: The world.
        assurance: The monitor's numbers.
        reason: (B, N) int8, why the fallback flies each aircraft; 0 where the pilot does.
        counts: (S, 6) float64 of the present batch: aircraft-steps flown by the fallback for each of `REASONS`,
            then how often aircraft were handed over.
    """

    pilot: Judged
    config: WorldConfig
    assurance: AssuranceConfig = field(default_factory=AssuranceConfig)

    def __post_init__(self) -> None:
        self.fallback = Fallback(self.config, self.assurance)

    def begin(self, traffic: Traffic, is_flown: Tensor | None = None) -> None:
        """Begin a batch of episodes in this state, (B, N); only some aircraft of which it flies, (B, N) bool."""
        self._approach = Approach(self.config, self.assurance.patience_s, traffic)
        self._is_flown = torch.ones_like(traffic.is_flying) if is_flown is None else is_flown
        self.reason = torch.zeros_like(traffic.is_flying, dtype=torch.int8)
        self._held_s = torch.zeros_like(traffic.east_m)
        self._count_anew()

    def keep(self, slots: Tensor) -> None:
        """Go on with some of the episodes only, (B',) int64."""
        self._approach.keep(slots)
        for name in (*_OF_EPISODES, "_slots"):
            setattr(self, name, getattr(self, name)[slots])

    def taken(self, slots: Tensor) -> "Assured":
        """Return a monitor beside this one that goes on with some episodes, (B',) int64, and counts anew."""
        made = copy(self)
        made._approach = copy(self._approach)
        made.keep(slots)
        made._count_anew()
        return made

    def joined(self, others: Sequence["Assured"]) -> "Assured":
        """Return the monitor of its own episodes and then those of others, which counts anew."""
        made = _joined(copy(self), others, _OF_EPISODES)
        made._approach = self._approach.joined([each._approach for each in others])
        made._count_anew()
        return made

    def rearrange(self, places: Tensor) -> None:
        """Go on with other aircraft: the place that each had before, -1 for a new one, (N',) int64."""
        self._approach.rearrange(places)
        _rearrange(self, {"reason": 0, "_held_s": 0.0, "_is_flown": True}, places)

    def __call__(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        """Return the actions that are flown, (B, N, 2)."""
        action, is_outside = self.pilot(traffic, pairs)
        self._approach.look(traffic)
        self._decide(traffic, pairs, action, is_outside)
        is_handed = self.reason > 0
        rows = is_handed.any(-1).nonzero().squeeze(-1)
        if not len(rows):
            return action
        insists = self.fallback.insists(self._approach.since_s) & is_handed
        safe = self.fallback.resolve(traffic.of(rows), pairs.map(lambda tensor: tensor[rows]), insists[rows])
        action = action.clone()
        action[rows] = torch.where(is_handed[rows].unsqueeze(-1), safe.to(action.dtype), action[rows])
        return action

    def _decide(self, traffic: Traffic, pairs: Pairs, action: Tensor, is_outside: Tensor | None) -> None:
        """Say who is flown by whom in this state."""
        who, numbers = traffic.is_piloted & self._is_flown, self.assurance
        self.reason.masked_fill_(~who | (self._approach.is_new & (self.reason == PROGRESS)), 0)
        is_stuck = self._approach.since_s >= numbers.patience_s
        is_handed = self.reason > 0
        wants = torch.zeros_like(self.reason)
        if is_outside is not None:
            wants.masked_fill_(is_outside, ENVELOPE)
        wants.masked_fill_(is_stuck, PROGRESS)
        wants.masked_fill_(closing(traffic, pairs, action, self.config), LOS).masked_fill_(~who, 0)
        has_begun = (wants > 0) & (~is_handed | ((wants == PROGRESS) & (self.reason != PROGRESS)))
        self._held_s = (self._held_s + self.config.step_s).masked_fill_(has_begun, 0.0)
        if bool(is_handed.any()):
            is_near = pairs.has_lost(self.fallback.teacher.protected_zone_m) & pairs.is_pair
            goes_back = (
                (wants == 0) & (self.reason != PROGRESS) & (self._held_s >= numbers.hold_s) & ~is_near.any(-1)
            )
            self.reason.masked_fill_(goes_back, 0)
        self.reason = torch.where(has_begun, wants, self.reason)
        self._count(has_begun)

    def _count_anew(self) -> None:
        """Begin to count."""
        episodes, device = len(self.reason), self.reason.device
        self._slots = torch.arange(episodes, device=device)
        self.counts = torch.zeros((episodes, 2 * len(REASONS)), dtype=torch.float64, device=device)

    def _count(self, has_begun: Tensor) -> None:
        """Count a step of those that are handed over, and those that have just been, (B, N) bool."""
        for number in range(1, len(REASONS) + 1):
            is_it = self.reason == number
            self.counts[self._slots, number - 1] += is_it.sum(-1)
            self.counts[self._slots, len(REASONS) + number - 1] += (is_it & has_begun).sum(-1)


def _joined(made: Holder, others: Sequence[Holder], names: Iterable[str]) -> Holder:
    """Give one what it has, and then what others have, by episode."""
    for name in names:
        setattr(made, name, torch.cat([getattr(each, name) for each in (made, *others)]))
    return made


def _rearrange(holder: object, new: dict[str, Any], places: Tensor) -> None:
    """Give each aircraft what it had at its former place, (N',) int64, or what a new one has, at -1."""
    for name, value in new.items():
        had = getattr(holder, name)  # (B, N)
        setattr(holder, name, torch.cat((had, had.new_full((len(had), 1), value)), dim=1)[:, places])


def closing(traffic: Traffic, pairs: Pairs, action: Tensor, config: WorldConfig) -> Tensor:
    """Return who has lost separation and does not open it by its action (B, N, 2), (B, N) bool.

    With d the way to the intruder, v its velocity and u the one that the ownship asks for, the distance grows by
    (v - u).d / |d|.
    """
    has_lost = pairs.has_lost(config.protected_zone_m) & pairs.is_pair
    found = torch.zeros_like(traffic.is_flying)
    episode, own, place = has_lost.nonzero(as_tuple=True)
    if not len(episode):
        return found
    one = traffic.map(lambda tensor: tensor[episode, own])  # (P,)
    turn, change = action[episode, own].clamp(-1.0, 1.0).unbind(-1)
    limits = limits_of(config, one)
    wanted = one.speed_mps + config.speed_change_mps * change
    speed = torch.clamp(wanted, limits.min_speed_mps, limits.max_speed_mps)  # type: ignore[arg-type]
    track = one.track_rad + config.turn_rad * turn
    at = (episode, own, place)
    east, north = pairs.east_m[at], pairs.north_m[at]
    relative_east = pairs.velocity_east_mps[at] + one.velocity_east_mps - speed * torch.sin(track)
    relative_north = pairs.velocity_north_mps[at] + one.velocity_north_mps - speed * torch.cos(track)
    opening = (relative_east * east + relative_north * north) / torch.hypot(east, north).clamp_min(1e-6)
    found.view(-1).index_put_(
        (episode * found.shape[1] + own,), opening < OPENING_SHARE * limits.cruise_mps, accumulate=True
    )
    return found
