"""`attention-additive`: the seed's network, three independent heads of additive attention.

Notation: M rows, K intruders, F features per intruder, H heads, D head size.
"""

from typing import ClassVar

import torch
from torch import nn

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .attention import additive_heads, intruder_projection, projection, projection_bias
from .network import Network, Output, Parameters, action_layers


@config
class AdditiveParameters(Parameters):
    """Parameters of `attention-additive`.

    Attributes:
        heads: Number of heads H.
        head_size: Size D of queries, keys and values.
    """

    heads: Count = 3
    head_size: Count = 5


class AdditiveNetwork(Network):
    """Attend with additive attention: queries Linear(7, 5), keys and values Linear(5, 5), per head.

    Context of a head = sum_k a_k (W_v x_k + b_v) with a = softmax_k(v^T tanh(W_q o + b_q + W_k x_k +
    b_k)) for the ownship o and intruders x_k; the contexts (15) and the ownship (7) go through 22 -> 256
    -> 256 -> 2. W_q, W_k and W_v have biases, as torch's Linear has; v has none, since a softmax ignores
    it. Without any intruder the context is zero. As the weights sum to 1, W_v is applied once to the
    weighted mean instead of to each intruder.
    """

    name = "attention-additive"
    Parameters: ClassVar[type[Parameters]] = AdditiveParameters

    def __init__(self, view: View, parameters: AdditiveParameters) -> None:
        super().__init__(view, parameters)
        heads, size = parameters.heads, parameters.head_size
        self.W_q = projection(heads, size, view.ownship_features)  # (H, D, 7)
        self.b_q = projection_bias(heads, size, view.ownship_features)  # (H, D)
        self.W_k = intruder_projection(heads, size, view)  # (H, D, F)
        self.b_k = projection_bias(heads, size, view.intruder_features)
        self.W_v = intruder_projection(heads, size, view)
        self.b_v = projection_bias(heads, size, view.intruder_features)
        self.v = projection_bias(heads, size, size)  # drawn like Linear(D, 1)
        self.action = action_layers(heads * size + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and the attention (M, H, K) on request; see `Network.forward`."""
        ownship, _, is_present = observation
        rows, (heads, size) = ownship.shape[0], self.v.shape
        pooled, weights = additive_heads(observation, self.W_q, self.b_q + self.b_k, self.W_k, self.v)
        is_anyone = is_present.any(1)  # (M,)
        context = torch.bmm(self.W_v, pooled) + self.b_v.unsqueeze(2) * is_anyone  # (H, D, M)
        action = self.action(torch.cat((context.view(heads * size, rows).T, ownship), 1))  # (M, 22) -> (M, 2)
        return (action, weights.permute(2, 0, 1)) if with_attention else action

    def projections(self) -> dict[str, nn.Parameter]:
        """Return W_q (H, D, 7), W_k and W_v (H, D, F)."""
        return {"W_q": self.W_q, "W_k": self.W_k, "W_v": self.W_v}
