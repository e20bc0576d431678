"""The problem along the flight: what aircraft hear is random at every step, so clones part on their way.

A clone is an index: the state of a flight in which it passed a level, with other random numbers from there on. Its
traffic and gusts are its parent's, and so are the messages that were sent before, lost or under way already, and
what a monitor remembers.

Notation: n flights, B of them flown at once, N aircraft.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.events import EventCounter
from ...collect.flying.figures import at_once
from ...collect.flying.flight import Branching, Pilot, Remembering, action_of
from ...collect.flying.world import World
from ...datasets.errors import ConfigurationError
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from .encounters import start_of, targets_of
from .splitting import Outcome
from .tape import Tape

_SIDE_BY_SIDE = 128  # episodes


class State(NamedTuple):
    """A batch of flights as it is now: the world, and its pilot with what that one remembers."""

    world: World
    pilot: Pilot

    @classmethod
    def of(cls, world: World, pilot: Pilot) -> "State":
        """Return flights at their beginning.

        Raises:
            ConfigurationError: The pilot remembers, and cannot be cloned.
        """
        if isinstance(pilot, Remembering) and not isinstance(pilot, Branching):
            raise ConfigurationError(
                "--rare under a surveillance clones flights on their way, with what their pilot remembers: "
                f"expected the methods `taken` and `joined` of `Branching`, got a {type(pilot).__name__} without."
            )
        if isinstance(pilot, Branching):
            pilot.begin(world.traffic)
        return cls(world, pilot)

    def taken(self, slots: Tensor) -> "State":
        """Return some of the flights, (n,) int64, beside these; one may be there twice."""
        return State(
            self.world.taken(slots), self.pilot.taken(slots) if isinstance(self.pilot, Branching) else self.pilot
        )

    def joined(self, others: Sequence["State"]) -> "State":
        """Return these flights and then others, all taken from one batch."""
        pilot = self.pilot
        if isinstance(pilot, Branching):
            pilot = pilot.joined([each.pilot for each in others])
        return State(World.joined([self.world, *(each.world for each in others)]), pilot)

    def keep(self, slots: Tensor) -> None:
        """Go on with some of the flights only."""
        self.world.keep(slots)
        if isinstance(self.pilot, Branching):
            self.pilot.keep(slots)


@dataclass
class Branches:
    """Flights from some state on.

    Attributes:
        state: (n) that state of each.
        level: The level at which those are kept that pass it.
        passed: The states in which they did, in order; None where nobody passed.
        numbers: (P,) int64, which of the n these are.
    """

    state: State
    level: float = -inf
    passed: State | None = None
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass
class Flights:
    """Flights of one contender as a `splitting.Problem`; samples are `Branches`.

    Attributes:
        pilot: Who flies.
        world: The world; what is heard must be random.
        device: Where to compute.
        first: How many times n samples the first stage has.
    """

    pilot: Pilot
    world: WorldConfig
    device: str = "cpu"
    first: int = 1

    def draw(self, count: int, generator: np.random.Generator) -> Branches:
        """Return flights at their beginning."""
        start = start_of([Tape(generator) for _ in range(count)], self.world)
        world = World(self.world, 0, range(count), self.device, start=start)
        assert world.perception is not None
        everyone, steps = np.arange(count), np.zeros(count, np.int64)
        world.perception.restart(everyone, _keys(count, generator), world.traffic, steps)
        return Branches(State.of(world, self.pilot).taken(torch.arange(count, device=world.device)))

    def fly(self, samples: Branches, level: float = -inf) -> Outcome:
        """Fly them to their end: score is the smallest `nearness`, exposure hours, work aircraft-steps."""
        begun = samples.state
        count, device = len(begun.world.episodes), begun.world.device
        size = min(_SIDE_BY_SIDE, at_once(count, self.world.aircraft))
        outcomes, passed, numbers = [], [], []
        for first in range(0, count, size):
            chunk = torch.arange(first, min(first + size, count), device=device)
            outcome, states, slots = self._fly(begun.taken(chunk), level)
            outcomes.append(outcome)
            passed += states
            numbers += [chunk[each] for each in slots]
        samples.level, samples.passed, samples.numbers = level, None, np.zeros(0, np.int64)
        if passed:
            order = torch.cat(numbers).argsort()
            samples.passed = passed[0].joined(passed[1:]).taken(order)
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
        state = samples.passed.taken(torch.from_numpy(place).to(samples.passed.world.device))
        assert state.world.perception is not None
        state.world.perception.keys = _keys(len(parents), generator)
        made = Branches(state)
        found = self.fly(made, following)
        return made, found, work + float(found.work.sum())

    def _fly(self, state: State, level: float) -> tuple[Outcome, list[State], list[Tensor]]:
        """Fly a batch; return its outcome, and the states that passed the level with their places in the batch."""
        world, pilot = state
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
                passed.append(state.taken(passes))
                places.append(slots[passes])
            going_on = (~world.is_over).nonzero().squeeze(-1)
            if not len(going_on):
                break
            if len(slots) - len(going_on) > len(slots) // 8:  # as in flight.fly
                state.keep(going_on)
                slots = slots[going_on]
            steps[slots] += world.traffic.is_piloted.sum(-1)
            world.step(action_of(pilot, world))
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
