import pytest
import torch
from torch import Tensor

from skyclone.datasets.loading.loader import Batch
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.train.cloning.heldout import measure
from skyclone.train.networks.network import Network, Output, Parameters


class Fixed(Network):
    """Always says (1, 0), and looks at the first two intruders with weights 0.75 and 0.25 (one head)."""

    name = "fixed"

    def forward(self, observation: Observation, with_attention: bool = False) -> Output:
        rows, count = observation.is_present.shape
        attention = torch.zeros(rows, 1, count)
        attention[:, 0, :2] = torch.tensor([0.75, 0.25])
        return torch.tensor([[1.0, 0.0]]).expand(rows, 2), attention * observation.is_present.unsqueeze(1)


def batch_of(actions: list[list[float]], in_conflict: list[bool], intruders: list[int]) -> Batch:
    rows = len(actions)
    is_present = torch.arange(4) < torch.tensor(intruders).unsqueeze(1)
    observation = Observation(torch.zeros(rows, 7), torch.zeros(rows, 4, 5), is_present)
    return Batch(observation, torch.tensor(actions), torch.tensor(in_conflict))


def test_closed_form_over_two_batches() -> None:
    batches = [
        batch_of([[1.0, 0.0], [0.0, 0.0]], [False, True], [2, 4]),  # errors 0 and 1/2
        batch_of([[1.0, 1.0]], [True], [1]),  # error 1/2
    ]
    found = measure(Fixed(View(), Parameters()), batches)
    assert found.rows == 3
    assert found.mse == pytest.approx(1 / 3)
    assert found.mse_conflict == pytest.approx(1 / 2)
    assert found.mse_free == 0.0
    assert found.sharpness == pytest.approx(0.75), "the row with one intruder does not count"
    assert found.uniform_sharpness == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert found.spread == pytest.approx(2 / 9), "turns 1 0 1 and speeds 0 0 1 both have the variance 2/9"


def test_what_there_is_none_of_is_none() -> None:
    found = measure(Fixed(View(), Parameters()), [batch_of([[1.0, 0.0]], [False], [0])])
    assert (found.mse, found.mse_conflict, found.sharpness, found.uniform_sharpness) == (0.0, None, None, None)


def test_nothing_is_changed() -> None:
    class Watched(Fixed):
        def __init__(self) -> None:
            super().__init__(View(), Parameters())
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, observation: Observation, with_attention: bool = False) -> Output:
            assert not torch.is_grad_enabled()
            output: tuple[Tensor, Tensor] = super().forward(observation, True)  # type: ignore[assignment]
            return output[0] + self.weight, output[1]

    network = Watched()
    measure(network, [batch_of([[1.0, 0.0]], [False], [2])])
    assert network.weight.grad is None
