"""`transformer`: an encoder in which the intruders also look at one another before the ownship looks at them.

Notation: M rows, K intruders, T = K + 1 tokens (the ownship first), F features per intruder, H heads, D head
size, E width of a token.
"""

from math import sqrt
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .attention import masked_softmax
from .gains import LENGTH_GAIN, SPEED_GAIN, feature_gains
from .network import Gain, Network, Output, Parameters, action_layers
from .order import blank


@config
class TransformerParameters(Parameters):
    """Parameters of `transformer`.

    Attributes:
        hidden: Width of the two hidden layers after the encoder.
        width: Width E of a token.
        layers: Layers; in the last one only the ownship looks, at the intruders.
        heads: Number of heads H.
        head_size: Size D of queries, keys and values.
        length_gain: What the intruders' lengths (distance, position, dcpa) are multiplied by.
        speed_gain: What their speeds are multiplied by.
    """

    hidden: Count = 128
    width: Count = 32
    layers: int = Field(default=2, ge=1, le=100)
    heads: Count = 2
    head_size: Count = 16
    length_gain: Gain = LENGTH_GAIN
    speed_gain: Gain = SPEED_GAIN


class TransformerNetwork(Network):
    """Encode ownship and intruders as tokens (32 wide), with layers normalised first (Xiong et al. 2020).

    In all layers but the last every token looks at every present one. In the last one the ownship's token
    alone looks, at the intruders: nothing after it reads the others, and its weights sum to 1 over the
    intruders. The ownship's token and the ownship's features go through 39 -> 128 -> 128 -> 2. There are no
    positions, so no order.
    """

    name = "transformer"
    Parameters: ClassVar[type[Parameters]] = TransformerParameters

    def __init__(self, view: View, parameters: TransformerParameters) -> None:
        super().__init__(view, parameters)
        width, gains = parameters.width, (parameters.length_gain, parameters.speed_gain)
        self.register_buffer("gains", feature_gains(view, *gains), persistent=False)  # (F,)
        self.gains: Tensor
        self.from_ownship = nn.Linear(view.ownship_features, width)
        self.from_intruder = nn.Linear(view.intruder_features, width)
        self.layers = nn.ModuleList(Layer(parameters) for _ in range(parameters.layers))
        self.norm = nn.LayerNorm(width)
        self.action = action_layers(width + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and the last layer's attention (M, H, K) on request; see `Network.forward`."""
        ownship, intruders, is_present = observation
        own = self.from_ownship(ownship).unsqueeze(1)  # (M, 1, E)
        others = self.from_intruder(blank(intruders, is_present) * self.gains)  # (M, K, E)
        tokens = torch.cat((own, others), 1)  # (M, T, E)
        is_token = torch.cat((is_present.new_ones(own.shape[:2]), is_present), 1)  # (M, T)
        *before, last = cast(list[Layer], list(self.layers))
        for layer in before:
            tokens = layer(tokens, is_token)
        token, weights = last.look(tokens[:, 0], tokens[:, 1:], is_present)  # (M, E), (M, H, K)
        action = self.action(torch.cat((self.norm(token), ownship), 1))
        return (action, weights) if with_attention else action

    def projections(self) -> dict[str, nn.Parameter]:
        """Return none: its matrices per head cannot be compared with those of the other networks."""
        return {}


class Layer(nn.Module):
    """One layer: the tokens look at one another, then each is processed by itself."""

    def __init__(self, parameters: TransformerParameters) -> None:
        super().__init__()
        width, inner = parameters.width, parameters.heads * parameters.head_size
        self.heads, self.head_size = parameters.heads, parameters.head_size
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner)
        self.key_value = nn.Linear(width, 2 * inner)
        self.join = nn.Linear(inner, width)
        self.work = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.LeakyReLU(parameters.slope, inplace=True),
            nn.Linear(2 * width, width),
        )

    def forward(self, tokens: Tensor, is_present: Tensor) -> Tensor:
        """Return the tokens (M, T, E) after each has looked at all present ones (M, T), at least one."""
        asking = self.norm(tokens)
        query = self._split(self.query(asking))  # (M, H, T, D)
        key, value = (self._split(part) for part in self.key_value(asking).chunk(2, 2))
        scores = torch.matmul(query / sqrt(self.head_size), key.transpose(2, 3))  # (M, H, T, T)
        absent = torch.zeros_like(is_present, dtype=scores.dtype).masked_fill_(~is_present, -torch.inf)
        weights = torch.softmax(scores.add_(absent[:, None, None, :]), 3)  # at least one is present: no NaN
        return self._work(tokens, torch.matmul(weights, value).transpose(1, 2).flatten(2))

    def look(self, token: Tensor, others: Tensor, is_present: Tensor) -> tuple[Tensor, Tensor]:
        """Return a token (M, E) after it alone has looked at others (M, K, E), and its weights (M, H, K).

        With one query, keys and values of the others need not be computed: q . W_k x = (W_k^T q) . x,
        and W_v acts on the weighted mean.
        """
        rows, others = token.shape[0], self.norm(others)
        to_key, to_value = self.key_value.weight.unflatten(0, (2, self.heads, self.head_size))  # (H, D, E) each
        query = self.query(self.norm(token)).view(rows, self.heads, self.head_size) / sqrt(self.head_size)
        asked = torch.bmm(query.transpose(0, 1), to_key).transpose(0, 1)  # (M, H, E)
        weights = masked_softmax(torch.bmm(asked, others.transpose(1, 2)), is_present.unsqueeze(1), dim=2)
        pooled = torch.bmm(weights, others).transpose(0, 1)  # (H, M, E)
        seen = torch.bmm(pooled, to_value.transpose(1, 2)).transpose(0, 1).flatten(1)  # (M, H * D)
        bias = self.key_value.bias.chunk(2)[1]  # that of the values
        return self._work(token, seen + bias * is_present.any(1, keepdim=True)), weights

    def _work(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """Add what the tokens have seen, and process them one by one."""
        tokens = tokens + self.join(seen)
        updated: Tensor = tokens + self.work(tokens)
        return updated

    def _split(self, projected: Tensor) -> Tensor:
        """Return (M, H, K, D) from (M, K, H * D)."""
        return projected.unflatten(2, (self.heads, self.head_size)).transpose(1, 2)
