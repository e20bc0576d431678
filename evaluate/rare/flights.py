"""The problem along the flight: what aircraft hear is random at every step, so clones part on their way.

A clone is an index: the state of a flight in which it passed a level, with other random numbers from there on. Its
traffic and gusts are its parent's, and so are the messages that were sent before: lost or under way already.

Notation: n flights, B of them flown at once, N aircraft.
"""

from dataclasses import dataclass, field
from math import inf

import numpy as np
import torch
from torch import Tensor

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.events import EventCounter
from ...collect.flying.figures import at_once
from ...collect.flying.flight import Pilot, action_of
from ...collect.flying.world import World
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from .encounters import start_of, targets_of
from .splitting import Outcome
from .tape import Tape

_SIDE_BY_SIDE = 128  # episodes


@dataclass
class Branches:
    """Flights from some state on.

    Attributes:
        world: (n) that state of each.
        level: The level at which those are kept that pass it.
        passed: The states in which they did, in order; None where nobody passed.
        numbers: (P,) int64, which of the n these are.
    """

    world: World
    level: float = -inf
    passed: World | None = None
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass
class Flights:
    """Flights of one contender as a `splitting.Problem`; samples are `Branches`.

    Attributes:
        pilot: Who flies.
        world: The world; what is heard must be random.
        device: Where to compute.
    """

    pilot: Pilot
    world: WorldConfig
    device: str = "cpu"

    def draw(self, count: int, generator: np.random.Generator) -> Branches:
        """Return flights at their beginning."""
        start = start_of([Tape(generator) for _ in range(count)], self.world)
        world = World(self.world, 0, range(count), self.device, start=start)
        assert world.perception is not None
        everyone, steps = np.arange(count), np.zeros(count, np.int64)
        world.perception.restart(everyone, _keys(count, generator), world.traffic, steps)
        return Branches(world)

    def fly(self, samples: Branches, level: float = -inf) -> Outcome:
        """Fly them to their end: score is the smallest `nearness`, exposure hours, work aircraft-steps."""
        count = len(samples.world.episodes)
        size = min(_SIDE_BY_SIDE, at_once(count, self.world.aircraft))
        outcomes, passed, numbers = [], [], []
        for first in range(0, count, size):
            chunk = torch.arange(first, min(first + size, count), device=samples.world.device)
            outcome, worlds, slots = self._fly(samples.world.taken(chunk), level)
            outcomes.append(outcome)
            passed += worlds
            numbers += [chunk[each] for each in slots]
        samples.level, samples.passed, samples.numbers = level, None, np.zeros(0, np.int64)
        if passed:
            order = torch.cat(numbers).argsort()
            samples.passed = World.joined(passed).taken(order)
            samples.numbers = torch.cat(numbers)[order].cpu().numpy()
        return Outcome(*(np.concatenate(columns, axis=-1) for columns in zip(*outcomes, strict=True)))

    def clones(
        self,
        samples: Branches,
        outcome: Outcome,
        parents: np.ndarray,
        levels: tuple[float, float],
        generator: np.random.Generator,
    ) -> tuple[Branches, Outcome, float]:
        """Return flights from where the parents passed a level on, what they come to, and the work.

        Where the level was not known when the parents flew, as in a pilot run, they fly again.
        """
        level, following = levels
        work = 0.0
        if samples.level != level:
            work = float(self.fly(samples, level).work.sum())
        assert samples.passed is not None, "a parent has passed"
        place = np.searchsorted(samples.numbers, parents).clip(max=len(samples.numbers) - 1)
        world = samples.passed.taken(torch.from_numpy(place).to(samples.passed.device))
        assert world.perception is not None
        world.perception.keys = _keys(len(parents), generator)
        made = Branches(world)
        found = self.fly(made, following)
        return made, found, work + float(found.work.sum())

    def _fly(self, world: World, level: float) -> tuple[Outcome, list[World], list[Tensor]]:
        """Fly a batch; return its outcome, and the states that passed the level with their places in the batch."""
        count, device = len(world.episodes), world.device
        slots, counter = torch.arange(count, device=device), EventCounter(self.world, count, device)
        score = torch.full((count,), inf, dtype=torch.float64, device=device)
        steps = torch.zeros(count, dtype=torch.float64, device=device)
        passed, places = [], []
        while True:
            counter.count(world.traffic, world.pairs, slots)
            before, now = score[slots], nearness(world.traffic, world.pairs)
            score[slots] = torch.minimum(before, now)
            passes = ((before >= level) & (now < level)).nonzero().squeeze(-1)
            if len(passes):
                passed.append(world.taken(passes))
                places.append(slots[passes])
            going_on = (~world.is_over).nonzero().squeeze(-1)
            if not len(going_on):
                break
            if len(slots) - len(going_on) > len(slots) // 8:  # as in flight.fly
                world.keep(going_on)
                slots = slots[going_on]
            steps[slots] += world.traffic.is_piloted.sum(-1)
            world.step(action_of(self.pilot, world))
        events = counter.result()
        counts = torch.stack((events.los_events, events.nmac_events))[: len(targets_of(self.world))]
        hours = steps * (self.world.step_s / 3600.0)
        outcome = Outcome(*(each.cpu().numpy() for each in (score, counts, hours, steps)))
        return outcome, passed, places


def nearness(traffic: Traffic, pairs: Pairs) -> Tensor:
    """Return the smallest distance of any pair now, in m, (B,) float64; infinite where there is none.

    Args:
        traffic: (B, N).
        pairs: (B, N, N) or (B, N, J), its pairs.
    """
    nearest2 = pairs.nearest2_m2()  # (B, N)
    if traffic.is_hovering is not None:
        nearest2 = nearest2.masked_fill(~traffic.is_piloted, inf)
    return nearest2.amin(-1).double().sqrt()


def _keys(count: int, generator: np.random.Generator) -> np.ndarray:
    """Return fresh keys of what is heard in so many flights, (n, 2) int64."""
    return generator.integers(0, 2**32, (count, 2), np.int64)
