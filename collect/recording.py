"""Recording: fly a batch of episodes and write down what was flown and what the teacher says.

In one row the state before the action, and the teacher's action in that very state.

Notation: B episodes, N aircraft, T steps, C columns.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..datasets.record import COLUMNS, OUTCOMES, Table
from ..datasets.traffic import Pairs, Traffic
from .configuration import WorldConfig
from .conflicts import count_of, most_urgent
from .events import EventCounter, Safety
from .flight import Advice, Pilot, Step, advise, fly
from .scenarios import NOISE_STREAM, generator_of
from .teachers import Teacher
from .world import World

_VALUES = tuple(column.name for column in COLUMNS if column.name not in ("episode", "step", "aircraft"))
_NOISE_STEPS = 32  # noise is drawn for so many steps at once
_SUMMED = ("conflicts", "conflicts_merged", "los_events", "los_merged", "los_steps", "conflict_steps", "severity")


def record(
    config: WorldConfig,
    seed: int,
    episodes: Sequence[int],
    teacher: Teacher,
    pilot: Pilot | None = None,
    noise: float = 0.0,
) -> tuple[Table, dict[str, float]]:
    """Fly episodes as one batch and record them.

    Args:
        config: The world.
        seed: Seed of the run.
        episodes: Their numbers, rising.
        teacher: Gives the labels.
        pilot: Flies; None for the teacher itself.
        noise: Standard deviation of Gaussian noise on the flown action, in action units.

    Returns:
        The traffic record of these episodes, and counts of what happened in them, which add up.
    """
    world = World(config, seed, episodes)
    flown = _Labelled(world, teacher, pilot, _Noise(seed, episodes, config.aircraft, noise) if noise else None)
    counter = EventCounter(config, len(episodes))
    steps: list[Tensor] = []
    keys: list[Tensor] = []
    for number, step in enumerate(fly(world, flown)):
        values, place = _rows(step, flown.advice)
        steps.append(values)
        keys.append(place | (number << 16))
        counter.count(step.traffic, step.pairs, step.slots)
    table = _table(torch.cat(steps), torch.cat(keys), np.asarray(episodes, np.int32))
    return table, _figures(table, counter.result())


class _Labelled:
    """A pilot that also asks the teacher, and keeps what it said."""

    advice: Advice

    def __init__(self, world: World, teacher: Teacher, pilot: Pilot | None, noise: "_Noise | None") -> None:
        self.world, self.teacher, self.pilot, self.noise = world, teacher, pilot, noise

    def __call__(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        self.advice = advise(self.teacher, self.world.config, traffic, pairs)
        action = self.advice.action if self.pilot is None else self.pilot(traffic, pairs)
        if self.noise is not None:
            action = action + self.noise.draw(self.world.episodes)
        return action.clamp(-1.0, 1.0)


class _Noise:
    """Gaussian noise on actions: each episode has its own stream, so the batch it flies in does not matter."""

    def __init__(self, seed: int, episodes: Sequence[int], aircraft: int, deviation: float) -> None:
        self.aircraft, self.deviation = aircraft, deviation
        self.generators = {episode: generator_of(seed, episode, NOISE_STREAM) for episode in episodes}
        self.drawn: dict[int, np.ndarray] = {}
        self.step = 0

    def draw(self, episodes: Sequence[int]) -> Tensor:
        """Return the noise (B, N, 2) of these episodes' next step."""
        place = self.step % _NOISE_STEPS
        if place == 0:
            shape = (_NOISE_STEPS, self.aircraft, 2)
            self.drawn = {e: self.generators[e].standard_normal(shape, np.float32) for e in episodes}
        self.step += 1
        return torch.from_numpy(np.stack([self.drawn[episode][place] for episode in episodes])) * self.deviation


def _rows(step: Step, advice: Advice) -> tuple[Tensor, Tensor]:
    """Return the values (rows, C) of the aircraft flying before a step, and their keys (rows,) int64.

    A key is slot << 32 | aircraft; the step is put in between by the caller.
    """
    traffic, shape = step.traffic, step.traffic.east_m.shape
    tcpa, dcpa = most_urgent(advice.conflicts, shape)
    nearest = step.pairs.nearest_m()
    columns = {
        "east_m": traffic.east_m,
        "north_m": traffic.north_m,
        "track_rad": traffic.track_rad,
        "speed_mps": traffic.speed_mps,
        "waypoint_east_m": traffic.waypoint_east_m,
        "waypoint_north_m": traffic.waypoint_north_m,
        "teacher_turn": advice.action[..., 0],
        "teacher_speed": advice.action[..., 1],
        "pilot_turn": step.action[..., 0],
        "pilot_speed": step.action[..., 1],
        "reward": step.result.reward,
        "conflicts": count_of(advice.conflicts, shape).clamp_max(127).float(),
        "nearest_m": nearest.masked_fill(torch.isinf(nearest), torch.nan),
        "tcpa_s": tcpa,
        "dcpa_m": dcpa,
        "outcome": step.result.outcome.float(),
    }
    values = torch.stack([columns[name] for name in _VALUES], dim=-1)  # (B', N, C)
    flat = traffic.is_flying.view(-1).nonzero().squeeze(-1)
    aircraft = flat % shape[1]
    slot = step.slots[torch.div(flat, shape[1], rounding_mode="floor")]
    return values.view(-1, len(_VALUES)).index_select(0, flat), (slot << 32) | aircraft


def _table(values: Tensor, keys: Tensor, episodes: np.ndarray) -> Table:
    """Sort all rows by episode, step, aircraft and split them into columns."""
    key = keys.numpy()
    order = np.argsort(key, kind="stable")
    key = key[order]
    columns = values.numpy().T  # (C, rows)
    table: Table = {
        "episode": episodes[key >> 32],
        "step": (key >> 16 & 0xFFFF).astype(np.int16),
        "aircraft": (key & 0xFFFF).astype(np.int16),
    }
    for column in COLUMNS:
        if column.name in _VALUES:
            sorted_column = columns[_VALUES.index(column.name)][order]
            table[column.name] = sorted_column.astype(column.dtype, copy=False)
    return table


def _figures(table: Table, safety: Safety) -> dict[str, float]:
    """Return the counts of what happened: traffic, safety, and how flights ended."""
    ends = np.bincount(table["outcome"], minlength=len(OUTCOMES))
    figures = {
        "episodes": float(len(np.unique(table["episode"]))),
        "flight_s": float(safety.flight_s.sum()),
        "rows_in_conflict": float((table["conflicts"] > 0).sum()),
    }
    figures.update({name: float(getattr(safety, name).sum()) for name in _SUMMED})
    figures.update({name: float(ends[number]) for number, name in enumerate(OUTCOMES) if number})
    return figures
