"""The gate: nothing is published as `best` that flies worse than the clone it came from.

The clone and every candidate fly the same scenarios, without noise, and are compared scenario by scenario. The
scenarios are seen by nobody else: neither by training nor in any dataset nor in the final evaluation.

Notation: S scenarios, B episodes flown at once, N aircraft.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.figures import fly_scenarios, join
from ...collect.flying.flight import Pilot

GATE_EPISODES = 2**41
"""The gate flies the episodes from this number on; see `rollout.TRAINING_EPISODES`."""

AS_FEW = 0.1
"""LoS events above the best's by up to this fraction of the clone's still count as `as few`."""

_SCENARIOS_AT_ONCE = 64  # keeps the working set in cache


class Flown(NamedTuple):
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
        totals = Flown(*(column.sum() for column in self))
        hours = totals.flight_s.clamp_min(1.0) / 3600.0
        return {
            "los_events": float(self.los_events.mean()),
            "los_per_flight_hour": float(totals.los_events / hours),
            "extra_distance": float(totals.detour_m / totals.straight_m.clamp_min(1.0)),
            "waypoint_rate": float(totals.at_waypoint / totals.aircraft),
            "mean_speed_mps": float(totals.flown_m / totals.flight_s.clamp_min(1.0)),
        }


class Verdict(NamedTuple):
    """Whether a candidate becomes the best, and why, in words."""

    is_better: bool
    reason: str


def fly_gate(
    pilot: Pilot, config: WorldConfig, seed: int, scenarios: int, device: str | torch.device = "cpu"
) -> Flown:
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
    columns = {name: torch.from_numpy(getattr(figures, name)) for name in Flown._fields if name != "detour_m"}
    return Flown(detour_m=torch.from_numpy(figures.flown_m - figures.progress_m), **columns)


def paired_interval(difference: Tensor) -> tuple[float, float]:
    """Return the 95 % interval of the mean of paired differences (S,): mean -+ 1.96 s / sqrt(S)."""
    mean = float(difference.mean())
    half = 1.96 * float(difference.std()) / sqrt(len(difference)) if len(difference) > 1 else float("inf")
    return mean - half, mean + half


def shared_out(scenarios: int, parts: int) -> list[int]:
    """Return the number of scenarios of each of some parts, as equal as can be."""
    return [scenarios // parts + (part < scenarios % parts) for part in range(parts)]


def split(flown: Flown, groups: Sequence[int]) -> list[Flown]:
    """Return the flights of each group of scenarios, which lie one behind the other."""
    return [Flown(*columns) for columns in zip(*(column.split(list(groups)) for column in flown))]


def judge(candidate: Flown, best: Flown, clone: Flown, groups: Sequence[int] | None = None) -> Verdict:
    """Say whether the candidate becomes the best.

    Never worse than the clone: no more LoS events, no aircraft fewer at their waypoints, and no longer way unless
    it has clearly fewer LoS events (the interval of the paired differences lies below zero).
    Better than the best so far: clearly fewer LoS events; or as few (up to `AS_FEW` of the clone's more) on a
    shorter way. Because of the first rule, what the second tolerates can never add up to more than the clone has.
    Where several densities are flown, that is about all of them together; besides, in none of them alone may there
    be clearly more LoS events than the clone's, or a clearly longer way without clearly fewer LoS events.

    Args:
        candidate: Its flights.
        best: Those of the best so far.
        clone: Those of the clone.
        groups: Scenarios of each density; by default there is one.
    """
    groups = groups or [len(clone.los_events)]
    new, old, first = candidate.figures(), best.figures(), clone.figures()
    if new["los_events"] > first["los_events"]:
        return Verdict(False, "more LoS events than the clone")
    if new["waypoint_rate"] < first["waypoint_rate"]:
        return Verdict(False, "fewer aircraft at their waypoints than the clone")
    is_safer_than_clone = paired_interval(candidate.los_events - clone.los_events)[1] < 0
    if new["extra_distance"] > first["extra_distance"] and not is_safer_than_clone:
        return Verdict(False, "a longer way than the clone's without clearly fewer LoS events")
    for number, (there, here) in enumerate(zip(split(candidate, groups), split(clone, groups)), start=1):
        los = paired_interval(there.los_events - here.los_events)
        if los[0] > 0:
            return Verdict(False, f"clearly more LoS events than the clone in density {number}")
        if paired_interval(_extra(there) - _extra(here))[0] > 0 and los[1] >= 0:
            return Verdict(False, f"a clearly longer way without clearly fewer LoS events in density {number}")
    if paired_interval(candidate.los_events - best.los_events)[1] < 0:
        return Verdict(True, "clearly fewer LoS events")
    if new["los_events"] > old["los_events"] + AS_FEW * first["los_events"]:
        return Verdict(False, "more LoS events than the best")
    if new["extra_distance"] < old["extra_distance"]:
        return Verdict(True, "as few LoS events on a shorter way")
    return Verdict(False, "as many LoS events on a way no shorter")


def compare(candidate: Flown, clone: Flown) -> dict[str, Any]:
    """Return the candidate's figures and the intervals of the paired differences to the clone, as JSON."""
    extra = _extra(candidate) - _extra(clone)
    return {
        **candidate.figures(),
        "los_events_difference": list(paired_interval(candidate.los_events - clone.los_events)),
        "extra_distance_difference": list(paired_interval(extra)),
    }


def _extra(flown: Flown) -> Tensor:
    """Return the extra distance of each scenario, (S,)."""
    return flown.detour_m / flown.straight_m
