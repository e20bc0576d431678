"""A batch of flights, one ownship in each of B sectors, whose other aircraft the teacher flies.

Notation: B sectors, N aircraft in each, W numbers in a flat observation.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.observation import flatten, observe
from ...datasets.traffic.pairs import pairs_of_rows
from ...datasets.traffic.record import FLYING, TIME_LIMIT
from ...datasets.traffic.view import View
from ..airspace.neighbours import pairs_around, sight_of
from ..airspace.world_config import WorldConfig
from ..flying.flight import advise
from ..flying.world import World
from ..scenarios.registry import OWNSHIP_STREAM, check, generator_of
from ..teachers.registry import parse
from .episodes import Arrays, Flown


class OwnshipBatch:
    """A batch of flights, NumPy in, NumPy out.

    Slot i flies the episodes i, i + B, i + 2 B, ... A flight is a function of seed and episode: its ownship is
    drawn among those that fly at the start (if none do, that enter first). Until it enters, it observes zeros.

    Args:
        config: The world.
        view: What ownships see.
        teacher: Flies the others.
        count: B.
        device: Where the tensors live.

    Attributes:
        ownship: (B,) int64 on the CPU, who it is in each sector.
    """

    def __init__(self, config: WorldConfig, view: View, teacher: str, count: int, device: str = "cpu") -> None:
        self.config, self.view, self.count, self.device = config, view, count, device
        self._teacher = parse(teacher, config)
        check(config.scenario)
        self._rows = torch.arange(count, device=device)
        self.ownship = torch.zeros(count, dtype=torch.int64)
        self._world: World | None = None
        self._advice = torch.zeros(0)
        self._seen = torch.zeros(0)
        self._outcome = np.zeros(count, np.int8)

    @property
    def world(self) -> World:
        """The world; there is none before the first reset."""
        if self._world is None:
            raise ConfigurationError("expected reset() before step(), got step() first. Call reset(seed=0).")
        return self._world

    @property
    def is_flying(self) -> np.ndarray:
        """(B,) bool, whether the ownship flies now."""
        return self._of_ownships(self.world.traffic.is_flying).cpu().numpy()

    def start(self, seed: int, episodes: Sequence[int]) -> None:
        """Start in every slot the episode named."""
        sight = sight_of(self.config, self.view.seen(self.config.aircraft))
        self._world = World(self.config, seed, episodes, self.device, sight)
        self._seen = torch.zeros_like(self._world.traffic.is_flying)
        self._outcome = np.zeros(self.count, np.int8)
        self._draw(range(self.count))

    def reset(self, seed: int | None, fallback_seed: int) -> None:
        """Start every slot: at its first episode if there is a seed (or no world yet), else at its next one."""
        if seed is not None or self._world is None:
            self.start(fallback_seed if seed is None else seed, range(self.count))
        else:
            self.restart(np.ones(self.count, bool))

    def restart(self, is_chosen: np.ndarray) -> None:
        """Start the next episode in the chosen (B,) slots."""
        slots = np.flatnonzero(is_chosen).tolist()
        self.world.restart(slots, [self.world.episodes[slot] + self.count for slot in slots])
        self._seen[slots] = False
        self._outcome = np.where(is_chosen, 0, self._outcome).astype(np.int8)
        self._draw(slots)

    @property
    def is_piloted(self) -> np.ndarray:
        """(B, N) bool, who flies at some time and does not hover, in episodes at their start."""
        traffic = replace(self.world.traffic, is_flying=self.world.itinerary.entry_steps >= 0)
        return traffic.is_piloted.cpu().numpy()

    def _draw(self, slots: Sequence[int]) -> None:
        """Draw the ownships of some slots whose episodes are at their start."""
        entries, is_piloted = self.world.itinerary.entry_steps.cpu().numpy(), self.is_piloted
        self.ownship = self.ownship.clone()
        for slot in slots:
            first = entries[slot][is_piloted[slot]].min()
            numbers = np.flatnonzero(is_piloted[slot] & (entries[slot] == first))
            generator = generator_of(self.world.seed, self.world.episodes[slot], OWNSHIP_STREAM)
            self.ownship[slot] = int(generator.choice(numbers))

    def step(self, actions: Any) -> Flown:
        """Fly one step with actions (B, 2) of the state last looked at.

        Raises:
            ConfigurationError: Actions of another shape, or not finite.
        """
        given = np.asarray(actions, np.float32)
        if given.shape != (self.count, 2) or not np.isfinite(given).all():
            raise ConfigurationError(
                f"expected finite actions of shape ({self.count}, 2) (ownships, turn and speed change), "
                f"got {given!r}"
            )
        world = self.world
        flown = self._advice.clone()  # (B, N, 2)
        flown[self._rows, self._own] = torch.from_numpy(given).to(flown.device)
        was_over = world.is_over
        is_waiting = world.itinerary.is_waiting(world.steps, self.config.max_steps)
        result = world.step(flown)
        outcome = self._of_ownships(result.outcome)
        # the time limit is no real end: aircraft it stops are still seen
        self._seen = result.truncated.clone()
        self._seen[self._rows, self._own] |= outcome != FLYING
        never = self._of_ownships(is_waiting) & world.is_over & ~was_over  # it waited for room until the time limit
        self._outcome = outcome.cpu().numpy()
        is_cut = self._outcome == TIME_LIMIT
        return Flown(
            self._of_ownships(result.reward).cpu().numpy().astype(np.float64),
            (self._outcome != FLYING) & ~is_cut,
            is_cut | never.cpu().numpy(),
        )

    def go_on(self) -> None:
        """Let the teacher fly until the ownship enters; for a batch of one.

        Raises:
            ConfigurationError: It never does.
        """
        self.look()
        while not self.is_flying.all():
            if self.world.is_over.any():
                raise ConfigurationError(
                    f"expected an aircraft that enters in episode {self.world.episodes[0]}, got "
                    f"{self.ownship.item()}, which waits for room until the time limit. Name another."
                )
            self.world.step(self._advice)
            self.look()

    def look(self) -> tuple[np.ndarray, Arrays]:
        """Observe the present state, those that have just ended included; ask the teacher.

        Ownships see what they perceive; `teacher_action` is for the state as it is.

        Returns:
            (B, W) float32; infos `episode_number` (B,) int64, `aircraft` (B,) int64, `outcome` (B,) int8, a code of
            `OUTCOMES`, `teacher_action` (B, 2) float32.
        """
        world = self.world
        traffic = replace(world.traffic, is_flying=world.traffic.is_flying | self._seen)
        around = pairs_around(traffic, world.sight)
        advice = advise(self._teacher, self.config, traffic, around).action  # (B, N, 2)
        if world.perception is None:
            self._advice = advice
            own, pairs = pairs_of_rows(traffic, self._own)
        else:
            known, known_pairs = world.perceive(traffic, around)
            self._advice = advise(self._teacher, self.config, known, known_pairs).action
            own, pairs = known.map(self._of_ownships), known_pairs.map(self._of_ownships)
        is_there = self._of_ownships(traffic.is_flying).unsqueeze(-1)
        observation = flatten(observe(own, pairs, self.view)) * is_there
        return observation.cpu().numpy(), {
            "episode_number": np.array(world.episodes, np.int64),
            "aircraft": self.ownship.numpy(),
            "outcome": self._outcome,
            "teacher_action": (self._of_ownships(advice) * is_there).cpu().numpy(),
        }

    @property
    def _own(self) -> torch.Tensor:
        """(B,) int64, the ownships on the world's device."""
        return self.ownship.to(self._rows.device)

    def _of_ownships(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return what ownships have of (B, N, ...)."""
        return tensor[self._rows, self._own]
