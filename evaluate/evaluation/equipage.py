"""Figures of the equipped: the aircraft that a contender flies in a mix, and their pairs with each group.

They are held against the same mix with `none` in the contender's place.
"""

from collections.abc import Sequence

import numpy as np

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.sums import Figures
from ...train.runs.confidence_intervals import Estimate, estimate
from ..metrics.formulas import Basis, compute
from .shares import SELF, Share

OF_PAIRS = (
    "los_events",
    "los_merged",
    "los_per_flight_hour",
    "nmac_events",
    "risk_ratio",
    "severity",
    "conflicts",
    "conflicts_merged",
    "ipr",
    "ipr_merged",
    "dep",
    "dep_merged",
    "min_separation_m",
    "time_to_first_los_s",
    "time_in_los_s",
    "time_in_conflict_s",
)
"""The metrics that pairs of aircraft have; the others are of single ones."""


def parts_of(shares: Sequence[Share]) -> dict[str, int | None]:
    """Return whose figures there are, and the number that `Figures.group` takes, by name.

    `self`: the equipped, and their pairs with anybody; `self-NAME`: their pairs with one group.
    """
    return {SELF: None, **{f"{SELF}-{each.name}": number for number, each in enumerate(shares)}}


def estimates_of(
    figures: Figures, unresolved: Figures, world: WorldConfig, shares: Sequence[Share], weights: np.ndarray
) -> dict[str, dict[str, Estimate]]:
    """Return the metrics of the equipped with intervals, by part and metric.

    Args:
        figures: Of a mix.
        unresolved: Of the same with `none` in the contender's place.
        world: Where they were flown.
        shares: Of the mix.
        weights: From `confidence_intervals.resample`.
    """
    made = {}
    for part, number in parts_of(shares).items():
        ratios = compute(Basis(figures.group(number), unresolved.group(number), world))
        names = ratios if number is None else OF_PAIRS
        made[part] = {name: estimate(ratios[name], weights) for name in names}
    return made
