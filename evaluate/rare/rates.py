"""Rates of rare events per flight hour, with intervals, and what plain Monte Carlo would cost."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.flight import Pilot
from ...collect.surveillance.config import PERFECT
from ...datasets.errors import ConfigurationError
from ...train.runs.confidence_intervals import Estimate
from . import encounters
from .encounters import Encounters, targets_of
from .flights import Flights
from .splitting import Replication, choose_levels, interval_of, monte_carlo_samples, replicate

REPLICATIONS = 10
FEWEST_FAMILIES = 20
"""With fewer behind a rate it is marked as one not to rely on."""
DOUBT = " ?"
FEWEST = 20
"""Trajectories in a replication: with fewer a level is chosen from a handful."""


@dataclass(frozen=True)
class Rates:
    """How often rare events happen to a contender.

    Attributes:
        los_per_h: Losses of separation, as the metric of that name; no interval if none was reached.
        nmac_per_h: Near mid-air collisions.
        los_families: Flights of the first stages, all replications together, whose descendants lost separation:
            with a handful of them the interval is not to be believed.
        nmac_families: The same of NMACs.
        levels_m: The levels, descending.
        trajectories: In each replication at each level.
        first: How many times as many there are at the first level.
        replications: How many.
        aircraft_steps: Flown in all, for both rates, the pilot run included.
        seconds: Processor seconds that this took.
        los_monte_carlo_steps: Aircraft-steps that plain Monte Carlo needs for the relative error reached; NaN if
            not known.
        nmac_monte_carlo_steps: The same of NMACs.
    """

    los_per_h: Estimate
    nmac_per_h: Estimate
    los_families: int
    nmac_families: int
    levels_m: list[float]
    trajectories: int
    first: int
    replications: int
    aircraft_steps: float
    seconds: float
    los_monte_carlo_steps: float
    nmac_monte_carlo_steps: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, null for NaN."""
        plain = {
            key: None if isinstance(value, float) and not isfinite(value) else value
            for key, value in asdict(self).items()
        }
        estimates = {name: getattr(self, name).to_json() for name in ("los_per_h", "nmac_per_h")}
        return {**plain, **estimates}


def check(world: WorldConfig, trajectories: int, mix: str = "") -> None:
    """Check that rates can be estimated.

    Raises:
        ConfigurationError: Not in this world, not of a mix, or there are too few trajectories.
    """
    encounters.check(world)
    if mix:
        raise ConfigurationError(
            f"--rare: expected contenders that fly all aircraft, got --mix {mix}: who flies whom is not among what "
            "is split over. Leave one of them out."
        )
    if trajectories < FEWEST:
        raise ConfigurationError(
            f"--rare: expected {FEWEST} trajectories or more in a replication, got --scenarios {trajectories}."
        )


def estimate_rates(
    pilot: Pilot,
    world: WorldConfig,
    trajectories: int,
    seed: int,
    device: str = "cpu",
    replications: int = REPLICATIONS,
    progress: Callable[[], object] = lambda: None,
) -> Rates:
    """Estimate how often separation is lost, and how often that is a near mid-air collision.

    Args:
        pilot: Who flies.
        world: The world; see `encounters.check`.
        trajectories: How many in a replication at each level.
        seed: Of the draws.
        device: Where to compute.
        replications: R.
        progress: Is called after the pilot run, and after each replication.
    """
    began, targets = time.process_time(), targets_of(world)
    is_heard = world.surveillance != PERFECT
    problem = Flights(pilot, world, device) if is_heard else Encounters(pilot, world, device)
    levels, work = choose_levels(problem, targets, trajectories, _generator(seed, 0))
    progress()
    runs = []
    for number in range(replications):
        runs.append(replicate(problem, levels, targets, trajectories, _generator(seed, number + 1)))
        progress()
    hours = float(np.mean([run.exposure for run in runs]))
    found = [_per_hour(runs, place, hours) for place in (0, len(targets) - 1)]
    return Rates(
        los_per_h=found[0][0],
        nmac_per_h=found[1][0],
        los_families=int(sum(run.families[0] for run in runs)),
        nmac_families=int(sum(run.families[-1] for run in runs)),
        levels_m=[float(level) for level in levels],
        trajectories=trajectories,
        first=problem.first,
        replications=replications,
        aircraft_steps=work + sum(run.work for run in runs),
        seconds=time.process_time() - began,
        los_monte_carlo_steps=found[0][1],
        nmac_monte_carlo_steps=found[1][1],
    )


def _per_hour(runs: list[Replication], place: int, hours: float) -> tuple[Estimate, float]:
    """Return the rate of a target per hour, and the aircraft-steps plain Monte Carlo needs for it."""
    means, squares = (np.array([getattr(run, name)[place] for run in runs]) for name in ("means", "squares"))
    steps = monte_carlo_samples(means, squares) * float(np.mean([run.sample_work for run in runs]))
    return Estimate(*(part / hours for part in interval_of(means))), steps


def _generator(seed: int, number: int) -> np.random.Generator:
    """Return the random generator of the pilot run, 0, or of a replication."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, number))))


def rows_of(rates: Mapping[str, Rates]) -> list[tuple[str, ...]]:
    """Return the rates as a table of texts, the headings first.

    Args:
        rates: By the name to show.
    """
    rows: list[tuple[str, ...]] = [
        ("per flight hour", "loss of separation", "near mid-air collision", "aircraft-steps", "Monte Carlo")
    ]
    for name, each in rates.items():
        costs = (each.los_monte_carlo_steps, each.nmac_monte_carlo_steps)
        los = _shown(each.los_per_h, each.los_families)
        nmac = _shown(each.nmac_per_h, each.nmac_families)
        cost = " / ".join(f"{cost:.2g}" if isfinite(cost) else "-" for cost in costs)
        rows.append((name, los, nmac, f"{each.aircraft_steps:.2g}", cost))
    return rows


def notes_on(rates: Mapping[str, Rates]) -> list[str]:
    """Say what the table means."""
    first = next(iter(rates.values()))
    times = f", {first.first} times as many at the first" if first.first > 1 else ""
    notes = [
        f"By splitting: {first.replications} replications of {first.trajectories:,} trajectories a level{times}.",
        "Monte Carlo: the aircraft-steps that it takes for the same relative errors (losses / collisions).",
    ]
    if any(DOUBT in cell for row in rows_of(rates) for cell in row):
        notes.append(f"{DOUBT.strip()}: fewer than {FEWEST_FAMILIES} families behind it; take more --scenarios.")
    return notes


def render(rates: Mapping[str, Rates]) -> str:
    """Return the rates as a table on the screen."""
    rows = rows_of(rates)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *notes_on(rates)])


def _shown(rate: Estimate, families: int) -> str:
    """Return a rate with its interval, and a mark where too few families are behind it."""
    if not rate.value:
        return "not reached"
    interval = f" [{rate.low:.2g}, {rate.high:.2g}]" if isfinite(rate.low) else ""
    return f"{rate.value:.2g}{interval}{DOUBT if families < FEWEST_FAMILIES else ''}"
