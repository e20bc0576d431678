"""Intruders in a certain order, for networks that read them as a sequence.

Notation: M rows, K intruders, F features per intruder.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ...datasets.traffic.observation import Observation

SCRAMBLE = 256.0
"""What a distance is multiplied by before all but its fraction is dropped: a period of 3.7 m."""


def near_to_far(intruders: Tensor) -> Tensor:
    """Return the distance, (M, K)."""
    return intruders[..., 0]


def far_to_near(intruders: Tensor) -> Tensor:
    """Return minus the distance, (M, K)."""
    return -intruders[..., 0]


def late_to_soon(intruders: Tensor) -> Tensor:
    """Return 1 / tcpa, (M, K): those that have passed come first, then from the latest approach to the soonest.

    In every view features 1 to 4 are relative position and velocity, in axes and units that do not change the
    order of 1 / tcpa = -|v|^2 / d.v.
    """
    east, north, velocity_east, velocity_north = intruders[..., 1:5].unbind(-1)
    approach = east * velocity_east + north * velocity_north
    speed2 = velocity_east * velocity_east + velocity_north * velocity_north
    return torch.where(approach == 0, 0.0, -speed2 / approach)


def random(intruders: Tensor) -> Tensor:
    """Return numbers unrelated to the geometry, (M, K): the distances modulo 3.7 m.

    They depend on the intruder alone, so the order is the same wherever it was in the
    observation, and another one a second later. Multiplying by a power of two and dropping the whole part
    are exact, so every runtime finds the same order.
    """
    digits = intruders[..., 0] * SCRAMBLE
    return digits - digits.floor()


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "near-to-far": near_to_far,
    "far-to-near": far_to_near,
    "random": random,
    "late-to-soon": late_to_soon,
}


def blank(intruders: Tensor, is_present: Tensor) -> Tensor:
    """Return the intruders (M, K, F) with zeros for padding, whatever it held."""
    return intruders.masked_fill(~is_present.unsqueeze(-1), 0.0)


def arrange(observation: Observation, name: str, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Return intruders (M, K', F) and mask (M, K') in one of the `ORDERS`, the absent last and blank.

    Args:
        observation: Ownship (M, 7), intruders (M, K, F), mask (M, K); intruders with equal keys stay in the
            order in which they come.
        name: Which order.
        most: Keep only this many from the front; all if there are fewer, or if it is None.
    """
    _, intruders, is_present = observation
    key = ORDERS[name](intruders).clamp_max(torch.finfo(intruders.dtype).max).masked_fill(~is_present, torch.inf)
    places = torch.sort(key, dim=1, stable=True)[1][:, :most]  # (M, K')
    there = is_present.gather(1, places)
    chosen = intruders.gather(1, places.unsqueeze(2).expand(-1, -1, intruders.shape[2]))
    return blank(chosen, there), there
