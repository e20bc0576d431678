"""What an episode comes to: the sums over aircraft and steps that every metric is made of.

Notation: S scenarios (episodes), B episodes flown at once, B' those still flying, N aircraft.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...datasets.traffic.record import FLYING, LEFT_SECTOR, TIME_LIMIT, WAYPOINT
from ...datasets.traffic.state import Traffic
from ..airspace.distances import distance_flown, distance_to_go
from ..airspace.fleet import limits_of
from ..airspace.neighbours import FEW
from ..airspace.world_config import WorldConfig
from ..arithmetic.identity import of_torch
from ..kernels.flight import FIGURES, Flown
from ..scenarios.start import Start
from ..surveillance.perception import Perceived
from ..teachers.rules import Rules
from . import compiled
from .assurance import Assured
from .compiled import encountered, fly_chunks, fly_compiled, rules_of
from .events import EventCounter
from .flight import Pilot, Step, TeacherPilot, fly
from .itinerary import Itinerary
from .mixed import NOBODY, Mix, between, own_of
from .progress import Progress
from .sums import PAIR_EVENTS, columns_of_groups
from .sums import Figures as Figures
from .sums import join as join
from .world import World

_AT_ONCE = 4096  # aircraft in torch at the most where there are many, but one episode at the least: as in the cache

ScenariosDone = Callable[[int], object]
"""Called with how many more scenarios are done."""


class FigureCounter:
    """Adds up the steps of one batch of episodes.

    Args:
        config: The world.
        start: (B, N) traffic at the start.
        itinerary: Who enters when, by which waypoints; by default all fly at the start, to one waypoint each.
    """

    def __init__(self, config: WorldConfig, start: Traffic, itinerary: Itinerary | None = None) -> None:
        self.config, self._itinerary, device = config, itinerary or Itinerary.plain(start), start.east_m.device
        episodes = start.east_m.shape[0]
        self._events = EventCounter(config, episodes, device)
        straight = (distance_to_go(start) + self._itinerary.way_m(start) - config.waypoint_radius_m).clamp_min(0.0)
        self._straight_m, self._has_flown = straight.double(), start.is_piloted.clone()
        self._sums = torch.zeros((12, episodes), dtype=torch.float64, device=device)
        self._progress = Progress(config, start)
        self._cruise_mps = limits_of(config, start).cruise_mps
        self._nearest_m = torch.full_like(start.east_m, torch.inf)

    def count(self, step: Step, after: Traffic, perceived: Perceived | None = None) -> None:
        """Add one step.

        Args:
            step: The step; `B'` episodes of the batch.
            after: (B', N) where it led, ended aircraft where their flight ended.
            perceived: What was known in it; None where all is.
        """
        slots, before, outcome = step.slots, step.traffic, step.result.outcome
        self._events.count(before, step.pairs, slots)
        who = before.is_piloted
        self._has_flown[slots] |= who
        nearest_m = step.pairs.nearest_m()
        if before.is_hovering is not None:
            nearest_m.masked_fill_(~who, torch.inf)
        self._nearest_m[slots] = torch.minimum(self._nearest_m[slots], nearest_m)
        before_m, after_m = distance_to_go(before), distance_to_go(after)
        progress_m = (before_m - after_m) * who
        self._progress.count(slots, who, before_m, after_m)
        last = step.steps + who.any(-1).long()
        self._sums[9, slots] = torch.where(who.any(-1), last.double(), self._sums[9, slots])
        if perceived is not None:
            is_track = perceived.pairs.is_pair
            self._sums[10, slots] += (perceived.age_s * is_track).sum((-2, -1), dtype=torch.float64)
            self._sums[11, slots] += is_track.sum((-2, -1), dtype=torch.float64)
        sums = [
            who,
            distance_flown(before, after, self.config) * who,
            progress_m,
            step.action.clamp(-1.0, 1.0).abs().mean(-1) * who,
            outcome == WAYPOINT,
            outcome == LEFT_SECTOR,
            outcome == TIME_LIMIT,
            progress_m / limits_of(self.config, before).cruise_mps,
        ]
        if self._itinerary.no_fly_m.shape[1]:
            sums.append(self._itinerary.is_in_no_fly(before) & who)
        for row, values in enumerate(sums):
            self._sums[row, slots] += values.sum(-1, dtype=torch.float64)

    @property
    def duration_s(self) -> Tensor:
        """Until when anybody has flown so far, (B,) float64 seconds."""
        return self._sums[9] * self.config.step_s

    def result(self) -> Figures:
        """Return the figures so far."""
        safety = self._events.result()
        steps, flown, progress, effort, at_waypoint, left_sector, time_limit, progress_s, no_fly = self._sums[:9]
        _, track_age_s, track_steps = self._sums[9:]
        columns = {
            "aircraft": self._has_flown.sum(-1).double(),
            "conflicts": safety.conflicts,
            "conflicts_merged": safety.conflicts_merged,
            "los_events": safety.los_events,
            "los_merged": safety.los_merged,
            "conflict_steps": safety.conflict_steps,
            "los_steps": safety.los_steps,
            "depth": safety.severity,
            "least_m": safety.least_m,
            "steps": steps,
            "flight_s": steps * self.config.step_s,
            "flown_m": flown,
            "progress_m": progress,
            "straight_m": (self._straight_m * self._has_flown).sum(-1),
            "at_waypoint": at_waypoint,
            "left_sector": left_sector,
            "time_limit": time_limit,
            "stalled": self._progress.has_stalled.sum(-1).double(),
            "progress_s": progress_s,
            "straight_s": (self._straight_m * self._has_flown / self._cruise_mps).sum(-1),
            "no_fly_steps": no_fly,
            "effort": effort,
            "nearest_m": self._nearest_m.double(),
            "nmac_events": safety.nmac_events,
            "first_los_s": torch.minimum(safety.first_los_step * self.config.step_s, self.duration_s),
            "track_age_s": track_age_s,
            "track_steps": track_steps,
        }
        return Figures(**{name: column.cpu().numpy() for name, column in columns.items()})


class GroupCounter:
    """Adds up the steps of one batch of episodes for the first group of a mix.

    Args:
        config: The world.
        start: (B, N) traffic at the start.
        itinerary: Who enters when, by which waypoints.
        number: (B, N) the group of each aircraft.
        groups: G.
    """

    def __init__(
        self, config: WorldConfig, start: Traffic, itinerary: Itinerary, number: Tensor, groups: int
    ) -> None:
        self._number = number
        self._own = FigureCounter(config, _of(start, number == 0), itinerary)
        self._others = {
            place: EventCounter(config, len(number), number.device) for place in (*range(1, groups), NOBODY)
        }

    def count(self, step: Step, after: Traffic) -> None:
        """Add one step; arguments as for `FigureCounter.count`."""
        number = self._number[step.slots]
        is_own = number == 0
        result = step.result._replace(outcome=step.result.outcome.masked_fill(~is_own, FLYING))
        pairs = between(step.pairs, number, 0, 0)
        self._own.count(step._replace(traffic=_of(step.traffic, is_own), pairs=pairs, result=result), after)
        for place, counter in self._others.items():
            if place != NOBODY or step.traffic.is_hovering is not None:
                counter.count(step.traffic, between(step.pairs, number, 0, place), step.slots)

    def result(self) -> np.ndarray:
        """Return `Figures.groups`."""
        own = self._own.result()
        parts = [own]
        for counter in self._others.values():
            safety = counter.result()
            events = {name: getattr(safety, name).cpu().numpy() for name in PAIR_EVENTS if name != "depth"}
            first_los_s = safety.first_los_step.cpu().numpy() * self._own.config.step_s
            parts.append(
                replace(
                    own,
                    **events,
                    depth=safety.severity.cpu().numpy(),
                    least_m=safety.least_m.cpu().numpy(),
                    first_los_s=np.minimum(first_los_s, self._own.duration_s.cpu().numpy()),
                )
            )
        return np.stack(
            [np.stack([getattr(part, name) for name in columns_of_groups()], axis=-1) for part in parts], axis=1
        )


def _of(traffic: Traffic, is_in: Tensor) -> Traffic:
    """Return traffic in which only some aircraft (B, N) fly."""
    made = traffic.map(lambda tensor: tensor)
    made.is_flying = traffic.is_flying & is_in
    return made


def fly_scenarios(
    pilot: Pilot,
    config: WorldConfig,
    seed: int,
    episodes: Sequence[int],
    device: str | torch.device = "cpu",
    progress: ScenariosDone | None = None,
) -> Figures:
    """Fly one batch of scenarios to their end.

    Args:
        pilot: Who flies.
        config: The world.
        seed: Seed of the scenarios; with the episode's number it fixes the scenario.
        episodes: Their numbers.
        device: Where to compute.
        progress: Called with the number of scenarios that are done.

    Returns:
        Their figures, in the order of `episodes`.
    """
    rules = rules_of_pilot(pilot, config)
    if rules is not None:
        return _fly_compiled(rules, config, seed, episodes, progress)
    size = at_once(len(episodes), config.aircraft)
    chunks = [episodes[first : first + size] for first in range(0, len(episodes), size)]
    return join([_fly_in_torch(pilot, config, seed, chunk, device, progress) for chunk in chunks])


def fly_start(pilot: Pilot, config: WorldConfig, start: Start, device: str | torch.device = "cpu") -> Figures:
    """Fly one batch of B episodes from any start to their end, with nothing random on the way.

    Args:
        pilot: Who flies.
        config: The world.
        start: How they begin.
        device: Where to compute.
    """
    episodes, rules = range(len(start.corners_m)), rules_of_pilot(pilot, config)
    if rules is None:
        return _fly_in_torch(pilot, config, 0, episodes, device, None, start)
    return _figures_of(fly_compiled(config, rules, 0, episodes, is_recording=False, start=start), config)


def at_once(episodes: int, aircraft: int) -> int:
    """Return how many of so many episodes are flown side by side in torch."""
    return episodes if aircraft <= FEW else max(1, min(episodes, _AT_ONCE // aircraft))


def _fly_in_torch(
    pilot: Pilot,
    config: WorldConfig,
    seed: int,
    episodes: Sequence[int],
    device: str | torch.device,
    progress: ScenariosDone | None,
    start: Start | None = None,
) -> Figures:
    """Fly some scenarios by the world in torch."""
    world = World(config, seed, episodes, device, start=start)
    counter, by_group = FigureCounter(config, world.traffic, world.itinerary), None
    if isinstance(pilot, Mix):
        pilot = pilot.in_world(world)
        by_group = GroupCounter(config, world.traffic, world.itinerary, pilot.number, len(pilot.groups))
    flying = len(world.episodes)
    for step in fly(world, pilot):
        counter.count(step, world.after, None if world.perception is None else world.perception.last)
        if by_group is not None:
            by_group.count(step, world.after)
        if progress and len(step.slots) < flying:
            progress(flying - len(step.slots))
            flying = len(step.slots)
    if progress:
        progress(flying)
    figures = counter.result()
    if by_group is not None:
        figures = replace(figures, groups=by_group.result())
    own = own_of(pilot)
    return replace(figures, assurance=own.counts.cpu().numpy()) if isinstance(own, Assured) else figures


def rules_of_pilot(pilot: Pilot, config: WorldConfig) -> Rules | None:
    """Return a pilot as numbers if it is a teacher that the kernels fly here; None if torch does."""
    return rules_of(config, pilot.teacher, is_recording=False) if isinstance(pilot, TeacherPilot) else None


def arithmetic_of(pilot: Pilot) -> str:
    """Return by which arithmetic `fly_scenarios` flies a pilot here."""
    if not isinstance(pilot, TeacherPilot):
        return of_torch()
    return compiled.arithmetic_of(pilot.world_config, pilot.teacher, is_recording=False)


def _fly_compiled(
    rules: Rules, config: WorldConfig, seed: int, episodes: Sequence[int], progress: ScenariosDone | None
) -> Figures:
    """Fly a teacher by the kernels: the same figures on every processor."""
    parts = []
    for chunk, flown in fly_chunks(config, rules, seed, episodes, is_recording=False):
        parts.append(_figures_of(flown, config))
        if progress:
            progress(len(chunk))
    return join(parts)


def _figures_of(flown: Flown, config: WorldConfig) -> Figures:
    """Return the figures of what the kernels flew."""
    sums = {name: flown.figures[name].copy() for name in FIGURES.names or ()}
    encounters = encountered(flown, config)._asdict()
    nearest_m = np.sqrt(flown.nearest2_m2)
    first_los_step = np.minimum(encounters.pop("first_los_step"), sums.pop("duration_steps"))
    nothing = np.zeros(len(nearest_m))
    return Figures(
        first_los_s=first_los_step * config.step_s,
        track_age_s=nothing,
        track_steps=nothing,
        depth=encounters.pop("severity"),
        least_m=nearest_m.min(axis=1),
        flight_s=sums["steps"] * config.step_s,
        nearest_m=nearest_m,
        **encounters,
        **sums,
    )
