"""The envelope: between which bounds the observations lay that a network was trained on.

A number of the ownship has a lower and an upper bound. The k-th nearest intruder has a least distance, for every k
that is seen: that says how close, and how dense, traffic was. Bounds are quantiles of the rows of training.

Notation: M rows, K intruders, O features of the ownship.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from math import inf
from typing import Any

import torch
from torch import Tensor

from ..errors import ObservationError
from .observation import Observation

QUANTILE = 1e-4
"""The share of the rows of training that lies beyond each bound."""
MARGIN = 0.05
"""By so much of what lies between an ownship's bounds they are moved apart; least distances are lowered alike."""


@dataclass(frozen=True)
class Envelope:
    """Bounds of observations, in the units of the view.

    Attributes:
        low: (O,) of the ownship's features.
        high: (O,)
        nearest: (K,) least distance of the k-th nearest intruder; more were not seen, and have no bound.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    nearest: tuple[float, ...]

    def is_outside(self, observation: Observation) -> Tensor:
        """Return which rows of an observation (M rows) lie outside, (M,) bool."""
        own = observation.ownship
        low, high, least = (own.new_tensor(each) for each in (self.low, self.high, self.nearest))
        is_outside = ((own < low) | (own > high)).any(-1)
        seen = min(len(self.nearest), observation.intruders.shape[-2])
        is_near = observation.intruders[..., :seen, 0] < least[:seen]
        return is_outside | (is_near & observation.is_present[..., :seen]).any(-1)

    def with_other(self, other: "Envelope") -> "Envelope":
        """Return the smallest envelope around both, of observations of one view."""
        return Envelope(
            tuple(map(min, self.low, other.low)),
            tuple(map(max, self.high, other.high)),
            tuple(map(min, zip_longest(self.nearest, other.nearest, fillvalue=inf))),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> "Envelope":
        """Return what `to_json` was given.

        Raises:
            ObservationError: It is none.
        """
        names = ("low", "high", "nearest")
        is_one = isinstance(data, Mapping) and set(data) == set(names)
        if (
            not is_one
            or not all(_are_numbers(data[name]) for name in names)
            or len(data["low"]) != len(data["high"])
        ):
            raise ObservationError(
                f"expected an envelope, low, high and nearest with numbers, got {str(data)[:80]}. Take the "
                "checkpoint from a backup, or train again."
            )
        return cls(*(tuple(map(float, data[name])) for name in names))


def envelope_of(observations: Sequence[Observation]) -> Envelope:
    """Return the envelope of the rows of observations of one view."""
    own = torch.cat([each.ownship for each in observations])  # (M, O)
    low, high = _bound(own, QUANTILE), _bound(own, 1.0 - QUANTILE)
    room = MARGIN * (high - low)
    nearest = []
    for place in range(max(each.intruders.shape[-2] for each in observations)):
        found = [
            each.intruders[:, place, 0][each.is_present[:, place]]
            for each in observations
            if each.intruders.shape[-2] > place
        ]
        distance = torch.cat(found)
        if not len(distance):
            break
        nearest.append((1.0 - MARGIN) * float(_bound(distance, QUANTILE)))
    return Envelope(tuple((low - room).tolist()), tuple((high + room).tolist()), tuple(nearest))


def _bound(values: Tensor, share: float) -> Tensor:
    """Return the value (...) below which a share of the rows (M, ...) lies; of few rows the first or the last."""
    ordered = values.detach().float().cpu().sort(dim=0)[0]
    last = len(ordered) - 1
    return ordered[int(share * last) if share < 0.5 else last - int((1.0 - share) * last)]


def _are_numbers(values: Any) -> bool:
    """Return whether values are a sequence of numbers."""
    return isinstance(values, list | tuple) and all(type(each) in (int, float) for each in values)
