"""What every network is: a function from an observation to an action, with attention on request."""

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from ...datasets.config import LARGEST, Config, Count, config
from ...datasets.traffic.observation import Observation
from ...datasets.traffic.view import View

Gain = Annotated[float, Field(ge=0, le=LARGEST)]
"""A number of a network."""


@config
class Parameters(Config):
    """The parameters of every network; each variant adds its own.

    Attributes:
        hidden: Width of the two hidden layers after the attention.
        slope: Slope of the leaky ReLU below zero.
        outputs: Numbers returned per row: 2 for an actor, 1 for a critic.
    """

    hidden: Count = 256
    slope: Gain = 0.2
    outputs: Count = 2


Output = Tensor | tuple[Tensor, Tensor]
"""Action (M, 2), or action and attention (M, H, K), H = 0 for a network without attention."""


class Network(nn.Module, ABC):
    """Map an observation to an action; K may be any number, also 0, and differ from call to call.

    Padding has no influence, to the bit. Nor has the order of the intruders, unless a network reads them as a
    sequence: then it orders them itself.

    A variant sets `name` and `Parameters`, builds its layers in `__init__` and implements `forward`. Its
    parameters are a `Count` (a whole number above 0), a `Gain` (a number from 0 on) or a `Literal` of names.

    Attributes:
        ownship_features: Features of the ownship, as in the view it was made for.
        intruder_features: Features F of each intruder.
        settings: The variant's parameters.
    """

    name: ClassVar[str]
    Parameters: ClassVar[type[Parameters]] = Parameters

    def __init__(self, view: View, parameters: Any) -> None:
        super().__init__()
        self.ownship_features = view.ownship_features
        self.intruder_features = view.intruder_features
        self.settings = parameters

    @property
    def spec(self) -> dict[str, Any]:
        """Return what `networks.make` needs to build it again, as JSON: name and parameters."""
        return {"name": self.name, "parameters": self.settings.to_json()}

    @abstractmethod
    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        """Return the mean action, unbounded.

        Args:
            observation: Ownship (M, 7), intruders (M, K, F), mask (M, K).
            with_attention: Also return the attention.

        Returns:
            Action (M, 2); with attention also (M, H, K): each head's row sums to 1 over the present
            intruders and is exactly 0 elsewhere (all 0 where there is no intruder). A network without
            attention has no heads: (M, 0, K), see `no_attention`.
        """

    def projections(self) -> dict[str, nn.Parameter]:
        """Return the matrices of the attention, {"W_q": (H, D, F), ...}, for logging; none by default."""
        return {}


def no_attention(observation: Observation) -> Tensor:
    """Return the attention of a network that has none, (M, 0, K): it has no sharpness."""
    rows, count = observation.is_present.shape
    return observation.ownship.new_zeros(rows, 0, count)


def action_layers(inputs: int, parameters: Parameters) -> nn.Sequential:
    """Return the layers after the attention: inputs -> hidden -> hidden -> outputs, leaky ReLU between."""
    return nn.Sequential(
        nn.Linear(inputs, parameters.hidden),
        nn.LeakyReLU(parameters.slope, inplace=True),
        nn.Linear(parameters.hidden, parameters.hidden),
        nn.LeakyReLU(parameters.slope, inplace=True),
        nn.Linear(parameters.hidden, parameters.outputs),
    )
