"""The world for PettingZoo: one agent per aircraft. Needs the extra `skyclone[pettingzoo]`."""

from typing import Any

import numpy as np
from gymnasium import spaces

from ...datasets.errors import ConfigurationError
from ...datasets.traffic.record import FLYING, OUTCOMES, TIME_LIMIT
from ...datasets.traffic.view import View
from ..airspace.world_config import WorldConfig
from .episodes import Arrays, EpisodeBatch, observation_space

try:
    from pettingzoo import ParallelEnv
except ModuleNotFoundError as error:
    raise ConfigurationError(
        "SectorParallelEnv needs PettingZoo, which is not installed. Install it: pip install 'skyclone[pettingzoo]'"
    ) from error

Infos = dict[str, dict[str, Any]]


class SectorParallelEnv(ParallelEnv[str, Arrays, np.ndarray]):
    """One sector whose aircraft are the agents "aircraft_0", "aircraft_1", ...

    Observation of an agent: ownship (7,), intruders (K, F) sorted by distance, is_present (K,) (True = a real
    intruder). Action: (2,) turn and speed change in [-1, 1]. An agent whose flight ended leaves `agents`; one
    that enters later joins them then, with a reward of 0 in that step. Where nobody flies, time goes on until
    somebody enters. Aircraft that hover are no agents, only seen.
    Infos of an agent: `teacher_action` (2,) for the returned observation and, after a step, `outcome` (a name).

    Args:
        config: The world, or its text such as `enroute:aircraft=40`; the reference world by default.
        view: What aircraft see.
        teacher: Its actions are in the infos; None saves the time.
        device: Where it is computed.

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
    ) -> None:
        self.episodes = EpisodeBatch(config, view, teacher, [0], 1, device)
        self.metadata = {"name": "skyclone_sector_v0", "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        self.possible_agents = [f"aircraft_{number}" for number in range(self.episodes.config.aircraft)]
        self.agents: list[str] = []
        self._number = {agent: number for number, agent in enumerate(self.possible_agents)}
        config, view = self.episodes.config, self.episodes.view
        self.observation_spaces = {agent: observation_space(config, view) for agent in self.possible_agents}
        self.action_spaces = {agent: spaces.Box(-1.0, 1.0, (2,), np.float32) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's observations, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's actions, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Arrays], Infos]:
        """Start an episode: the seed's first one, or without a seed the next one (at first: of a random seed)."""
        self.episodes.reset(seed, int(np.random.SeedSequence().generate_state(1)[0]))
        self._wait()
        observation, infos = self.episodes.look()
        self.agents = self._flying()
        return self._of_each(observation, self.agents), self._of_each(infos, self.agents)

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[dict[str, Arrays], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
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
        flown = self.episodes.step(batch)
        observation, infos = self.episodes.look()
        outcomes = {agent: int(flown.outcome[0, self._number[agent]]) for agent in self.agents}
        observations, described = (self._of_each(arrays, self.agents) for arrays in (observation, infos))
        for agent, outcome in outcomes.items():
            described[agent]["outcome"] = OUTCOMES[outcome]
        rewards = {agent: float(flown.aircraft_reward[0, self._number[agent]]) for agent in self.agents}
        terminated = {agent: outcome not in (FLYING, TIME_LIMIT) for agent, outcome in outcomes.items()}
        truncated = {agent: outcome == TIME_LIMIT for agent, outcome in outcomes.items()}
        if self._wait():
            observation, infos = self.episodes.look()
        self.agents = self._flying()
        entered = [agent for agent in self.agents if agent not in outcomes]
        observations |= self._of_each(observation, entered)
        described |= self._of_each(infos, entered)
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

    def _of_each(self, arrays: Arrays, agents: list[str]) -> dict[str, dict[str, Any]]:
        """Split arrays (1, N, ...) into those of some agents; `is_flying` is what `agents` says."""
        return {
            agent: {name: values[0, self._number[agent]] for name, values in arrays.items() if name != "is_flying"}
            for agent in agents
        }
