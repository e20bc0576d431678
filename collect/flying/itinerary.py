"""Who enters when, by which waypoints, and where nobody should fly: what a batch keeps beside its traffic.

Notation: B episodes, N aircraft, L waypoints after the first, Z no-fly polygons.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...datasets.traffic.state import Traffic
from ..scenarios.start import Start


@dataclass
class Itinerary:
    """Entries and routes of a batch; in the plainest traffic there are none, and they cost nothing.

    Attributes:
        entry_steps: (B, N) int64, before which step each aircraft enters; -1 where there is none.
        waits: (B,) bool, whether those that enter later wait for room: then their step moves on.
        routes_m: (B, N, L, 2), the waypoints after the first.
        legs: (B, N) int64, how many of them each aircraft has.
        leg: (B, N) int64, how many of them have been its waypoint already, the present one included.
        no_fly_m: (B, Z, C, 2).
        last_entry: The last step before which anybody enters.
    """

    entry_steps: Tensor
    waits: Tensor
    routes_m: Tensor
    legs: Tensor
    leg: Tensor
    no_fly_m: Tensor
    last_entry: int

    @classmethod
    def of(cls, start: Start, device: torch.device) -> "Itinerary":
        """Return that of a start."""
        entries, waits, routes, legs, no_fly = (
            tensor.to(device, copy=True)
            for tensor in (start.entry_steps, start.waits, start.routes_m, start.legs, start.no_fly_m)
        )
        return cls(entries, waits, routes, legs, torch.zeros_like(legs), no_fly, int(start.entry_steps.max()))

    @classmethod
    def plain(cls, traffic: Traffic) -> "Itinerary":
        """Return that of (B, N) traffic in which all fly at the start, to one waypoint each."""
        entries = traffic.is_flying.long() - 1
        nothing = torch.zeros_like(entries)
        corners = traffic.east_m.new_zeros((len(entries), 0, 0, 2))
        waits = torch.zeros(len(entries), dtype=torch.bool, device=entries.device)
        routes = traffic.east_m.new_zeros((*entries.shape, 0, 2))
        return cls(entries, waits, routes, nothing, nothing, corners, 0)

    def is_waiting(self, steps: Tensor, most: int) -> Tensor:
        """Return who is yet to enter before the time limit of `most` steps, (B, N) bool, after `steps` (B,)."""
        return (self.entry_steps > steps.unsqueeze(-1)) & (self.entry_steps < most)

    def enter(self, traffic: Traffic, is_flying: Tensor, steps: Tensor, most: int, room_m: float) -> Tensor:
        """Return who flies (B, N) once those have entered whose step it is.

        Where they wait, an aircraft enters once nobody that flies, and nobody of a lower number that is to enter
        too, is within `room_m` of its place.

        Args:
            traffic: (B, N).
            is_flying: (B, N) bool, who of them still flies.
            steps: (B,) int64, the steps flown.
            most: Before so many steps they may enter: the time limit.
            room_m: See above.
        """
        if not self.last_entry:
            return is_flying
        is_due = (self.entry_steps == steps.unsqueeze(-1)) & ((steps > 0) & (steps < most)).unsqueeze(-1)
        episode, number = (is_due & self.waits.unsqueeze(-1)).nonzero(as_tuple=True)  # (P,)
        if len(episode):
            east = traffic.east_m[episode] - traffic.east_m[episode, number].unsqueeze(-1)  # (P, N)
            north = traffic.north_m[episode] - traffic.north_m[episode, number].unsqueeze(-1)
            is_lower = torch.arange(is_due.shape[-1], device=is_due.device) < number.unsqueeze(-1)
            is_there = is_flying[episode] | (is_due[episode] & is_lower)
            has_to_wait = (is_there & (east * east + north * north < room_m * room_m)).any(-1)
            self.entry_steps[episode, number] += has_to_wait
            is_due[episode, number] = ~has_to_wait
            self.last_entry = max(self.last_entry, int(self.entry_steps.max()))
        return is_flying | is_due

    def way_m(self, traffic: Traffic) -> Tensor:
        """Return the length of the route from each aircraft's first waypoint to its last, (B, N) m."""
        corner = torch.stack((traffic.waypoint_east_m, traffic.waypoint_north_m), dim=-1).unsqueeze(2)
        corner = torch.cat((corner, self.routes_m), dim=2)  # (B, N, 1 + L, 2)
        length = torch.linalg.vector_norm(corner[:, :, 1:] - corner[:, :, :-1], dim=-1)
        is_leg = torch.arange(length.shape[-1], device=length.device) < self.legs.unsqueeze(-1)
        return (length * is_leg).sum(-1)

    def is_in_no_fly(self, traffic: Traffic) -> Tensor:
        """Return who is inside a no-fly polygon, (B, N) bool."""
        corner = self.no_fly_m
        if not corner.shape[1]:
            return torch.zeros_like(traffic.is_flying)
        side = torch.roll(corner, -1, dims=2) - corner  # (B, Z, C, 2)
        east = traffic.east_m[:, :, None, None] - corner[:, None, :, :, 0]  # (B, N, Z, C)
        north = traffic.north_m[:, :, None, None] - corner[:, None, :, :, 1]
        is_left = side[:, None, :, :, 0] * north - side[:, None, :, :, 1] * east >= 0
        is_polygon = (side != 0).any(-1).any(-1)  # (B, Z)
        return (is_left.all(-1) & is_polygon.unsqueeze(1)).any(-1)

    def has_more(self) -> Tensor:
        """Return whose waypoint is not its last one, (B, N) bool."""
        return self.leg < self.legs

    @property
    def has_routes(self) -> bool:
        """Whether there is anybody with more than one waypoint."""
        return self.routes_m.shape[2] > 0

    def go_on(self, traffic: Traffic, has_reached: Tensor | None) -> Traffic:
        """Return the traffic with the next waypoint of those that have reached one, and have more, (B, N) bool."""
        if has_reached is None or not bool(has_reached.any()):
            return traffic
        at = self.leg.clamp_max(self.routes_m.shape[2] - 1)[..., None, None].expand(-1, -1, 1, 2)
        following = self.routes_m.gather(2, at).squeeze(2)
        self.leg = self.leg + has_reached
        east_m = torch.where(has_reached, following[..., 0], traffic.waypoint_east_m)
        north_m = torch.where(has_reached, following[..., 1], traffic.waypoint_north_m)
        return replace(traffic, waypoint_east_m=east_m, waypoint_north_m=north_m)

    def keep(self, slots: Tensor) -> None:
        """Keep only some episodes of the batch."""
        for name in _TENSORS:
            setattr(self, name, getattr(self, name)[slots])

    @staticmethod
    def joined(parts: Sequence["Itinerary"]) -> "Itinerary":
        """Return those of several batches, of the same shapes, as one."""
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS}
        return Itinerary(**tensors, last_entry=max(part.last_entry for part in parts))

    def restart(self, slots: Tensor, other: "Itinerary") -> None:
        """Put those of other episodes into some slots."""
        for name in _TENSORS:
            own, new = getattr(self, name), getattr(other, name)
            own, new = _alike(own, new)
            own[slots] = new
            setattr(self, name, own)
        self.last_entry = max(self.last_entry, other.last_entry)


_TENSORS = ("entry_steps", "waits", "routes_m", "legs", "leg", "no_fly_m")


def _alike(own: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Return copies with room for as many waypoints, or polygons and corners, as the other has."""
    made = []
    for tensor, other in ((own, new), (new, own)):
        if tensor.ndim == 4:
            rows = max(tensor.shape[1], other.shape[1]) - tensor.shape[1]
            corners = max(tensor.shape[2], other.shape[2]) - tensor.shape[2]
            last = tensor[:, :, -1:].expand(-1, -1, corners, -1) if tensor.shape[2] else None
            tensor = pad(tensor, (0, 0, 0, corners)) if last is None else torch.cat((tensor, last), dim=2)
            tensor = pad(tensor, (0, 0, 0, 0, 0, rows))
        made.append(tensor.clone())
    return made[0], made[1]
