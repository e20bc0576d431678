"""Flights recorded for the report: a few scenarios, every contender, step by step, and what was decided and why.

How it is coded stands in `evaluate/README.md`; what reads it is `assets/flight.js`.

Notation: B' episodes still flying, N aircraft, M rows (an ownship in a step), K intruders seen, H heads, k of the
intruders kept.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, pi
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..collect import teachers
from ..collect.configuration import WorldConfig
from ..collect.conflicts import detect
from ..collect.flight import Step, advise, fly
from ..collect.scenarios import lay_out
from ..collect.teachers import Teacher
from ..collect.world import World
from ..datasets.observation import nearest, observe
from ..datasets.traffic import Pairs
from ..train.policy import Policy
from .contenders import Loaded

VERSION = 1
"""Of the recording's form."""
GONE = -32768
"""Stands for an aircraft that does not fly; positions are int16."""
NOBODY = 65535
"""Stands where fewer intruders were seen than are kept."""
KEPT = 8
"""Intruders kept per ownship, those that a head weighs most."""
MOST_BYTES = 6 * 2**20
"""Of all flights, before base64 makes them a third longer: where there are more, only every n-th step is kept."""
DECISION = np.dtype(
    [("track", "<u2"), ("speed", "u1"), ("turn", "i1"), ("change", "i1"), ("mvp_turn", "i1"), ("mvp_change", "i1")]
)
"""One ownship in one step: its state, the action it flew, and MVP's."""


class _Frame(NamedTuple):
    """One step of one episode; M are its flying aircraft, in order."""

    positions: np.ndarray  # (N, 2) <i2
    decisions: np.ndarray  # (M,) DECISION
    intruders: np.ndarray  # (M, k) <u2
    weights: np.ndarray  # (M, H, k) u1
    conflicts: list[int]  # pairs i < j, coded i * N + j

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.positions.nbytes + self.decisions.nbytes + self.intruders.nbytes + self.weights.nbytes


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
) -> dict[str, Any]:
    """Let every contender fly some scenarios again.

    What MVP would have done is asked of the first `mvp` among the contenders, else of `mvp` as it is by default.

    Returns:
        A JSON object, coded as `evaluate/README.md` says.
    """
    layouts = [lay_out(config, seed, episode) for episode in episodes]
    reach = max(float(np.abs(part).max()) for lay in layouts for part in (lay.corners_m, lay.position_m))
    unit = 2.0 * (reach + 2 * config.outside_m) / -GONE  # the page shows half of what int16 can hold
    names = [each.contender.name for each in loaded]
    teacher = next((name for name in names if name.partition(":")[0] == "mvp"), "mvp")
    camera = _Camera(config, unit, teachers.parse(teacher, config))
    films = [camera.film(each, World(config, seed, episodes, device)) for each in loaded]
    every = max(1, ceil(sum(film.nbytes for film in films) / most_bytes))
    return {
        "version": VERSION,
        "zone_m": config.protected_zone_m,
        "step_s": config.step_s * every,
        "unit_m": unit,
        "speed_mps": config.max_speed_mps,
        "least_speed_mps": config.min_speed_mps,
        "turn_rad": config.turn_rad,
        "change_mps": config.speed_change_mps,
        "aircraft": config.aircraft,
        "mvp": teacher,
        "scenarios": [
            {
                "number": episode,
                "corners_m": layout.corners_m.round(1).tolist(),
                "waypoints_m": layout.waypoint_m.round(1).tolist(),
            }
            for episode, layout in zip(episodes, layouts, strict=True)
        ],
        "contenders": [
            {"name": film.name, "flights": [_coded(frames[::every], config.aircraft) for frames in film.frames]}
            for film in films
        ],
    }


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

    def film(self, loaded: Loaded, world: World) -> _Film:
        """Fly and film one contender's scenarios."""
        film = _Film(loaded.contender.name, [[] for _ in world.episodes])
        for step in fly(world, loaded.pilot):
            flying = step.traffic.is_flying
            decisions = self._decisions(step)
            intruders, weights = _looks(loaded.policy, step)
            ends = flying.sum(-1).cumsum(0).tolist()
            positions = self._positions(step)
            conflicts = self._conflicts(step)
            for row, (slot, start, end) in enumerate(zip(step.slots.tolist(), [0, *ends], ends)):
                if end > start:
                    part = slice(start, end)
                    frame = _Frame(
                        positions[row], decisions[part], intruders[part], weights[part], conflicts.get(row, [])
                    )
                    film.frames[slot].append(frame)
        return film

    def _positions(self, step: Step) -> np.ndarray:
        """Return the positions (B', N, 2) int16."""
        traffic = step.traffic
        place = torch.stack((traffic.east_m, traffic.north_m), -1) / self.unit_m
        rounded = place.round().clamp(GONE + 1, -GONE - 1).masked_fill(~traffic.is_flying.unsqueeze(-1), GONE)
        return rounded.to(torch.int16).cpu().numpy().astype("<i2")

    def _decisions(self, step: Step) -> np.ndarray:
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

    def _conflicts(self, step: Step) -> dict[int, list[int]]:
        """Return the pairs i < j in conflict by row of the step, coded i * N + j."""
        found = detect(step.pairs, self.config.protected_zone_m, self.config.lookahead_s).triu(1).cpu().nonzero()
        conflicts: dict[int, list[int]] = {}
        for row, one, other in found.tolist():
            conflicts.setdefault(row, []).append(one * self.config.aircraft + other)
        return conflicts


def _numbers(tensor: Tensor) -> np.ndarray:
    """Return a tensor rounded to whole numbers."""
    return tensor.round().to(torch.int64).cpu().numpy()


def _looks(policy: Policy | None, step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Return who is looked at (M, k) uint16, heaviest first, and the weights (M, H, k) uint8; H = 0 without any."""
    flying = step.traffic.is_flying
    rows = int(flying.sum())
    if policy is None:
        return np.zeros((rows, 0), "<u2"), np.zeros((rows, 0, 0), "u1")
    own = step.traffic.map(lambda tensor: tensor[flying])  # (M,)
    around = Pairs(*(tensor[flying] for tensor in step.pairs))  # (M, N)
    observation = observe(own, around, policy.view)
    weights = policy.attention(observation)  # (M, H, K)
    if not weights.shape[1]:
        return np.zeros((rows, 0), "<u2"), np.zeros((rows, 0, 0), "u1")
    order = nearest(around.distance2_m2, weights.shape[-1]).masked_fill(~observation.is_present, NOBODY)  # (M, K)
    most = weights.amax(1).masked_fill(~observation.is_present, -1.0)
    kept = most.topk(min(KEPT, most.shape[-1]), dim=-1).indices  # (M, k)
    heaviest = weights.gather(-1, kept.unsqueeze(1).expand(-1, weights.shape[1], -1))
    return _numbers(order.gather(-1, kept)).astype("<u2"), _numbers(heaviest * 255).astype("u1")


def _coded(frames: Sequence[_Frame], aircraft: int) -> dict[str, Any]:
    """Return a flight as JSON."""
    first = frames[0]
    heads, kept = first.weights.shape[1:]
    pairs = aircraft * aircraft
    attention = {
        "heads": heads,
        "kept": kept,
        "intruders": _base64(frame.intruders for frame in frames),
        "weights": _base64(frame.weights for frame in frames),
    }
    return {
        "steps": len(frames),
        "positions": _base64(frame.positions for frame in frames),
        "decisions": _base64(frame.decisions for frame in frames),
        "attention": attention if heads else None,
        "conflicts": [step * pairs + pair for step, frame in enumerate(frames) for pair in frame.conflicts],
    }


def _base64(arrays: Any) -> str:
    """Return the bytes of arrays, one after the other."""
    return base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode()
