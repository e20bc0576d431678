"""The environments for Stable-Baselines3, which has a `VecEnv` of its own and refuses Gymnasium's `VectorEnv`.

Notation: B episodes flown at once, N aircraft in each, W numbers in a flat observation; R rows, which are what
Stable-Baselines3 calls environments: B N, or B where one ownship flies in each episode.
"""

import time
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.record import FLYING, TIME_LIMIT
from .episodes import Arrays
from .flat import flat_space, flatten_arrays
from .ownship import OwnshipVectorEnv
from .vector import SectorVectorEnv

try:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as error:
    raise ConfigurationError(
        "StableBaselinesVecEnv needs Stable-Baselines3, which is not installed. Install it: "
        "pip install stable-baselines3"
    ) from error

Infos = list[dict[str, Any]]


class StableBaselinesVecEnv(VecEnv):
    """A batch of ours as one `VecEnv`, computed in one process.

    Of a `SectorVectorEnv` every aircraft is a row, so that one policy learns from all of them: row b N + n is
    aircraft n of episode b, with its own reward. While an aircraft does not fly (it has ended, is yet to enter, or
    hovers), its row is zeros and done: those rows teach nothing. Of an `OwnshipVectorEnv` every flight is a row.

    Observations are flat (W,), see `flat.flatten`. Infos of a row whose flight has ended: `terminal_observation`,
    `TimeLimit.truncated`, `outcome`, and `episode` with return `r`, length `l` and time `t`, which
    Stable-Baselines3 logs, and `evaluate_policy` counts (no `VecMonitor` is needed). All episodes are of one seed.

    Args:
        envs: Made with `autoreset_mode="SAME_STEP"`; `teacher=None` saves the time.

    Attributes:
        agent_steps: Steps of aircraft that really flew.

    Raises:
        ConfigurationError: Another autoreset mode.
    """

    def __init__(self, envs: SectorVectorEnv | OwnshipVectorEnv) -> None:
        if envs.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ConfigurationError(
                f"expected environments with autoreset_mode='SAME_STEP', got {envs.autoreset_mode.name}: "
                "Stable-Baselines3 takes the step after an end for the first of the next episode"
            )
        self.envs, self.agent_steps = envs, 0
        source = envs.episodes if isinstance(envs, SectorVectorEnv) else envs
        aircraft = source.config.aircraft if isinstance(envs, SectorVectorEnv) else 1
        self._actions = np.zeros((0, 2), np.float32)
        space, action_space = flat_space(source.config, source.view), spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(envs.num_envs * aircraft, space, action_space)
        self._was_flying = np.zeros(self.num_envs, bool)
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._begin_s = time.perf_counter()

    def reset(self) -> np.ndarray:
        """Start new episodes, at the seed's first ones if one was set; return (R, W) float32."""
        observation, _ = self.envs.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0.0, 0
        flat, self._was_flying = self._rows_of(observation)
        return flat

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions (R, 2) for `step_wait`."""
        self._actions = actions.reshape(self.envs.action_space.shape or ())

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Fly one step: observations (R, W) float32, rewards (R,) float32, done (R,) bool, infos.

        Raises:
            ConfigurationError: An action is not finite.
        """
        observation, reward, _, truncated, infos = self.envs.step(self._actions)
        flat, is_flying = self._rows_of(observation)
        outcome, is_cut = self._of_step("outcome", infos), truncated
        if isinstance(self.envs, SectorVectorEnv):
            reward, is_cut = self._of_step("aircraft_reward", infos), outcome == TIME_LIMIT
        ended = self._was_flying & ((outcome != FLYING) | is_cut)
        self.agent_steps += int(self._was_flying.sum())
        self._returns += reward
        self._lengths += self._was_flying
        described: Infos = [{} for _ in range(self.num_envs)]
        rows = np.flatnonzero(ended)
        if len(rows):
            final = self._final(flat, infos)
            for row in rows.tolist():
                described[row] = self._described(row, final[row], bool(is_cut[row]), int(outcome[row]))
            self._returns[rows], self._lengths[rows] = 0.0, 0
        done = ended | ~self._was_flying
        self._was_flying = is_flying
        return flat, reward.astype(np.float32), done, described

    def _described(self, row: int, last: np.ndarray, is_cut: bool, outcome: int) -> dict[str, Any]:
        """Return the infos of a row whose flight has ended."""
        elapsed = round(time.perf_counter() - self._begin_s, 6)
        flight = {"r": float(self._returns[row]), "l": int(self._lengths[row]), "t": elapsed}
        return {
            "terminal_observation": last,
            "TimeLimit.truncated": is_cut,
            "outcome": outcome,
            "episode": flight,
        }

    def _rows_of(self, observation: Arrays | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return observations (R, W), and whose aircraft flies now, (R,) bool."""
        if isinstance(observation, dict):
            return flatten_arrays(observation).reshape(self.num_envs, -1), observation["is_flying"].reshape(-1)
        return observation, np.ones(self.num_envs, bool)

    def _of_step(self, name: str, infos: dict[str, Any]) -> np.ndarray:
        """Return an info (R,) of the step that was flown; slots that have started again have it among the final."""
        values: np.ndarray = infos[name].copy()
        if "final_info" in infos:
            is_over = infos["_final_info"]
            values[is_over] = infos["final_info"][name][is_over]
        return values.reshape(-1)

    def _final(self, flat: np.ndarray, infos: dict[str, Any]) -> np.ndarray:
        """Return observations (R, W) after the step, before slots have started again."""
        final = flat.copy().reshape(self.envs.num_envs, -1, flat.shape[-1])  # (B, N or 1, W)
        for slot in np.flatnonzero(infos.get("_final_obs", [])):
            last = infos["final_obs"][slot]
            final[slot] = flatten_arrays(last) if isinstance(last, dict) else last
        return final.reshape(flat.shape)

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the environments, which all rows share."""
        return [getattr(self.envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: rows have no attributes of their own."""
        raise NotImplementedError(f"rows share one batch: set {attr_name!r} of `envs` itself")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Refuse: rows have no methods of their own."""
        raise NotImplementedError(f"rows share one batch: call {method_name!r} of `envs` itself")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return that every row is monitored, and wrapped in nothing else.

        So `evaluate_policy` counts the flights in the infos, and not each step in which a row waits as one.
        """
        return [issubclass(wrapper_class, Monitor)] * len(list(self._get_indices(indices)))
