"""The metrics: each one a function from figures to a ratio, with its formula and source.

An event is one of a pair of aircraft. It begins when the pair enters the condition; entering again is
another event; merged, a pair counts once per scenario. R is the protected zone itself, without any
teacher's margin. Sums run over all scenarios before anything is divided.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.figures import Figures
from ...train.runs.confidence_intervals import Ratio


class Basis(NamedTuple):
    """What a metric is computed from.

    Attributes:
        figures: The contender's.
        unresolved: Those of the same scenarios without any resolution.
        config: The world they were flown in.
    """

    figures: Figures
    unresolved: Figures
    config: WorldConfig


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: Its key in the JSON.
        title: For tables.
        unit: `""` (a number), `%` (a fraction, shown times 100), `m`, `m/s` or `s`.
        better: `less`, `more`, or `""` if neither is better.
        ratio: The metric itself.
    """

    name: str
    title: str
    unit: str
    better: str
    ratio: Callable[[Basis], Ratio]

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def meaning(self) -> str:
        """Say what it is: the first line of the formula's docstring."""
        return (self.ratio.__doc__ or "").partition("\n")[0]


METRICS: dict[str, Metric] = {}
PERCENTILES = (1, 5, 10, 25, 50, 75, 90)
"""Of the smallest distances between aircraft."""


def _metric(title: str, unit: str, better: str) -> Callable[[Callable[[Basis], Ratio]], Callable[[Basis], Ratio]]:
    """Register a metric under its function's name."""

    def add(ratio: Callable[[Basis], Ratio]) -> Callable[[Basis], Ratio]:
        METRICS[ratio.__name__] = Metric(ratio.__name__, title, unit, better, ratio)
        return ratio

    return add


def _known(column: np.ndarray, flown: Basis) -> np.ndarray:
    """Return a column; no numbers where an older archive lacks it."""
    return column if len(column) else np.full(len(flown.figures), np.nan)


def _each(figures: Figures) -> np.ndarray:
    """Return an exposure of one per scenario."""
    return np.ones(len(figures))


@_metric("LoS events", "", "less")
def los_events(flown: Basis) -> Ratio:
    """Losses of separation per scenario, re-entries counted again.

    sum(LoS events) / scenarios; a pair loses separation when its distance falls below R (ICAO Doc 9426).
    """
    return Ratio(flown.figures.los_events, _each(flown.figures), is_count=True)


@_metric("LoS pairs", "", "less")
def los_merged(flown: Basis) -> Ratio:
    """Pairs per scenario that ever lost separation (re-entries merged).

    sum(pairs with smallest distance < R) / scenarios.
    As `los_events`.
    """
    return Ratio(flown.figures.los_merged, _each(flown.figures), is_count=True)


@_metric("conflicts", "", "less")
def conflicts(flown: Basis) -> Ratio:
    """Conflicts per scenario, re-entries counted again.

    sum(conflict events) / scenarios; conflict: loss of separation foreseen within the look-ahead time on
    straight paths (state-based detection; Hoekstra, van Gent, Ruigrok 2002).
    """
    return Ratio(flown.figures.conflicts, _each(flown.figures), is_count=True)


@_metric("conflict pairs", "", "less")
def conflicts_merged(flown: Basis) -> Ratio:
    """Pairs per scenario that were ever in conflict (re-entries merged).

    sum(pairs ever in conflict) / scenarios.
    As `conflicts`.
    """
    return Ratio(flown.figures.conflicts_merged, _each(flown.figures), is_count=True)


@_metric("IPR", "%", "more")
def ipr(flown: Basis) -> Ratio:
    """Intrusion prevention rate: the share of conflicts that did not become a loss of separation.

    (sum(conflicts) - sum(LoS)) / sum(conflicts), events with re-entries (Sunil et al., "Analysis of Airspace
    Structure and Capacity for Decentralized Separation Using Fast-Time Simulations", JGCD 40(1), 2017).
    It can fall below 0: a loss without a conflict before it, from a start within R.
    """
    figures = flown.figures
    return Ratio(figures.los_events, figures.conflicts, base=1.0, sign=-1.0, is_count=True)


@_metric("IPR of pairs", "%", "more")
def ipr_merged(flown: Basis) -> Ratio:
    """Share of the pairs in conflict that never lost separation (re-entries merged).

    (sum(conflict pairs) - sum(LoS pairs)) / sum(conflict pairs). A method that leaves and enters the same conflict
    again and again raises the IPR of events, not this one. As `ipr`.
    """
    figures = flown.figures
    return Ratio(figures.los_merged, figures.conflicts_merged, base=1.0, sign=-1.0, is_count=True)


@_metric("LoS per flight hour", "", "less")
def los_per_flight_hour(flown: Basis) -> Ratio:
    """Losses of separation per hour flown by an aircraft.

    sum(LoS events) / (sum(aircraft-seconds) / 3600). A pair's loss counts once, its hours twice.
    The unit of target levels of safety (ICAO Doc 9689).
    """
    return Ratio(flown.figures.los_events, flown.figures.flight_s / 3600.0, is_count=True)


@_metric("NMAC events", "", "less")
def nmac_events(flown: Basis) -> Ratio:
    """Near mid-air collisions per scenario, re-entries counted again.

    sum(NMAC events) / scenarios; a pair is in one when its distance is below `nmac_m`, and below R: 50 ft for small
    drones (Weinert, Alvarez, Owen, Zintak, "Near Midair Collision Analog for Drones Based on Unmitigated Collision
    Risk", JAT 30(2), 2022), 500 ft for manned aircraft (ASTM F3442), both in the horizontal plane.
    """
    return Ratio(_known(flown.figures.nmac_events, flown), _each(flown.figures), is_count=True)


@_metric("risk ratio", "", "less")
def risk_ratio(flown: Basis) -> Ratio:
    """Losses of separation as a fraction of those in the same scenarios without any resolution.

    sum(LoS events) / sum(LoS events without resolution). Below 1 resolving helps. As the risk ratio of collision
    avoidance (ICAO Annex 10 Volume IV, 2014; ASTM F3442), which is one of NMACs.
    """
    return Ratio(flown.figures.los_events, flown.unresolved.los_events, is_count=True)


@_metric("time to first LoS", "s", "more")
def time_to_first_los_s(flown: Basis) -> Ratio:
    """Mean time from a scenario's start until separation is first lost, with scenarios in which it never is.

    sum(time until the first LoS, or the end of the last flight without one) / scenarios with a LoS: total time on
    test per failure, the maximum likelihood of the mean under a constant rate with censoring (Epstein, Sobel, "Life
    Testing", JASA 48(263), 1953). No figure where separation is never lost.
    """
    has_lost = (flown.figures.los_events > 0).astype(np.float64)
    return Ratio(_known(flown.figures.first_los_s, flown), has_lost)


@_metric("severity", "%", "less")
def severity(flown: Basis) -> Ratio:
    """How deep losses of separation are: 0 % grazes the protected zone, 100 % is a collision.

    sum((R - smallest distance) / R) / pairs that lost separation (intrusion severity, Sunil et al. 2017,
    in the horizontal plane).
    """
    return Ratio(flown.figures.depth, flown.figures.los_merged)


@_metric("smallest separation", "m", "more")
def min_separation_m(flown: Basis) -> Ratio:
    """Smallest distance of any pair in a scenario, mean over scenarios.

    sum(min over pairs and steps of |d|) / scenarios with two or more aircraft at once.
    Own definition.
    """
    has_pair = np.isfinite(flown.figures.least_m)
    return Ratio(np.where(has_pair, flown.figures.least_m, 0.0), has_pair.astype(np.float64))


@_metric("time in LoS", "s", "less")
def time_in_los_s(flown: Basis) -> Ratio:
    """Time a pair spends in loss of separation, summed over the pairs of a scenario.

    sum(pair-steps with distance < R) * step / scenarios.
    Own definition.
    """
    seconds = flown.figures.los_steps * flown.config.step_s
    return Ratio(seconds, _each(flown.figures), is_count=True)


@_metric("time in conflict", "s", "less")
def time_in_conflict_s(flown: Basis) -> Ratio:
    """Time a pair spends in conflict, summed over the pairs of a scenario.

    sum(pair-steps in conflict) * step / scenarios.
    Own definition.
    """
    seconds = flown.figures.conflict_steps * flown.config.step_s
    return Ratio(seconds, _each(flown.figures), is_count=True)


@_metric("DEP", "%", "less")
def dep(flown: Basis) -> Ratio:
    """Domino effect parameter: additional conflicts that resolving brings; below 0 it takes some away.

    sum(conflicts) / sum(conflicts in the same scenarios without resolution) - 1 (Bilimoria, Sheth, Lee, Grabbe,
    "Performance Evaluation of Airborne Separation Assurance for Free Flight", AIAA 2000-4269; in this form
    Sunil et al. 2017).
    """
    return Ratio(flown.figures.conflicts, flown.unresolved.conflicts, base=-1.0)


@_metric("DEP of pairs", "%", "less")
def dep_merged(flown: Basis) -> Ratio:
    """Additional pairs in conflict that resolving brings (re-entries merged); below 0 it takes some away.

    sum(conflict pairs) / sum(conflict pairs in the same scenarios without resolution) - 1.
    As `dep`.
    """
    return Ratio(flown.figures.conflicts_merged, flown.unresolved.conflicts_merged, base=-1.0)


@_metric("extra distance", "%", "less")
def extra_distance(flown: Basis) -> Ratio:
    """Distance flown beyond the straight line to the waypoint, as a fraction of it.

    sum(flown - (to go at the start - to go at the end)) / sum(to go at the start - waypoint radius), over
    all aircraft. For one that reached its waypoint this is flown / straight - 1, straight being the line to
    the edge of the waypoint's radius, without the rest of a step beyond it. One that did not arrive counts with
    the straight line it still had to fly: so all contenders are compared on the same aircraft,
    and none looks better by losing those with the longest detours.
    It is the additional distance of horizontal flight efficiency (Single European Sky performance scheme,
    Regulation (EU) 2019/317), with the straight line in place of the great circle.
    """
    figures = flown.figures
    return Ratio(figures.flown_m - figures.progress_m, figures.straight_m)


@_metric("extra time", "%", "less")
def extra_time(flown: Basis) -> Ratio:
    """Flight time beyond the straight line at cruise speed, as a fraction of it.

    sum(time - (to go at the start - to go at the end) / cruise) / sum(straight / cruise), as for
    `extra_distance`, each at the cruise speed of its type. Below 0: faster than cruise.
    """
    figures, cruise = flown.figures, flown.config.cruise_mps
    if flown.config.fleet:
        return Ratio(figures.flight_s - figures.progress_s, figures.straight_s)
    return Ratio(figures.flight_s - figures.progress_m / cruise, figures.straight_m / cruise)


@_metric("waypoint rate", "%", "more")
def waypoint_rate(flown: Basis) -> Ratio:
    """Share of the aircraft that reached their waypoint.

    sum(aircraft that reached it) / sum(aircraft).
    Own definition.
    """
    figures = flown.figures
    return Ratio(figures.aircraft - figures.at_waypoint, figures.aircraft, base=1.0, sign=-1.0, is_count=True)


@_metric("left the sector", "%", "less")
def left_sector_rate(flown: Basis) -> Ratio:
    """Share of the aircraft that left the sector.

    sum(aircraft that left it) / sum(aircraft).
    Own definition.
    """
    return Ratio(flown.figures.left_sector, flown.figures.aircraft, is_count=True)


@_metric("stalled", "%", "less")
def stalled_rate(flown: Basis) -> Ratio:
    """Share of the aircraft that made no progress towards their waypoint for 60 s.

    sum(aircraft that at some time came no nearer to their waypoint in 60 s than by a tenth of the way at cruise
    speed) / sum(aircraft). Fewer losses of separation by standing still show here.
    Own definition.
    """
    return Ratio(_known(flown.figures.stalled, flown), flown.figures.aircraft, is_count=True)


@_metric("time in no-fly areas", "s", "less")
def time_in_no_fly_s(flown: Basis) -> Ratio:
    """Time an aircraft spends inside a no-fly polygon, summed over the aircraft of a scenario.

    sum(aircraft-steps inside one) * step / scenarios.
    Own definition.
    """
    return Ratio(_known(flown.figures.no_fly_steps, flown) * flown.config.step_s, _each(flown.figures))


@_metric("mean speed", "m/s", "")
def mean_speed_mps(flown: Basis) -> Ratio:
    """Mean speed: distance flown per time flown.

    sum(distance flown) / sum(aircraft-seconds). Avoiding by flying slowly, or racing, shows here.
    Own definition.
    """
    return Ratio(flown.figures.flown_m, flown.figures.flight_s)


@_metric("action effort", "%", "less")
def action_effort(flown: Basis) -> Ratio:
    """How much is steered: 0 % never, 100 % full turn and full speed change in every step.

    sum over aircraft-steps of (|turn| + |speed change|) / 2 in action units / aircraft-steps.
    Own definition.
    """
    return Ratio(flown.figures.effort, flown.figures.steps)


@_metric("age of information", "s", "less")
def age_of_information_s(flown: Basis) -> Ratio:
    """Mean age of what aircraft know of each other, over their tracks and time.

    sum over steps and tracks of (now - time of the state the track was made of) / track-steps (Kaul, Yates,
    Gruteser, "Real-Time Status: How Often Should One Update?", INFOCOM 2012). Whom an aircraft has no track of does
    not count; no figure under perfect surveillance.
    """
    return Ratio(_known(flown.figures.track_age_s, flown), _known(flown.figures.track_steps, flown))


def nearest_percentiles(nearest_m: np.ndarray) -> dict[str, float | None]:
    """Return how near aircraft came to one another: percentiles of each one's smallest distance to any other, m.

    Percentile p: p % of the aircraft came nearer; between two aircraft it is interpolated. Aircraft that never had
    another one beside them are left out.

    Args:
        nearest_m: (S, N), infinite where there was no other aircraft.

    Returns:
        `PERCENTILES` by their names; None if no aircraft had another one beside it.
    """
    distances = nearest_m[np.isfinite(nearest_m)]
    if not len(distances):
        return {str(percentile): None for percentile in PERCENTILES}
    values = np.percentile(distances, PERCENTILES)
    return {str(percentile): float(value) for percentile, value in zip(PERCENTILES, values, strict=True)}


def compute(flown: Basis) -> dict[str, Ratio]:
    """Return every metric's ratio by name."""
    return {name: metric.ratio(flown) for name, metric in METRICS.items()}
