"""The gate: nothing is published as `best` that may fly worse than the parent it came from, and is not shown to
be better.

The parent and every later policy fly the same scenarios, without noise, and are compared scenario by scenario. The
scenarios are used nowhere else: neither in training nor in any dataset nor in the final evaluation.

Notation: S scenarios, B episodes flown at once, N aircraft.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...collect.airspace.neighbours import sight_of
from ...collect.airspace.objective import TERMS, Change, Costs, aircraft_costs
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.figures import FigureCounter
from ...collect.flying.flight import Pilot, fly
from ...collect.flying.world import World
from .confidence_intervals import Estimate, normal_interval

GATE_EPISODES = 2**41
"""The gate flies the episodes from this number on; see `rollout.TRAINING_EPISODES`."""


def los_s(config: WorldConfig) -> float:
    """Return how long a loss of separation is that grazes the zone, s: a quarter of its radius at cruise speed."""
    return config.protected_zone_m / (4.0 * config.cruise_mps)


class Margins(NamedTuple):
    """By how much a policy may be worse than its parent, with 95 % confidence, and still count as not worse.

    A rate near 100 % is decided by one aircraft in thousands: to ask for no fewer at their waypoints would be to
    toss a coin. So a policy is published if its whole interval is better than these.

    Attributes:
        los_per_flight: LoS events per flight, and NMACs; 0.0025 is one more in twenty scenarios of 20 aircraft.
        waypoint_rate: Fraction of the aircraft; also of those that make no progress, and of those that leave.
        extra_distance: Fraction of the straight way.
        los_s_per_flight: Pair-seconds in LoS per flight: that many events, each as long as it takes to fly a
            quarter of the protected zone's radius at cruise speed: 2.8 s in the reference world.
    """

    los_per_flight: float = 0.0025
    waypoint_rate: float = 0.005
    extra_distance: float = 0.005
    los_s_per_flight: float = 0.0069

    @classmethod
    def of(cls, config: WorldConfig) -> "Margins":
        """Return the margins in a world."""
        return cls(los_s_per_flight=cls._field_defaults["los_per_flight"] * los_s(config))


MARGINS = Margins()
_COUNTS_FOR_MORE = {
    "the LoS rate": {"the time in LoS"},
    "the extra distance": {"the time in LoS", "the LoS rate", "the waypoint rate"},
}
CONFIDENCE = 0.99
"""Of being better than the parent: it is asked many times in a run, and chance must not win once."""

_SCENARIOS_AT_ONCE = 64  # keeps the working set in cache


class GateFlights(NamedTuple):
    """What a policy's flights on the gate came to, each (S,) float64.

    Attributes:
        los_events: Losses of separation, re-entries counted again.
        detour_m: Distance flown minus distance gained towards the waypoint, all aircraft.
        straight_m: Distance to the edge of the waypoint's radius at the start, all aircraft.
        at_waypoint: Aircraft that reached their waypoint.
        aircraft: Aircraft at the start.
        flown_m: Distance flown, all aircraft.
        flight_s: Aircraft-seconds flown.
        steps: Agent-steps flown.
        path, proximity, predicted, yielding, speed, stall, pace, effort, leaving, outside: The terms of the
            objective, all aircraft, in m; see `objective.Costs`.
        los_s: Pair-seconds in LoS.
        nmac_events: Near mid-air collisions of pairs, re-entries counted again.
        stalled: Aircraft that at some time made no progress towards their waypoint for 60 s.
        left_sector: Aircraft that left the sector.
    """

    los_events: Tensor
    detour_m: Tensor
    straight_m: Tensor
    at_waypoint: Tensor
    aircraft: Tensor
    flown_m: Tensor
    flight_s: Tensor
    steps: Tensor
    path: Tensor
    proximity: Tensor
    predicted: Tensor
    yielding: Tensor
    speed: Tensor
    stall: Tensor
    pace: Tensor
    effort: Tensor
    leaving: Tensor
    outside: Tensor
    los_s: Tensor
    nmac_events: Tensor
    stalled: Tensor
    left_sector: Tensor

    def objective(self) -> Tensor:
        """Return the objective of each scenario, (S,): metres of detour per agent-step."""
        terms = torch.stack([getattr(self, name) for name in TERMS])
        return terms.sum(0) / self.steps.clamp_min(1.0)

    def figures(self) -> dict[str, Any]:
        """Return the figures people read, defined as in `skyclone evaluate`, and the objective, term by term."""
        totals = GateFlights(*(column.sum() for column in self))
        hours = totals.flight_s.clamp_min(1.0) / 3600.0
        steps = totals.steps.clamp_min(1.0)
        return {
            "objective": float(totals.objective()),
            "objective_terms": {name: float(getattr(totals, name) / steps) for name in TERMS},
            "los_events": float(self.los_events.mean()),
            "los_per_flight_hour": float(totals.los_events / hours),
            "time_in_los_s": float(self.los_s.mean()),
            "nmac_events": float(self.nmac_events.mean()),
            "extra_distance": float(totals.detour_m / totals.straight_m.clamp_min(1.0)),
            "waypoint_rate": float(totals.at_waypoint / totals.aircraft),
            "stalled_rate": float(totals.stalled / totals.aircraft),
            "left_sector_rate": float(totals.left_sector / totals.aircraft),
            "mean_speed_mps": float(totals.flown_m / totals.flight_s.clamp_min(1.0)),
        }


class Verdict(NamedTuple):
    """Whether a policy becomes the best, and why, in words."""

    is_better: bool
    reason: str


def fly_gate(
    pilot: Pilot,
    config: WorldConfig,
    seed: int,
    scenarios: int | range,
    device: str | torch.device = "cpu",
    costs: Costs | None = None,
) -> GateFlights:
    """Fly the gate's scenarios to their end.

    Args:
        pilot: The policy.
        config: The world.
        seed: Of the run; the same scenarios for the same seed.
        scenarios: S, or their numbers from 0 on.
        device: Where to compute.
        costs: What the objective counts.
    """
    numbers = range(scenarios) if isinstance(scenarios, int) else scenarios
    parts = [
        _fly(pilot, config, seed, numbers[first : first + _SCENARIOS_AT_ONCE], device, costs or Costs())
        for first in range(0, len(numbers), _SCENARIOS_AT_ONCE)
    ]
    return join(parts)


def join(parts: Sequence[GateFlights]) -> GateFlights:
    """Return flights one behind the other."""
    return GateFlights(*(torch.cat(columns) for columns in zip(*parts)))


def interleave(parts: Sequence[GateFlights]) -> GateFlights:
    """Return flights of the scenarios 0::n, 1::n, ... in the order of the scenarios."""
    count = sum(len(part.steps) for part in parts)
    columns = [column.new_empty(count) for column in parts[0]]
    for number, part in enumerate(parts):
        for column, own in zip(columns, part, strict=True):
            column[number :: len(parts)] = own
    return GateFlights(*columns)


def _fly(
    pilot: Pilot, config: WorldConfig, seed: int, numbers: range, device: str | torch.device, costs: Costs
) -> GateFlights:
    """Fly some of the gate's scenarios to their end."""
    cheapest = replace(config, reward="seed")  # nobody asks for the rewards of these steps
    episodes = [GATE_EPISODES + number for number in numbers]
    world = World(cheapest, seed, episodes, device, sight_of(cheapest, costs=costs))
    counter = FigureCounter(config, world.traffic, world.itinerary)
    sums = torch.zeros((len(TERMS), len(numbers)), dtype=torch.float64, device=world.device)
    for step in fly(world, pilot):
        counter.count(step, world.after)
        change = Change(step.traffic, step.action, world.after, world.pairs, step.result.outcome, world.corners_m)
        terms = aircraft_costs(config, change, costs)
        sums[:, step.slots] += torch.stack([terms[name].sum(-1, dtype=torch.float64) for name in TERMS])
    figures = counter.result()
    columns = {
        name: torch.from_numpy(getattr(figures, name))
        for name in GateFlights._fields
        if name not in (*TERMS, "detour_m", "los_s")
    }
    return GateFlights(
        detour_m=torch.from_numpy(figures.flown_m - figures.progress_m),
        los_s=torch.from_numpy(figures.los_steps * config.step_s),
        **columns,
        **dict(zip(TERMS, sums.cpu(), strict=True)),
    )


def shared_out(scenarios: int, parts: int) -> list[int]:
    """Return the number of scenarios of each of some parts, as equal as can be."""
    return [scenarios // parts + (part < scenarios % parts) for part in range(parts)]


def split(flown: GateFlights, groups: Sequence[int]) -> list[GateFlights]:
    """Return the flights of each group of scenarios, which lie one behind the other."""
    return [GateFlights(*columns) for columns in zip(*(column.split(list(groups)) for column in flown))]


def judge(
    policy: GateFlights,
    best: GateFlights,
    parent: GateFlights,
    groups: Sequence[int] | None = None,
    margins: Margins = MARGINS,
) -> Verdict:
    """Say whether a policy becomes the best.

    Three things are asked, of the paired differences to the parent, scenario by scenario:
    not worse: the 95 % intervals of LoS events, time in LoS, NMACs, waypoint rate, aircraft without progress,
    aircraft that leave the sector, and extra distance lie within the margins: nobody wins by standing still;
    better: the 99 % interval of the objective lies below zero;
    and where several worlds are flown, in none of them alone are there clearly more LoS events.
    Two things may be worse for something that counts for more, clearly better (95 % interval): LoS events, where
    less time is spent in LoS; extra distance, where less time is spent in LoS, fewer separations are lost, or more
    aircraft arrive. A parent that stands still, or has never met such traffic, would otherwise have the better of
    whoever flies on. Of the policies for which all of this holds, the one with the lowest objective is the best.

    Args:
        policy: Its flights.
        best: Those of the best so far.
        parent: Those of the parent.
        groups: Scenarios of each world; by default there is one.
        margins: What counts as not worse.
    """
    differences = _worse(policy, parent, margins)
    gains = {what for what, worse, _ in differences if worse.high < 0}
    for what, worse, margin in differences:
        if not worse.high <= margin and not gains & _COUNTS_FOR_MORE.get(what, set()):
            return Verdict(
                False, f"{what} may be worse than the clone's: by up to {worse.high:.2g} ({margin:g} is let pass)"
            )
    groups = groups or [len(parent.los_events)]
    for number, (there, here) in enumerate(zip(split(policy, groups), split(parent, groups)), start=1):
        is_shorter = normal_interval((there.los_s - here.los_s).numpy()).high < 0
        if normal_interval((there.los_events - here.los_events).numpy()).low > 0 and not is_shorter:
            where = f" in world {number}" if len(groups) > 1 else ""
            return Verdict(False, f"clearly more LoS events than the clone{where}")
    gain = normal_interval((policy.objective() - parent.objective()).numpy(), confidence=CONFIDENCE)
    if not gain.high < 0:
        return Verdict(False, f"not clearly better than the clone: objective {_between(gain)}")
    if float(policy.objective().mean()) >= float(best.objective().mean()):
        return Verdict(False, "no better than the best")
    paid = [what for what, worse, margin in differences if not worse.high <= margin]
    rest = f"; {' and '.join(paid)} may be worse, for safety" if paid else ", and nothing is worse"
    return Verdict(True, f"better than the clone: objective {_between(gain)}{rest}")


def _worse(policy: GateFlights, parent: GateFlights, margins: Margins) -> list[tuple[str, Estimate, float]]:
    """Return by how much a policy is worse than its parent, with intervals: name, estimate, margin."""
    per_aircraft = (
        ("the LoS rate", "los_events", 1.0, margins.los_per_flight),
        ("the time in LoS", "los_s", 1.0, margins.los_s_per_flight),
        ("the NMAC rate", "nmac_events", 1.0, margins.los_per_flight),
        ("the waypoint rate", "at_waypoint", -1.0, margins.waypoint_rate),
        ("the share without progress", "stalled", 1.0, margins.waypoint_rate),
        ("the share that leaves the sector", "left_sector", 1.0, margins.waypoint_rate),
    )
    differences = [
        (what, sign * (getattr(policy, name) / policy.aircraft - getattr(parent, name) / parent.aircraft), margin)
        for what, name, sign, margin in per_aircraft
    ]
    differences.append(("the extra distance", _extra(policy) - _extra(parent), margins.extra_distance))
    return [(what, normal_interval(each.numpy()), margin) for what, each, margin in differences]


def compare(policy: GateFlights, parent: GateFlights) -> dict[str, Any]:
    """Return a policy's figures and the intervals of the paired differences to the parent, as JSON."""
    quantities = {
        "los_events": policy.los_events - parent.los_events,
        "time_in_los_s": policy.los_s - parent.los_s,
        "nmac_events": policy.nmac_events - parent.nmac_events,
        "extra_distance": _extra(policy) - _extra(parent),
        "waypoint_rate": policy.at_waypoint / policy.aircraft - parent.at_waypoint / parent.aircraft,
        "stalled_rate": policy.stalled / policy.aircraft - parent.stalled / parent.aircraft,
        "left_sector_rate": policy.left_sector / policy.aircraft - parent.left_sector / parent.aircraft,
        "objective": policy.objective() - parent.objective(),
    }
    intervals = {name: list(normal_interval(each.numpy())[1:]) for name, each in quantities.items()}
    return {**policy.figures(), **{f"{name}_difference": interval for name, interval in intervals.items()}}


def _between(gain: Estimate) -> str:
    """Return a difference of the objective with its interval, in words."""
    return f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] m"


def _extra(flown: GateFlights) -> Tensor:
    """Return the extra distance of each scenario, (S,)."""
    return flown.detour_m / flown.straight_m
