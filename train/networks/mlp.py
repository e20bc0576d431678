"""`mlp`: no encoder at all, the nearest few intruders side by side.

A fixed number of aircraft is the usual choice without an encoder; it is the simplest thing an encoder has to beat.

Notation: M rows, K intruders, F features per intruder, L intruders it has room for.
"""

from typing import ClassVar

import torch
from torch import Tensor

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .gains import LENGTH_GAIN, SPEED_GAIN, feature_gains
from .network import Gain, Network, Output, Parameters, action_layers, no_attention
from .order import arrange


@config
class MlpParameters(Parameters):
    """Parameters of `mlp`.

    Attributes:
        nearest: How many intruders L it has room for; it does not see the others.
        length_gain: What the intruders' lengths (distance, position, dcpa) are multiplied by.
        speed_gain: What their speeds are multiplied by.
    """

    nearest: Count = 8
    length_gain: Gain = LENGTH_GAIN
    speed_gain: Gain = SPEED_GAIN


class MlpNetwork(Network):
    """Put ownship and the nearest 8 intruders side by side: 7 + 8 x (5 + 1) -> 256 -> 256 -> 2.

    Each place holds the intruder's features and a 1; free places are zero. It has no attention.
    """

    name = "mlp"
    Parameters: ClassVar[type[Parameters]] = MlpParameters

    def __init__(self, view: View, parameters: MlpParameters) -> None:
        super().__init__(view, parameters)
        gains = feature_gains(view, parameters.length_gain, parameters.speed_gain)
        self.register_buffer("gains", gains, persistent=False)  # (F,)
        self.gains: Tensor
        places = parameters.nearest * (view.intruder_features + 1)
        self.action = action_layers(places + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and no attention (M, 0, K) on request; see `Network.forward`."""
        ownship, nearest = observation.ownship, self.settings.nearest
        intruders, is_present = arrange(observation, "near-to-far", nearest)  # (M, L or K, F), (M, L or K)
        filled = torch.cat((intruders * self.gains, is_present.unsqueeze(2).to(intruders.dtype)), 2)
        free = filled.new_zeros(filled.shape[0], nearest, filled.shape[2])
        places = torch.cat((filled, free), 1)[:, :nearest]  # (M, L, F + 1)
        action = self.action(torch.cat((places.flatten(1), ownship), 1))
        return (action, no_attention(observation)) if with_attention else action
