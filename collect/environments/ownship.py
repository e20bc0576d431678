"""One ownship among traffic that its teacher flies: the single-agent interface, which Minari datasets recover.

Observations are flat, so that stock single-agent libraries accept them, see `flat`.

Notation: B flights at once, K intruders seen, F features per intruder.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.view import View, scale_of
from ..airspace.world_config import WorldConfig
from ..airspace.worlds import named
from ..scenarios.registry import recorded_world
from .autoreset import Slots, Steps, mode_named
from .flat import flat_space
from .ownship_batch import OwnshipBatch

ENVIRONMENT_ID = "skyclone/Ownship-v0"
ENTRY_POINT = "skyclone.collect.environments:OwnshipEnv"
VECTOR_ENTRY_POINT = "skyclone.collect.environments:OwnshipVectorEnv"


def environment_spec(config: WorldConfig, view: View, teacher: str) -> EnvSpec:
    """Return what `gymnasium.make` makes an `OwnshipEnv` from, registered or not; it can be written as JSON."""
    options = {"config": config.to_json(), "view": view.text(scale_of(config.to_json())), "teacher": teacher}
    # d3rlpy asks for the time limit; the world itself enforces it
    return EnvSpec(ENVIRONMENT_ID, entry_point=ENTRY_POINT, max_episode_steps=config.max_steps, kwargs=options)


class OwnshipEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One aircraft of a sector; the teacher flies the others.

    Observation: (7 + K F + K,) float32, see `flat.flatten`. Action: (2,) turn and speed change in [-1, 1]. Reward:
    the aircraft's own. Terminated at its waypoint or outside the sector, truncated at the time limit; the last
    observation is of the state after the last step. Infos, all numbers: `teacher_action` (2,) for the returned
    observation, `episode_number`, `aircraft`, and `outcome`, 0 as long as it flies; its name is
    `OUTCOMES[outcome]`.

    Each reset is another episode and an aircraft drawn from seed and episode among those that fly at the start (if
    none do, that enter first); `options={"episode": 3, "aircraft": 7}` names them, so that any flight of a dataset
    with this seed can be flown again: until it enters, the teacher flies.

    Args:
        config: The world, its JSON object, or a name such as `enroute:aircraft=40`; else the reference world.
        view: What the ownship sees.
        teacher: Flies the others.

    Raises:
        ConfigurationError: Unknown scenario, reward or teacher, or a world of another version.
        ObservationError: Unknown view.
    """

    def __init__(
        self,
        config: WorldConfig | dict[str, Any] | str | None = None,
        view: View | str = "seed",
        teacher: str = "mvp",
    ) -> None:
        self.config, self.view = _world_and_view(config, view)
        self.metadata = {"render_modes": []}
        self.observation_space = flat_space(self.config, self.view)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._flight = OwnshipBatch(self.config, self.view, teacher, 1)
        self._next, self._is_over = 0, True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode: the one named in the options, else the seed's first or the next one.

        Raises:
            ConfigurationError: There is no such episode or aircraft.
        """
        super().reset(seed=seed)
        given, self._is_over = options or {}, True
        episode = _whole("episode", given.get("episode", 0 if seed is not None else self._next))
        self._next = episode + 1
        self._flight.start(self.np_random_seed, [episode])
        if "aircraft" in given:
            aircraft = _whole("aircraft", given["aircraft"])
            numbers = np.flatnonzero(self._flight.is_piloted[0])
            if aircraft not in numbers:
                raise ConfigurationError(
                    f"expected an aircraft from 0 to {numbers[-1]} in episode {episode}, one that does not hover, "
                    f"got {aircraft}"
                )
            self._flight.ownship[0] = aircraft
        self._flight.go_on()
        self._is_over = False
        return self._look()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Fly one step.

        Raises:
            ConfigurationError: An action of another shape or not finite; no reset before it, or none since the end.
        """
        given = np.asarray(action, np.float32)
        if given.shape != (2,) or not np.isfinite(given).all():
            raise ConfigurationError(f"expected a finite action of shape (2,), got {given!r}")
        if self._is_over:
            raise ConfigurationError("expected reset() before step(): there is no flight. Call reset(seed=0).")
        flown = self._flight.step(given[None])
        observation, infos = self._look()
        terminated, truncated = bool(flown.terminated[0]), bool(flown.truncated[0])
        self._is_over = terminated or truncated
        return observation, float(flown.reward[0]), terminated, truncated, infos

    def _look(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Observe the present state."""
        observation, infos = self._flight.look()
        action = infos.pop("teacher_action")[0]
        return observation[0], {"teacher_action": action} | {name: int(each[0]) for name, each in infos.items()}


class OwnshipVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A batch of flights, each as in `OwnshipEnv`, all computed at once.

    Slot i flies the episodes i, i + B, i + 2 B, ... of one seed. Where nobody flies at the start of an episode, its
    slot waits for its ownship to enter: observations are zeros, the reward is 0, and actions change nothing.

    Args:
        num_envs: B.
        config: The world, its JSON object, or a name such as `enroute:aircraft=40`; else the reference world.
        view: What ownships see.
        teacher: Flies the others.
        autoreset_mode: As for `SectorVectorEnv`.
        device: Where it is computed.

    Raises:
        ConfigurationError: Unknown scenario, reward, teacher or mode, or a world of another version.
        ObservationError: Unknown view.
    """

    def __init__(
        self,
        num_envs: int = 64,
        config: WorldConfig | dict[str, Any] | str | None = None,
        view: View | str = "seed",
        teacher: str = "mvp",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        device: str = "cpu",
    ) -> None:
        if num_envs < 1:
            raise ConfigurationError(f"expected 1 or more environments, got num_envs={num_envs}")
        self.config, self.view = _world_and_view(config, view)
        self.num_envs = num_envs
        self.autoreset_mode = mode_named(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = flat_space(self.config, self.view)
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._slots = Slots(
            OwnshipBatch(self.config, self.view, teacher, num_envs, device), num_envs, self.autoreset_mode
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
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
        """Fly one step with actions (B, 2).

        Raises:
            ConfigurationError: Actions of another shape or not finite; a slot that has ended was not reset
                (with `DISABLED` only).
        """
        return self._slots.step(actions)


def _world_and_view(
    config: WorldConfig | dict[str, Any] | str | None, view: View | str
) -> tuple[WorldConfig, View]:
    """Return the world and the view that the arguments of an environment name; no file is opened."""
    is_recorded = isinstance(config, dict)  # as in the specification of an exported dataset, with its view
    if isinstance(config, dict):
        config = recorded_world(config, "the environment's world")
    world = named(config, files=False)
    scale = {} if is_recorded else scale_of(world.to_json())
    return world, View.parse(view, scale) if isinstance(view, str) else view


def _whole(what: str, value: Any) -> int:
    """Return an episode or aircraft, checked."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"expected {what} to be a whole number from 0 on, got {value!r}")
    return int(value)
