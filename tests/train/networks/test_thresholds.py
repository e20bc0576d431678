import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.networks.thresholds import STEPPED, ThresholdsNetwork, geometry

VIEW = View.parse("ego")  # R = 100 m, T = 15 s


def make(**parameters: int | float) -> ThresholdsNetwork:
    network = networks.make("thresholds", VIEW, **parameters).double()
    assert isinstance(network, ThresholdsNetwork)
    return network


def intruder(right_m: float, ahead_m: float, right_mps: float, ahead_mps: float) -> torch.Tensor:
    """One intruder as the ego view shows it, (5,)."""
    features = [math.hypot(right_m, ahead_m), right_m, ahead_m, right_mps, ahead_mps]
    return torch.tensor(features, dtype=torch.float64) / torch.tensor([VIEW.length_m] * 3 + [VIEW.speed_mps] * 2)


def test_geometry_worked_by_hand() -> None:
    # Two zones ahead and half a zone to the right, coming straight down at 4 zones per look-ahead time: nearest,
    # half a zone off, after half that time; at its end two zones behind. Away from its path is left.
    position, velocity = torch.tensor([0.5, 2.0]), torch.tensor([0.0, -4.0])
    found = geometry(position, velocity)
    far = math.hypot(0.5, 2.0)
    expected = [far, 0.5, far, -2.0, 2.0, 4.0, 0.5, 0.1 / 0.55, 0.5, 2.0, 0.0, -4.0, -1.0, 0.0]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("speed", [0.0, 1e-9, 1e-7])
def test_who_flies_beside_comes_no_nearer(speed: float) -> None:
    # Two of one stream have the same velocity but for rounding: nothing will change, and nothing is near.
    found = geometry(torch.tensor([3.0, 4.0]), torch.tensor([0.0, -speed]))
    torch.testing.assert_close(found[:3], torch.tensor([5.0, 5.0, 5.0]), atol=2e-3, rtol=0)
    torch.testing.assert_close(found[3:6], torch.zeros(3), atol=2e-3, rtol=0)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), angle=st.floats(-7, 7))
def test_geometry_knows_no_axes(seed: int, angle: float) -> None:
    position, velocity = torch.randn(2, 9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    sine, cosine = math.sin(angle), math.cos(angle)
    turn = torch.tensor([[cosine, sine], [-sine, cosine]], dtype=torch.float64)
    before, after = geometry(position, velocity), geometry(position @ turn, velocity @ turn)
    torch.testing.assert_close(after[:, :8], before[:, :8])
    for vector in (slice(8, 10), slice(10, 12), slice(12, 14)):
        torch.testing.assert_close(after[:, vector], before[:, vector] @ turn)


@torch.no_grad()
def test_steps_stand_at_metres_whatever_the_view_divides_by() -> None:
    # A step at 1.1 R of the closest distance is half way up for an intruder that will pass at 110 m.
    network = make(steps=1, steepness=50.0)
    network.step_places[:] = 1.1
    for aside_m, expected in ((110.0, 0.5), (112.0, 1 / (1 + math.exp(-1.0))), (90.0, 1 / (1 + math.exp(10.0)))):
        described = network._describe(intruder(aside_m, 300.0, 0.0, -18.0).view(1, 1, 5))
        assert described[0, 0, 1].item() == pytest.approx(expected, rel=1e-4)
    assert network._describe(intruder(0.0, 300.0, 0.0, -18.0).view(1, 1, 5))[0, 0, STEPPED + 3] == pytest.approx(-3)


def test_contexts_of_two_alike_add_up() -> None:
    network = make()
    inputs: list[torch.Tensor] = []
    network.action.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    intruders = intruder(50.0, 200.0, 1.0, -15.0).expand(3, 2, 5)
    is_present = torch.tensor([[True, False], [True, True], [False, False]])
    ownship = torch.ones(3, 7, dtype=torch.float64)
    _, attention = network(Observation(ownship, intruders, is_present), with_attention=True)
    one, two, none = inputs[0][:, : 3 * 16 + 3]  # contexts and counts
    assert one.abs().min() > 0
    torch.testing.assert_close(two, 2 * one)
    assert (none == 0).all()
    assert attention[1].tolist() == [[0.5, 0.5]] * 3


def test_learns_where_a_teacher_switches() -> None:
    # The label jumps where the intruder will pass at 110 m: a step of that distance must come to stand there,
    # and be steeper than the 10 it began with.
    torch.manual_seed(0)
    network = networks.make("thresholds", VIEW, hidden=16, width=16, heads=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    assert (network.step_places[1] - 1.1).abs().min() > 0.1
    for _ in range(150):
        aside_m = 160 * torch.rand(128)
        intruders = torch.zeros(128, 1, 5)
        intruders[:, 0, 0] = torch.hypot(aside_m, torch.tensor(200.0)) / VIEW.length_m
        intruders[:, 0, 1], intruders[:, 0, 2] = aside_m / VIEW.length_m, 200.0 / VIEW.length_m
        intruders[:, 0, 4] = -1.0
        label = (aside_m < 110).float().unsqueeze(1).expand(-1, 2)
        action = network(Observation(torch.ones(128, 7), intruders, torch.ones(128, 1, dtype=torch.bool)))
        loss = (action - label).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    there = (network.step_places[1] - 1.1).abs() < 0.05
    assert network.step_log_steepness[1, there].exp().max() > 15
    assert loss.item() < 0.03
