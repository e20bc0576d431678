"""Analytic policy gradients: the cost of a short flight, differentiated through the world itself.

The embedded world is a differentiable function of the actions, so the gradient of what a flight costs need not be
estimated from noise as in PPO: it is computed, by backpropagation through observation, network and dynamics of all
aircraft at once (Xu et al., "Accelerated policy learning with parallel differentiable simulation", ICLR 2022;
Wiedemann et al., "Training efficient controllers via analytic policy gradient", ICRA 2023). Two things are needed:

- Windows are short and the gradient is damped on its way back through time (`damp`), as in Zhang et al., "Learning
  vision-based agile flight via differentiable physics", Nature Machine Intelligence 2025. Dense traffic is chaotic:
  undamped, the gradient's norm grows to 1e6 over 30 steps and means nothing (Metz et al., "Gradients are not all
  you need", 2021).
- What is damped sees only some seconds ahead. So each step also charges for the conflicts it *predicts*
  (`pair_costs`), which is what makes avoidance early and smooth.

Notation: T steps, B episodes, N aircraft, M rows (flying aircraft of a step), K intruders seen, P pairs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...collect.airspace.conflicts import LEAST_SPEED2_M2PS2, find
from ...collect.airspace.distances import distance_flown
from ...collect.airspace.dynamics import advance
from ...collect.airspace.sector import distance_outside, inner_radius
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.world import StepResult, World
from ...datasets.traffic.observation import Observation, nearest, observe
from ...datasets.traffic.pairs import Pairs, pairs_among
from ...datasets.traffic.state import Traffic
from ...datasets.traffic.view import View
from .config import AnalyticConfig
from .costs import TERMS, Costs

_LEAST_M2 = 1e-6  # under a root that is differentiated: its slope at 0 is infinite


Watch = Callable[[Traffic, StepResult], None]
"""Receives a step: the traffic before it, and what it brought."""


class _Damped(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None


class _Limited(torch.autograd.Function):
    """Clamp to [-1, 1]; outside, gradients pass that lead back in, so that no action is lost for good."""

    @staticmethod
    def forward(ctx: Any, action: Tensor) -> Tensor:
        ctx.save_for_backward(action)
        return action.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (action,) = ctx.saved_tensors
        leads_out = ((action > 1) & (grads[0] < 0)) | ((action < -1) & (grads[0] > 0))  # descent goes against it
        return grads[0].masked_fill(leads_out, 0.0)


def damp(traffic: Traffic, factor: float) -> Traffic:
    """Return the same traffic; gradients through it to what was before are multiplied by a factor.

    After k steps a gradient is scaled by factor^k, which outweighs its growth in a chaotic closed loop.
    """

    def damped(tensor: Tensor) -> Tensor:
        return _Damped.apply(tensor, factor) if tensor.requires_grad else tensor

    return traffic.map(damped)


def limit(action: Tensor) -> Tensor:
    """Return the action within [-1, 1]; beyond it, its gradient is kept only where descent leads back in."""
    limited: Tensor = _Limited.apply(action)
    return limited


def look(traffic: Traffic, pairs: Pairs, view: View) -> Observation:
    """Observe from all flying aircraft of (B, N) traffic, with gradients: (M, 7), (M, K, F), (M, K).

    Equal to `observe_all` at the rows of flying aircraft, but only pairs that are seen enter the graph.

    Args:
        traffic: (B, N), differentiable.
        pairs: (B, N, N) of the same traffic, of which only the distances are used, without gradient.
        view: What is observed.
    """
    count = traffic.east_m.shape[-1]
    row = traffic.is_flying.flatten().nonzero().squeeze(-1)  # (M,)
    # one more than is seen: `observe` leaves out one column, which would be the ownship itself
    close = nearest(pairs.distance2_m2.flatten(0, 1).index_select(0, row), min(view.seen(count) + 1, count))
    return observe(*pairs_among(traffic, row, close), view)


def pair_costs(after: Traffic, pairs: Pairs, config: WorldConfig, costs: Costs) -> tuple[Tensor, Tensor]:
    """Return what pairs of (B, N) traffic cost for being close, and for coming close, two scalars without weights.

    With d, v of a pair, tcpa = -d.v/|v|^2, dcpa = |d + v tcpa|, and D = margin R, each pair counted once:
    proximity = sum of (relu(D - |d|) / (D - R))^2;
    predicted = sum of relu(1 - dcpa / D) exp(-tcpa / fade) over 0 < tcpa < look-ahead, where neither of them would
    be at its waypoint before, flying straight to it.

    Args:
        after: (B, N), differentiable.
        pairs: (B, N, N) of the same traffic; they only say which pairs cost anything.
        config: The world.
        costs: Margin, look-ahead and fading.
    """
    margin_m = costs.margin * config.protected_zone_m
    found = find(pairs, margin_m, costs.lookahead_s)  # all pairs within D, now or predicted
    once = (found.ownship < found.intruder).nonzero().squeeze(-1)
    count = after.east_m.shape[-1]
    row = (found.episode * count + found.ownship).index_select(0, once)
    intruder = found.intruder.index_select(0, once)
    _, near = pairs_among(after, row, intruder.unsqueeze(-1))  # (P, 1)
    east, north, velocity_east, velocity_north = near[:4]
    distance = _length(east, north)
    proximity = ((margin_m - distance).clamp_min(0.0) / (margin_m - config.protected_zone_m)).square().sum()
    speed2 = (velocity_east * velocity_east + velocity_north * velocity_north).clamp_min(LEAST_SPEED2_M2PS2)
    tcpa = -(east * velocity_east + north * velocity_north) / speed2
    dcpa = _length(east + velocity_east * tcpa, north + velocity_north * tcpa)
    is_ahead = (tcpa > 0) & (tcpa < costs.lookahead_s)
    left_s = _flight_left_s(after, config)  # (B N)
    for aircraft in (row, row - row % count + intruder):
        is_ahead &= tcpa < left_s.index_select(0, aircraft).unsqueeze(-1)
    # where there is nothing ahead, exp is kept from becoming infinite, which times 0 would be no number
    weight = torch.exp(-tcpa.clamp(0.0, costs.lookahead_s) / costs.fade_s) * is_ahead
    predicted = ((1.0 - dcpa / margin_m).clamp_min(0.0) * weight).sum()
    return proximity, predicted


def _flight_left_s(traffic: Traffic, config: WorldConfig) -> Tensor:
    """Return the time each aircraft would need straight to its waypoint, (B N) s, without gradient."""
    with torch.no_grad():
        to_go = (_to_go(traffic) - config.waypoint_radius_m).clamp_min(0.0)
        return (to_go / traffic.speed_mps.clamp_min(0.1)).flatten()


def outside_cost(after: Traffic, who: Tensor, corners_m: Tensor, config: WorldConfig) -> Tensor:
    """Return the sum over the aircraft in `who` (B, N) of (relu(o - 0.1 X) / (0.9 X))^2, a scalar.

    o is the distance outside the sector (corners (B, C, 2)), X = `outside_m`, where an aircraft has left.
    """
    most = max(config.outside_m, 1.0)
    with torch.no_grad():  # hardly anybody: the rest, and roots of 0, stay out of the graph
        reach = (inner_radius(corners_m) + 0.1 * most).unsqueeze(-1)
        is_far = who & (after.east_m.square() + after.north_m.square() > reach * reach)
        episode, aircraft = is_far.nonzero(as_tuple=True)
        beyond = _outside(after, episode, aircraft, corners_m) > 0.1 * most
        episode, aircraft = episode[beyond], aircraft[beyond]
    return ((_outside(after, episode, aircraft, corners_m) / most - 0.1) / 0.9).square().sum()


def _outside(traffic: Traffic, episode: Tensor, aircraft: Tensor, corners_m: Tensor) -> Tensor:
    """Return how far outside its sector each of some aircraft is, (M,) m."""
    east, north = traffic.east_m[episode, aircraft], traffic.north_m[episode, aircraft]
    return distance_outside(east.unsqueeze(-1), north.unsqueeze(-1), corners_m[episode]).squeeze(-1)


def step_costs(
    before: Traffic,
    action: Tensor,
    after: Traffic,
    pairs: Pairs,
    corners_m: Tensor,
    config: WorldConfig,
    costs: Costs,
) -> dict[str, Tensor]:
    """Return the terms of a step's cost, summed over its aircraft, scalars in metres of detour.

    Args:
        before: (B, N); only those who fly here cost anything.
        action: (M, 2) of those, not clipped.
        after: (B, N), ended aircraft no longer flying: they are in no one's path.
        pairs: (B, N, N) of `after`, without gradient.
        corners_m: (B, C, 2) of the sectors.
        config: The world.
        costs: The weights.
    """
    who = before.is_flying
    detour = distance_flown(before, after, config) - (_to_go(before) - _to_go(after))
    ratio = (after.speed_mps / config.cruise_mps - 1.0) * who
    count = who.sum().clamp_min(1)
    proximity, predicted = pair_costs(after, pairs, config, costs)
    unit = {
        "path": (detour * who).sum(),
        "proximity": proximity,
        "predicted": predicted,
        "speed": ratio.square().sum(),
        "pace": ((ratio.sum() / count).abs() - costs.tolerance).clamp_min(0.0).square() * count,
        "effort": action.square().sum(),
        "outside": outside_cost(after, who, corners_m, config),
    }
    return {name: getattr(costs, name) * unit[name] for name in TERMS}


def _to_go(traffic: Traffic) -> Tensor:
    """Return the distance to the waypoint, (B, N) m; unlike `distance_to_go`, with a finite gradient at 0."""
    return _length(traffic.waypoint_east_m - traffic.east_m, traffic.waypoint_north_m - traffic.north_m)


def _length(east: Tensor, north: Tensor) -> Tensor:
    """Return the length of a vector, with a finite gradient also where it is 0."""
    return torch.addcmul(east * east, north, north).clamp_min(_LEAST_M2).sqrt()


class Window(NamedTuple):
    """T steps that were flown.

    Attributes:
        cost: Scalar, differentiable: metres of detour per agent-step.
        terms: What it is the sum of, by name.
        rows: Agent-steps flown.
        observation: Of the first step.
        action: (M, 2) of the first step.
    """

    cost: Tensor
    terms: dict[str, float]
    rows: int
    observation: Observation
    action: Tensor


def fly_window(
    world: World, network: nn.Module, view: View, config: AnalyticConfig, watch: Watch | None = None
) -> Window:
    """Fly T steps with the network's actions, and return what they cost as a function of its weights.

    The world decides who is where and whose flight ends; beside it the same dynamics are flown with gradients.

    Args:
        world: Is flown on.
        network: The policy.
        view: What it observes.
        config: T, damping and costs.
        watch: Receives each step, after it.
    """
    costs, traffic = config.costs, world.traffic
    sums: dict[str, Tensor] = {}
    first: tuple[Observation, Tensor] | None = None
    rows = 0
    for _ in range(config.window):
        who = traffic.is_flying
        observation = look(traffic, world.pairs, view)
        chosen = network(observation)  # (M, 2)
        first = first or (observation, chosen)
        action = chosen.new_zeros((*who.shape, chosen.shape[-1])).masked_scatter(who.unsqueeze(-1), limit(chosen))
        with torch.no_grad():
            flown = world.traffic
            result = world.step(action.detach())
        if watch is not None:
            watch(flown, result)
        after = advance(traffic, action, world.config)
        after.is_flying = world.traffic.is_flying
        terms = step_costs(traffic, chosen, after, world.pairs, world.corners_m, world.config, costs)
        for name, term in terms.items():
            sums[name] = sums[name] + term if name in sums else term
        rows += len(chosen)
        traffic = damp(after, config.damping)
    assert first is not None
    means = {name: term / max(rows, 1) for name, term in sums.items()}
    cost = torch.stack(tuple(means.values())).sum()
    figures = {name: float(term.detach()) for name, term in means.items()}
    return Window(cost, figures, rows, *(first[0], first[1].detach()))


def make_optimizer(network: nn.Module, config: AnalyticConfig) -> torch.optim.Optimizer:
    """Return Adam; gradients here are exact, so the mean of their squares may follow them fast."""
    return torch.optim.Adam(network.parameters(), lr=config.lr, betas=(0.9, 0.98), fused=True)


def update(network: nn.Module, optimizer: torch.optim.Optimizer, window: Window, config: AnalyticConfig) -> float:
    """Change the weights against the gradient of a window's cost; return the gradient's norm before clipping.

    A norm that is not finite changes nothing.
    """
    optimizer.zero_grad(set_to_none=True)
    if not window.rows:
        return 0.0
    window.cost.backward()
    norm = float(nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm))
    if norm < float("inf"):
        optimizer.step()
    return norm
