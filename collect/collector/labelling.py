"""Recording: fly a batch of episodes and write down what was flown and what the teacher says.

In one row the state before the action, and the teacher's action in that very state.

Notation: B episodes, B' of them still flown, N aircraft, P conflicts; a chunk is a number of steps.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.record import COLUMNS, Table
from ...datasets.traffic.state import Traffic
from ..airspace.conflicts import Conflicts, count_of, most_urgent, that_count
from ..airspace.world_config import WorldConfig
from ..flying.compiled import rules_of
from ..flying.flight import Advice, Pilot, Step, advise, fly
from ..flying.tally import Tally
from ..flying.world import World
from ..scenarios.registry import NOISE_STREAM, generator_of
from ..teachers.registry import Teacher
from .compiled_record import figures_of, record_compiled
from .more_columns import more_columns

_CHUNK_STEPS = 32  # steps turned into rows at once: few large operations, yet in the cache
_NOISE_STEPS = 32  # noise is drawn for this many steps at once


@torch.inference_mode()  # an eighth faster than no_grad: these are many small operations
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
    rules = rules_of(config, teacher)
    if pilot is None and rules is not None:
        table, counts = record_compiled(config, seed, episodes, rules, noise)
        return {**table, **more_columns(config, seed, episodes, table)}, counts
    world = World(config, seed, episodes)
    flown = _Labelled(world, teacher, pilot, _Noise(seed, episodes, config.aircraft, noise) if noise else None)
    log = _Log(Tally(config, teacher))
    for step in fly(world, flown):
        log.add(step, flown.advice)
    table = log.table(np.asarray(episodes, np.int32))
    counts = figures_of(table, config, log.tally.figures())
    return {**table, **more_columns(config, seed, episodes, table)}, counts


class _Labelled:
    """A pilot that also asks the teacher about the state as it is, and keeps what it said."""

    advice: Advice

    def __init__(self, world: World, teacher: Teacher, pilot: Pilot | None, noise: "_Noise | None") -> None:
        self.world, self.teacher, self.pilot, self.noise = world, teacher, pilot, noise

    def __call__(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        world = self.world
        advice = advise(self.teacher, world.config, world.traffic, world.pairs)
        self.advice = advice._replace(action=world.held(advice.action))
        if self.pilot is not None:
            action = self.pilot(traffic, pairs)
        elif world.perception is None:
            action = self.advice.action
        else:
            action = advise(self.teacher, world.config, traffic, pairs).action
        if self.noise is not None:
            action = action + self.noise.draw(self.world.episodes)
        return self.world.held(action.clamp(-1.0, 1.0))


class _Noise:
    """Gaussian noise on actions: each episode has its own stream, so the batch it flies in does not matter."""

    def __init__(self, seed: int, episodes: Sequence[int], aircraft: int, deviation: float) -> None:
        self.aircraft, self.deviation = aircraft, deviation
        self.generators = {episode: generator_of(seed, episode, NOISE_STREAM) for episode in episodes}
        self.drawn: dict[int, np.ndarray] = {}
        self.step = 0

    def draw(self, episodes: Sequence[int]) -> Tensor:
        """Return the noise (B', N, 2) of these episodes' next step."""
        place = self.step % _NOISE_STEPS
        if place == 0:
            shape = (_NOISE_STEPS, self.aircraft, 2)
            self.drawn = {e: self.generators[e].standard_normal(shape, np.float32) for e in episodes}
        self.step += 1
        return torch.from_numpy(np.stack([self.drawn[episode][place] for episode in episodes])) * self.deviation


class _Log:
    """Keeps what was flown: a chunk of steps as it came, all before it as rows of flying aircraft."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._steps: list[Step] = []
        self._advices: list[Advice] = []
        self._nearest_m: list[Tensor] = []
        self._seen: list[Conflicts] = []
        self._chunks: list[dict[str, Tensor]] = []

    def add(self, step: Step, advice: Advice) -> None:
        """Take one step; its tensors must not change afterwards."""
        self._steps.append(step)
        self._advices.append(advice)
        self._nearest_m.append(step.pairs.nearest_m())
        self._seen.append(that_count(self.tally.conflicts_of(advice, step.pairs), step.traffic))
        # pairs are (B', N, N): let go of them
        self._steps[-1] = step._replace(pairs=None)  # type: ignore[arg-type]
        if len(self._steps) == _CHUNK_STEPS:
            self._finish_chunk()

    def _finish_chunk(self) -> None:
        """Turn the chunk into rows, in order of step, slot, aircraft."""
        steps, advices = self._steps, self._advices
        sizes = torch.tensor([len(step.slots) for step in steps])
        slots = torch.cat([step.slots for step in steps])
        numbers = torch.cat([step.steps for step in steps])
        first = torch.cat((torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)))  # first episode of each step
        flying = torch.cat([step.traffic.is_flying for step in steps])  # (sum B', N)
        rows = flying.view(-1).nonzero().squeeze(-1)
        episode, aircraft = torch.div(rows, flying.shape[1], rounding_mode="floor"), rows % flying.shape[1]
        chunk = {"slot": slots[episode], "step": numbers[episode], "aircraft": aircraft}

        def pick(name: str, tensors: Sequence[Tensor]) -> None:
            chunk[name] = torch.cat([tensor.reshape(-1) for tensor in tensors]).index_select(0, rows)

        for name in _STATES:
            pick(name, [getattr(step.traffic, name) for step in steps])
        if steps[0].traffic.is_hovering is not None:
            is_hovering = (
                torch.cat([step.traffic.is_flying & ~step.traffic.is_piloted for step in steps])
                .view(-1)
                .index_select(0, rows)
            )
            for name in ("waypoint_east_m", "waypoint_north_m"):
                chunk[name].masked_fill_(is_hovering, torch.nan)
        for who, actions in (("teacher", [a.action for a in advices]), ("pilot", [s.action for s in steps])):
            both = torch.cat([action.reshape(-1, 2) for action in actions]).index_select(0, rows)
            chunk[f"{who}_turn"], chunk[f"{who}_speed"] = both.unbind(-1)
        pick("reward", [step.result.reward for step in steps])
        pick("outcome", [step.result.outcome for step in steps])
        pick("nearest_m", self._nearest_m)
        conflicts = _join([advice.conflicts for advice in advices], first)
        tcpa, dcpa = most_urgent(conflicts, flying.shape)
        pick("tcpa_s", [tcpa])
        pick("dcpa_m", [dcpa])
        pick("conflicts", [count_of(conflicts, flying.shape).clamp_max(127)])
        seen = conflicts if self._seen[0] is advices[0].conflicts else _join(self._seen, first)
        self.tally.add(seen, slots[seen.episode], numbers[seen.episode])
        self._chunks.append(chunk)
        self._steps, self._advices, self._nearest_m, self._seen = [], [], [], []

    def table(self, episodes: np.ndarray) -> Table:
        """Return everything as one table, sorted by episode, step, aircraft."""
        if self._steps:
            self._finish_chunk()
        slot = torch.cat([chunk["slot"] for chunk in self._chunks]).numpy()
        order = np.argsort(slot.astype(np.uint16), kind="stable")  # within a slot they are in order
        table: Table = {"episode": episodes[slot[order]]}
        for column in COLUMNS[1:]:
            values = torch.cat([chunk[column.name] for chunk in self._chunks]).numpy()
            table[column.name] = values[order].astype(column.dtype, copy=False)
        table["nearest_m"][np.isinf(table["nearest_m"])] = np.nan
        return table


_STATES = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")


def _join(conflicts: Sequence[Conflicts], first: Tensor) -> Conflicts:
    """Join the conflicts of several steps, their episodes counted through from `first` of each step."""
    joined = Conflicts._make(None if tensors[0] is None else torch.cat(tensors) for tensors in zip(*conflicts))
    sizes = torch.tensor([len(each.episode) for each in conflicts])
    return joined._replace(episode=joined.episode + first[:-1].repeat_interleave(sizes))
