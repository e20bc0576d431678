"""`thresholds`: pairwise attention behind soft thresholds with learned places and widths.

A conflict-resolution teacher switches: it acts as soon as an intruder will be near enough, soon enough, and
flies to its waypoint before. 97 % of the error of `pairwise` is in a tenth of the rows, most of them next to
a switch (`train/LOG.md`), because a small network is smooth over tens of metres. Here each pair is first
described by its geometry, whatever the teacher: how far the intruder is now, at the closest point of approach
and at the look-ahead time, and whether it approaches now and then. Each of these five goes through soft steps
sigmoid(g (x - c)) whose c and g are learned: they move to where the teacher switches, and sharpen there.

The rest is `pairwise` with one change: a softmax averages over intruders, whereas pushes out of conflicts add
up. So the context of each head is multiplied by a soft count of the intruders that concern it, made of the
same scores; the attention remains a softmax.

Notation: M rows, K intruders, F features per intruder, H heads, D head size, E width of a pair's embedding,
G geometric features, J steps of each of the 5 stepped ones.
"""

from math import log, sqrt
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .attention import masked_softmax, projection, projection_bias
from .network import Gain, Network, Output, Parameters, action_layers

STEPPED = 5  # the first of the geometric features: these are stepped
GEOMETRY = 14
_LEAST_SQUARE = 1e-6


@config
class ThresholdsParameters(Parameters):
    """Parameters of `thresholds`.

    Attributes:
        hidden: Width of the two hidden layers after the attention.
        width: Width E of the two layers on each pair.
        heads: Number of heads H.
        head_size: Size D of queries, keys and values.
        steps: Number J of soft steps of each stepped quantity.
        steepness: g of every step at the start; 10 is a step some 20 m wide.
    """

    hidden: Count = 128
    width: Count = 64
    heads: Count = 3
    head_size: Count = 16
    steps: Count = 4
    steepness: Gain = 10.0


class ThresholdsNetwork(Network):
    """Describe each pair by stepped geometry, embed it (-> 64 -> 64), attend with 3 heads of size 16, decide.

    Context of a head = n sum_k a_k (W_v e_k + b_v) with a = softmax_k(s_k), n = sum_k sigmoid(s_k + b) and
    s_k = q . W_k e_k / sqrt(D), q = W_q o + b_q, for the ownship o and embeddings e_k; n, per head, goes to the
    action layers as well.
    """

    name = "thresholds"
    Parameters: ClassVar[type[Parameters]] = ThresholdsParameters

    def __init__(self, view: View, parameters: ThresholdsParameters) -> None:
        super().__init__(view, parameters)
        heads, size, width, steps = parameters.heads, parameters.head_size, parameters.width, parameters.steps
        self._length = view.length_m / view.protected_zone_m  # observed lengths -> protected zones
        self._speed = view.speed_mps * view.lookahead_s / view.protected_zone_m  # -> zones per look-ahead time
        self.pair_ownship = nn.Linear(view.ownship_features, width)
        self.pair_intruder = nn.Linear(GEOMETRY + STEPPED * steps, width, bias=False)
        self.pair = nn.Linear(width, width)
        self.W_q = projection(heads, size, view.ownship_features)  # (H, D, 7)
        self.b_q = projection_bias(heads, size, view.ownship_features)  # (H, D)
        self.W_k = projection(heads, size, width)  # (H, D, E)
        self.W_v = projection(heads, size, width)
        self.b_v = projection_bias(heads, size, width)
        self.count_bias = nn.Parameter(torch.full((heads, 1), -2.0))
        # Distances are stepped around the protected zone, quantities of either sign around zero.
        around = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0], device="cpu")  # torch takes seconds for it on `meta`
        places = torch.linspace(-0.7, 0.7, steps, device="cpu")
        self.step_places = nn.Parameter(around.unsqueeze(1) + places)  # (5, J)
        self.step_log_steepness = nn.Parameter(torch.full((STEPPED, steps), log(max(parameters.steepness, 1e-3))))
        self.action = action_layers(heads * (size + 1) + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and the attention (M, H, K) on request; see `Network.forward`."""
        ownship, intruders, is_present = observation
        rows, (heads, size), slope = ownship.shape[0], self.b_q.shape, self.settings.slope
        pair = self.pair_intruder(self._describe(intruders)) + self.pair_ownship(ownship).unsqueeze(1)  # (M, K, E)
        pair = leaky_relu(self.pair(leaky_relu(pair, slope, inplace=True)), slope, inplace=True)
        query = torch.addmm(self.b_q.flatten(), ownship, self.W_q.flatten(0, 1).T)  # (M, H * D)
        asked = torch.bmm(query.view(rows, heads, size).transpose(0, 1), self.W_k)  # W_k^T q: (H, M, E)
        scores = torch.bmm(asked.transpose(0, 1), pair.transpose(1, 2)) / sqrt(size)  # (M, H, K)
        weights = masked_softmax(scores, is_present.unsqueeze(1), dim=2)
        count = (torch.sigmoid(scores + self.count_bias) * is_present.unsqueeze(1)).sum(2)  # (M, H)
        pooled = torch.bmm(weights * count.unsqueeze(2), pair).transpose(0, 1)  # (H, M, E)
        context = torch.bmm(pooled, self.W_v.transpose(1, 2)) + self.b_v.unsqueeze(1) * count.T.unsqueeze(2)
        context = context.transpose(0, 1).reshape(rows, heads * size)
        action = self.action(torch.cat((context, count, ownship), 1))
        return (action, weights) if with_attention else action

    def _describe(self, intruders: Tensor) -> Tensor:
        """Return the input of each pair's embedding, (M, K, 5 J + 14): soft steps and geometry."""
        position, velocity = intruders[..., 1:3] * self._length, intruders[..., 3:5] * self._speed  # (M, K, 2)
        described = geometry(position, velocity)  # (M, K, 14)
        steepness = self.step_log_steepness.exp()
        stepped = described[..., :STEPPED].unsqueeze(-1)  # (M, K, 5, 1)
        steps = torch.sigmoid(torch.addcmul(-steepness * self.step_places, stepped, steepness))  # (M, K, 5, J)
        return torch.cat((steps.flatten(2), described), -1)

    def projections(self) -> dict[str, nn.Parameter]:
        """Return W_q (H, D, 7), W_k and W_v (H, D, E)."""
        return {"W_q": self.W_q, "W_k": self.W_k, "W_v": self.W_v}


def geometry(position: Tensor, velocity: Tensor) -> Tensor:
    """Describe where an intruder is, and where it will be if both fly straight on.

    Args:
        position: d = p_j - p_i, (..., 2) in any axes, in protected zones R.
        velocity: v = v_j - v_i, (..., 2) in R per look-ahead time T.

    Returns:
        (..., 14), with u = v/|v| and the closest point of approach c = d - (d.u) u: the distances |d|, |c| and
        |d + v| (at the look-ahead time), d.u (below zero while it approaches) and d.u + |v| (below zero if it
        still approaches then); |v|, tcpa within 2 T, 1/|tcpa| (bounded, scaled); d, v and -c/|c|, away from
        the intruder's path. Without relative motion u is 0, so that c is d.
    """
    speed = _length(velocity)  # (..., 1)
    along_path = velocity / speed  # u
    along = (position * along_path).sum(-1, keepdim=True)
    closest = position - along * along_path  # c
    miss = _length(closest)
    tcpa = (-along / speed).clamp(-2.0, 2.0)
    urgency = 0.1 / (tcpa.abs() + 0.05)
    distances = (_length(position), miss, _length(position + velocity))
    return torch.cat(
        (*distances, along, along + speed, speed, tcpa, urgency, position, velocity, -closest / miss), -1
    )


def _length(vector: Tensor) -> Tensor:
    """Return the length of vectors (..., 2) as (..., 1), at least 0.001: 10 cm, or 7 mm/s."""
    return vector.square().sum(-1, keepdim=True).clamp_min(_LEAST_SQUARE).sqrt()
