"""The critic: what a flying aircraft has still to expect, from its own attention over the intruders.

It shares nothing with the actor, so that learning values never moves the policy; and it is a whole network
from the registry with one output, not a head on the actor's features and not a constant.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .. import networks

_ROWS_AT_ONCE = 8192  # so that the activations stay within the cache, and within memory on long rollouts


class Critic(nn.Module):
    """A value function V(observation).

    The network works in units in which returns have mean 0 and standard deviation 1. The units are fixed
    once, from the returns of the first rollout (`calibrate`): the policy starts as a clone that already
    flies well, so returns do not change by orders of magnitude, and fixed units need no correction of
    the last layer.

    Args:
        view: The observation.
        spec: Network of the registry: name and parameters, as `Network.spec`; its outputs are set to 1.
        seed: Draws the initial weights.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, view: View, spec: dict[str, Any], seed: int) -> None:
        super().__init__()
        parameters = {**spec["parameters"], "outputs": 1}
        self.network = networks.make(spec["name"], view, seed=seed, **parameters)
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def adopt(self, network: networks.Network) -> None:
        """Start from a network's weights wherever they fit: all but the last layer, if it is of the same kind.

        A clone's layers already separate conflicts from free flight, which is most of what a value depends on.
        """
        own, theirs = self.network.state_dict(), network.state_dict()
        fitting = {name: theirs[name] for name in own if name in theirs and theirs[name].shape == own[name].shape}
        self.network.load_state_dict({**own, **fitting})

    def calibrate(self, returns: Tensor) -> None:
        """Fix the units from the returns (M,) of a first rollout."""
        self.shift.copy_(returns.mean())
        self.scale.copy_(returns.std(correction=0).clamp_min(1e-3))

    def forward(self, observation: Observation) -> Tensor:
        """Return the values (M,)."""
        return self.shift + self.scale * self._raw(observation)

    def loss(self, observation: Observation, target: Tensor) -> Tensor:
        """Return the mean squared error to the value targets (M,), in the critic's units."""
        return mse_loss(self._raw(observation), (target - self.shift) / self.scale)

    def _raw(self, observation: Observation) -> Tensor:
        """Return the network's output (M,)."""
        return cast(Tensor, self.network(observation)).squeeze(-1)


def in_parts(function: nn.Module, observation: Observation) -> Tensor:
    """Apply a network to many rows, without gradient, some thousand at a time: (M, ...)."""
    with torch.no_grad():
        parts = zip(*(tensor.split(_ROWS_AT_ONCE) for tensor in observation))
        return torch.cat([function(Observation(*part)) for part in parts])
