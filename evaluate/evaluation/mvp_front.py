"""The front of the MVP family: the best that its settings reach, in losses of separation against extra distance.

MVP's margin and look-ahead trade one for the other, so beating one setting of it says little. Two settings can
also be mixed, one in some of the scenarios and the other in the rest, which reaches every point on the line between
them: so what the family can do at all is the lower convex hull of its members, straight flight among them.

Notation: S scenarios, R resamples, C members of the family.
"""

from collections.abc import Sequence
from math import nan
from typing import Any, NamedTuple

import numpy as np

from ...collect.airspace.hull import lower_hull
from ...train.runs import confidence_intervals
from ...train.runs.confidence_intervals import Estimate, Ratio
from .config import FAMILY

LOSSES = "los_per_flight_hour"
COSTS = ("extra_distance", "extra_time")
"""What safety is paid with; the front is drawn against each."""


class Member(NamedTuple):
    """One setting of MVP.

    Attributes:
        name: As on the command line.
        losses: Losses of separation per flight hour.
        costs: Extra distance and extra time, by metric.
        is_on_front: Whether it is on the front of losses against extra distance.
    """

    name: str
    losses: Estimate
    costs: dict[str, Estimate]
    is_on_front: bool


class Position(NamedTuple):
    """Where a contender is relative to the front.

    Attributes:
        front: Losses per flight hour of the front at the contender's cost.
        difference: The contender's losses minus those; below 0 it is ahead of the front.
    """

    front: float
    difference: Estimate


class Front(NamedTuple):
    """What came out.

    Attributes:
        members: The family.
        positions: By contender and cost.
    """

    members: tuple[Member, ...]
    positions: dict[str, dict[str, Position]]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "losses": LOSSES,
            "members": {
                member.name: {
                    LOSSES: member.losses.to_json(),
                    **{name: cost.to_json() for name, cost in member.costs.items()},
                    "is_on_front": member.is_on_front,
                }
                for member in self.members
            },
            "positions": {
                name: {
                    cost: {"front": position.front, "difference": position.difference.to_json()}
                    for cost, position in positions.items()
                }
                for name, positions in self.positions.items()
            },
        }


def find(ratios: dict[str, dict[str, Ratio]], runs: Sequence[str], weights: np.ndarray) -> Front:
    """Find the front, and where contenders lie beside it.

    Args:
        ratios: Metrics by contender; those of the whole family are among them.
        runs: Whose positions are wanted.
        weights: (R, S) from `confidence_intervals.resample`.
    """
    hull = members_on_front(*_points(ratios, COSTS[0]))
    members = tuple(
        Member(
            name,
            confidence_intervals.estimate(ratios[name][LOSSES], weights),
            {cost: confidence_intervals.estimate(ratios[name][cost], weights) for cost in COSTS},
            number in hull,
        )
        for number, name in enumerate(FAMILY)
    )
    return Front(members, {run: {cost: _position(ratios, run, cost, weights) for cost in COSTS} for run in runs})


def members_on_front(costs: np.ndarray, losses: np.ndarray) -> list[int]:
    """Return the members on the lower convex hull, from the cheapest to the safest.

    Args:
        costs: (C,).
        losses: (C,).
    """
    points = list(zip(costs.tolist(), losses.tolist(), strict=True))
    safest = min(points, key=lambda point: (point[1], point[0]))
    return [points.index(point) for point in lower_hull(sorted({point for point in points if point <= safest}))]


def losses_at(cost: float, costs: np.ndarray, losses: np.ndarray) -> float:
    """Return the front's losses at a cost: on the hull, and level beyond its two ends; NaN if nothing is known."""
    hull = members_on_front(costs, losses)
    return float(np.interp(cost, costs[hull], losses[hull])) if hull else nan


def _points(ratios: dict[str, dict[str, Ratio]], cost: str) -> tuple[np.ndarray, np.ndarray]:
    """Return cost and losses of the family, (C,) each."""
    found = [[confidence_intervals.value_of(ratios[name][metric]) for name in FAMILY] for metric in (cost, LOSSES)]
    return np.array(found[0]), np.array(found[1])


def _position(ratios: dict[str, dict[str, Ratio]], run: str, cost: str, weights: np.ndarray) -> Position:
    """Return where a contender is; the front is computed anew in each resample."""
    count = len(FAMILY)

    def gap(values: np.ndarray) -> np.ndarray:
        """Return own losses minus the front's, for rows of (cost, losses, costs (C), losses (C))."""
        return np.array(
            [
                own - losses_at(spent, row[:count], row[count:])
                for spent, own, *rest in values
                for row in [np.array(rest)]
            ]
        )

    members = [ratios[name][metric] for metric in (cost, LOSSES) for name in FAMILY]
    difference = confidence_intervals.combine([ratios[run][cost], ratios[run][LOSSES], *members], gap, weights)
    own = confidence_intervals.value_of(ratios[run][LOSSES])
    return Position(own - difference.value, difference)
