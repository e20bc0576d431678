"""One ownship among traffic that its teacher flies: the single-agent interface, which Minari datasets recover.

Observations are flat, so that stock single-agent libraries accept them: the ownship's features, then
those of each intruder, nearest first, then the mask of the intruders (1 = a real one, 0 = padding).

Notation: M ownships, N aircraft, K intruders seen, F features per intruder.
"""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from torch import Tensor

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.observation import flatten, observe
from ...datasets.traffic.pairs import pairs_of_rows
from ...datasets.traffic.record import FLYING, OUTCOMES, TIME_LIMIT
from ...datasets.traffic.view import View, scale_of
from ..airspace.neighbours import pairs_around
from ..airspace.world_config import WorldConfig
from ..airspace.worlds import named
from ..flying.flight import advise
from ..flying.world import World
from ..scenarios.registry import recorded_world
from ..teachers.registry import parse
from .episodes import observation_space

ENVIRONMENT_ID = "skyclone/Ownship-v0"
ENTRY_POINT = "skyclone.collect.environments:OwnshipEnv"


def flat_space(config: WorldConfig, view: View) -> spaces.Box:
    """Return the space of one flat observation."""
    parts = observation_space(config, view)
    boxes = [parts[name] for name in ("ownship", "intruders", "is_present")]
    low, high = (
        np.concatenate([np.ravel(getattr(box, side)).astype(np.float32) for box in boxes])
        for side in ("low", "high")
    )
    return spaces.Box(low, high, dtype=np.float32)


def environment_spec(config: WorldConfig, view: View, teacher: str) -> EnvSpec:
    """Return what `gymnasium.make` makes an `OwnshipEnv` from, registered or not; it can be written as JSON."""
    options = {"config": config.to_json(), "view": view.text(scale_of(config.to_json())), "teacher": teacher}
    # d3rlpy asks for the time limit; the world itself enforces it
    return EnvSpec(ENVIRONMENT_ID, entry_point=ENTRY_POINT, max_episode_steps=config.max_steps, kwargs=options)


class OwnshipEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One aircraft of a sector; the teacher flies the others.

    Observation: (7 + K F + K,) float32, see `flatten`. Action: (2,) turn and speed change in [-1, 1]. Reward: the
    aircraft's own. Terminated at its waypoint or outside the sector, truncated at the time limit; the last
    observation is of the state after the last step. Infos: `teacher_action` (2,) for the returned observation,
    `episode`, `aircraft`, and after a step `outcome` (a name).

    Each reset is another episode and an aircraft drawn from the seed among those that fly at the start (if none do,
    that enter first); `options={"episode": 3, "aircraft": 7}` names them, so that any flight of a dataset with this
    seed can be flown again: until it enters, the teacher flies.

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
        is_recorded = isinstance(config, dict)  # as in the specification of an exported dataset, with its view
        if isinstance(config, dict):
            config = recorded_world(config, "the environment's world")
        self.config = named(config, files=False)
        scale = {} if is_recorded else scale_of(self.config.to_json())
        self.view = View.parse(view, scale) if isinstance(view, str) else view
        self.metadata = {"render_modes": []}
        self.observation_space = flat_space(self.config, self.view)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._teacher = parse(teacher, self.config)
        self._world: World | None = None
        self._next = self._ownship = 0
        self._advice = torch.zeros(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode: the one named in the options, else the seed's first or the next one.

        Raises:
            ConfigurationError: There is no such episode or aircraft.
        """
        super().reset(seed=seed)
        given = options or {}
        episode = _whole("episode", given.get("episode", 0 if seed is not None else self._next))
        self._next = episode + 1
        self._world = world = World(self.config, self.np_random_seed, [episode])
        entry_steps = world.itinerary.entry_steps[0].numpy()
        is_piloted = replace(world.traffic, is_flying=world.itinerary.entry_steps >= 0).is_piloted[0].numpy()
        numbers = np.flatnonzero(is_piloted & (entry_steps == entry_steps[is_piloted].min()))
        drawn = int(numbers[self.np_random.integers(len(numbers))])
        self._ownship = _whole("aircraft", given.get("aircraft", drawn))
        numbers = np.flatnonzero(is_piloted)
        if self._ownship not in numbers:
            raise ConfigurationError(
                f"expected an aircraft from 0 to {numbers[-1]} in episode {episode}, one that does not hover, got "
                f"{self._ownship}"
            )
        return self._fly_to_entry(world)

    def _fly_to_entry(self, world: World) -> tuple[np.ndarray, dict[str, Any]]:
        """Let the teacher fly until the ownship enters, and observe.

        Raises:
            ConfigurationError: It never does.
        """
        nobody = torch.zeros_like(world.traffic.is_flying)
        seen = self._look(world, nobody)
        while not world.traffic.is_flying[0, self._ownship]:
            if world.is_over[0]:
                raise ConfigurationError(
                    f"expected an aircraft that enters in episode {world.episodes[0]}, got {self._ownship}, which "
                    "waits for room until the time limit. Name another."
                )
            world.step(self._advice)
            seen = self._look(world, nobody)
        return seen

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Fly one step.

        Raises:
            ConfigurationError: An action of another shape or not finite; no reset before it, or none since the end.
        """
        given = np.asarray(action, np.float32)
        if given.shape != (2,) or not np.isfinite(given).all():
            raise ConfigurationError(f"expected a finite action of shape (2,), got {given!r}")
        world = self._world
        if world is None or not world.traffic.is_flying[0, self._ownship]:
            raise ConfigurationError("expected reset() before step(): there is no flight. Call reset(seed=0).")
        actions = self._advice.clone()  # (1, N, 2)
        actions[0, self._ownship] = torch.from_numpy(given)
        result = world.step(actions)
        outcome = int(result.outcome[0, self._ownship])
        is_cut = outcome == TIME_LIMIT
        seen = result.truncated.clone()  # the time limit is no real end: aircraft it stops are still seen
        seen[0, self._ownship] = True
        observation, infos = self._look(world, seen)
        infos["outcome"] = OUTCOMES[outcome]
        reward = float(result.reward[0, self._ownship])
        return observation, reward, outcome != FLYING and not is_cut, is_cut, infos

    def _look(self, world: World, seen: Tensor) -> tuple[np.ndarray, dict[str, Any]]:
        """Observe the present state, with those (1, N) that have just ended and are seen; ask the teacher."""
        traffic = replace(world.traffic, is_flying=world.traffic.is_flying | seen)
        around = pairs_around(traffic, world.sight)
        advice = advise(self._teacher, self.config, traffic, around).action
        action = advice[0, self._ownship].numpy()
        if world.perception is None:
            self._advice = advice
            own, pairs = pairs_of_rows(traffic, torch.tensor([self._ownship]))
        else:
            known, known_pairs = world.perceive(traffic, around)
            self._advice = advise(self._teacher, self.config, known, known_pairs).action
            own = known.map(lambda tensor: tensor[:, self._ownship])
            pairs = known_pairs.map(lambda tensor: tensor[:, self._ownship])
        observation = flatten(observe(own, pairs, self.view))[0].numpy()
        return observation, {"teacher_action": action, "episode": world.episodes[0], "aircraft": self._ownship}


def _whole(what: str, value: Any) -> int:
    """Return an episode or aircraft, checked."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"expected {what} to be a whole number from 0 on, got {value!r}")
    return int(value)
