"""Filming: flying scenarios once more, and keeping of each step what a replay shows.

Notation: B' episodes still flying, N aircraft, M rows (an ownship in a step), K intruders seen, H heads, k of the
intruders kept, g of those whose places as perceived are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...collect.airspace.conflicts import find, that_count
from ...collect.airspace.neighbours import complete_for
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.assurance import Assured
from ...collect.flying.flight import Pilot, advise
from ...collect.flying.mixed import hide, own_of
from ...collect.flying.watching import Moment, watch
from ...collect.teachers.registry import Teacher
from ...datasets.traffic.observation import nearest, observe
from ...datasets.traffic.pairs import pairs_of
from ...train.policy import Policy
from ..evaluation.contenders import Loaded
from ..evaluation.shares import SELF, SILENT

GONE = -32768
"""The position of an aircraft that does not fly; positions are int16."""
NO_INTRUDER = 65535
"""Fills up where fewer intruders were seen than are kept."""
KEPT = 8
"""Intruders kept per ownship, those that a head weighs most."""
GHOSTS = 12
"""The nearest aircraft of an ownship, whose places as it perceives them are kept where that is not the truth."""
_CONFLICT_BYTES, _GHOST_BYTES = 8, 4
DECISION = np.dtype(
    [("track", "<u2"), ("speed", "u1"), ("turn", "i1"), ("change", "i1"), ("mvp_turn", "i1"), ("mvp_change", "i1")]
)
"""One ownship in one step: its state, the action it flew, and MVP's."""


class Frame(NamedTuple):
    """One step of one episode; M are its flying aircraft, in order."""

    positions: np.ndarray  # (N, 2) <i2
    legs: np.ndarray  # (N,) how many waypoints of its route each has been given after the first
    conflicts: list[int]  # pairs i < j, coded i * N + j
    decisions: np.ndarray  # (M,) DECISION
    intruders: np.ndarray  # (M, k) <u2
    weights: np.ndarray  # (M, H, k) u1
    near: np.ndarray  # (M, g) <u2
    offsets_m: np.ndarray  # (M, g, 2) float32, from the truth to what the ownship perceives; NaN: no track
    fallback: np.ndarray  # (M, 1) u1, why a fallback flies each, as in `Assured.reason`; (M, 0) without a monitor

    @property
    def nbytes(self) -> int:
        """Bytes, about: a conflict is written in digits."""
        arrays = (self.positions, self.decisions, self.intruders, self.weights, self.fallback)
        return (
            sum(array.nbytes for array in arrays)
            + _GHOST_BYTES * self.near.size
            + _CONFLICT_BYTES * len(self.conflicts)
        )

    def emptied(self) -> "Frame":
        """Return a frame of the same form in which nobody flies."""
        gone = np.full_like(self.positions, GONE)
        return Frame(gone, self.legs, [], *(each[:0] for each in self[3:]))


@dataclass(frozen=True)
class Film:
    """The frames of one contender's scenarios."""

    name: str
    frames: list[list[Frame]] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of all frames."""
        return sum(frame.nbytes for frames in self.frames for frame in frames)

    @property
    def farthest_off_m(self) -> float:
        """How far off, east or north, somebody takes another aircraft to be."""
        offsets = (frame.offsets_m for frames in self.frames for frame in frames)
        return max((float(np.nanmax(np.abs(each), initial=0.0)) for each in offsets if each.size), default=0.0)


@dataclass(frozen=True)
class Camera:
    """Films contenders.

    Attributes:
        config: The world.
        unit_m: Of the positions.
        speed_mps: What 255 stands for in a speed.
        teacher: The MVP that is asked what it would have done.
        flown_by: Of each scenario, of each aircraft who flies it in a mix; empty where a contender flies all.
    """

    config: WorldConfig
    unit_m: float
    speed_mps: float
    teacher: Teacher
    flown_by: Sequence[Sequence[str]]

    def film(self, loaded: Loaded, seed: int, episodes: Sequence[int], device: str | torch.device) -> Film:
        """Fly and film one contender's scenarios, as its figures were flown."""
        film = Film(loaded.contender.name, [[] for _ in episodes])
        legs, last = _Legs(len(episodes), self.config.aircraft), [0] * len(episodes)
        for step in watch(loaded.pilot, self.config, seed, episodes, device):
            flying = step.traffic.is_flying
            ghosts, fallback = _ghosts(step), _fallback(loaded.pilot, step)
            own, silent = (self._who(step, name) for name in (SELF, SILENT))
            known = step.known or (step.traffic, step.pairs)
            heard = step if silent is None else step._replace(known=hide(*known, silent))
            decisions, looks = self._decisions(step, heard, silent), _looks(loaded.policy, heard, own)
            ends = flying.sum(-1).cumsum(0).tolist()
            positions = self._positions(step)
            conflicts, leg = self._conflicts(step), legs.count(step)
            is_flown = step.traffic.is_piloted.any(-1).tolist()
            numbers = zip(step.slots.tolist(), step.steps.tolist(), [0, *ends], ends)
            for row, (slot, number, start, end) in enumerate(numbers):
                part, frames = slice(start, end), film.frames[slot]
                rows = (each[part] for each in (decisions, *looks, *ghosts, fallback))
                frame = Frame(positions[row], leg[row], conflicts.get(row, []), *rows)
                frames += [frame.emptied()] * (number - len(frames))  # until somebody enters
                frames.append(frame)
                last[slot] = number + 1 if is_flown[row] else last[slot]
        for frames, count in zip(film.frames, last):
            del frames[count:]  # nobody flies any more; some may hover
        return film

    def _who(self, step: Moment, name: str) -> Tensor | None:
        """Return which aircraft of a step somebody flies, (B', N) bool; None where contenders fly all."""
        rows = [self.flown_by[slot] for slot in step.slots.tolist()]
        if not all(rows):
            return None
        return torch.tensor([[each == name for each in row] for row in rows], device=step.traffic.east_m.device)

    def _positions(self, step: Moment) -> np.ndarray:
        """Return the positions (B', N, 2) int16."""
        traffic = step.traffic
        place = torch.stack((traffic.east_m, traffic.north_m), -1) / self.unit_m
        rounded = place.round().clamp(GONE + 1, -GONE - 1).masked_fill(~traffic.is_flying.unsqueeze(-1), GONE)
        return rounded.to(torch.int16).cpu().numpy().astype("<i2")

    def _decisions(self, step: Moment, heard: Moment, silent: Tensor | None) -> np.ndarray:
        """Return state and actions of the flying aircraft, (M,) DECISION; who is silent hears all the same."""
        traffic, flying = step.traffic, step.traffic.is_flying
        advised, *others = (
            advise(self.teacher, self.config, *(each.known or (traffic, step.pairs))).action
            for each in ((heard,) if silent is None else (heard, step))
        )
        if silent is not None:
            advised = torch.where(silent.unsqueeze(-1), others[0], advised)
        rows = np.zeros(int(flying.sum()), DECISION)
        rows["track"] = _numbers(traffic.track_rad[flying].remainder(2 * pi) * (65536 / (2 * pi))) % 65536
        rows["speed"] = _numbers(traffic.speed_mps[flying] * (255 / self.speed_mps)).clip(0, 255)
        for action, names in ((step.action, ("turn", "change")), (advised, ("mvp_turn", "mvp_change"))):
            for column, name in enumerate(names):
                rows[name] = _numbers(action[flying][:, column].clamp(-1.0, 1.0) * 127)
        return rows

    def _conflicts(self, step: Moment) -> dict[int, list[int]]:
        """Return the pairs i < j in conflict by row of the step, coded i * N + j."""
        found = that_count(find(step.pairs, self.config.protected_zone_m, self.config.lookahead_s), step.traffic)
        pairs = torch.stack((found.episode, found.ownship, found.intruder), dim=-1)
        conflicts: dict[int, list[int]] = {}
        for row, one, other in pairs[found.ownship < found.intruder].tolist():
            conflicts.setdefault(row, []).append(one * self.config.aircraft + other)
        return conflicts


class _Legs:
    """Counts the waypoints that the aircraft of some episodes have been given after their first.

    Args:
        episodes: How many.
        aircraft: N.
    """

    def __init__(self, episodes: int, aircraft: int) -> None:
        self._waypoint, self._leg = np.full((episodes, aircraft, 2), np.nan), np.zeros((episodes, aircraft), int)

    def count(self, step: Moment) -> np.ndarray:
        """Return how many there are by a step, (B', N)."""
        slots, traffic = step.slots.cpu().numpy(), step.traffic
        now = torch.stack((traffic.waypoint_east_m, traffic.waypoint_north_m), -1).double().cpu().numpy()
        before, is_flying = self._waypoint[slots], traffic.is_flying.cpu().numpy()
        self._leg[slots] += is_flying & ~np.isnan(before[..., 0]) & (now != before).any(-1)
        self._waypoint[slots] = np.where(is_flying[..., None], now, before)
        return self._leg[slots]


def _numbers(tensor: Tensor) -> np.ndarray:
    """Return a tensor rounded to whole numbers."""
    return tensor.round().to(torch.int64).cpu().numpy()


def _looks(policy: Policy | None, step: Moment, is_own: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """Return who is looked at (M, k) uint16, heaviest first, and the weights (M, H, k) uint8; H = 0 without any.

    Where the policy does not fly all, (B', N) bool, the others look at nobody.
    """
    flying = step.traffic.is_flying
    rows = int(flying.sum())
    if policy is None:
        return np.zeros((rows, 0), "<u2"), np.zeros((rows, 0, 0), "u1")
    traffic, pairs = step.known or (step.traffic, step.pairs)
    own = traffic.of(flying)  # (M,)
    pairs = complete_for(pairs, traffic, policy.view)
    around = pairs.map(lambda tensor: tensor[flying])  # (M, N) or (M, J)
    observation = observe(own, around, policy.view)
    weights = policy.attention(observation)  # (M, H, K)
    if not weights.shape[1]:
        return np.zeros((rows, 0), "<u2"), np.zeros((rows, 0, 0), "u1")
    is_absent = ~observation.is_present
    if is_own is not None:
        is_other = ~is_own[flying]  # (M,)
        is_absent, weights = is_absent | is_other[:, None], weights.masked_fill(is_other[:, None, None], 0.0)
    places = nearest(around.distance2_m2, weights.shape[-1])  # (M, K)
    order = around.number_of(places).masked_fill(is_absent, NO_INTRUDER)
    most = weights.amax(1).masked_fill(is_absent, -1.0)
    kept = most.topk(min(KEPT, most.shape[-1]), dim=-1).indices  # (M, k)
    heaviest = weights.gather(-1, kept.unsqueeze(1).expand(-1, weights.shape[1], -1))
    return _numbers(order.gather(-1, kept)).astype("<u2"), _numbers(heaviest * 255).astype("u1")


def _fallback(pilot: Pilot, step: Moment) -> np.ndarray:
    """Return why a fallback flies each aircraft, (M, 1) u1, see `Frame`."""
    own, flying = own_of(pilot), step.traffic.is_flying
    if not isinstance(own, Assured):
        return np.zeros((int(flying.sum()), 0), "u1")
    return own.reason[flying].unsqueeze(-1).cpu().numpy().astype("u1")


def _ghosts(step: Moment) -> tuple[np.ndarray, np.ndarray]:
    """Return whom ownships are nearest to (M, g) uint16, and how far off they take each to be (M, g, 2) float32.

    Where everyone knows everything g = 0. Offsets are in m east and north, NaN without a track.
    """
    flying = step.traffic.is_flying
    if step.known is None:
        rows = int(flying.sum())
        return np.zeros((rows, 0), "<u2"), np.zeros((rows, 0, 2), np.float32)
    true, known = (pairs.map(lambda tensor: tensor[flying]) for pairs in (pairs_of(step.traffic), step.known[1]))
    places = nearest(true.distance2_m2, min(GHOSTS, true.east_m.shape[-1] - 1))  # (M, g)
    is_there = true.is_pair.gather(-1, places)
    offsets = torch.stack((known.east_m - true.east_m, known.north_m - true.north_m), dim=-1)
    offsets = offsets.masked_fill(~known.is_pair.unsqueeze(-1), torch.nan)
    picked = offsets.gather(1, places.unsqueeze(-1).expand(-1, -1, 2))
    near = _numbers(places.masked_fill(~is_there, NO_INTRUDER)).astype("<u2")
    return near, picked.float().cpu().numpy()
