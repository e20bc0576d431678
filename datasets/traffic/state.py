"""The state of traffic.

Positions are in m east and north of the sector's centre, tracks in rad clockwise from north, so velocity east =
speed sin(track).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor


def wrap_angle(angle_rad: Tensor) -> Tensor:
    """Return the angle in [-pi, pi), any shape."""
    return torch.remainder(angle_rad + pi, 2 * pi) - pi


@dataclass
class Traffic:
    """States of aircraft, one tensor of shape (..., N) per quantity.

    Attributes:
        east_m: Position east of the sector's centre.
        north_m: Position north of the sector's centre.
        track_rad: Direction of travel over ground, clockwise from north.
        speed_mps: Ground speed.
        waypoint_east_m: Waypoint, east of the sector's centre.
        waypoint_north_m: Waypoint, north of the sector's centre.
        is_flying: True where there is an aircraft; ended and padded ones, and those yet to enter, are False.
        is_hovering: True where one stays where it is and is flown by nobody; None where nobody does.
        kind: int64, the type of each in the world's fleet; None where all are of one type.
        zone_scale: The protected zone of each in units of the world's; None where all have the same.
        wind_east_mps: Wind towards east; None where there is none.
        wind_north_mps: Wind towards north.
    """

    east_m: Tensor
    north_m: Tensor
    track_rad: Tensor
    speed_mps: Tensor
    waypoint_east_m: Tensor
    waypoint_north_m: Tensor
    is_flying: Tensor
    is_hovering: Tensor | None = None
    kind: Tensor | None = None
    zone_scale: Tensor | None = None
    wind_east_mps: Tensor | None = None
    wind_north_mps: Tensor | None = None

    @property
    def is_piloted(self) -> Tensor:
        """Who is flown by a pilot, (..., N) bool: all that fly, but for those that hover."""
        return self.is_flying if self.is_hovering is None else self.is_flying & ~self.is_hovering

    @property
    def velocity_east_mps(self) -> Tensor:
        """Velocity east, (..., N) m/s."""
        return self.speed_mps * torch.sin(self.track_rad)

    @property
    def velocity_north_mps(self) -> Tensor:
        """Velocity north, (..., N) m/s."""
        return self.speed_mps * torch.cos(self.track_rad)

    @property
    def air_velocity(self) -> tuple[Tensor, Tensor]:
        """Velocity east and north through the air, (..., N) m/s: that over ground without the wind."""
        east, north = self.velocity_east_mps, self.velocity_north_mps
        if self.wind_east_mps is None or self.wind_north_mps is None:
            return east, north
        return east - self.wind_east_mps, north - self.wind_north_mps

    @property
    def bearing_rad(self) -> Tensor:
        """Direction to its own waypoint, (..., N) rad clockwise from north."""
        return torch.atan2(self.waypoint_east_m - self.east_m, self.waypoint_north_m - self.north_m)

    @property
    def drift_rad(self) -> Tensor:
        """Track minus the direction to the waypoint, (..., N) rad in [-pi, pi)."""
        return wrap_angle(self.track_rad - self.bearing_rad)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Traffic":
        """Return new traffic whose every tensor is function(tensor)."""
        tensors = {name: tensor for name, tensor in vars(self).items() if tensor is not None}
        return Traffic(**{name: function(tensor) for name, tensor in tensors.items()})

    def of(self, index: Tensor) -> "Traffic":
        """Return the traffic of some places, such as a mask of them."""
        return self.map(lambda tensor: tensor[index])

    def clone(self) -> "Traffic":
        """Return a copy that shares no memory."""
        return self.map(torch.clone)
