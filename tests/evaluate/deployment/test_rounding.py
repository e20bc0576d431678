from math import sqrt

import pytest
import torch
from torch import Tensor, nn

from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.evaluate.deployment.rounding import ALLOWANCE, FUNCTION_UNITS, UNIT, allowed_error
from skyclone.train import load_policy, networks

TINY = FUNCTION_UNITS * UNIT
"""What is allowed even where nothing is rounded, relative to the result."""


def observation_of(ownship: Tensor) -> Observation:
    """One in which nothing but the ownship matters."""
    rows = ownship.shape[0]
    return Observation(ownship, ownship.new_zeros(rows, 0, 5), torch.zeros(rows, 0, dtype=torch.bool))


def allowed(values: list[float], network: nn.Module) -> Tensor:
    ownship = torch.tensor([values], dtype=torch.float64)

    class OfOwnship(nn.Module):
        def forward(self, observation: Observation) -> Tensor:
            result: Tensor = network(observation.ownship)
            return result

    with torch.no_grad():
        return allowed_error(OfOwnship(), observation_of(ownship))[0]


class Of(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.function(values)  # type: ignore[operator]
        return result


def test_a_sum_of_products_errs_by_the_root_of_its_length() -> None:
    weights = torch.tensor([[1.0], [-2.0], [3.0], [0.5]], dtype=torch.float64)
    found = allowed([0.1, 0.2, 0.1, -0.4], Of(lambda x: x @ weights))
    size = sqrt(4) * (0.1 * 1 + 0.2 * 2 + 0.1 * 3 + 0.4 * 0.5)
    assert found.item() == pytest.approx(ALLOWANCE * UNIT * size + TINY * abs(0.1 - 0.4 + 0.3 - 0.2), rel=1e-6)


def test_what_float32_can_hold_is_not_rounded() -> None:
    values = [0.5, -3.0, 1.25, float(torch.tensor(0.1))]
    exact = Of(lambda x: torch.cat((x * 2, x.clone(), x.gather(1, torch.tensor([[3, 0]]))), 1))
    result = [2 * value for value in values] + values + [values[3], values[0]]
    assert allowed(values, exact).tolist() == pytest.approx([TINY * abs(each) for each in result], rel=1e-12)


@pytest.mark.parametrize("large", [1e3, 1e6])
def test_what_cancels_errs_by_what_was_cancelled(large: float) -> None:
    """0.1 + 1000 - 1000 is off by up to the last digit of 1000."""
    found = allowed([0.1], Of(lambda x: (x + large) - large))
    assert found.item() == pytest.approx(ALLOWANCE * FUNCTION_UNITS * UNIT * large, rel=0.05)
    off = abs((torch.tensor(0.1) + large - large).double() - 0.1)
    assert 0 < off < found.item()


def test_where_rounding_decides_the_order_the_jump_is_allowed() -> None:
    def first(values: Tensor) -> Tensor:
        return values[:, 2:].gather(1, (values[:, :2] / 3).argsort(1))[:, :1]

    assert 0.5 < allowed([0.1, 0.1 * (1 + 1e-8), 5.0, 6.0], Of(first)).item() < ALLOWANCE
    assert allowed([0.1, 0.1 * (1 + 1e-5), 5.0, 6.0], Of(first)).item() == pytest.approx(TINY * 5)


def test_rounding_is_undone_when_it_is_over() -> None:
    allowed([0.1, 0.3], Of(lambda x: x / 7))
    one = torch.tensor([0.1, 0.3], dtype=torch.float64)
    assert torch.equal(one / 7, torch.tensor([0.1 / 7, 0.3 / 7], dtype=torch.float64))


@pytest.mark.parametrize("count", [0, 1, 19])
@pytest.mark.parametrize("name", [*networks.NAMES, "pretrained:clone", "pretrained:tuned"])
def test_float32_itself_errs_less_whatever_the_processor_has(name: str, count: int) -> None:
    if name.startswith("pretrained"):
        policy = load_policy(name)
        network, view = policy.network, policy.view
    else:
        view = View.parse("ego:intruders=8")
        network = networks.make(name, view, seed=3)
    generator = torch.Generator().manual_seed(count)
    ownship = torch.randn(100, view.ownship_features, generator=generator)
    intruders = torch.randn(100, count, view.intruder_features, generator=generator)
    is_present = torch.rand(100, count, generator=generator) < 0.7
    with torch.no_grad():
        found = network(Observation(ownship, intruders, is_present)).double()
        network.double()
        precise = Observation(ownship.double(), intruders.double(), is_present)
        difference = (network(precise) - found).abs()
        bound = allowed_error(network, precise)
    assert (difference <= bound).all(), (difference / bound).max()
