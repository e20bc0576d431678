"""What an episode comes to, as numbers: sums over aircraft and steps, of which every metric is a ratio.

Notation: S scenarios (episodes), N aircraft, G groups of a mix, K columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np


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
        first_los_s: Time until separation was first lost, or until the last flight's end where it never was.
        track_age_s: Sum of the ages of tracks over steps; 0 where all is known.
        track_steps: Over how many steps of tracks that is.
        groups: (S, G + 1, K) the other sums of the first of G groups of a mix, and its pairs with each, and at last
            with those that hover; see `group`.
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
    first_los_s: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    track_age_s: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    track_steps: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    groups: np.ndarray = field(default_factory=_nothing, metadata={"later": True})
    assurance: np.ndarray = field(default_factory=_nothing, metadata={"later": True})

    def group(self, number: int | None) -> "Figures":
        """Return the figures of the first group of a mix: of its own aircraft, and of its pairs.

        Args:
            number: Of the group with which its pairs are counted; None for all pairs of which it has one aircraft.
        """
        columns = dict(zip(columns_of_groups(), np.moveaxis(self.groups, -1, 0), strict=True))  # each (S, G + 1)
        if number is None:
            sums = {name: each.sum(1) if name in PAIR_EVENTS else each[:, 0] for name, each in columns.items()}
            sums |= {name: columns[name].min(1) for name in ("least_m", "first_los_s")}
        else:
            sums = {name: each[:, number] for name, each in columns.items()}
        return Figures(**sums, nearest_m=np.full((len(self), 0), np.inf))

    def __len__(self) -> int:
        """Return S."""
        return len(self.aircraft)


PAIR_EVENTS = (
    "conflicts",
    "conflicts_merged",
    "los_events",
    "los_merged",
    "conflict_steps",
    "los_steps",
    "depth",
    "nmac_events",
)
"""What is counted of pairs, and adds up over them."""


OF_ALL = ("nearest_m", "groups", "assurance")
"""What is not counted for each group apart."""


def columns_of_groups() -> list[str]:
    """Return the columns of `Figures.groups`, in their order."""
    return [each.name for each in fields(Figures) if each.name not in OF_ALL]


def join(parts: Sequence[Figures]) -> Figures:
    """Return the figures of several batches as those of one."""
    return Figures(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Figures)))
