"""skyclone's networks as the policy of Stable-Baselines3; for the benchmark only."""

from typing import Any

from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.train import networks


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
