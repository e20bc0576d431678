"""What a step of a flight costs, in metres of detour: the one objective of fine-tuning, whatever the method.

It is a reward (`reward.REWARDS["detour"]`), what the analytic gradient is taken of, and what the gate reports.
All of it is differentiable in positions, speeds and actions.

Notation: B episodes, N aircraft, P pairs.
"""

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ...datasets.config import Config, config
from ...datasets.traffic.pairs import Pairs, pairs_among
from ...datasets.traffic.record import WAYPOINT
from ...datasets.traffic.state import Traffic
from .conflicts import LEAST_SPEED2_M2PS2, find, that_count
from .distances import distance_flown, length_of
from .fleet import limits_of
from .sector import distance_outside, inner_radius
from .world_config import WorldConfig

TERMS = ("path", "proximity", "predicted", "yielding", "speed", "stall", "pace", "effort", "leaving", "outside")
"""The costs, as they are logged; the other fields say when they are charged."""
OF_PAIRS = ("proximity", "predicted")

NEARER = 1 / 3
"""In units of R: who is that much farther from a waypoint than where one waits for it is nobody to wait for."""

SAME_PLACE = 0.5
"""In units of R: waypoints so near each other are one."""

_MOST_ACTION = 10.0  # counts as effort: the square of anything would not be finite


class Change(NamedTuple):
    """One decision step of (B, N) traffic, as rewards see it.

    Attributes:
        before: (B, N); only those who fly here cost anything.
        action: (B, N, 2) what was asked for.
        after: (B, N), ended aircraft no longer flying: they are in no one's path.
        pairs: (B, N, N) of `after`.
        outcome: (B, N) int8, what became of each.
        corners_m: (B, C, 2) of the sectors.
    """

    before: Traffic
    action: Tensor
    after: Traffic
    pairs: Pairs
    outcome: Tensor
    corners_m: Tensor


@config
class Costs(Config):
    """What a step costs, in metres of detour per aircraft and step; a pair's cost counts once, half for each.

    Changing speed avoids conflicts without a detour, so it must not be expensive. Leaving the sector is: an
    aircraft that has left costs nothing any more, and waypoints lie on the edge. Were it cheaper, an aircraft that
    avoids another would overshoot and be gone. Most of it is charged while it can still turn: what is paid only by
    the few that leave is four fifths of the variance of a flight's cost, and hides the rest from PPO.
    """

    path: float = Field(default=1.0, ge=0, description="Each metre flown that does not bring the waypoint nearer.")
    proximity: float = Field(
        default=150.0,
        ge=0,
        description="A pair at the edge of the protected zone (distance R); quadratic, from 0 at margin R on; "
        "inside it grows with the logarithm, to 5.8 times that at margin 1.1.",
    )
    predicted: float = Field(
        default=30.0,
        ge=0,
        description="A pair on collision course whose closest point is now; linear in the distance there, from 0 "
        "at margin R on, and fading with the time until then.",
    )
    yielding: float = Field(
        default=0.0,
        ge=0,
        description="An aircraft at its waypoint while another that wants to go there too is nearer; quadratic, "
        "from 0 at `keep_off` R on: who is not the nearest keeps off, or nobody gets there.",
    )
    speed: float = Field(default=10.0, ge=0, description="(speed / cruise - 1)^2 of each aircraft.")
    stall: float = Field(
        default=100.0,
        ge=0,
        description="An aircraft that stands still; quadratic, from 0 at half of cruise speed on. Two that have "
        "stopped for one another never find out by chance that one of them could go.",
    )
    pace: float = Field(
        default=500.0,
        ge=0,
        description="The square of what |mean speed of the episode's aircraft / cruise - 1| is above `tolerance`, "
        "for each that flies; who has ended counts as on cruise speed: on the whole, traffic is neither late nor "
        "early.",
    )
    effort: float = Field(
        default=1.0,
        ge=0,
        description="The square of the action asked for, both numbers: also of what is beyond [-1, 1] and cannot "
        "be flown, or nothing would lead back from there.",
    )
    leaving: float = Field(
        default=300.0,
        ge=0,
        description="An aircraft that would, `ahead_s` later, straight on at cruise speed, be as far outside the "
        "sector as it gets in that time; linear, and nothing on the way to its waypoint.",
    )
    outside: float = Field(
        default=1000.0,
        ge=0,
        description="An aircraft that leaves the sector, on its way out: it grows with the square of the distance "
        "outside, and is given back to who comes back, or reaches its waypoint.",
    )
    margin: float = Field(
        default=1.1,
        gt=1,
        description="In units of R, where proximity and predicted conflicts begin to cost.",
        json_schema_extra={"hint": "It is times the protected zone."},
    )
    keep_off: float = Field(
        default=1.3,
        gt=1,
        description="In units of R, how far from its waypoint an aircraft waits for the one that is nearer to it.",
    )
    lookahead_s: float = Field(default=30.0, gt=0, description="Conflicts later than that are not charged.")
    fade_s: float = Field(default=12.0, gt=0, description="A conflict so far ahead costs 1/e of one that is now.")
    ahead_s: float = Field(default=8.0, gt=0, description="How far ahead leaving the sector is foreseen.")
    tolerance: float = Field(
        default=0.04,
        ge=0,
        description="Fraction of cruise speed by which the mean speed may differ at no cost.",
    )

    def __call__(self, config: WorldConfig, change: Change) -> Tensor:
        """Return the reward (B, N): what a step cost each aircraft, with a minus; see `charges`."""
        terms = charges(config, change, self)
        if not self.yielding:  # one more term of nothing would change how the others are rounded
            del terms["yielding"]
        return -torch.stack(tuple(terms.values())).sum(0)


def charges(config: WorldConfig, change: Change, costs: Costs) -> dict[str, Tensor]:
    """Return what each aircraft is charged with, by name, (B, N) m: what it does to the costs of all.

    A pair's costs count in full for both, as what one of them does to keep apart spares the other its half. The
    pace is that of all: an aircraft is charged with its share in it, the derivative times its own deviation.
    """
    terms = aircraft_costs(config, change, costs)
    ratio, mean = _pace(config, change)
    flying = change.before.is_piloted.sum(-1, keepdim=True) / ratio.shape[-1]
    slope = 2.0 * (mean.abs() - costs.tolerance).clamp_min(0.0) * mean.sign() * flying
    return {
        **terms,
        **{name: 2.0 * terms[name] for name in OF_PAIRS},
        "pace": costs.pace * slope * ratio,
    }


def _pace(config: WorldConfig, change: Change) -> tuple[Tensor, Tensor]:
    """Return speed / cruise - 1 of each aircraft (B, N), and its mean over all, (B, 1); 0 for who does not fly."""
    ratio = (change.after.speed_mps / limits_of(config, change.before).cruise_mps - 1.0) * change.before.is_piloted
    return ratio, ratio.mean(-1, keepdim=True)


def aircraft_costs(config: WorldConfig, change: Change, costs: Costs) -> dict[str, Tensor]:
    """Return the terms of what a step costs each aircraft, (B, N) metres of detour, by name.

    Args:
        config: The world.
        change: The step. Its pairs only say which of them cost anything, and need no gradient.
        costs: The weights.
    """
    before, action, after, pairs = change[:4]
    who = before.is_piloted
    detour = distance_flown(before, after, config) - (to_go(before) - to_go(after))
    ratio, mean = _pace(config, change)
    proximity, predicted = pair_costs(config, after, pairs, costs)
    nobody = torch.zeros_like(ratio)
    unit = {
        "path": detour * who,
        "proximity": proximity,
        "predicted": predicted,
        "yielding": yielding_cost(config, after, pairs, costs.keep_off) if costs.yielding else nobody,
        "speed": ratio.square(),
        "stall": (-2.0 * ratio - 1.0).clamp_min(0.0).square(),
        "pace": (mean.abs() - costs.tolerance).clamp_min(0.0).square() * who,
        "effort": action.clamp(-_MOST_ACTION, _MOST_ACTION).square().sum(-1).masked_fill(~who, 0.0),
        "leaving": leaving_cost(config, change, costs.ahead_s),
        "outside": outside_cost(config, change),
    }
    return {name: getattr(costs, name) * unit[name] for name in TERMS}


def pair_costs(config: WorldConfig, after: Traffic, pairs: Pairs, costs: Costs) -> tuple[Tensor, Tensor]:
    """Return what aircraft cost for being close, and for coming close, two of (B, N) without weights.

    With d, v of a pair, tcpa = -d.v/|v|^2, dcpa = |d + v tcpa|, D = margin R and z = (D - |d|) / (D - R), a pair's
    proximity = z^2 for 0 < z < 1, and 1 + 2 ln z, with the same slope there, inside the protected zone: it leads
    out of it everywhere, and two aircraft in one place do not outweigh all others;
    predicted = (1 - dcpa / D) exp(-tcpa / fade) for dcpa < D and 0 < tcpa < look-ahead, where neither of them would
    be at its waypoint before, flying straight to it.
    Each of the pair has half.

    Args:
        config: The world.
        after: (B, N), differentiable.
        pairs: (B, N, N) of the same traffic; they only say which pairs cost anything.
        costs: Margin, look-ahead and fading.
    """
    zone_m = config.protected_zone_m
    margin_m = costs.margin * zone_m
    found = find(pairs, margin_m, costs.lookahead_s)  # all pairs within D, now or predicted
    found = that_count(found, after)
    once = (found.ownship < found.intruder).nonzero().squeeze(-1)
    count = after.east_m.shape[-1]
    row = (found.episode * count + found.ownship).index_select(0, once)
    number = found.intruder.index_select(0, once)
    other = row - row % count + number
    _, near = pairs_among(after, row, number.unsqueeze(-1))  # (P, 1)
    east, north, velocity_east, velocity_north = (quantity.squeeze(-1) for quantity in near[:4])
    distance = length_of(east, north)
    scale = 1.0 if found.scale is None else found.scale.index_select(0, once)
    depth = ((margin_m - distance / scale) / (margin_m - zone_m)).clamp_min(0.0)
    proximity = torch.where(depth < 1, depth.square(), 1 + 2 * depth.clamp_min(1.0).log())
    speed2 = (velocity_east * velocity_east + velocity_north * velocity_north).clamp_min(LEAST_SPEED2_M2PS2)
    tcpa = -(east * velocity_east + north * velocity_north) / speed2
    dcpa = length_of(east + velocity_east * tcpa, north + velocity_north * tcpa)
    left_s = _flight_left_s(config, after)  # (B N)
    left_s = torch.minimum(left_s.index_select(0, row), left_s.index_select(0, other))
    is_ahead = (tcpa > 0) & (tcpa < left_s.clamp_max(costs.lookahead_s))
    # where there is nothing ahead, exp is kept from becoming infinite, which times 0 would be no number
    weight = torch.exp(-tcpa.clamp(0.0, costs.lookahead_s) / costs.fade_s) * is_ahead
    predicted = (1.0 - dcpa / scale / margin_m).clamp_min(0.0) * weight
    both = torch.cat((row, other))

    def shared(cost: Tensor) -> Tensor:
        return (
            cost.new_zeros(after.east_m.numel())
            .index_add(0, both, torch.cat((cost, cost)) / 2)
            .view(after.east_m.shape)
        )

    return shared(proximity), shared(predicted)


def _flight_left_s(config: WorldConfig, traffic: Traffic) -> Tensor:
    """Return the time each aircraft would need straight to its waypoint, (B N) s, without gradient."""
    with torch.no_grad():
        left_m = (to_go(traffic) - config.waypoint_radius_m).clamp_min(0.0)
        return (left_m / traffic.speed_mps.clamp_min(0.1)).flatten()


def yielding_cost(config: WorldConfig, after: Traffic, pairs: Pairs, keep_off: float) -> Tensor:
    """Return what aircraft cost for not making way for who is nearer to their waypoint, (B, N) without weight.

    Several that want to go to one waypoint at once otherwise end around it, each kept off by the others: to go back
    so that another can land costs now, and pays later than a gradient that is damped can see.

    With g the distance to the own waypoint, h that of another aircraft to the same place and K = keep_off R:
    (K - g)^2 / R^2 for g < K, times sigmoid(10 (g - h) / R) of the one with the least h of those that want to go
    there too (their waypoint is within R / 2) and are nearer than K + R / 3. How far the others are is no one's
    doing: without gradient, or all would race for the first place.

    Args:
        config: The world.
        after: (B, N), differentiable.
        pairs: Of the same traffic; of those at a waypoint the others around it are needed.
        keep_off: In units of R.
    """
    zone_m = config.protected_zone_m
    own_m = to_go(after)
    depth = (keep_off - own_m / zone_m).clamp_min(0.0)
    with torch.no_grad():
        at = ((depth > 0) & after.is_piloted).nonzero(as_tuple=True)
        near = pairs.map(lambda tensor: tensor[at])  # (M, J), from the ownship
        to_east, to_north = after.waypoint_east_m - after.east_m, after.waypoint_north_m - after.north_m
        other_m = length_of(near.east_m - to_east[at].unsqueeze(-1), near.north_m - to_north[at].unsqueeze(-1))
        count = own_m.shape[-1]
        number = near.number_of(torch.arange(near.east_m.shape[-1], device=own_m.device).expand(near.east_m.shape))
        goal = (at[0] * count).unsqueeze(-1) + number
        apart_m = length_of(
            after.waypoint_east_m.flatten()[goal] - after.waypoint_east_m[at].unsqueeze(-1),
            after.waypoint_north_m.flatten()[goal] - after.waypoint_north_m[at].unsqueeze(-1),
        )
        is_rival = near.is_pair & (apart_m < SAME_PLACE * zone_m) & (other_m < (keep_off + NEARER) * zone_m)
        other_m = other_m.masked_fill(~is_rival, torch.inf).amin(-1)
        share = torch.zeros_like(own_m).index_put(at, torch.sigmoid((own_m[at] - other_m) * (10.0 / zone_m)))
    return depth.square() * share


def outside_cost(config: WorldConfig, change: Change) -> Tensor:
    """Return by how much (o / X)^2 has grown in a step, (B, N).

    o is the distance outside the sector (corners (B, C, 2)), X = `outside_m`, where an aircraft has left; at a
    waypoint it counts as 0. So all steps of a flight come to 0 if it reaches its waypoint, and to (o / X)^2 of
    where it ends otherwise: just over 1 if it has left, however it left.
    """
    before, _, after, _, outcome, corners_m = change
    who = before.is_piloted
    squares = _outside_squares(config, after, who & (outcome != WAYPOINT), corners_m)
    return squares - _outside_squares(config, before, who, corners_m)


def _outside_squares(config: WorldConfig, traffic: Traffic, who: Tensor, corners_m: Tensor) -> Tensor:
    """Return (o / X)^2 of the aircraft in `who`, (B, N); 0 for others."""
    return (_outside(traffic.east_m, traffic.north_m, who, corners_m) / max(config.outside_m, 1.0)).square()


def leaving_cost(config: WorldConfig, change: Change, ahead_s: float) -> Tensor:
    """Return how far outside each would be later, straight on at cruise speed, (B, N), in units of that way.

    Whatever its own speed: to stand still at the edge is no way out. With m the distance at which it would pass its
    waypoint, and r the waypoint's radius, it counts times (m / r - 1) / 2, within [0, 1]: not for who gets there,
    and in full from 3 r on.

    Args:
        config: The world.
        change: The step.
        ahead_s: How much later.
    """
    after = change.after
    way_m = ahead_s * limits_of(config, after).cruise_mps
    ahead_east, ahead_north = way_m * torch.sin(after.track_rad), way_m * torch.cos(after.track_rad)
    later = (after.east_m + ahead_east, after.north_m + ahead_north)
    outside = _outside(*later, after.is_piloted, change.corners_m)
    to_east, to_north = after.waypoint_east_m - after.east_m, after.waypoint_north_m - after.north_m
    share = ((to_east * ahead_east + to_north * ahead_north) / (way_m * way_m)).clamp(0.0, 1.0)
    miss = length_of(to_east - share * ahead_east, to_north - share * ahead_north)
    return outside / way_m * ((miss / config.waypoint_radius_m - 1.0) / 2.0).clamp(0.0, 1.0)


def _outside(east_m: Tensor, north_m: Tensor, who: Tensor, corners_m: Tensor) -> Tensor:
    """Return how far outside its sector each aircraft in `who` is, (B, N) m; 0 for others."""
    with torch.no_grad():  # hardly anybody: the rest, and roots of 0, stay out of the graph
        reach = inner_radius(corners_m).unsqueeze(-1)
        is_far = who & (east_m.square() + north_m.square() > reach * reach)
        episode, aircraft = is_far.nonzero(as_tuple=True)
        distance = _distance(east_m, north_m, episode, aircraft, corners_m)
        is_out = distance > 0
    if torch.is_grad_enabled():
        episode, aircraft = episode[is_out], aircraft[is_out]
        distance = _distance(east_m, north_m, episode, aircraft, corners_m)
    return torch.zeros_like(east_m).index_put((episode, aircraft), distance)


def _distance(east_m: Tensor, north_m: Tensor, episode: Tensor, aircraft: Tensor, corners_m: Tensor) -> Tensor:
    """Return how far outside its sector each of some aircraft is, (M,) m."""
    east, north = east_m[episode, aircraft], north_m[episode, aircraft]
    return distance_outside(east.unsqueeze(-1), north.unsqueeze(-1), corners_m[episode]).squeeze(-1)


def to_go(traffic: Traffic) -> Tensor:
    """Return the distance to the waypoint, (B, N) m; unlike `distance_to_go`, with a finite gradient at 0."""
    return length_of(traffic.waypoint_east_m - traffic.east_m, traffic.waypoint_north_m - traffic.north_m)
