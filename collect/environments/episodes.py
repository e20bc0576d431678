"""A batch of episodes for the environments: NumPy in, NumPy out.

Notation: B episodes flown at once, N aircraft, K intruders seen, F features per intruder.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.observation import observe_all
from ...datasets.traffic.view import View, scale_of
from ..airspace.neighbours import pairs_around, sight_of
from ..airspace.reward import reward_named
from ..airspace.world_config import WorldConfig
from ..airspace.worlds import named
from ..flying.flight import advise
from ..flying.world import World
from ..scenarios.registry import check
from ..teachers.registry import parse

Arrays = dict[str, np.ndarray]


class Flown(NamedTuple):
    """The result of one step of a batch, as NumPy arrays.

    Attributes:
        reward: (B,) float64.
        terminated: (B,) bool, the last aircraft reached its waypoint or left the sector.
        truncated: (B,) bool, the time limit ended the last flights.
    """

    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class EpisodeBatch:
    """A batch of episodes for the environments: NumPy in, NumPy out.

    Slot i flies the episodes first[i], first[i] + every, first[i] + 2 every, ... What a slot flies depends on
    the seed and its own resets alone, never on the other slots.

    Args:
        config: The world, or its text such as `enroute:aircraft=40`.
        view: What aircraft see; a `View`, or its text: then lengths and speeds are in units of the world's.
        teacher: Its actions are in the infos, such as `mvp:margin=1.15`; None for no such entry.
        first: (B,) the first episode of each slot.
        every: Distance between the episodes of a slot.
        device: Where the tensors live.
    """

    def __init__(
        self,
        config: WorldConfig | str | None,
        view: View | str,
        teacher: str | None,
        first: Sequence[int],
        every: int,
        device: str,
    ) -> None:
        self.config = named(config)
        self.view = View.parse(view, scale_of(self.config.to_json())) if isinstance(view, str) else view
        self.first, self.every, self.device = list(first), every, device
        self._teacher = None if teacher is None else parse(teacher, self.config)
        check(self.config.scenario)  # report an unknown name now, not at the first reset
        reward_named(self.config.reward)
        self._world: World | None = None
        self._is_cut = torch.zeros(0)
        self._aircraft_reward = self._outcome = np.zeros(0)

    @property
    def world(self) -> World:
        """The world; there is none before the first reset."""
        if self._world is None:
            raise ConfigurationError("expected reset() before step(), got step() first. Call reset(seed=0).")
        return self._world

    def reset(self, seed: int | None, fallback_seed: int) -> None:
        """Start every slot: at its first episode if there is a seed (or no world yet), else at its next one."""
        if seed is not None or self._world is None:
            sight = sight_of(self.config, self.view.seen(self.config.aircraft))
            seed = fallback_seed if seed is None else seed
            self._world = World(self.config, seed, self.first, self.device, sight)
            self._is_cut = torch.zeros_like(self._world.traffic.is_flying)
            self._aircraft_reward = np.zeros(self._is_cut.shape, np.float32)
            self._outcome = np.zeros(self._is_cut.shape, np.int8)
        else:
            self.restart(np.ones(len(self.first), bool))

    def restart(self, is_chosen: np.ndarray) -> None:
        """Start the next episode in the chosen (B,) slots."""
        slots = np.flatnonzero(is_chosen).tolist()
        self.world.restart(slots, [self.world.episodes[slot] + self.every for slot in slots])
        self._is_cut[slots] = False
        self._aircraft_reward, self._outcome = self._aircraft_reward.copy(), self._outcome.copy()
        self._aircraft_reward[slots] = self._outcome[slots] = 0

    def step(self, actions: Any) -> Flown:
        """Fly one step with actions (B, N, 2).

        Raises:
            ConfigurationError: Actions of another shape, or not finite.
        """
        shape = (len(self.first), self.config.aircraft, 2)
        given = np.asarray(actions, dtype=np.float32)
        if given.shape != shape or not np.isfinite(given).all():
            found = "NaN or infinite ones" if given.shape == shape else f"an array of shape {given.shape}"
            raise ConfigurationError(
                f"expected finite actions of shape {shape} (episodes, aircraft, turn and speed change), got {found}"
            )
        was_over = self.world.is_over  # an episode ends only once
        result = self.world.step(torch.from_numpy(given).to(self.device))
        self._is_cut = result.truncated
        self._aircraft_reward, self._outcome = result.reward.cpu().numpy(), result.outcome.cpu().numpy()
        ends, is_cut = self.world.is_over & ~was_over, result.truncated.any(-1)
        return Flown(
            self._aircraft_reward.sum(axis=1, dtype=np.float64),
            (ends & ~is_cut).cpu().numpy(),
            (ends & is_cut).cpu().numpy(),
        )

    def look(self) -> tuple[Arrays, Arrays]:
        """Observe the present state: the observation, and its infos, which are the same after a reset and a step.

        Infos: `episode_number` (B,) int64; `aircraft_reward` (B, N) float32 and `outcome` (B, N) int8, a code of
        `OUTCOMES`, of the last step, both 0 after a reset; `teacher_action` (B, N, 2) float32 for the state.

        Aircraft see what they perceive; the teacher sees the state as it is.

        Aircraft stopped by the time limit are still seen in their last state: it is no real end, and a critic has
        to value it. Those that reached their waypoint or left the sector are zeros, as are those yet to enter and
        those that hover, which others see.
        """
        traffic, pairs = self.world.traffic, self.world.pairs
        if bool(self._is_cut.any()):
            traffic = replace(traffic, is_flying=traffic.is_flying | self._is_cut)
            pairs = pairs_around(traffic, self.world.sight)
        known, known_pairs = self.world.perceive(traffic, pairs)
        seen = observe_all(known, self.view, known_pairs)
        flying = traffic.is_piloted.unsqueeze(-1)  # (B, N, 1)
        observation = {
            "ownship": (seen.ownship * flying).cpu().numpy(),
            "intruders": (seen.intruders * flying.unsqueeze(-1)).cpu().numpy(),
            "is_present": (seen.is_present & flying).cpu().numpy(),
            "is_flying": traffic.is_piloted.cpu().numpy().copy(),
        }
        infos = {
            "episode_number": np.array(self.world.episodes, np.int64),
            "aircraft_reward": self._aircraft_reward,
            "outcome": self._outcome,
        }
        if self._teacher is not None:
            advice = advise(self._teacher, self.config, traffic, pairs).action * flying
            infos["teacher_action"] = advice.cpu().numpy()
        return observation, infos


def observation_space(config: WorldConfig, view: View, leading: tuple[int, ...] = ()) -> spaces.Dict:
    """Return the space of observations: ownship (..., 7), intruders (..., K, F), is_present (..., K).

    Each feature is bounded by two aircraft at opposite ends of the sector, one step outside of it.

    Args:
        config: The world.
        view: What aircraft see.
        leading: The leading dimensions: () for one aircraft, (N,) for an episode.
    """
    reach_m = 1.01 * (config.sector_radius_m + config.outside_m + config.max_speed_mps * config.step_s)
    bound = max(2.0, 2 * reach_m / view.length_m, 2 * config.max_speed_mps / view.speed_mps)
    seen = view.seen(config.aircraft)
    boxes: dict[str, spaces.Space[Any]] = {
        "ownship": spaces.Box(-bound, bound, (*leading, view.ownship_features), np.float32),
        "intruders": spaces.Box(-bound, bound, (*leading, seen, view.intruder_features), np.float32),
        "is_present": spaces.Box(0, 1, (*leading, seen), np.bool_),
    }
    return spaces.Dict(boxes)
