"""Stable-Baselines3 on skyclone's world: one slot per aircraft, all slots in one batch; for the benchmark only."""

from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.datasets.traffic.observation import Observation, observe_all
from skyclone.datasets.traffic.view import View
from skyclone.train import networks


class SlotsOfWorld(VecEnv):  # type: ignore[misc]
    """B episodes of N aircraft as B N environments; a slot whose aircraft has landed waits, done, seeing zeros.

    Attributes:
        aircraft: N.
        flown: Agent-steps of aircraft that really flew.
    """

    def __init__(self, envs: int, view: str) -> None:
        self.config = WorldConfig(reward="detour")
        self.aircraft, self.view = self.config.aircraft, View.parse(view)
        self.world = World(self.config, 0, range(envs))
        self._next, self.flown = envs, 0
        self._infos: list[dict[str, Any]] = [{} for _ in range(envs * self.aircraft)]
        seen = self.view.seen(self.aircraft)
        width = 7 + seen * (self.view.intruder_features + 1)
        box = gymnasium.spaces.Box
        super().__init__(len(self._infos), box(-np.inf, np.inf, (width,)), box(-1.0, 1.0, (2,)))

    def _observe(self) -> np.ndarray:
        """Return (B N, 7 + K F + K): ownship, intruders, mask."""
        parts = observe_all(self.world.traffic, self.view, self.world.pairs).flatten()
        flat = torch.cat((parts.ownship, parts.intruders.flatten(1), parts.is_present.float()), 1)
        return (flat * self.world.traffic.is_flying.reshape(-1, 1)).numpy()

    def reset(self) -> np.ndarray:
        return self._observe()

    def step_async(self, actions: np.ndarray) -> None:
        self._action = torch.from_numpy(actions).view(len(self.world.episodes), self.aircraft, 2)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        self.flown += int(self.world.traffic.is_flying.sum())
        result = self.world.step(self._action)
        done = ~self.world.traffic.is_flying
        over = self.world.is_over.nonzero().flatten().tolist()
        self.world.restart(over, range(self._next, self._next + len(over)))
        self._next += len(over)
        return self._observe(), result.reward.flatten().numpy(), done.flatten().numpy(), self._infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return []

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class _Both(nn.Module):
    """Actor and critic of ours in the place of SB3's two MLPs."""

    def __init__(self, view: View, network: str) -> None:
        super().__init__()
        self.view, self.latent_dim_pi, self.latent_dim_vf = view, 2, 1
        self.policy = networks.make(network, view)
        self.value = networks.make(network, view, outputs=1)

    def _split(self, flat: Tensor) -> Observation:
        features = self.view.intruder_features
        seen = (flat.shape[1] - 7) // (features + 1)
        intruders, mask = flat[:, 7:-seen].view(-1, seen, features), flat[:, -seen:] > 0
        return Observation(flat[:, :7], intruders, mask)

    def forward(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(flat), self.forward_critic(flat)

    def forward_actor(self, flat: Tensor) -> Tensor:
        return self.policy(self._split(flat))  # type: ignore[no-any-return]

    def forward_critic(self, flat: Tensor) -> Tensor:
        return self.value(self._split(flat))  # type: ignore[no-any-return]


class TheSameNetworks(ActorCriticPolicy):  # type: ignore[misc]
    """An SB3 policy whose actor and critic are skyclone's networks."""

    def __init__(self, *args: Any, view: str, network: str, **kwargs: Any) -> None:
        self._view, self._network = View.parse(view), network
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = _Both(self._view, self._network)
