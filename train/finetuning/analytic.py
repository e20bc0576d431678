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
  (`objective.pair_costs`), which is what makes avoidance early and smooth.

Notation: T steps, B episodes, N aircraft, M rows (flying aircraft of a step), K intruders seen, P pairs.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...collect.airspace.dynamics import advance
from ...collect.airspace.neighbours import complete, complete_for, sight_of
from ...collect.airspace.objective import Change, Costs, aircraft_costs
from ...collect.airspace.world_config import WorldConfig
from ...collect.flying.world import StepResult, World
from ...datasets.traffic.observation import Observation, nearest, observe
from ...datasets.traffic.pairs import Pairs, pairs_among
from ...datasets.traffic.state import Traffic
from ...datasets.traffic.view import View
from ..policy import limit
from ..runs.optimizers import adam
from .config import AnalyticConfig

_KNOWN = ("east_m", "north_m", "track_rad", "speed_mps")

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


def damp(traffic: Traffic, factor: float) -> Traffic:
    """Return the same traffic; gradients through it to what was before are multiplied by a factor.

    After k steps a gradient is scaled by factor^k, which outweighs its growth in a chaotic closed loop.
    """

    def damped(tensor: Tensor) -> Tensor:
        return _Damped.apply(tensor, factor) if tensor.requires_grad else tensor

    return traffic.map(damped)


def look(traffic: Traffic, pairs: Pairs, view: View, known: Traffic | None = None) -> Observation:
    """Observe from all flying aircraft of (B, N) traffic, with gradients: (M, 7), (M, K, F), (M, K).

    Equal to `observe_all` at the rows of flying aircraft, but only pairs that are seen enter the graph.

    What is perceived differs from the truth by errors and delays that nobody steers: it is observed as it is, and
    its gradient is that of the truth in its place.

    Args:
        traffic: (B, N), differentiable.
        pairs: (B, N, N) or (B, N, J) of the same traffic, of which only the distances are used, without gradient;
            or as they are perceived, (B, N, N).
        view: What is observed.
        known: As each aircraft knows itself, where that is not the truth.
    """
    count = traffic.east_m.shape[-1]
    row = traffic.is_piloted.flatten().nonzero().squeeze(-1)  # (M,)
    around = complete_for(pairs, traffic, view).map(lambda tensor: tensor.flatten(0, 1).index_select(0, row))
    # one more than is seen: `observe` leaves out one column, which would be the ownship itself
    place = nearest(around.distance2_m2, min(view.seen(count) + 1, count))
    own, seen = pairs_among(traffic, row, around.number_of(place))
    if known is None:
        return observe(own, seen, view)
    itself = known.map(lambda tensor: tensor.flatten().index_select(0, row))
    own = replace(own, **{name: _with_value(getattr(own, name), getattr(itself, name)) for name in _KNOWN})
    told = around.map(lambda tensor: tensor.gather(-1, place))
    relative = [_with_value(truth, value) for truth, value in zip(seen[:4], told[:4], strict=True)]
    distance2 = torch.addcmul(relative[0] * relative[0], relative[1], relative[1])
    distance2 = torch.where(told.is_pair, _with_value(distance2, told.distance2_m2), torch.inf)
    return observe(own, Pairs._make((*relative, distance2, told.is_pair, None, told.scale)), view)


def _with_value(truth: Tensor, value: Tensor) -> Tensor:
    """Return the value, with the gradient of the truth."""
    return truth - truth.detach() + value


def step_costs(config: WorldConfig, change: Change, costs: Costs) -> dict[str, Tensor]:
    """Return the terms of a step's cost, summed over its aircraft, scalars in metres of detour."""
    return {name: term.sum() for name, term in aircraft_costs(config, change, costs).items()}


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
    world: World,
    network: nn.Module,
    view: View,
    config: AnalyticConfig,
    costs: Costs | None = None,
    watch: Watch | None = None,
) -> Window:
    """Fly T steps with the network's actions, and return what they cost as a function of its weights.

    The world decides who is where and whose flight ends; beside it the same dynamics are flown with gradients.

    Args:
        world: Is flown on.
        network: The policy.
        view: What it observes.
        config: T and damping.
        costs: What a step costs.
        watch: Receives each step, after it.
    """
    costs, traffic = costs or Costs(), world.traffic
    needed = sight_of(world.config, 0, costs)
    sums: dict[str, Tensor] = {}
    first: tuple[Observation, Tensor] | None = None
    rows = 0
    for _ in range(config.window):
        who = traffic.is_piloted
        known, told = world.perceive()
        observation = look(traffic, told, view, None if world.perception is None else known)
        chosen = network(observation)  # (M, 2)
        first = first or (observation, chosen)
        wanted = chosen.new_zeros((*who.shape, chosen.shape[-1])).masked_scatter(who.unsqueeze(-1), chosen)
        action = world.held(limit(wanted))
        with torch.no_grad():
            flown = world.traffic
            result = world.step(action.detach())
        if watch is not None:
            watch(flown, result)
        after = advance(traffic, action, world.config, world.wind)
        after.is_flying = world.traffic.is_flying
        pairs = complete(world.pairs, world.traffic, needed)
        change = Change(traffic, wanted, after, pairs, result.outcome, world.corners_m)
        terms = step_costs(world.config, change, costs)
        for name, term in terms.items():
            sums[name] = sums[name] + term if name in sums else term
        rows += len(chosen)
        traffic = damp(after, config.damping)
        traffic.waypoint_east_m = world.traffic.waypoint_east_m  # who has reached one flies to the next
        traffic.waypoint_north_m = world.traffic.waypoint_north_m
    assert first is not None
    means = {name: term / max(rows, 1) for name, term in sums.items()}
    cost = torch.stack(tuple(means.values())).sum()
    figures = {name: float(term.detach()) for name, term in means.items()}
    return Window(cost, figures, rows, *(first[0], first[1].detach()))


def make_optimizer(network: nn.Module, config: AnalyticConfig) -> torch.optim.Optimizer:
    """Return Adam; gradients here are exact, so the mean of their squares may follow them fast."""
    return adam(network.parameters(), lr=config.lr, betas=(0.9, 0.98))


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
