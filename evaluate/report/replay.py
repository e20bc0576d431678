"""The replay of a report: a few scenarios, every contender, what was decided in each step, and why.

Its form: `docs/evaluation-json.md`. It is kept in the archive and in the page, where `assets/flight.js` reads it.

Notation: B' episodes still flying, N aircraft, M rows (an ownship in a step), K intruders seen, H heads, k of the
intruders kept.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...collect import teachers
from ...collect.airspace.conflicts import find, that_count
from ...collect.airspace.neighbours import complete_for
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.flight import advise
from ...collect.flying.watching import Moment, watch
from ...collect.scenarios.layout import Layout
from ...collect.scenarios.registry import lay_out
from ...collect.teachers.registry import Teacher
from ...datasets.traffic.observation import nearest, observe
from ...train.policy import Policy
from ..evaluation.contenders import Loaded

VERSION = 1
"""Of the replay's form."""
GONE = -32768
"""The position of an aircraft that does not fly; positions are int16."""
NO_INTRUDER = 65535
"""Fills up where fewer intruders were seen than are kept."""
KEPT = 8
"""Intruders kept per ownship, those that a head weighs most."""
MOST_BYTES = 6 * 2**20
"""Of all flights, before base64 makes them a third longer: where there are more, only every n-th step is kept."""
_CONFLICT_BYTES = 8
DECISION = np.dtype(
    [("track", "<u2"), ("speed", "u1"), ("turn", "i1"), ("change", "i1"), ("mvp_turn", "i1"), ("mvp_change", "i1")]
)
"""One ownship in one step: its state, the action it flew, and MVP's."""


class Attention(NamedTuple):
    """Whom ownships look at.

    Attributes:
        heads: H.
        kept: k.
        intruders: base64 of uint16 (M, k), heaviest first, `NO_INTRUDER` where there were fewer.
        weights: base64 of uint8 (M, H, k), 255 is a weight of 1.
    """

    heads: int
    kept: int
    intruders: str
    weights: str


class Flight(NamedTuple):
    """One contender in one scenario, T steps; rows are the flying aircraft of each step, step by step.

    Those that hover are among them. The last step is the last one in which somebody flies.

    Attributes:
        steps: T.
        positions: base64 of int16 (T, N, 2), east and north in units, `GONE` for who does not fly.
        decisions: base64 of `DECISION` (M,).
        attention: None for a contender without.
        conflicts: Pairs i < j per step, coded (step * N + i) * N + j.
        legs: Who flies to the next waypoint of its route from a step on, coded step * N + i.
    """

    steps: int
    positions: str
    decisions: str
    attention: Attention | None
    conflicts: list[int]
    legs: list[int] = []  # noqa: RUF012 (nobody changes it)


class Filmed(NamedTuple):
    """A contender's name and its flights, one per scenario."""

    name: str
    flights: list[Flight]


class Scenario(NamedTuple):
    """How a scenario is laid out; places are east and north.

    Attributes:
        number: The scenario's.
        corners_m: Of its sector.
        waypoints_m: Of each aircraft, the first; of one that hovers, where it does.
        routes_m: Of each aircraft the waypoints after the first; empty where nobody has any.
        hovers: Numbers of the aircraft that hover.
        no_fly_m: Corners of each polygon that nobody should enter.
    """

    number: int
    corners_m: list[list[float]]
    waypoints_m: list[list[float]]
    routes_m: list[list[list[float]]] = []  # noqa: RUF012 (nobody changes it)
    hovers: list[int] = []  # noqa: RUF012
    no_fly_m: list[list[list[float]]] = []  # noqa: RUF012


class Replay(NamedTuple):
    """Some scenarios as flown by each contender.

    Attributes:
        version: Of its form.
        zone_m: R.
        step_s: Time between two of its steps.
        unit_m: Of positions.
        speed_mps: What 255 stands for in a speed, the highest that is flown.
        least_speed_mps: The lowest that is flown.
        turn_rad: What 127 stands for in a turn.
        change_mps: What 127 stands for in a speed change.
        aircraft: N.
        mvp: The teacher that was asked what it would have done.
        scenarios: The scenarios.
        contenders: The contenders.
    """

    version: int
    zone_m: float
    step_s: float
    unit_m: float
    speed_mps: float
    least_speed_mps: float
    turn_rad: float
    change_mps: float
    aircraft: int
    mvp: str
    scenarios: list[Scenario]
    contenders: list[Filmed]


class _Frame(NamedTuple):
    """One step of one episode; M are its flying aircraft, in order."""

    positions: np.ndarray  # (N, 2) <i2
    decisions: np.ndarray  # (M,) DECISION
    intruders: np.ndarray  # (M, k) <u2
    weights: np.ndarray  # (M, H, k) u1
    conflicts: list[int]  # pairs i < j, coded i * N + j
    legs: np.ndarray  # (N,) how many waypoints of its route each has been given after the first

    @property
    def nbytes(self) -> int:
        """Bytes, about: a conflict is written in digits."""
        arrays = (self.positions, self.decisions, self.intruders, self.weights)
        return sum(array.nbytes for array in arrays) + _CONFLICT_BYTES * len(self.conflicts)

    def emptied(self) -> "_Frame":
        """Return a frame of the same form in which nobody flies."""
        gone = np.full_like(self.positions, GONE)
        return _Frame(gone, self.decisions[:0], self.intruders[:0], self.weights[:0], [], self.legs)


@dataclass(frozen=True)
class _Film:
    """The frames of one contender's scenarios."""

    name: str
    frames: list[list[_Frame]] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of all frames."""
        return sum(frame.nbytes for frames in self.frames for frame in frames)


def record(
    loaded: Sequence[Loaded],
    config: WorldConfig,
    seed: int,
    episodes: Sequence[int],
    device: str | torch.device = "cpu",
    most_bytes: int = MOST_BYTES,
) -> Replay:
    """Let every contender fly some scenarios again.

    What MVP would have done is asked of the first `mvp` among the contenders, else of `mvp` as it is by default.
    """
    layouts = [lay_out(config, seed, episode) for episode in episodes]
    reach = max(float(np.abs(part).max()) for lay in layouts for part in (lay.corners_m, lay.position_m))
    unit = 2.0 * (reach + 2 * config.outside_m) / -GONE  # the page shows half of what int16 can hold
    names = [each.contender.name for each in loaded]
    teacher = next((name for name in names if name.partition(":")[0] == "mvp"), "mvp")
    camera = _Camera(config, unit, teachers.parse(teacher, config))
    films = [camera.film(each, seed, episodes, device) for each in loaded]
    every = max(1, ceil(sum(film.nbytes for film in films) / most_bytes))
    return Replay(
        VERSION,
        config.protected_zone_m,
        config.step_s * every,
        unit,
        config.max_speed_mps,
        config.min_speed_mps,
        config.turn_rad,
        config.speed_change_mps,
        config.aircraft,
        teacher,
        [_scenario(episode, layout) for episode, layout in zip(episodes, layouts, strict=True)],
        [Filmed(film.name, [_coded(frames[::every], config.aircraft) for frames in film.frames]) for film in films],
    )


def _scenario(episode: int, layout: Layout) -> Scenario:
    """Return how a scenario is laid out."""
    routes, hovers = layout.routes_m or (), layout.hovers
    return Scenario(
        episode,
        layout.corners_m.round(1).tolist(),
        layout.waypoint_m.round(1).tolist(),
        [np.round(route, 1).tolist() for route in routes],
        [] if hovers is None else np.flatnonzero(hovers).tolist(),
        [np.round(polygon, 1).tolist() for polygon in layout.no_fly_m],
    )


@dataclass(frozen=True)
class _Camera:
    """Films contenders.

    Attributes:
        config: The world.
        unit_m: Of the positions.
        teacher: The MVP that is asked what it would have done.
    """

    config: WorldConfig
    unit_m: float
    teacher: Teacher

    def film(self, loaded: Loaded, seed: int, episodes: Sequence[int], device: str | torch.device) -> _Film:
        """Fly and film one contender's scenarios, as its figures were flown."""
        film = _Film(loaded.contender.name, [[] for _ in episodes])
        legs, last = _Legs(len(episodes), self.config.aircraft), [0] * len(episodes)
        for step in watch(loaded.pilot, self.config, seed, episodes, device):
            flying = step.traffic.is_flying
            decisions = self._decisions(step)
            intruders, weights = _looks(loaded.policy, step)
            ends = flying.sum(-1).cumsum(0).tolist()
            positions = self._positions(step)
            conflicts, leg = self._conflicts(step), legs.count(step)
            is_flown = step.traffic.is_piloted.any(-1).tolist()
            numbers = zip(step.slots.tolist(), step.steps.tolist(), [0, *ends], ends)
            for row, (slot, number, start, end) in enumerate(numbers):
                part, frames = slice(start, end), film.frames[slot]
                rows = (decisions[part], intruders[part], weights[part])
                frame = _Frame(positions[row], *rows, conflicts.get(row, []), leg[row])
                frames += [frame.emptied()] * (number - len(frames))  # until somebody enters
                frames.append(frame)
                last[slot] = number + 1 if is_flown[row] else last[slot]
        for frames, count in zip(film.frames, last):
            del frames[count:]  # nobody flies any more; some may hover
        return film

    def _positions(self, step: Moment) -> np.ndarray:
        """Return the positions (B', N, 2) int16."""
        traffic = step.traffic
        place = torch.stack((traffic.east_m, traffic.north_m), -1) / self.unit_m
        rounded = place.round().clamp(GONE + 1, -GONE - 1).masked_fill(~traffic.is_flying.unsqueeze(-1), GONE)
        return rounded.to(torch.int16).cpu().numpy().astype("<i2")

    def _decisions(self, step: Moment) -> np.ndarray:
        """Return state and actions of the flying aircraft, (M,) DECISION."""
        traffic, flying = step.traffic, step.traffic.is_flying
        advised = advise(self.teacher, self.config, traffic, step.pairs).action
        rows = np.zeros(int(flying.sum()), DECISION)
        rows["track"] = _numbers(traffic.track_rad[flying].remainder(2 * pi) * (65536 / (2 * pi))) % 65536
        rows["speed"] = _numbers(traffic.speed_mps[flying] * (255 / self.config.max_speed_mps)).clip(0, 255)
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


def _looks(policy: Policy | None, step: Moment) -> tuple[np.ndarray, np.ndarray]:
    """Return who is looked at (M, k) uint16, heaviest first, and the weights (M, H, k) uint8; H = 0 without any."""
    flying = step.traffic.is_flying
    rows = int(flying.sum())
    if policy is None:
        return np.zeros((rows, 0), "<u2"), np.zeros((rows, 0, 0), "u1")
    own = step.traffic.map(lambda tensor: tensor[flying])  # (M,)
    pairs = complete_for(step.pairs, step.traffic, policy.view)
    around = pairs.map(lambda tensor: tensor[flying])  # (M, N) or (M, J)
    observation = observe(own, around, policy.view)
    weights = policy.attention(observation)  # (M, H, K)
    if not weights.shape[1]:
        return np.zeros((rows, 0), "<u2"), np.zeros((rows, 0, 0), "u1")
    is_absent = ~observation.is_present
    places = nearest(around.distance2_m2, weights.shape[-1])  # (M, K)
    order = around.number_of(places).masked_fill(is_absent, NO_INTRUDER)
    most = weights.amax(1).masked_fill(is_absent, -1.0)
    kept = most.topk(min(KEPT, most.shape[-1]), dim=-1).indices  # (M, k)
    heaviest = weights.gather(-1, kept.unsqueeze(1).expand(-1, weights.shape[1], -1))
    return _numbers(order.gather(-1, kept)).astype("<u2"), _numbers(heaviest * 255).astype("u1")


def _coded(frames: Sequence[_Frame], aircraft: int) -> Flight:
    """Return a flight as text."""
    heads, kept = frames[0].weights.shape[1:]
    intruders, weights = (_base64(getattr(frame, name) for frame in frames) for name in ("intruders", "weights"))
    pairs = aircraft * aircraft
    return Flight(
        len(frames),
        _base64(frame.positions for frame in frames),
        _base64(frame.decisions for frame in frames),
        Attention(heads, kept, intruders, weights) if heads else None,
        [step * pairs + pair for step, frame in enumerate(frames) for pair in frame.conflicts],
        _leg_codes(frames),
    )


def _leg_codes(frames: Sequence[_Frame]) -> list[int]:
    """Return who flies to the next waypoint from which step on, coded step * N + i."""
    legs = np.stack([frame.legs for frame in frames])
    grown = np.diff(legs, axis=0, prepend=np.zeros_like(legs[:1]))
    places = np.flatnonzero(grown)
    return np.repeat(places, grown.ravel()[places]).tolist()


def _base64(arrays: Iterable[np.ndarray]) -> str:
    """Return the bytes of arrays, one after the other."""
    return base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode()
