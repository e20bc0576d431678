"""`pairwise`: look at each ownship-intruder pair with a small network first, then attend.

Whether two aircraft are in conflict depends on both at once (distance, relative velocity, look-ahead
time); a query and a key computed apart only add up, so the seed's network never sees it. Here the
attention works on each pair after a two-layer network.

Conflicts happen within some 200 m and 9 m/s, a small part of what observations are divided by. So the
network would see everything that matters near zero, where it is almost linear. The intruders' features are
therefore multiplied first (`train/LOG.md`: a held-out loss of 0.0052 instead of 0.0074 after 100 s).

Notation: M rows, K intruders, F features per intruder, H heads, D head size, E width of a pair's embedding.
"""

from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .attention import masked_softmax, projection, projection_bias
from .gains import LENGTH_GAIN, SPEED_GAIN, feature_gains
from .network import Gain, Network, Output, Parameters, action_layers


@config
class PairwiseParameters(Parameters):
    """Parameters of `pairwise`.

    Attributes:
        hidden: Width of the two hidden layers after the attention.
        width: Width E of the two layers on each pair.
        heads: Number of heads H.
        head_size: Size D of queries, keys and values.
        length_gain: What the intruders' lengths (distance, position, dcpa) are multiplied by.
        speed_gain: What their speeds are multiplied by.
    """

    hidden: Count = 128
    width: Count = 64
    heads: Count = 3
    head_size: Count = 16
    length_gain: Gain = LENGTH_GAIN
    speed_gain: Gain = SPEED_GAIN


class PairwiseNetwork(Network):
    """Embed each pair (7 + F -> 64 -> 64), attend with 3 heads of size 16, decide (55 -> 128 -> 128 -> 2).

    Context of a head = sum_k a_k (W_v e_k + b_v) with a = softmax_k(q . W_k e_k / sqrt(D)), q = W_q o +
    b_q, for the ownship o and embeddings e_k. Keys need no bias (a softmax ignores it), and neither keys
    nor values are ever expanded per intruder: q . W_k e_k = (W_k^T q) . e_k, and W_v acts on the
    weighted mean.
    """

    name = "pairwise"
    Parameters: ClassVar[type[Parameters]] = PairwiseParameters

    def __init__(self, view: View, parameters: PairwiseParameters) -> None:
        super().__init__(view, parameters)
        heads, size, width = parameters.heads, parameters.head_size, parameters.width
        gains = feature_gains(view, parameters.length_gain, parameters.speed_gain)
        self.register_buffer("gains", gains, persistent=False)  # (F,)
        self.gains: Tensor
        self.pair_ownship = nn.Linear(view.ownship_features, width)
        self.pair_intruder = nn.Linear(view.intruder_features, width, bias=False)
        self.pair = nn.Linear(width, width)
        self.W_q = projection(heads, size, view.ownship_features)  # (H, D, 7)
        self.b_q = projection_bias(heads, size, view.ownship_features)  # (H, D)
        self.W_k = projection(heads, size, width)  # (H, D, E)
        self.W_v = projection(heads, size, width)
        self.b_v = projection_bias(heads, size, width)
        self.action = action_layers(heads * size + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and the attention (M, H, K) on request; see `Network.forward`."""
        ownship, intruders, is_present = observation
        rows, (heads, size), slope = ownship.shape[0], self.b_q.shape, self.settings.slope
        pair = self.pair_intruder(intruders * self.gains) + self.pair_ownship(ownship).unsqueeze(1)  # (M, K, E)
        pair = leaky_relu(self.pair(leaky_relu(pair, slope, inplace=True)), slope, inplace=True)
        query = torch.addmm(self.b_q.flatten(), ownship, self.W_q.flatten(0, 1).T)  # (M, H * D)
        asked = torch.bmm(query.view(rows, heads, size).transpose(0, 1), self.W_k)  # W_k^T q: (H, M, E)
        scores = torch.bmm(asked.transpose(0, 1), pair.transpose(1, 2)) / sqrt(size)  # (M, H, K)
        weights = masked_softmax(scores, is_present.unsqueeze(1), dim=2)
        pooled = torch.bmm(weights, pair).transpose(0, 1)  # (H, M, E)
        is_anyone = is_present.any(1).to(pooled.dtype).view(1, rows, 1)
        context = torch.bmm(pooled, self.W_v.transpose(1, 2)) + self.b_v.unsqueeze(1) * is_anyone  # (H, M, D)
        action = self.action(torch.cat((context.transpose(0, 1).reshape(rows, heads * size), ownship), 1))
        return (action, weights) if with_attention else action

    def projections(self) -> dict[str, nn.Parameter]:
        """Return W_q (H, D, 7), W_k and W_v (H, D, E)."""
        return {"W_q": self.W_q, "W_k": self.W_k, "W_v": self.W_v}
