"""One sector, or a batch of them, as Gymnasium environments in which all aircraft act.

Notation: B episodes flown at once, N aircraft, K intruders seen, F features per intruder.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.view import View
from ..airspace.world_config import WorldConfig
from .autoreset import Slots, Steps, mode_named
from .episodes import Arrays, EpisodeBatch, observation_space


def _episode_space(episodes: EpisodeBatch) -> spaces.Dict:
    """Return the space of one episode's observations: (N, 7), (N, K, F), (N, K) and is_flying (N,)."""
    count = episodes.config.aircraft
    space = observation_space(episodes.config, episodes.view, (count,))
    return spaces.Dict({**space.spaces, "is_flying": spaces.Box(0, 1, (count,), np.bool_)})


class SectorVectorEnv(VectorEnv[Arrays, np.ndarray, np.ndarray]):
    """A batch of sectors: each sub-environment is one episode in which all N aircraft act.

    Observation (per sub-environment): ownship (N, 7), intruders (N, K, F), is_present (N, K), is_flying (N,).
    Action: (N, 2) turn and speed change in [-1, 1]. Reward: sum over the aircraft. Terminated when the last
    aircraft reached its waypoint or left the sector; truncated at the time limit.
    Infos, all arrays: `teacher_action` (B, N, 2) for the returned observation, `episode_number` (B,), and of the
    last step `aircraft_reward` (B, N) and `outcome` (B, N), 0 after a reset and as long as an aircraft flies: the
    names are `OUTCOMES`. As usual, `_name` marks the slots that have it.

    Args:
        num_envs: B.
        config: The world, or its text such as `enroute:aircraft=40`; the reference world by default.
        view: What aircraft see.
        teacher: Its actions are in the infos; None saves the time.
        autoreset_mode: `NEXT_STEP` (Gymnasium's default, and ours: the step after an episode's end ignores the
            action and starts the next), `SAME_STEP` (the last observation is in `infos["final_obs"]`) or `DISABLED`
            (the caller resets with `options={"reset_mask": mask}`).
        device: Where it is computed.

    Raises:
        ConfigurationError: Unknown scenario, reward, teacher or mode.
        ObservationError: Unknown view.
    """

    def __init__(
        self,
        num_envs: int = 64,
        config: WorldConfig | str | None = None,
        view: View | str = "seed",
        teacher: str | None = "mvp",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        device: str = "cpu",
    ) -> None:
        if num_envs < 1:
            raise ConfigurationError(f"expected 1 or more environments, got num_envs={num_envs}")
        self.episodes = EpisodeBatch(config, view, teacher, range(num_envs), num_envs, device)
        self.num_envs = num_envs
        self.autoreset_mode = mode_named(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = _episode_space(self.episodes)
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.episodes.config.aircraft, 2), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._slots = Slots(self.episodes, num_envs, self.autoreset_mode)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: Starts again at the seed's first episodes; None continues with the next ones.
            options: `reset_mask`, (B,) bool: only these slots.

        Raises:
            ConfigurationError: The mask is no (B,) bool array, or a seed is given with it.
        """
        super().reset(seed=seed)
        return self._slots.reset(seed, self.np_random_seed or 0, options)

    def step(self, actions: np.ndarray) -> Steps:
        """Fly one step with actions (B, N, 2).

        Raises:
            ConfigurationError: Actions of another shape or not finite; a slot that has ended was not reset
                (with `DISABLED` only).
        """
        return self._slots.step(actions)


class SectorEnv(gymnasium.Env[Arrays, np.ndarray]):
    """One sector, flown centrally: all N aircraft act in one action (N, 2).

    Spaces, reward and infos as one sub-environment of `SectorVectorEnv`, without the batch axis.

    Args:
        config: The world, or its text such as `enroute:aircraft=40`; the reference world by default.
        view: What aircraft see.
        teacher: Its actions are in the infos; None saves the time.
        first_episode: The first episode after `reset(seed=...)`.
        every: Distance between episodes: worker w of n flies w, w + n, ... with first_episode=w, every=n.
        device: Where it is computed.
    """

    def __init__(
        self,
        config: WorldConfig | str | None = None,
        view: View | str = "seed",
        teacher: str | None = "mvp",
        first_episode: int = 0,
        every: int = 1,
        device: str = "cpu",
    ) -> None:
        self.episodes = EpisodeBatch(config, view, teacher, [first_episode], every, device)
        self.metadata = {"render_modes": []}
        self.observation_space: spaces.Space[Any] = _episode_space(self.episodes)
        self.action_space = spaces.Box(-1.0, 1.0, (self.episodes.config.aircraft, 2), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Start an episode: the seed's first one, or without a seed the next one."""
        super().reset(seed=seed)
        self.episodes.reset(seed, self.np_random_seed)
        observation, infos = self.episodes.look()
        return _only(observation), _only(infos)

    def step(self, action: np.ndarray) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Fly one step with an action (N, 2).

        Raises:
            ConfigurationError: An action of another shape or not finite.
        """
        flown = self.episodes.step(np.asarray(action)[None])
        observation, infos = self.episodes.look()
        ended = bool(flown.terminated[0]), bool(flown.truncated[0])
        return _only(observation), float(flown.reward[0]), *ended, _only(infos)


def _only(arrays: Arrays) -> Arrays:
    """Drop the batch axis of a batch of one."""
    return {name: values[0] for name, values in arrays.items()}
