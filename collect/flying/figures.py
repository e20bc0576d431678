"""What an episode comes to: the sums over aircraft and steps that every metric is made of.

Notation: S scenarios (episodes), B episodes flown at once, B' those still flying, N aircraft.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch

from ...datasets.traffic.record import LEFT_SECTOR, TIME_LIMIT, WAYPOINT
from ...datasets.traffic.state import Traffic
from ..airspace.distances import distance_flown, distance_to_go
from ..airspace.fleet import limits_of
from ..airspace.neighbours import FEW
from ..airspace.world_config import WorldConfig
from ..arithmetic.identity import of_torch
from ..kernels.flight import FIGURES, Flown
from ..scenarios.start import Start
from ..teachers.rules import Rules
from . import compiled
from .assurance import Assured
from .compiled import encountered, fly_chunks, fly_compiled, rules_of
from .events import EventCounter
from .flight import Pilot, Step, TeacherPilot, fly
from .itinerary import Itinerary
from .progress import Progress
from .world import World

_AT_ONCE = 4096  # aircraft in torch at the most where there are many, but one episode at the least: as in the cache

ScenariosDone = Callable[[int], object]
"""Called with how many more scenarios are done."""


def _nothing() -> np.ndarray:
    """Return what a column is in an archive that is older than it."""
    return np.zeros(0)


@dataclass(frozen=True)
class Figures:
    """Sums per scenario, each (S,) float64; metrics are ratios of their totals.

    Attributes:
        aircraft: Aircraft at the start.
        conflicts: Conflict events of pairs, re-entries counted again.
        conflicts_merged: Pairs that were ever in conflict.
        los_events: Losses of separation of pairs, re-entries counted again.
        los_merged: Pairs that ever lost separation.
        conflict_steps: Pair-steps in conflict.
        los_steps: Pair-steps in loss of separation.
        depth: Sum over the pairs that lost separation of (R - smallest distance) / R.
        least_m: Smallest distance of any pair; infinite if there was none.
        steps: Aircraft-steps flown.
        flight_s: Aircraft-seconds flown.
        flown_m: Distance flown.
        progress_m: Distance to the waypoint at the start minus that at the end of the flight.
        straight_m: Distance from the start to the edge of the waypoint's radius.
        at_waypoint: Aircraft that reached their waypoint.
        left_sector: Aircraft that left the sector.
        time_limit: Aircraft that ran into the time limit.
        effort: Sum over aircraft-steps of the mean of |turn| and |speed change| in action units.
        nearest_m: (S, N) smallest distance of each aircraft to any other; infinite where there was none.
        stalled: Aircraft that at some time came no nearer to their waypoint for `STALL_S`; see `Progress`.
        progress_s: As `progress_m`, at each one's cruise speed.
        straight_s: As `straight_m`, at each one's cruise speed.
        no_fly_steps: Aircraft-steps inside a no-fly polygon.
        nmac_events: Near mid-air collisions of pairs, re-entries counted again.
        assurance: (S, 8) what a monitor counted, see `assurance.Assured.counts`; empty where there was none.
    """

    aircraft: np.ndarray
    conflicts: np.ndarray
    conflicts_merged: np.ndarray
    los_events: np.ndarray
    los_merged: np.ndarray
    conflict_steps: np.ndarray
    los_steps: np.ndarray
    depth: np.ndarray
    least_m: np.ndarray
    steps: np.ndarray
    flight_s: np.ndarray
    flown_m: np.ndarray
    progress_m: np.ndarray
    straight_m: np.ndarray
    at_waypoint: np.ndarray
    left_sector: np.ndarray
    time_limit: np.ndarray
    effort: np.ndarray
    nearest_m: np.ndarray
    stalled: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    progress_s: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    straight_s: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    no_fly_steps: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    nmac_events: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    assurance: np.ndarray = field(default_factory=_nothing, metadata={"later": True})

    def __len__(self) -> int:
        """Return S."""
        return len(self.aircraft)


def join(parts: Sequence[Figures]) -> Figures:
    """Return the figures of several batches as those of one."""
    return Figures(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Figures)))


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
        self._sums = torch.zeros((9, episodes), dtype=torch.float64, device=device)
        self._progress = Progress(config, start)
        self._cruise_mps = limits_of(config, start).cruise_mps
        self._nearest_m = torch.full_like(start.east_m, torch.inf)

    def count(self, step: Step, after: Traffic) -> None:
        """Add one step.

        Args:
            step: The step; `B'` episodes of the batch.
            after: (B', N) where it led, ended aircraft where their flight ended.
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

    def result(self) -> Figures:
        """Return the figures so far."""
        safety = self._events.result()
        steps, flown, progress, effort, at_waypoint, left_sector, time_limit, progress_s, no_fly = self._sums
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
        }
        return Figures(**{name: column.cpu().numpy() for name, column in columns.items()})


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
    counter = FigureCounter(config, world.traffic, world.itinerary)
    flying = len(world.episodes)
    for step in fly(world, pilot):
        counter.count(step, world.after)
        if progress and len(step.slots) < flying:
            progress(flying - len(step.slots))
            flying = len(step.slots)
    if progress:
        progress(flying)
    if isinstance(pilot, Assured):
        return replace(counter.result(), assurance=pilot.counts.cpu().numpy())
    return counter.result()


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
    return Figures(
        depth=encounters.pop("severity"),
        least_m=nearest_m.min(axis=1),
        flight_s=sums["steps"] * config.step_s,
        nearest_m=nearest_m,
        **encounters,
        **sums,
    )
