"""The world for PettingZoo: one agent per aircraft. Needs the extra `skyclone[pettingzoo]`."""

from typing import Any

import numpy as np
from gymnasium import spaces

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.record import FLYING, TIME_LIMIT
from ...datasets.traffic.view import View
from ..airspace.world_config import WorldConfig
from .episodes import Arrays, EpisodeBatch, observation_space
from .flat import PARTS, flat_space, flatten_arrays

try:
    from pettingzoo import ParallelEnv
except ModuleNotFoundError as error:
    raise ConfigurationError(
        "SectorParallelEnv needs PettingZoo, which is not installed. Install it: pip install 'skyclone[pettingzoo]'"
    ) from error

Infos = dict[str, dict[str, Any]]


class SectorParallelEnv(ParallelEnv[str, Any, np.ndarray]):
    """One sector whose aircraft are the agents "aircraft_0", "aircraft_1", ...

    Observation of an agent: ownship (7,), intruders (K, F) sorted by distance, is_present (K,) (True = a real
    intruder). Action: (2,) turn and speed change in [-1, 1]. An agent whose flight ended leaves `agents`; one
    that enters later joins them then, with a reward of 0 in that step. Where nobody flies, time goes on until
    somebody enters. Aircraft that hover are no agents, only seen.
    Infos of an agent, all numbers: `teacher_action` (2,) for the returned observation, `episode_number`, and
    `outcome`, 0 as long as it flies: `OUTCOMES[outcome]` is its name.

    Args:
        config: The world, or its text such as `enroute:aircraft=40`; the reference world by default.
        view: What aircraft see.
        teacher: Its actions are in the infos; None saves the time.
        device: Where it is computed.
        flat: Observations are (7 + K F + K,) float32 as in `OwnshipEnv`, for libraries that accept no others.

    Raises:
        ConfigurationError: Unknown scenario, reward or teacher.
        ObservationError: Unknown view.
    """

    def __init__(
        self,
        config: WorldConfig | str | None = None,
        view: View | str = "seed",
        teacher: str | None = "mvp",
        device: str = "cpu",
        flat: bool = False,
    ) -> None:
        self.episodes = EpisodeBatch(config, view, teacher, [0], 1, device)
        self.metadata = {"name": "skyclone_sector_v0", "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        self.possible_agents = [f"aircraft_{number}" for number in range(self.episodes.config.aircraft)]
        self.agents: list[str] = []
        self._number = {agent: number for number, agent in enumerate(self.possible_agents)}
        config, view = self.episodes.config, self.episodes.view
        self._is_flat = flat
        space_of = flat_space if flat else observation_space
        self.observation_spaces: dict[str, spaces.Space[Any]] = {
            agent: space_of(config, view) for agent in self.possible_agents
        }
        self.action_spaces = {agent: spaces.Box(-1.0, 1.0, (2,), np.float32) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's observations, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's actions, always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Infos]:
        """Start an episode: the seed's first one, or without a seed the next one (at first: of a random seed)."""
        self.episodes.reset(seed, int(np.random.SeedSequence().generate_state(1)[0]))
        self._wait()
        observation, infos = self.episodes.look()
        self.agents = self._flying()
        return self._seen_by(observation, self.agents), self._infos_of(infos, self.agents)

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Fly one step with an action (2,) of every agent that still flies.

        Raises:
            ConfigurationError: An agent's action is missing, of another shape or not finite.
        """
        if not self.agents:
            return {}, {}, {}, {}, {}
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise ConfigurationError(
                f"expected an action of every agent that flies, got none of {', '.join(missing)}"
            )
        batch = np.zeros((1, len(self.possible_agents), 2), np.float32)
        for agent in self.agents:
            given = np.asarray(actions[agent], np.float32)
            if given.shape != (2,):
                raise ConfigurationError(f"expected an action of shape (2,) of {agent}, got shape {given.shape}")
            batch[0, self._number[agent]] = given
        self.episodes.step(batch)
        observation, infos = self.episodes.look()
        outcomes = {agent: int(infos["outcome"][0, self._number[agent]]) for agent in self.agents}
        rewards = {agent: float(infos["aircraft_reward"][0, self._number[agent]]) for agent in self.agents}
        observations, described = self._seen_by(observation, self.agents), self._infos_of(infos, self.agents)
        terminated = {agent: outcome not in (FLYING, TIME_LIMIT) for agent, outcome in outcomes.items()}
        truncated = {agent: outcome == TIME_LIMIT for agent, outcome in outcomes.items()}
        if self._wait():
            observation, infos = self.episodes.look()
        self.agents = self._flying()
        entered = [agent for agent in self.agents if agent not in outcomes]
        observations |= self._seen_by(observation, entered)
        described |= self._infos_of(infos, entered)
        rewards |= dict.fromkeys(entered, 0.0)
        terminated |= dict.fromkeys(entered, False)
        truncated |= dict.fromkeys(entered, False)
        return observations, rewards, terminated, truncated, described

    def _flying(self) -> list[str]:
        """Return the agents that fly now."""
        is_piloted = self.episodes.world.traffic.is_piloted[0].tolist()
        return [agent for agent in self.possible_agents if is_piloted[self._number[agent]]]

    def _wait(self) -> bool:
        """Go on to when somebody flies, unless the episode is over; return whether that took any step."""
        world, has_waited = self.episodes.world, False
        nothing = np.zeros((1, len(self.possible_agents), 2), np.float32)
        while not bool(world.traffic.is_piloted.any() | world.is_over.all()):
            self.episodes.step(nothing)
            has_waited = True
        return has_waited

    def _seen_by(self, observation: Arrays, agents: list[str]) -> dict[str, Any]:
        """Return what each of some agents observes; `is_flying` is what `agents` says."""
        if self._is_flat:
            flat = flatten_arrays(observation)
            return {agent: flat[0, self._number[agent]] for agent in agents}
        return {agent: {name: observation[name][0, self._number[agent]] for name in PARTS} for agent in agents}

    def _infos_of(self, infos: Arrays, agents: list[str]) -> Infos:
        """Return the infos of each of some agents."""
        described: Infos = {}
        for agent in agents:
            number = self._number[agent]
            described[agent] = {
                "episode_number": int(infos["episode_number"][0]),
                "outcome": int(infos["outcome"][0, number]),
            }
            if "teacher_action" in infos:
                described[agent]["teacher_action"] = infos["teacher_action"][0, number]
        return described
