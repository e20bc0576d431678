"""What a run of fine-tuning needs of a method, and what both methods share.

Both offer the same to the run that drives them (`run.Finetuning`): they fly their aircraft, change their
network, and can be saved and taken back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...collect.airspace.world_config import WorldConfig
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from ..networks import Network
from ..policy import Policy
from ..runs import gate
from ..runs.gate import GateFlights
from ..runs.stopwatch import Stopwatch
from ..tensor_file import named, optimizer_tensors, restore_optimizer, under
from .config import FinetuneConfig
from .rollout import TRAINING_EPISODES, Crew

NETWORKS, LEARNING, FLYING = "networks", "learning", "flying"
_EPISODES_EACH, _EPISODES_OF_PROCESS = 2**32, 2**24  # of each crew, so that no two fly the same
KL_ROWS = 512  # rows on which the distance to the parent is measured, at most, where learning does not need it


@dataclass
class TuningProgress:
    """Where a run is, saved with its weights.

    Attributes:
        iteration: Iterations done.
        steps: Agent-steps flown.
        warmup_steps: Those of them from which only the critic learned.
        best_iteration: The iteration whose policy is the best; 0 is the parent.
        is_finished: Whether nothing is left to do.
        elapsed_s: Seconds spent so far, all attempts together.
        seconds: Where they went, by name.
    """

    iteration: int = 0
    steps: int = 0
    warmup_steps: int = 0
    best_iteration: int = 0
    is_finished: bool = False
    elapsed_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def learned(self, rows: int, steps: int) -> float:
        """Return which fraction of the policy's learning is done in the middle of the next `rows` agent-steps."""
        done = (self.steps - self.warmup_steps + 0.5 * rows) / max(steps - self.warmup_steps, 1)
        return min(done, 1.0)


class Learned(NamedTuple):
    """What an iteration came to.

    Attributes:
        rows: Agent-steps flown.
        is_warmup: Whether the policy was left untouched.
        rollout: Figures of the flight.
        learning: Figures of the update; all of them must be finite.
    """

    rows: int
    is_warmup: bool
    rollout: dict[str, float]
    learning: dict[str, float]


class Material(NamedTuple):
    """What a method is made of.

    Attributes:
        config: What to do.
        parent: Where to start; not changed.
        parent_view: What the parent observes.
        view: What is observed.
        worlds: Where to fly, in turn.
        device: Where everything lives.
    """

    config: FinetuneConfig
    parent: Network
    parent_view: View
    view: View
    worlds: Sequence[WorldConfig]
    device: torch.device

    def crews(self, clock: Stopwatch, rank: int = 0, processes: int = 1) -> list[Crew]:
        """Return the aircraft that fly for training, one crew for each world.

        Args:
            clock: Counts where the time goes.
            rank: Number of the process they fly in.
            processes: How many share the episodes.
        """
        episodes = self.config.envs // processes + (rank < self.config.envs % processes)
        first = TRAINING_EPISODES + rank * _EPISODES_OF_PROCESS
        return [
            Crew(
                world,
                self.config.seed,
                episodes,
                self.view,
                self.device,
                None,
                first + place * _EPISODES_EACH,
                clock,
            )
            for place, world in enumerate(self.worlds)
        ]

    @property
    def groups(self) -> list[int]:
        """The gate's scenarios in each of the worlds."""
        return gate.shared_out(self.config.gate_scenarios, len(self.worlds))

    def fly_gate(self, network: Network, rank: int = 0, processes: int = 1) -> list[GateFlights]:
        """Fly a network's mean actions through the gate: its scenarios in each of the worlds.

        Args:
            network: The policy, or the parent itself.
            rank: Number of the process that flies.
            processes: How many share the scenarios.
        """
        view = self.parent_view if network is self.parent else self.view
        pilot, config = Policy(network, view).pilot, self.config
        with torch.no_grad():
            return [
                gate.fly_gate(
                    pilot, world, config.seed, range(rank, scenarios, processes), self.device, config.costs
                )
                for world, scenarios in zip(self.worlds, self.groups)
            ]


class Method(Protocol):
    """What a run needs of a method.

    Attributes:
        network: The policy: what is flown through the gate, and published.
        modules: Everything with weights, by name; all of them must be finite.
        crews: The aircraft that fly in this process, one crew for each world: each number of aircraft under each
            surveillance. They fly by turns.
    """

    network: Network
    modules: dict[str, nn.Module]
    crews: list[Crew]

    def learn(self, progress: TuningProgress) -> Learned:
        """Fly with the crew whose turn it is, and learn from it."""
        ...

    def fly_gate(self, is_parent: bool = False) -> GateFlights:
        """Fly the policy, or its parent, through the gate."""
        ...

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to continue, as tensors and as JSON."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Take back what `saved` returned."""
        ...

    def close(self) -> None:
        """End what was started; the method learns no more."""
        ...


def saved_crews(
    crews: Sequence[Crew], generator: torch.Generator, rank: int = 0
) -> tuple[dict[str, Tensor], list[dict[str, int]]]:
    """Return the state of a process's crews and of its randomness, as tensors and as JSON."""
    prefix = f"process{rank}."
    tensors = {f"{prefix}generator": generator.get_state()}
    for place, crew in enumerate(crews):
        tensors |= named(f"{prefix}crew{place}", crew.tensors())
    return tensors, [crew.counters() for crew in crews]


def restore_crews(
    crews: Sequence[Crew],
    generator: torch.Generator,
    tensors: Mapping[str, Tensor],
    counters: Sequence[Mapping[str, int]],
    rank: int = 0,
) -> None:
    """Take back what `saved_crews` returned."""
    prefix = f"process{rank}."
    for place, (crew, each) in enumerate(zip(crews, counters, strict=True)):
        crew.restore(under(f"{prefix}crew{place}", tensors), each)
    generator.set_state(tensors[f"{prefix}generator"])


def saved_weights(modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the weights of all modules, and the optimizer's state."""
    tensors = optimizer_tensors(optimizer)
    for name, module in modules.items():
        tensors |= named(name, module.state_dict())
    return tensors


def restore_weights(
    modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Take back what `saved_weights` returned."""
    for name, module in modules.items():
        module.load_state_dict(under(name, tensors))
    restore_optimizer(optimizer, tensors)


def thinned(observation: Observation, action: Tensor) -> tuple[Observation, Tensor]:
    """Return observations (M rows) and actions (M, A) thinned evenly to `KL_ROWS` at most."""
    every = max(1, -(-len(action) // KL_ROWS))
    return Observation(*(tensor[::every] for tensor in observation)), action[::every]
