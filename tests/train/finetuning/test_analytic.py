import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from skyclone.collect.airspace.dynamics import advance
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.finetuning import analytic
from skyclone.train.finetuning.analytic import AnalyticConfig, Costs
from skyclone.train.networks import Network
from skyclone.train.policy import Policy

CONFIG = WorldConfig()
SMALL = WorldConfig(
    aircraft=6, max_steps=60, sector_radius_m=250.0, sector_area_m2=100_000.0, start_separation_m=60.0
)
SQUARE = torch.tensor([[[-500.0, -500.0], [500.0, -500.0], [500.0, 500.0], [-500.0, 500.0]]], dtype=torch.float64)
NOTHING = Costs(path=0, proximity=0, predicted=0, speed=0, pace=0, effort=0, outside=0)
Row = tuple[float, float, float, float, float, float]


def traffic_of(rows: list[Row], flying: list[bool] | None = None) -> Traffic:
    """(1, N) float64 traffic of rows (east, north, track in degrees, speed, waypoint east, waypoint north)."""
    columns = list(torch.tensor(rows, dtype=torch.float64).T.unsqueeze(1))
    columns[2] = torch.deg2rad(columns[2])
    return Traffic(*columns, torch.tensor([flying or [True] * len(rows)]))


def costs_of(
    traffic: Traffic, action: Tensor, costs: Costs, flying_after: list[bool] | None = None
) -> dict[str, Tensor]:
    """The terms of one step of (1, N) traffic, all of which flies, with actions (N, 2)."""
    after = advance(traffic, action.unsqueeze(0), CONFIG)
    if flying_after is not None:
        after.is_flying = torch.tensor([flying_after])
    pairs = pairs_of(after.map(torch.Tensor.detach))
    return analytic.step_costs(traffic, action, after, pairs, SQUARE, CONFIG, costs)


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


def test_path_cost_and_its_gradient_by_hand() -> None:
    # Flying north at 9 m/s, the waypoint lies at 3:4 from the end of the step. A turn of a moves that by
    # 9 a pi/4 to the right, 0.6 of it nearer; an acceleration of a moves it 1.7149 a on, 0.8 of it nearer.
    traffic = traffic_of([(0, 0, 0, 9, 300, 409)])
    action = torch.zeros((1, 2), dtype=torch.float64, requires_grad=True)
    terms = costs_of(traffic, action, replace(NOTHING, path=2.0))
    assert number(terms["path"]) == pytest.approx(2 * (9 - (math.hypot(300, 409) - 500)))
    (gradient,) = torch.autograd.grad(sum(terms.values()), action)
    assert gradient.tolist()[0] == pytest.approx(
        [-2 * 0.6 * 9 * math.pi / 4, 2 * (1 - 0.8) * CONFIG.speed_change_mps]
    )


def test_speed_and_effort_by_hand() -> None:
    traffic = traffic_of([(0, 0, 0, 9, 0, 400), (0, 300, 90, 9, 400, 300)])
    action = torch.tensor([[0.5, 0.0], [0.0, 0.7]], dtype=torch.float64)
    terms = costs_of(traffic, action, replace(NOTHING, speed=10, pace=4, effort=3))
    assert number(terms["effort"]) == pytest.approx(3 * (0.25 + 0.49))
    assert number(terms["speed"]) == pytest.approx(10 * (0.7 * CONFIG.speed_change_mps / 9) ** 2)
    # on average half of that, of which 0.04 are free
    assert number(terms["pace"]) == pytest.approx(4 * 2 * (0.5 * 0.7 * CONFIG.speed_change_mps / 9 - 0.04) ** 2)


def test_pair_costs_by_hand() -> None:
    # head-on and 10 m beside each other: after 300 m at 18 m/s they are 10 m apart; margin 110 m
    head_on = traffic_of([(0, 0, 0, 9, 0, 400), (10, 300, 180, 9, 10, -100)])
    proximity, predicted = analytic.pair_costs(head_on, pairs_of(head_on), CONFIG, Costs(fade_s=12))
    assert number(proximity) == 0
    assert number(predicted) == pytest.approx((1 - 10 / 110) * math.exp(-300 / 18 / 12))
    # side by side, 105 m apart: half of the margin is used up, and nothing is ahead
    abreast = traffic_of([(0, 0, 0, 9, 0, 400), (105, 0, 0, 9, 105, 400)])
    proximity, predicted = analytic.pair_costs(abreast, pairs_of(abreast), CONFIG, Costs())
    assert number(proximity) == pytest.approx(0.25)
    assert number(predicted) == 0
    # flying apart, 108 m
    apart = traffic_of([(0, 0, 270, 9, 0, 400), (108, 0, 90, 9, 105, 400)])
    proximity, predicted = analytic.pair_costs(apart, pairs_of(apart), CONFIG, Costs())
    assert (number(proximity), number(predicted)) == (pytest.approx(0.04), 0)
    # the other one lands at half the way
    landing = traffic_of([(0, 0, 0, 9, 0, 400), (10, 300, 180, 9, 10, 150)])
    assert number(analytic.pair_costs(landing, pairs_of(landing), CONFIG, Costs())[1]) == 0
    # too far ahead: at 18 m/s 600 m take more than 30 s
    far = traffic_of([(0, 0, 0, 9, 0, 400), (10, 600, 180, 9, 10, -100)])
    assert number(analytic.pair_costs(far, pairs_of(far), CONFIG, Costs())[1]) == 0


@pytest.mark.parametrize("side", [1, -1])
def test_head_on_both_turn_away_from_each_other(side: int) -> None:
    # the other passes on the side `side` (1 right): both turn to the other side, equally, by symmetry
    traffic = traffic_of([(0, 0, 0, 9, 0, 400), (10 * side, 300, 180, 9, 10 * side, -100)])
    action = torch.zeros((2, 2), dtype=torch.float64, requires_grad=True)
    terms = costs_of(traffic, action, replace(NOTHING, predicted=1))
    (gradient,) = torch.autograd.grad(terms["predicted"], action)
    turns = (-gradient[:, 0]).tolist()
    assert turns[0] * side < -1e-3
    assert turns[1] == pytest.approx(turns[0])


def test_outside_the_sector_by_hand() -> None:
    # it begins at 5 m and is 1 at 50 m: 27.5 m beyond the eastern edge it is a quarter
    rows: list[Row] = [(east, 0, 0, 9, 0, 400) for east in (0, 500, 504, 527.5, -527.5)]
    traffic = traffic_of(rows)
    traffic.east_m.requires_grad_()
    who = torch.tensor([[True, True, True, True, False]])
    cost = analytic.outside_cost(traffic, who, SQUARE, CONFIG)
    assert number(cost) == pytest.approx(0.25)
    cost.backward()
    assert traffic.east_m.grad is not None
    assert traffic.east_m.grad[0].tolist() == pytest.approx([0, 0, 0, 2 * 0.5 / 45, 0])


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


def test_limit_lets_only_gradients_through_that_lead_back() -> None:
    action = torch.tensor([-2.0, -2.0, 0.5, 0.5, 1.0, 2.0, 2.0], requires_grad=True)
    limited = analytic.limit(action)
    assert limited.tolist() == [-1, -1, 0.5, 0.5, 1, 1, 1]
    limited.backward(torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0]))  # descent goes against it
    assert action.grad is not None
    assert action.grad.tolist() == [0, -1, 1, -1, -1, 1, 0]


# --- masks ---


def test_who_has_ended_is_in_nobodys_way() -> None:
    rows: list[Row] = [(0, 0, 0, 9, 0, 400), (10, 150, 180, 9, 10, -300), (0, -90, 0, 9, 0, 400)]
    action = torch.zeros((3, 2), dtype=torch.float64, requires_grad=True)
    costs = Costs()
    ended = costs_of(traffic_of(rows), action, costs, flying_after=[True, False, True])
    alone = costs_of(traffic_of([rows[0], rows[2]]), action[:2], costs)
    for name in ("proximity", "predicted"):
        assert number(ended[name]) == pytest.approx(number(alone[name]))
    everybody = costs_of(traffic_of(rows), action, costs)
    assert number(everybody["predicted"]) > number(ended["predicted"])
    # the step in which it ended still costs it its way, but nothing of what comes after
    assert number(ended["path"]) == pytest.approx(number(everybody["path"]))


def test_who_did_not_fly_costs_nothing_and_gets_no_gradient() -> None:
    traffic = traffic_of([(0, 0, 0, 9, 300, 400), (0, 520, 0, 3, 10, 141)], flying=[True, False])
    traffic.east_m.requires_grad_()
    after = advance(traffic, torch.zeros((1, 2, 2), dtype=torch.float64), CONFIG)
    action = torch.zeros((1, 2), dtype=torch.float64)
    terms = analytic.step_costs(traffic, action, after, pairs_of(traffic), SQUARE, CONFIG, Costs())
    (gradient,) = torch.autograd.grad(sum(terms.values()), traffic.east_m)
    assert number(gradient[0, 0]) != 0
    assert number(gradient[0, 1]) == 0
    assert [number(terms[name]) for name in ("proximity", "predicted", "speed", "outside")] == [0, 0, 0, 0]


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


# --- what is trained is what is flown ---


@pytest.mark.parametrize(
    "view", [View(), View("ego", intruders=3), View("cpa", intruders=2), View("ego", intruders=9)]
)
def test_looking_equals_observing(view: View) -> None:
    world = world_of(replace(SMALL, scenario="random-n"))
    flying = world.traffic.is_flying
    for one, other in zip(analytic.look(world.traffic, world.pairs, view), observe_all(world.traffic, view)):
        assert torch.equal(one, other[flying])


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
        world.corners_m = 0.9 * world.corners_m  # so that some are outside
        return analytic.fly_window(world, network, seen, config)

    window = fly()
    assert all(term > 0 for term in window.terms.values()), window.terms  # nothing is left out
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


def test_costs_as_written_on_the_command_line() -> None:
    assert Costs.parse("") == Costs()
    assert Costs.parse("path=2:margin=1.2") == Costs(path=2.0, margin=1.2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fame=1", r"no parameter 'fame'\. It has: path, proximity, predicted"),
        ("path", r"expected key=value:key=value, got 'path'\. Example: path=1\.0"),
        ("path=-1", r"expected path of 0 or more, got -1"),
        ("margin=1", r"expected margin above 1, got 1.0. It is times the protected zone"),
        ("fade_s=0", r"expected fade_s above 0, got 0"),
    ],
)
def test_wrong_costs(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Costs.parse(text)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 0}, "expected window of 1 or more, got 0"),
        ({"damping": 1.5}, r"expected damping from 0 to 1, got 1.5. 1 is no damping"),
        ({"lr": 0.0}, "expected lr above 0, got 0"),
    ],
)
def test_wrong_configuration(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AnalyticConfig(**wrong)  # type: ignore[arg-type]
