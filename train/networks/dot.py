"""`attention-dot`: scaled dot-product attention, all else as in `attention-additive`.

One of the encoders that Groot, Ellerbroek and Hoekstra (Eng. Appl. of AI, 2025) compare for SAC; there
additive attention did better. `skyclone compare` asks whether that holds for imitation.

Notation: M rows, K intruders, F features per intruder, H heads, D head size.
"""

from math import sqrt
from typing import ClassVar

import torch
from torch import nn

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .attention import (
    features_first,
    intruder_projection,
    masked_softmax,
    project_ownship,
    projection,
    projection_bias,
)
from .network import Network, Output, Parameters, action_layers


@config
class DotParameters(Parameters):
    """Parameters of `attention-dot`.

    Attributes:
        heads: Number of heads H.
        head_size: Size D of queries, keys and values.
    """

    heads: Count = 3
    head_size: Count = 5


class DotNetwork(Network):
    """Attend by scaled dot products: a = softmax_k(q . W_k x_k / sqrt(D)), q = W_q o + b_q (Vaswani et al. 2017).

    Context of a head = sum_k a_k (W_v x_k + b_v) for the ownship o and intruders x_k, zero without any;
    contexts and ownship go through 22 -> 256 -> 256 -> 2. Keys need no bias, since a softmax ignores a
    constant added to all scores, and are never computed: q . W_k x_k = (W_k^T q) . x_k.
    """

    name = "attention-dot"
    Parameters: ClassVar[type[Parameters]] = DotParameters

    def __init__(self, view: View, parameters: DotParameters) -> None:
        super().__init__(view, parameters)
        heads, size = parameters.heads, parameters.head_size
        self.W_q = projection(heads, size, view.ownship_features)  # (H, D, 7)
        self.b_q = projection_bias(heads, size, view.ownship_features)  # (H, D)
        self.W_k = intruder_projection(heads, size, view)  # (H, D, F)
        self.W_v = intruder_projection(heads, size, view)
        self.b_v = projection_bias(heads, size, view.intruder_features)
        self.action = action_layers(heads * size + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and the attention (M, H, K) on request; see `Network.forward`."""
        ownship = observation.ownship
        rows, (heads, size) = ownship.shape[0], self.b_q.shape
        query = project_ownship(ownship, self.W_q, self.b_q)  # (H, D, M)
        asked = torch.bmm(self.W_k.transpose(1, 2), query) / sqrt(size)  # (H, F, M)
        intruders, is_present = features_first(observation)  # (F, K, M), (K, M)
        scores = (asked.unsqueeze(2) * intruders).sum(1)  # (H, K, M)
        weights = masked_softmax(scores, is_present, dim=1)
        pooled = (weights.unsqueeze(1) * intruders).sum(2)  # (H, F, M)
        context = torch.bmm(self.W_v, pooled) + self.b_v.unsqueeze(2) * is_present.any(0)  # (H, D, M)
        action = self.action(torch.cat((context.view(heads * size, rows).T, ownship), 1))
        return (action, weights.permute(2, 0, 1)) if with_attention else action

    def projections(self) -> dict[str, nn.Parameter]:
        """Return W_q (H, D, 7), W_k and W_v (H, D, F)."""
        return {"W_q": self.W_q, "W_k": self.W_k, "W_v": self.W_v}
