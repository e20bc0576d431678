"""`deepsets`: a small network on each intruder, then one sum, mean or maximum over all (Zaheer et al. 2017).

MVP sums over conflicts, and each conflict depends on the relative state alone. So this network asks whether
attention is needed at all.

Notation: M rows, K intruders, F features per intruder, E width of an intruder's embedding.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .gains import LENGTH_GAIN, SPEED_GAIN, feature_gains
from .network import Gain, Network, Output, Parameters, action_layers, no_attention
from .order import blank


@config
class DeepSetsParameters(Parameters):
    """Parameters of `deepsets`.

    Attributes:
        hidden: Width of the two hidden layers after the pooling.
        width: Width E of the two layers on each intruder.
        pooling: How the intruders are summed up.
        length_gain: What the intruders' lengths (distance, position, dcpa) are multiplied by.
        speed_gain: What their speeds are multiplied by.
    """

    hidden: Count = 128
    width: Count = 64
    pooling: Literal["sum", "mean", "max"] = "sum"
    length_gain: Gain = LENGTH_GAIN
    speed_gain: Gain = SPEED_GAIN


class DeepSetsNetwork(Network):
    """Embed each intruder (5 -> 64 -> 64), pool, decide with the ownship (71 -> 128 -> 128 -> 2).

    No intruder pools to zero. A maximum is never below zero, so an intruder far away may count for nothing. It
    has no attention.
    """

    name = "deepsets"
    Parameters: ClassVar[type[Parameters]] = DeepSetsParameters

    def __init__(self, view: View, parameters: DeepSetsParameters) -> None:
        super().__init__(view, parameters)
        width, gains = parameters.width, (parameters.length_gain, parameters.speed_gain)
        self.register_buffer("gains", feature_gains(view, *gains), persistent=False)  # (F,)
        self.gains: Tensor
        self.first = nn.Linear(view.intruder_features, width)
        self.second = nn.Linear(width, width)
        self.action = action_layers(width + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and no attention (M, 0, K) on request; see `Network.forward`."""
        ownship, intruders, is_present = observation
        embedded = leaky_relu(
            self.first(blank(intruders, is_present) * self.gains), self.settings.slope, inplace=True
        )
        embedded = leaky_relu(self.second(embedded), self.settings.slope, inplace=True)  # (M, K, E)
        action = self.action(torch.cat((self._pool(blank(embedded, is_present), is_present), ownship), 1))
        return (action, no_attention(observation)) if with_attention else action

    def _pool(self, embedded: Tensor, is_present: Tensor) -> Tensor:
        """Return one vector per row, (M, E), of embeddings (M, K, E) that are zero for padding."""
        if self.settings.pooling == "max":
            padding = embedded.new_zeros(embedded.shape[0], 1, embedded.shape[2])
            return torch.cat((embedded, padding), 1).amax(1)
        total = embedded.sum(1)
        if self.settings.pooling == "mean":
            return total / is_present.sum(1, keepdim=True).clamp_min(1)
        return total
