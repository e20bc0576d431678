from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import Tensor

from skyclone.collect.airspace import neighbours
from skyclone.collect.airspace.dynamics import advance
from skyclone.collect.airspace.objective import TERMS, Change, Costs, aircraft_costs
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.finetuning import analytic
from skyclone.train.finetuning.config import AnalyticConfig
from skyclone.train.networks import Network
from skyclone.train.policy import Policy

CONFIG = WorldConfig()
SMALL = WorldConfig(
    aircraft=6, max_steps=60, sector_radius_m=250.0, sector_area_m2=100_000.0, start_separation_m=60.0
)
Row = tuple[float, float, float, float, float, float]


def traffic_of(rows: list[Row]) -> Traffic:
    """(1, N) float64 traffic of rows (east, north, track in degrees, speed, waypoint east, waypoint north)."""
    columns = list(torch.tensor(rows, dtype=torch.float64).T.unsqueeze(1))
    columns[2] = torch.deg2rad(columns[2])
    return Traffic(*columns, torch.ones((1, len(rows)), dtype=torch.bool))


def number(tensor: Tensor) -> float:
    return float(tensor.detach())


def network_of(view: View, name: str = "pairwise", dtype: torch.dtype = torch.float32) -> Network:
    sizes = {"pairwise": {"width": 8, "heads": 1, "head_size": 4}, "attention-additive": {"heads": 2}}
    return networks.make(name, view, seed=1, hidden=16, **sizes[name]).to(dtype)


def world_of(config: WorldConfig = SMALL, dtype: torch.dtype = torch.float32) -> World:
    world = World(config, 3, range(3))
    world.traffic = world.traffic.map(lambda tensor: tensor.to(dtype) if tensor.dtype.is_floating_point else tensor)
    world.pairs = pairs_of(world.traffic)
    return world


# --- worked out on paper ---


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.75, 1.0])
def test_damping_scales_the_gradient_by_its_power(factor: float) -> None:
    start = traffic_of([(0, 0, 0, 9, 0, 4000)])
    start.north_m.requires_grad_()
    traffic, action = start, torch.zeros((1, 1, 2), dtype=torch.float64)
    for steps in range(1, 5):
        traffic = analytic.damp(advance(traffic, action, CONFIG), factor)
        assert number(traffic.north_m) == pytest.approx(9 * steps)
        (gradient,) = torch.autograd.grad(traffic.north_m.sum(), start.north_m, retain_graph=True)
        assert number(gradient) == pytest.approx(factor**steps)


def test_a_step_costs_what_all_its_aircraft_do() -> None:
    world, action = world_of(replace(SMALL, aircraft=9)), torch.full((3, 9, 2), 0.5)
    before = world.traffic
    outcome = world.step(action).outcome
    change = Change(before, action, world.traffic, world.pairs, outcome, world.corners_m)
    costs, terms = Costs(margin=2.0), analytic.step_costs(SMALL, change, Costs(margin=2.0))
    assert tuple(terms) == TERMS
    for name, each in aircraft_costs(SMALL, change, costs).items():
        assert number(terms[name]) == pytest.approx(float(each.sum()), rel=1e-5)
    assert number(terms["proximity"]) > 0


def test_with_nobody_there_nothing_is_changed() -> None:
    view = View("ego", intruders=3)
    network, world, config = network_of(view), world_of(), AnalyticConfig(window=2)
    world.traffic.is_flying = torch.zeros_like(world.traffic.is_flying)
    world.pairs = pairs_of(world.traffic)
    before = [weight.clone() for weight in network.parameters()]
    window = analytic.fly_window(world, network, view, config)
    assert (window.rows, number(window.cost)) == (0, 0)
    assert analytic.update(network, analytic.make_optimizer(network, config), window, config) == 0
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters()))


def test_by_lists_of_neighbours_a_window_costs_the_same() -> None:
    config = replace(SMALL, aircraft=16, sector_radius_m=400.0, sector_area_m2=300_000.0)
    view, costs, gradients = View("ego", intruders=3), [], []
    for few in (3, 1000):
        network = network_of(view)
        with mock.patch.object(neighbours, "FEW", few):
            world = World(config, 3, range(3), sight=neighbours.sight_of(config, 2))  # lists too short for both
            assert (world.pairs.listed is None) == (few == 1000)
            window = analytic.fly_window(world, network, view, AnalyticConfig(window=12))
        window.cost.backward()
        costs.append(window.cost.detach())
        gradients.append(torch.cat([each.grad.flatten() for each in network.parameters() if each.grad is not None]))
    torch.testing.assert_close(*costs)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


# --- what is trained is what is flown ---


@pytest.mark.parametrize(
    "view", [View(), View("ego", intruders=3), View("cpa", intruders=2), View("ego", intruders=9)]
)
def test_looking_equals_observing(view: View) -> None:
    world = world_of(replace(SMALL, scenario="random-n"))
    flying = world.traffic.is_flying
    for one, other in zip(analytic.look(world.traffic, world.pairs, view), observe_all(world.traffic, view)):
        assert torch.equal(one, other[flying])


NOISE = "noise:position_m=5:velocity_mps=0.5:latency_s=2:reception=0.8:drop_s=4:silent=0.2"


@pytest.mark.parametrize("view", [View(), View("ego", intruders=3), View("cpa", intruders=2)])
def test_looking_equals_observing_what_is_perceived(view: View) -> None:
    world = World(replace(SMALL, scenario="random-n", surveillance=NOISE), 3, range(3))
    for _ in range(6):
        world.step(torch.zeros((3, 6, 2)))
        known, told = world.perceive()
        seen = observe_all(known, view, told)
        looked = analytic.look(world.traffic, told, view, known)
        for one, other in zip(looked, seen):
            assert torch.equal(one, other[world.traffic.is_flying])
        assert not torch.equal(looked.ownship, observe_all(world.traffic, view).ownship[world.traffic.is_flying])


def test_gradients_of_what_is_perceived_without_an_error_are_those_of_the_truth() -> None:
    view, costs, gradients = View("ego", intruders=3), [], []
    for surveillance in ("perfect", "noise"):
        network, world = network_of(view), World(replace(SMALL, surveillance=surveillance), 3, range(3))
        window = analytic.fly_window(world, network, view, AnalyticConfig(window=12))
        window.cost.backward()
        costs.append(window.cost.detach())
        gradients.append(torch.cat([each.grad.flatten() for each in network.parameters() if each.grad is not None]))
    torch.testing.assert_close(*costs)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "view"), [("pairwise", "cpa:intruders=2"), ("attention-additive", "seed")])
def test_a_window_flies_what_the_policy_flies(name: str, view: str) -> None:
    seen = View.parse(view)
    network, world, other = network_of(seen, name), world_of(), world_of()
    analytic.fly_window(world, network, seen, AnalyticConfig(window=40))
    pilot = Policy(network, seen).pilot
    for _ in range(40):
        other.step(pilot(other.traffic, other.pairs))
    assert (~other.traffic.is_flying).any()  # some have ended on the way
    assert torch.equal(world.traffic.is_flying, other.traffic.is_flying)
    for one, same in zip(vars(world.traffic).values(), vars(other.traffic).values()):
        torch.testing.assert_close(one, same, rtol=0, atol=1e-3)


def test_a_window_costs_what_is_charged_for_what_is_flown() -> None:
    """Metres per agent-step, as `objective` says of the world's own states; and each step is watched."""
    view, costs = View("ego", intruders=3), Costs(path=2.0, margin=1.5)
    network, world, other = network_of(view), world_of(), world_of()
    watched: list[int] = []
    window = analytic.fly_window(
        world,
        network,
        view,
        AnalyticConfig(window=20),
        costs,
        lambda before, result: watched.append(int(before.is_flying.sum())),
    )
    pilot, sums = Policy(network, view).pilot, dict.fromkeys(TERMS, 0.0)
    for _ in range(20):
        before = other.traffic
        action = pilot(before, other.pairs)
        outcome = other.step(action).outcome
        change = Change(before, action, other.traffic, other.pairs, outcome, other.corners_m)
        for name, term in aircraft_costs(SMALL, change, costs).items():
            sums[name] += float(term.sum())
    assert window.rows == sum(watched)
    assert len(watched) == 20
    assert window.terms == pytest.approx(
        {name: each / window.rows for name, each in sums.items()}, rel=1e-3, abs=1e-4
    )
    assert number(window.cost) == pytest.approx(sum(window.terms.values()), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("pairwise", "ego:intruders=3"),
        ("pairwise", "cpa:intruders=3"),
        ("pairwise", "seed"),
        ("attention-additive", "ego:intruders=3"),
    ],
)
def test_gradient_of_a_window_is_that_of_finite_differences(name: str, view: str) -> None:
    seen = View.parse(view)
    network = network_of(seen, name, torch.float64)
    config = AnalyticConfig(window=4, damping=1.0)
    weights = list(network.parameters())
    generator = torch.Generator().manual_seed(0)
    direction = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in weights]

    def fly() -> analytic.Window:
        world = world_of(dtype=torch.float64)
        world.corners_m = 0.9 * world.corners_m  # so that some are outside, and some next to stand still
        world.traffic.speed_mps[:, 0] = 3.0
        world.pairs = pairs_of(world.traffic)
        return analytic.fly_window(world, network, seen, config)

    window = fly()
    charged = {name: term for name, term in window.terms.items() if name != "yielding"}  # its weight has no slope
    assert all(abs(term) > 1e-6 for term in charged.values()), window.terms  # nothing is left out
    gradient = torch.autograd.grad(window.cost, weights)
    slope = sum(number((one * other).sum()) for one, other in zip(gradient, direction))
    step, costs = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            for weight, along in zip(weights, direction):
                weight.add_(along, alpha=sign * step)
            costs.append(number(fly().cost))
            for weight, along in zip(weights, direction):
                weight.sub_(along, alpha=sign * step)
    assert slope == pytest.approx((costs[0] - costs[1]) / (2 * step), rel=1e-5)
    assert abs(slope) > 1e-3


def test_the_same_weights_give_the_same_gradient() -> None:
    view, config = View("ego", intruders=3), AnalyticConfig(window=6)
    gradients = []
    for _ in range(2):
        network = network_of(view)
        analytic.fly_window(world_of(), network, view, config).cost.backward()
        gradients.append([weight.grad for weight in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients))  # type: ignore[arg-type]


def test_it_learns_to_cross() -> None:
    # two streams that cross, flown again and again by a network that knows nothing at first
    config = WorldConfig(aircraft=4, scenario="crossing", sector_radius_m=400.0, sector_area_m2=300_000.0)
    view, update = View("ego", intruders=3), AnalyticConfig(lr=1e-2, window=8)
    network = network_of(view)
    optimizer, costs = analytic.make_optimizer(network, update), []
    for _ in range(25):
        window = analytic.fly_window(World(config, 0, range(2)), network, view, update)
        costs.append(number(window.cost))
        analytic.update(network, optimizer, window, update)
    assert costs[-1] < 0.5 * costs[0]


# --- configuration ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 0}, "expected window from 1 to 32,000, got 0"),
        ({"damping": 1.5}, r"expected damping from 0 to 1, got 1.5. 1 is no damping"),
        ({"lr": 0.0}, "expected lr above 0, got 0"),
    ],
)
def test_wrong_configuration(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AnalyticConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("scenario", ["hover:share=0.4", "arrivals", "shared"])
def test_a_window_of_traffic_that_goes_on(scenario: str) -> None:
    """Flown as the policy flies it, with a finite gradient."""
    config = replace(SMALL, aircraft=6, max_steps=90, scenario=scenario)
    view = View("ego", intruders=3)
    network, world, other = network_of(view), world_of(config), world_of(config)
    window = analytic.fly_window(world, network, view, AnalyticConfig(window=40))
    pilot = Policy(network, view).pilot
    with torch.no_grad():
        for _ in range(40):
            other.step(pilot(other.traffic, other.pairs))
    assert torch.equal(world.traffic.is_flying, other.traffic.is_flying)
    for name in ("east_m", "north_m", "speed_mps", "waypoint_east_m"):
        torch.testing.assert_close(getattr(world.traffic, name), getattr(other.traffic, name), rtol=0, atol=1e-3)
    window.cost.backward()
    grads = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)
    assert any((grad != 0).any() for grad in grads)
