"""The critic: what a flying aircraft has still to expect, from its own attention over the intruders.

It shares nothing with the actor, so that learning values never moves the policy; and it is a whole network
from the registry with one output, not a head on the actor's features and not a constant.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .. import networks
from ..runs.processes import Processes

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

    def calibrate(self, returns: Tensor, processes: Processes | None = None) -> None:
        """Fix the units from the returns (M,) of a first rollout, of all processes together."""
        processes = processes or Processes()
        rows, total = processes.total(torch.stack((returns.new_tensor(float(len(returns))), returns.sum())))
        self.shift.copy_(total / rows)
        squares = processes.total((returns - self.shift).square().sum())
        self.scale.copy_((squares / rows).sqrt().clamp_min(1e-3))

    def forward(self, observation: Observation) -> Tensor:
        """Return the values (M,)."""
        return self.shift + self.scale * self._raw(observation)

    def losses(self, observation: Observation, target: Tensor) -> Tensor:
        """Return how far values are from their targets, in the critic's units: Huber's loss of each, (M,).

        Returns have a long tail: squared, a few aircraft that lose separation would be all that is learned from.
        """
        return huber_loss(self._raw(observation), (target - self.shift) / self.scale, reduction="none")

    def _raw(self, observation: Observation) -> Tensor:
        """Return the network's output (M,)."""
        return cast(Tensor, self.network(observation)).squeeze(-1)


def in_parts(function: nn.Module, observation: Observation) -> Tensor:
    """Apply a network to many rows, without gradient, some thousand at a time: (M, ...)."""
    with torch.no_grad():
        parts = zip(*(tensor.split(_ROWS_AT_ONCE) for tensor in observation))
        return torch.cat([function(Observation(*part)) for part in parts])
