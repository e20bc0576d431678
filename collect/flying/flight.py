"""Flying: the one loop that collecting, evaluating and filming share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...datasets.errors import FlightError
from ...datasets.traffic.pairs import Pairs
from ...datasets.traffic.state import Traffic
from ..airspace.conflicts import Conflicts, find
from ..airspace.neighbours import Sight, complete
from ..airspace.world_config import WorldConfig
from ..teachers.registry import Teacher, action_towards
from .world import StepResult, World

Pilot = Callable[[Traffic, Pairs], Tensor]
"""Maps (B, N) traffic and its pairs, (B, N, N) or (B, N, J), to actions (B, N, 2) in [-1, 1]."""


@runtime_checkable
class Remembering(Protocol):
    """A pilot that remembers: it is asked about every step of a batch, in order."""

    def begin(self, traffic: Traffic, is_flown: Tensor | None = None) -> None:
        """Begin a batch of episodes in this state, (B, N); only some aircraft of which it flies, (B, N) bool."""

    def keep(self, slots: Tensor) -> None:
        """Go on with some of the episodes only, (B',) int64."""


@runtime_checkable
class Branching(Remembering, Protocol):
    """One that remembers, and of whose flights several can go on from one state."""

    def taken(self, slots: Tensor) -> "Branching":
        """Return a pilot beside this one that goes on with some episodes, (B',) int64; one may be there twice."""

    def joined(self, others: Sequence[Any]) -> "Branching":
        """Return the pilot of its own episodes and then those of others."""


class Step(NamedTuple):
    """One decision step of a batch.

    Attributes:
        slots: (B',) int64, which episodes of the batch these are; finished ones have dropped out.
        steps: (B',) int64, number of the step in its episode, from 0.
        traffic: (B', N) before the action, as it is; the pilot may know less, see `World.perceive`.
        pairs: (B', N, N) or (B', N, J) of that state.
        action: (B', N, 2) what was flown; not what the pilot asked for where the simulator resolves itself.
        result: What it brought.
        known: That traffic and its pairs as the pilot knew them; None where it knew them as they are.
    """

    slots: Tensor
    steps: Tensor
    traffic: Traffic
    pairs: Pairs
    action: Tensor
    result: StepResult
    known: tuple[Traffic, Pairs] | None = None


def fly(world: World, pilot: Pilot) -> Iterator[Step]:
    """Fly a batch until every episode is over, yielding each step; finished episodes drop out.

    A pilot with a `resolution` (see `simulators.Resolution`) has the simulator resolve conflicts itself. One with
    `in_world` (see `mixed.Mix`) is asked for the pilot of this world. One that remembers (see `Remembering`) is
    told where a batch begins and which of its episodes go on.

    Raises:
        FlightError: The pilot asks for an action that is NaN or infinite.
    """
    pilot = pilot.in_world(world) if hasattr(pilot, "in_world") else pilot
    world.simulator.resolve_with(getattr(pilot, "resolution", None))
    slots = torch.arange(len(world.episodes), device=world.device)
    memory = pilot if isinstance(pilot, Remembering) else None
    if memory:
        memory.begin(world.traffic)
    while True:
        is_over = world.is_over
        over = int(is_over.sum())
        if over == len(slots):
            return
        if over > len(slots) // 8:  # dropping episodes costs copies: not for each single one
            kept = (~is_over).nonzero().squeeze(-1)
            world.keep(kept)
            if memory:
                memory.keep(kept)
            slots = slots[kept]
        steps, traffic, pairs = world.steps, world.traffic, world.pairs
        known = world.perceive()
        action = action_of(pilot, world, known)
        result = world.step(action)
        perceived = None if world.perception is None else known
        yield Step(slots, steps, traffic, pairs, world.simulator.flown(action), result, perceived)


def action_of(pilot: Pilot, world: World, known: tuple[Traffic, Pairs] | None = None) -> Tensor:
    """Return what a pilot does in the present state of a world, (B, N, 2), or in what is known of it.

    Raises:
        FlightError: That is no number.
    """
    action = world.held(pilot(*(known or world.perceive())))
    if not torch.isfinite(action).all():
        _refuse(action, world)
    return action


def _refuse(action: Tensor, world: World) -> None:
    """Raise if an aircraft that flies would fly an action that is not finite: NaN scores no loss of separation."""
    bad = (~torch.isfinite(action).all(-1) & world.traffic.is_piloted).nonzero()
    if not len(bad):
        return
    row, aircraft = bad[0].tolist()
    turn, speed = action[row, aircraft].tolist()
    raise FlightError(
        f"expected finite actions, got turn {turn} and speed change {speed} for aircraft {aircraft} in scenario "
        f"{world.episodes[row]} of seed {world.seed}, step {int(world.steps[row])}. Its weights may be "
        "damaged, or its training went wrong: train it again, or fly another checkpoint."
    )


class Advice(NamedTuple):
    """What a teacher says about a state: its action (B, N, 2) and the conflicts it acts on."""

    action: Tensor
    conflicts: Conflicts


def advise(teacher: Teacher, world_config: WorldConfig, traffic: Traffic, pairs: Pairs) -> Advice:
    """Ask a teacher about (B, N) traffic."""
    pairs = complete(pairs, traffic, Sight(teacher.protected_zone_m, teacher.lookahead_s))
    conflicts = find(pairs, teacher.protected_zone_m, teacher.lookahead_s)
    velocity = teacher.velocity(traffic, conflicts)
    return Advice(action_towards(traffic, velocity, world_config), conflicts)


@dataclass(frozen=True)
class TeacherPilot:
    """Flies what a teacher says.

    Attributes:
        teacher: Who.
        world_config: The world.
    """

    teacher: Teacher
    world_config: WorldConfig

    def __call__(self, traffic: Traffic, pairs: Pairs) -> Tensor:
        """Return the teacher's actions, (B, N, 2)."""
        return advise(self.teacher, self.world_config, traffic, pairs).action
