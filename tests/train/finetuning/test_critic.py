import pytest
import torch
from processes_in_threads import in_threads

from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.finetuning.critic import Critic, in_parts

VIEW = View("seed", intruders=3)


def observation(rows: int) -> Observation:
    generator = torch.Generator().manual_seed(0)
    is_present = torch.rand(rows, 3, generator=generator) < 0.7
    intruders = torch.randn(rows, 3, 5, generator=generator) * is_present.unsqueeze(-1)
    return Observation(torch.randn(rows, 7, generator=generator), intruders, is_present)


@pytest.mark.parametrize("name", networks.NAMES)
def test_every_network_makes_a_critic_of_its_own(name: str) -> None:
    network = networks.make(name, VIEW, seed=0)
    critic = Critic(VIEW, network.spec, seed=1)
    seen = observation(10)
    assert critic(seen).shape == (10,)
    assert critic.network.spec["parameters"] == {**network.spec["parameters"], "outputs": 1}
    shared = {id(parameter) for parameter in network.parameters()}
    assert not shared & {id(parameter) for parameter in critic.parameters()}


def test_it_sees_the_intruders() -> None:
    critic = Critic(VIEW, {"name": "pairwise", "parameters": {}}, seed=0)
    near = observation(10)
    far = near._replace(intruders=near.intruders * 2)
    assert (critic(near) - critic(far)).abs()[near.is_present.any(-1)].min() > 0


def test_units_are_those_of_the_returns() -> None:
    critic = Critic(VIEW, {"name": "pairwise", "parameters": {}}, seed=0)
    seen = observation(10)
    raw = critic(seen)
    returns = torch.tensor([-40.0, -60.0, -80.0])
    critic.calibrate(returns)
    torch.testing.assert_close(critic(seen), returns.mean() + returns.std(correction=0) * raw)


@pytest.mark.parametrize(("units", "loss"), [(0.0, 0.0), (0.5, 0.125), (-1.0, 0.5), (3.0, 2.5), (-101.0, 100.5)])
def test_far_returns_count_by_their_distance_and_not_its_square(units: float, loss: float) -> None:
    # Huber: half the square up to one unit, and as steep as there from then on
    critic = Critic(VIEW, {"name": "pairwise", "parameters": {}}, seed=0)
    seen = observation(10)
    critic.calibrate(torch.tensor([-40.0, -60.0, -80.0]))
    target = critic(seen).detach() + units * critic.scale
    assert critic.losses(seen, target).tolist() == pytest.approx([loss] * 10, rel=1e-3, abs=1e-6)


def test_processes_calibrate_from_all_their_returns() -> None:
    returns = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 7 - 30
    alone, *critics = (Critic(VIEW, {"name": "pairwise", "parameters": {}}, seed=0) for _ in range(3))
    alone.calibrate(returns)
    parts = (returns[:33], returns[33:])
    in_threads(2, lambda processes: critics[processes.rank].calibrate(parts[processes.rank], processes))
    for critic in critics:
        torch.testing.assert_close((critic.shift, critic.scale), (alone.shift, alone.scale))
    assert torch.equal(critics[0].scale, critics[1].scale)


def test_units_of_equal_returns_stay_finite() -> None:
    critic = Critic(VIEW, {"name": "pairwise", "parameters": {}}, seed=0)
    critic.calibrate(torch.zeros(5))
    assert torch.isfinite(critic(observation(4))).all()


def test_units_are_saved_with_the_weights() -> None:
    critic, other = (Critic(VIEW, {"name": "pairwise", "parameters": {}}, seed=seed) for seed in (0, 1))
    critic.calibrate(torch.tensor([1.0, 5.0]))
    other.load_state_dict(critic.state_dict())
    assert torch.equal(other(observation(5)), critic(observation(5)))


@pytest.mark.parametrize("rows", [0, 1, 8193])
def test_in_parts_is_the_same_as_at_once(rows: int) -> None:
    critic = Critic(VIEW, {"name": "pairwise", "parameters": {"hidden": 8, "width": 4}}, seed=0)
    seen = observation(rows)
    with torch.no_grad():
        torch.testing.assert_close(in_parts(critic, seen), critic(seen))
