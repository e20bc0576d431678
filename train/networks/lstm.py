"""`lstm`: read the intruders one after another, in a certain order, and keep the last state.

The recurrent encoder that Groot, Ellerbroek and Hoekstra (Eng. Appl. of AI, 2025) compare with attention for
SAC, with a state of 15 numbers (3 heads x 5) and three orders. There the order mattered a lot, and additive
attention did better. In the first author's public code (github.com/jangroter/atcenv, branch attention_study)
the orders are ascending distance, descending distance and unsorted, called "random": the order in which the
simulator numbers the aircraft. A traffic observation holds no such numbers, so `random` here sorts by the
digits of the distance (`order.random`), which also change from step to step. `late-to-soon`, by time to the
closest point of approach, is an addition.

Notation: M rows, K intruders, F features per intruder, S size of the state.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ...datasets.config import Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View
from .gains import LENGTH_GAIN, SPEED_GAIN, feature_gains
from .network import Network, Output, Parameters, action_layers, no_attention
from .order import arrange


@config
class LstmParameters(Parameters):
    """Parameters of `lstm`.

    Attributes:
        order: The order in which it reads the intruders; it remembers the last one best.
        state_size: Size S of its state.
    """

    order: Literal["near-to-far", "far-to-near", "random", "late-to-soon"] = "far-to-near"
    state_size: Count = 15


class LstmNetwork(Network):
    """Read the intruders with an LSTM (5 -> 15); its last state and the ownship go through 22 -> 256 -> 256 -> 2.

    Where there is no intruder the state is zero. Absent intruders come last, and the state is taken before
    them: padding has no influence at all. It has no attention.
    """

    name = "lstm"
    Parameters: ClassVar[type[Parameters]] = LstmParameters

    def __init__(self, view: View, parameters: LstmParameters) -> None:
        super().__init__(view, parameters)
        self.reader = nn.LSTM(view.intruder_features, parameters.state_size)
        with torch.no_grad():  # as `intruder_projection` does
            self.reader.all_weights[0][0].mul_(feature_gains(view, LENGTH_GAIN, SPEED_GAIN))
        self.action = action_layers(parameters.state_size + view.ownship_features, parameters)

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the action (M, 2), and no attention (M, 0, K) on request; see `Network.forward`."""
        ownship, rows = observation.ownship, observation.ownship.shape[0]
        intruders, is_present = arrange(observation, self.settings.order)  # (M, K, F), (M, K)
        end = intruders.new_zeros(rows, 1, self.intruder_features)  # never read: a sequence must not be empty
        states = self._read(torch.cat((intruders, end), 1).transpose(0, 1).contiguous())  # (K + 1, M, S)
        last = (is_present.sum(1) - 1).clamp_min(0)  # (M,)
        state = states.gather(0, last.view(1, rows, 1).expand(1, rows, states.shape[2])).squeeze(0)  # (M, S)
        state = state * is_present.any(1, keepdim=True)
        action = self.action(torch.cat((state, ownship), 1))
        return (action, no_attention(observation)) if with_attention else action

    def _read(self, sequence: Tensor) -> Tensor:
        """Return the state after each step, (T, M, S), from (T, M, F)."""
        if torch.onnx.is_in_onnx_export():
            return _as_onnx(self.reader, sequence)
        states: Tensor = self.reader(sequence)[0]
        return states


def _as_onnx(reader: nn.LSTM, sequence: Tensor) -> Tensor:
    """Stand for ONNX's own LSTM, of any length; torch's exporter would unroll the steps of one length."""

    def gates(weight: Tensor) -> Tensor:
        """Reorder torch's input, forget, cell and output gates to ONNX's input, output, forget, cell."""
        inward, forget, cell, outward = weight.chunk(4)
        return torch.cat((inward, outward, forget, cell)).unsqueeze(0)

    steps, rows, features = sequence.shape
    padding = sequence.new_zeros(steps, 1, features)  # onnxruntime crashes on an LSTM without rows
    from_input, from_state, *biases = (gates(weight) for weight in reader.parameters())
    inputs = (
        torch.cat((sequence, padding), 1),
        from_input,
        from_state,
        torch.cat(biases, 1),
    )  # (1, 4 S, F), (1, 4 S, S), (1, 8 S)
    states: Tensor = torch.onnx.ops.symbolic(
        "LSTM",
        inputs,
        {"hidden_size": reader.hidden_size},
        dtype=sequence.dtype,
        shape=(steps, 1, rows + 1, reader.hidden_size),
    )
    return states.squeeze(1)[:, :-1]
