"""The gate: nothing is published as `best` that flies worse than the parent it came from.

The parent and every later policy fly the same scenarios, without noise, and are compared scenario by scenario. The
scenarios are used nowhere else: neither in training nor in any dataset nor in the final evaluation.

Notation: S scenarios, B episodes flown at once, N aircraft.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.figures import fly_scenarios, join
from ...collect.flying.flight import Pilot
from .confidence_intervals import Estimate, normal_interval

GATE_EPISODES = 2**41
"""The gate flies the episodes from this number on; see `rollout.TRAINING_EPISODES`."""

AS_FEW = 0.1
"""LoS events above the best's by up to this fraction of the parent's still count as `as few`."""

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
    """

    los_events: Tensor
    detour_m: Tensor
    straight_m: Tensor
    at_waypoint: Tensor
    aircraft: Tensor
    flown_m: Tensor
    flight_s: Tensor

    def figures(self) -> dict[str, float]:
        """Return the figures people read, defined as in `skyclone evaluate`."""
        totals = GateFlights(*(column.sum() for column in self))
        hours = totals.flight_s.clamp_min(1.0) / 3600.0
        return {
            "los_events": float(self.los_events.mean()),
            "los_per_flight_hour": float(totals.los_events / hours),
            "extra_distance": float(totals.detour_m / totals.straight_m.clamp_min(1.0)),
            "waypoint_rate": float(totals.at_waypoint / totals.aircraft),
            "mean_speed_mps": float(totals.flown_m / totals.flight_s.clamp_min(1.0)),
        }


class Verdict(NamedTuple):
    """Whether a policy becomes the best, and why, in words."""

    is_better: bool
    reason: str


def fly_gate(
    pilot: Pilot, config: WorldConfig, seed: int, scenarios: int, device: str | torch.device = "cpu"
) -> GateFlights:
    """Fly the gate's scenarios to their end.

    Args:
        pilot: The policy.
        config: The world.
        seed: Of the run; the same scenarios for the same seed.
        scenarios: S.
        device: Where to compute.
    """
    parts = []
    for first in range(0, scenarios, _SCENARIOS_AT_ONCE):
        last = min(first + _SCENARIOS_AT_ONCE, scenarios)
        parts.append(fly_scenarios(pilot, config, seed, range(GATE_EPISODES + first, GATE_EPISODES + last), device))
    figures = join(parts)
    columns = {name: torch.from_numpy(getattr(figures, name)) for name in GateFlights._fields if name != "detour_m"}
    return GateFlights(detour_m=torch.from_numpy(figures.flown_m - figures.progress_m), **columns)


def shared_out(scenarios: int, parts: int) -> list[int]:
    """Return the number of scenarios of each of some parts, as equal as can be."""
    return [scenarios // parts + (part < scenarios % parts) for part in range(parts)]


def split(flown: GateFlights, groups: Sequence[int]) -> list[GateFlights]:
    """Return the flights of each group of scenarios, which lie one behind the other."""
    return [GateFlights(*columns) for columns in zip(*(column.split(list(groups)) for column in flown))]


def judge(
    policy: GateFlights, best: GateFlights, parent: GateFlights, groups: Sequence[int] | None = None
) -> Verdict:
    """Say whether a policy becomes the best.

    Never worse than the parent: no more LoS events, no aircraft fewer at their waypoints, and no longer way unless
    it has clearly fewer LoS events (the interval of the paired differences lies below zero).
    Better than the best so far: clearly fewer LoS events; or as few (up to `AS_FEW` of the parent's more) on a
    shorter way. Because of the first rule, what the second tolerates can never add up to more than the parent has.
    Where several densities are flown, that is about all of them together; besides, in none of them alone may there
    be clearly more LoS events than the parent's, or a clearly longer way without clearly fewer LoS events.

    Args:
        policy: Its flights.
        best: Those of the best so far.
        parent: Those of the parent.
        groups: Scenarios of each density; by default there is one.
    """
    groups = groups or [len(parent.los_events)]
    new, old, first = policy.figures(), best.figures(), parent.figures()
    if new["los_events"] > first["los_events"]:
        return Verdict(False, "more LoS events than the clone")
    if new["waypoint_rate"] < first["waypoint_rate"]:
        return Verdict(False, "fewer aircraft at their waypoints than the clone")
    is_safer_than_parent = _difference(policy.los_events, parent.los_events).high < 0
    if new["extra_distance"] > first["extra_distance"] and not is_safer_than_parent:
        return Verdict(False, "a longer way than the clone's without clearly fewer LoS events")
    for number, (there, here) in enumerate(zip(split(policy, groups), split(parent, groups)), start=1):
        los = _difference(there.los_events, here.los_events)
        if los.low > 0:
            return Verdict(False, f"clearly more LoS events than the clone in density {number}")
        if _difference(_extra(there), _extra(here)).low > 0 and los.high >= 0:
            return Verdict(False, f"a clearly longer way without clearly fewer LoS events in density {number}")
    if _difference(policy.los_events, best.los_events).high < 0:
        return Verdict(True, "clearly fewer LoS events")
    if new["los_events"] > old["los_events"] + AS_FEW * first["los_events"]:
        return Verdict(False, "more LoS events than the best")
    if new["extra_distance"] < old["extra_distance"]:
        return Verdict(True, "as few LoS events on a shorter way")
    return Verdict(False, "as many LoS events on a way no shorter")


def compare(policy: GateFlights, parent: GateFlights) -> dict[str, Any]:
    """Return a policy's figures and the intervals of the paired differences to the parent, as JSON."""
    _, *los = _difference(policy.los_events, parent.los_events)
    _, *extra = _difference(_extra(policy), _extra(parent))
    return {**policy.figures(), "los_events_difference": los, "extra_distance_difference": extra}


def _difference(one: Tensor, other: Tensor) -> Estimate:
    """Return the mean of the paired differences of two policies, scenario by scenario, with its interval."""
    return normal_interval((one - other).numpy())


def _extra(flown: GateFlights) -> Tensor:
    """Return the extra distance of each scenario, (S,)."""
    return flown.detour_m / flown.straight_m
