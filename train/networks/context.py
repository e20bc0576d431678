"""`attention-context`: additive scores, and values that know the ownship: "context-aware" attention.

One of the encoders that Groot, Ellerbroek and Hoekstra (Eng. Appl. of AI, 2025) compare for SAC; there
additive attention did better. The formula is read from the first author's public code of that study
(github.com/jangroter/atcenv, branch attention_study: `RelativeNeuralNetworkAttentionMultiHeadScore`, which
the configuration `ca_high_int_penalty` uses and its plots label CA), not from the article's text. Taken over:
the scores are those of additive attention; the values are one linear layer, with bias, of intruder and
ownship together. Decided here, so that it differs from `attention-additive` in the values only: biases and v
per head (there one bias and one v serve all heads), leaky ReLU, and zero instead of a value where there is no
intruder.

From the formula it follows: the weights sum to 1, so the ownship's part of the values leaves the sum, sum_k
a_k (W_v x_k + W_c o + b_v) = W_v sum_k a_k x_k + W_c o + b_v, and where an intruder is present the network
can express nothing that `attention-additive` cannot; it only starts elsewhere and learns at another pace
(`tests/train/networks/test_networks.py` builds the equal additive network).

Notation: M rows, K intruders, F features per intruder, H heads, D head size.
"""

from typing import ClassVar

import torch
from torch import nn

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .attention import additive_heads, intruder_projection, project_ownship, projection, projection_bias
from .gains import LENGTH_GAIN, SPEED_GAIN, feature_gains
from .network import Network, Output, Parameters, action_layers


@config
class ContextParameters(Parameters):
    """Parameters of `attention-context`.

    Attributes:
        heads: Number of heads H.
        head_size: Size D of queries, keys and values.
    """

    heads: Count = 3
    head_size: Count = 5


class ContextNetwork(Network):
    """Attend with additive attention to values of intruder and ownship together.

    Context of a head = sum_k a_k (W_v x_k + W_c o + b_v) with a = softmax_k(v^T tanh(W_q o + b + W_k x_k))
    for the ownship o and intruders x_k, zero without any; contexts and ownship go through 22 -> 256 -> 256 ->
    2.
    """

    name = "attention-context"
    Parameters: ClassVar[type[Parameters]] = ContextParameters

    def __init__(self, view: View, parameters: ContextParameters) -> None:
        super().__init__(view, parameters)
        heads, size = parameters.heads, parameters.head_size
        together = view.intruder_features + view.ownship_features
        self.W_q = projection(heads, size, view.ownship_features)  # (H, D, 7)
        self.b_q = projection_bias(heads, size, view.ownship_features)  # (H, D)
        self.W_k = intruder_projection(heads, size, view)  # (H, D, F)
        self.v = projection_bias(heads, size, size)  # drawn like Linear(D, 1)
        self.W_v = projection(heads, size, together)  # (H, D, F + 7): W_v and W_c side by side
        with torch.no_grad():
            self.W_v[..., : view.intruder_features].mul_(feature_gains(view, LENGTH_GAIN, SPEED_GAIN))
        self.b_v = projection_bias(heads, size, together)
        self.action = action_layers(heads * size + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and the attention (M, H, K) on request; see `Network.forward`."""
        ownship, _, is_present = observation
        rows, (heads, size) = ownship.shape[0], self.v.shape
        pooled, weights = additive_heads(observation, self.W_q, self.b_q, self.W_k, self.v)
        seen, about = self.W_v.split((self.intruder_features, self.ownship_features), 2)
        values = torch.bmm(seen, pooled) + project_ownship(ownship, about, self.b_v)  # (H, D, M)
        context = values * is_present.any(1)
        action = self.action(torch.cat((context.view(heads * size, rows).T, ownship), 1))
        return (action, weights.permute(2, 0, 1)) if with_attention else action

    def projections(self) -> dict[str, nn.Parameter]:
        """Return W_q (H, D, 7), W_k (H, D, F) and W_v (H, D, F + 7)."""
        return {"W_q": self.W_q, "W_k": self.W_k, "W_v": self.W_v}
