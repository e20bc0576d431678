"""What an ownship sees: one pure function from traffic to the network's input.

The collector's pilots, the loader, the environments, evaluation and deployment all call `observe`,
so that training and flying cannot differ.

Notation: B episodes, N aircraft, M rows (single ownships), K intruders seen, F features per intruder.
`...` below is (B, N) in flight and (M,) in the loader.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .pairs import Pairs, pairs_of
from .state import Traffic
from .view import View

_LEAST_M2 = 1e-8  # under a root that is differentiated: its slope at 0 is infinite


class Observation(NamedTuple):
    """A network's input.

    Attributes:
        ownship: (..., 7) float.
        intruders: (..., K, F) float, sorted by distance, zero where there is none.
        is_present: (..., K) bool, True for a real intruder, False for padding.
    """

    ownship: Tensor
    intruders: Tensor
    is_present: Tensor

    def flatten(self) -> "Observation":
        """Return the same with all leading dimensions made one: (M, 7), (M, K, F), (M, K)."""
        return Observation(
            self.ownship.reshape(-1, self.ownship.shape[-1]),
            self.intruders.flatten(0, -3),
            self.is_present.flatten(0, -2),
        )


def flatten(observation: Observation) -> Tensor:
    """Return (M, 7 + K F + K) float32 of M rows: ownship, intruders, mask."""
    return torch.cat([part.flatten(1).float() for part in observation], dim=1)


def observe_all(traffic: Traffic, view: View, pairs: Pairs | None = None) -> Observation:
    """Observe (B, N) traffic from every aircraft: (B, N, 7), (B, N, K, F), (B, N, K).

    Rows of aircraft that do not fly have no intruders; their ownship features mean nothing.
    """
    return observe(traffic, pairs_of(traffic) if pairs is None else pairs, view)


def observe(own: Traffic, pairs: Pairs, view: View) -> Observation:
    """Observe from each ownship.

    Args:
        own: The ownships, tensors of shape (...).
        pairs: The aircraft around each of them, tensors of shape (..., N); the ownship itself is no pair. Of lists
            (..., J) the nearest that are seen must be in them.
        view: Which features, how many intruders, how scaled.

    Nothing is seen farther away than the view's bound, see `View.bound`: so no input is larger in flight than in
    training, however long the route is.

    Returns:
        Ownship features (..., 7), intruder features (..., K, F), mask (..., K). Gradients flow from them to the
        traffic: through all features but the flag, for a given order of the intruders; those of padding are 0.
    """
    seen = view.seen(pairs.east_m.shape[-1])
    assert pairs.listed is None or seen <= pairs.listed.seen  # else: `collect.airspace.neighbours.complete_for`
    order = nearest(pairs.distance2_m2, seen)  # (..., K)
    distance2 = pairs.distance2_m2.gather(-1, order)
    is_present = torch.isfinite(distance2)
    if distance2.requires_grad:
        distance2 = distance2.clamp_min(_LEAST_M2)
    distance = distance2.masked_fill_(~is_present, 0.0).sqrt_()
    east, north, velocity_east, velocity_north = (
        quantity.gather(-1, order).mul_(is_present)
        for quantity in (pairs.east_m, pairs.north_m, pairs.velocity_east_mps, pairs.velocity_north_mps)
    )
    if view.name == "seed":
        first, second, third, fourth = east, north, velocity_east, velocity_north
    else:
        sine, cosine = torch.sin(own.track_rad).unsqueeze(-1), torch.cos(own.track_rad).unsqueeze(-1)
        first, second = _rotate(east, north, sine, cosine)
        third, fourth = _rotate(velocity_east, velocity_north, sine, cosine)
    lengths, speeds = (view.bound / distance).clamp_max(1.0 / view.length_m), 1.0 / view.speed_mps
    columns: Columns = [
        (distance, lengths),
        (first, lengths),
        (second, lengths),
        (third, speeds),
        (fourth, speeds),
    ]
    if view.name == "cpa":
        columns += [
            (column, 1.0) for column in _cpa((east, north, velocity_east, velocity_north), is_present, view)
        ]
    return Observation(_ownship(own, view), _side_by_side(columns), is_present)


Columns = list[tuple[Tensor, Tensor | float]]


def _side_by_side(columns: Columns) -> Tensor:
    """Return columns (..., K), each times its number, as (..., K, F); in one pass if no gradient is wanted."""
    if any(column.requires_grad for column, _ in columns):
        return torch.stack([column * number for column, number in columns], dim=-1)
    first = columns[0][0]
    features = torch.empty((*first.shape, len(columns)), dtype=first.dtype, device=first.device)
    for place, (column, number) in enumerate(columns):
        torch.mul(column, number, out=features[..., place])
    return features


def nearest(distance2_m2: Tensor, seen: int) -> Tensor:
    """Return the indices (..., K) of the K nearest; equal distances by number; absent ones last.

    Distance and index are packed into one integer (the bits of a float >= 0 sort like the float), because
    sorting integers without carrying indices along is four times as fast on a CPU.
    """
    if distance2_m2.dtype != torch.float32:
        return torch.sort(distance2_m2, dim=-1, stable=True)[1][..., :seen]
    numbers = torch.arange(distance2_m2.shape[-1], device=distance2_m2.device)
    packed = (distance2_m2.detach().contiguous().view(torch.int32).to(torch.int64) << 32) | numbers
    if packed.device.type == "cpu":
        packed = torch.from_numpy(np.sort(packed.numpy(), axis=-1))
    else:
        packed = packed.sort(dim=-1)[0]
    return packed[..., :seen] & 0xFFFFFFFF


def _rotate(east: Tensor, north: Tensor, sine: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
    """Turn (east, north) into (right, ahead) of a track given by its sine and cosine."""
    return east * cosine - north * sine, torch.addcmul(east * sine, north, cosine)


def _ways(own: Traffic, view: View) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the own position and the vector to the waypoint, east and north, as they are seen, in radii."""
    east, north = own.east_m / view.length_m, own.north_m / view.length_m
    to_east = (own.waypoint_east_m - own.east_m) / view.length_m
    to_north = (own.waypoint_north_m - own.north_m) / view.length_m
    distance = _length(to_east, to_north)
    is_far = distance > view.bound
    nearer = (0.5 * view.bound / _length(east, north)).clamp_max(1.0).masked_fill(is_far, 0.0)
    unit = torch.where(is_far, distance, 1.0)
    return east * nearer, north * nearer, to_east / unit, to_north / unit


def _ownship(own: Traffic, view: View) -> Tensor:
    """Return the ownship's features (..., 7)."""
    drift = own.drift_rad
    sine, cosine = torch.sin(own.track_rad), torch.cos(own.track_rad)
    east, north, to_east, to_north = _ways(own, view)
    speed = own.speed_mps / view.speed_mps
    if view.name == "seed":
        rest = (east, north, speed * sine, speed * cosine)
    else:
        rest = (*_rotate(-east, -north, sine, cosine), *_rotate(to_east, to_north, sine, cosine))
    return torch.stack((torch.cos(drift), torch.sin(drift), speed, *rest), dim=-1)


def _cpa(relative: tuple[Tensor, ...], is_present: Tensor, view: View) -> tuple[Tensor, ...]:
    """Return tcpa (clipped to two look-ahead times), dcpa, closing speed and conflict flag, (..., K) each."""
    east, north, velocity_east, velocity_north = relative
    approach = east * velocity_east + north * velocity_north  # d.v
    speed2 = (velocity_east * velocity_east + velocity_north * velocity_north).clamp_min(1e-6)
    tcpa = -approach / speed2
    dcpa = _length(east + velocity_east * tcpa, north + velocity_north * tcpa)
    distance = _length(east, north)
    half = (view.protected_zone_m**2 - dcpa.detach().square()).clamp_min(0.0).sqrt() / speed2.detach().sqrt()
    in_conflict = (dcpa < view.protected_zone_m) & (tcpa + half > 0) & (tcpa - half < view.lookahead_s)
    limit = 2 * view.lookahead_s
    return (
        (tcpa.clamp(-limit, limit) / view.lookahead_s) * is_present,
        (dcpa / view.length_m).clamp_max(view.bound) * is_present,
        -approach / distance.clamp_min(1e-3) / view.speed_mps * is_present,
        (in_conflict & is_present).to(east.dtype),
    )


def _length(east: Tensor, north: Tensor) -> Tensor:
    """Return the length of a vector; where a gradient is asked for, one that is finite also for no length."""
    if east.requires_grad:
        return torch.addcmul(east * east, north, north).clamp_min(_LEAST_M2).sqrt()
    return torch.hypot(east, north)
