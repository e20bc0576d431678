"""What a step costs: each term worked out on paper, and what holds whatever is flown."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skyclone.collect.airspace.dynamics import advance
from skyclone.collect.airspace.neighbours import pairs_around, sight_of
from skyclone.collect.airspace.objective import (
    OF_PAIRS,
    TERMS,
    Change,
    Costs,
    aircraft_costs,
    charges,
    leaving_cost,
    outside_cost,
    pair_costs,
    to_go,
    yielding_cost,
)
from skyclone.collect.airspace.sector import distance_outside
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import FLYING, LEFT_SECTOR, TIME_LIMIT, WAYPOINT
from skyclone.datasets.traffic.state import Traffic

CONFIG = WorldConfig()
NOTHING = Costs(**dict.fromkeys(TERMS, 0.0))
SQUARE = torch.tensor([[[-500.0, -500.0], [500.0, -500.0], [500.0, 500.0], [-500.0, 500.0]]], dtype=torch.float64)
Row = tuple[float, float, float, float]
Maker = Callable[..., Traffic]


@pytest.fixture(scope="session")
def flying(traffic_of: Maker) -> Maker:
    """(1, N) float64 traffic of rows (east, north, track in degrees, speed); its waypoints are at (0, 400)."""

    def make(
        rows: list[Row], goals: list[tuple[float, float]] | None = None, ended: tuple[int, ...] = ()
    ) -> Traffic:
        return traffic_of(rows, goals or [(0, 400)] * len(rows), ended, torch.float64)

    return make


def change_of(
    before: Traffic,
    after: Traffic,
    action: Tensor | None = None,
    outcome: Sequence[int] | None = None,
    corners: Tensor = SQUARE,
) -> Change:
    """What became of (1, N) traffic in a step; by default all fly on, and did nothing for it."""
    codes = torch.tensor([outcome or [FLYING] * before.east_m.shape[1]], dtype=torch.int8)
    after.is_flying = before.is_flying & (codes == FLYING)
    asked = torch.zeros((*before.east_m.shape, 2), dtype=torch.float64) if action is None else action
    return Change(before, asked, after, pairs_of(after.map(Tensor.detach)), codes, corners)


def flown(traffic: Traffic, action: Tensor, outcome: Sequence[int] | None = None) -> Change:
    """A step of (1, N) traffic with actions (N, 2)."""
    return change_of(traffic, advance(traffic, action.unsqueeze(0), CONFIG), action.unsqueeze(0), outcome)


def costs_of(change: Change, costs: Costs) -> dict[str, list[float]]:
    """Each aircraft's terms of a step of (1, N) traffic."""
    return {name: term[0].tolist() for name, term in aircraft_costs(CONFIG, change, costs).items()}


def pair(traffic: Traffic, costs: Costs | None = None) -> tuple[list[float], list[float]]:
    """Each aircraft's part of proximity and of predicted conflicts in (1, N) traffic."""
    proximity, predicted = pair_costs(CONFIG, traffic, pairs_of(traffic.map(Tensor.detach)), costs or Costs())
    return proximity[0].tolist(), predicted[0].tolist()


# --- worked out on paper ---


def test_straight_flight_at_cruise_speed_costs_nothing(flying: Maker) -> None:
    traffic = flying([(0, 0, 0, 9), (250, 0, 0, 9)], [(0, 400), (250, 400)])
    terms = costs_of(flown(traffic, torch.zeros((2, 2), dtype=torch.float64)), Costs())
    assert tuple(terms) == TERMS
    assert all(term == pytest.approx([0, 0], abs=1e-9) for term in terms.values())


def test_path_and_its_gradient(flying: Maker) -> None:
    # Flying north at 9 m/s, the waypoint lies at 3:4 from the end of the step. A turn of a moves that by
    # 9 a pi/4 to the right, 0.6 of it nearer; an acceleration of a moves it 1.7149 a on, 0.8 of it nearer.
    action = torch.zeros((1, 2), dtype=torch.float64, requires_grad=True)
    terms = aircraft_costs(CONFIG, flown(flying([(0, 0, 0, 9)], [(300, 409)]), action), replace(NOTHING, path=2.0))
    assert float(terms["path"].detach()) == pytest.approx(2 * (9 - (math.hypot(300, 409) - 500)))
    (gradient,) = torch.autograd.grad(terms["path"].sum(), action)
    turn, speed = -2 * 0.6 * 9 * math.pi / 4, 2 * (1 - 0.8) * CONFIG.speed_change_mps
    assert gradient.tolist()[0] == pytest.approx([turn, speed])


def test_speed_effort_and_pace(flying: Maker) -> None:
    traffic = flying([(0, 0, 0, 9), (0, 300, 90, 9)])
    action = torch.tensor([[0.5, 0.0], [0.0, 0.7]], dtype=torch.float64)
    terms = costs_of(flown(traffic, action), replace(NOTHING, speed=10, pace=4, effort=3))
    assert terms["effort"] == pytest.approx([3 * 0.25, 3 * 0.49])
    faster = 0.7 * CONFIG.speed_change_mps / 9
    assert terms["speed"] == pytest.approx([0, 10 * faster**2])
    # on average half of that, of which 0.04 are free; each bears it
    assert terms["pace"] == pytest.approx([4 * (faster / 2 - 0.04) ** 2] * 2)


def test_effort_counts_what_is_asked_for_and_is_finite_whatever_that_is(flying: Maker) -> None:
    traffic, nothing = flying([(0, 0, 0, 9), (300, 0, 0, 9), (600, 0, 0, 9)], ended=(2,)), torch.nan
    action = torch.tensor([[[2.0, 0.0], [-1e30, 0.0], [nothing, nothing]]], dtype=torch.float64)
    assert costs_of(change_of(traffic, traffic.clone(), action), Costs(effort=1))["effort"] == [4, 100, 0]


@pytest.mark.parametrize(("speeds", "cost"), [((10.8, 7.2), 0), ((9.36, 9.36), 0), ((7.2, 7.2), 0.16**2)])
def test_traffic_may_be_as_fast_as_it_wants_if_it_is_so_on_the_whole(
    flying: Maker, speeds: tuple[float, float], cost: float
) -> None:
    traffic = flying([(0, 0, 0, speeds[0]), (0, 300, 90, speeds[1])])
    terms = costs_of(change_of(traffic, traffic.clone()), replace(NOTHING, pace=1))
    assert terms["pace"] == pytest.approx([cost, cost], abs=1e-12)


def test_standing_still(flying: Maker) -> None:
    rows: list[Row] = [(400 * number, 0, 0, speed) for number, speed in enumerate((9, 4.5, 2.25, 0, 0))]
    terms = costs_of(change_of(traffic := flying(rows, ended=(4,)), traffic.clone()), replace(NOTHING, stall=8))
    assert terms["stall"] == pytest.approx([0, 0, 2, 8, 0])


def test_who_has_ended_counts_as_on_cruise_speed(flying: Maker) -> None:
    rows: list[Row] = [(0, 0, 0, 18), (0, 300, 90, 3), (300, 0, 90, 3), (300, 300, 0, 9)]
    terms = costs_of(change_of(traffic := flying(rows, ended=(1, 2)), traffic.clone()), replace(NOTHING, pace=1))
    assert terms["pace"] == pytest.approx([(1 / 4 - 0.04) ** 2, 0, 0, (1 / 4 - 0.04) ** 2])


@pytest.mark.parametrize(
    ("distance_m", "cost"),
    [
        (120, 0.0),
        (110, 0.0),
        (108, 0.04),
        (105, 0.25),  # half of the margin is used up
        (100, 1.0),
        (90, 1 + 2 * math.log(2)),
        (50, 1 + 2 * math.log(6)),
        (0, 1 + 2 * math.log(11)),  # 5.8: two aircraft in one place do not outweigh all others
    ],
)
def test_proximity(flying: Maker, distance_m: float, cost: float) -> None:
    proximity, predicted = pair(flying([(0, 0, 0, 9), (distance_m, 0, 0, 9)]))
    assert proximity == pytest.approx([cost / 2, cost / 2], abs=1e-4)
    assert predicted == [0, 0]


def test_proximity_has_one_slope_at_the_edge_of_the_zone(flying: Maker) -> None:
    # 2 z / 10 m there, on either side
    for distance_m in (100 + 1e-6, 100 - 1e-6):
        traffic = flying([(0, 0, 0, 9), (distance_m, 0, 0, 9)])
        traffic.east_m.requires_grad_()
        proximity, _ = pair_costs(CONFIG, traffic, pairs_of(traffic.map(Tensor.detach)), Costs())
        (slope,) = torch.autograd.grad(proximity.sum(), traffic.east_m)
        assert slope[0].tolist() == pytest.approx([0.2, -0.2], rel=1e-6)


def test_predicted_conflicts(flying: Maker) -> None:
    # head-on and 10 m beside each other: after 300 m at 18 m/s they are 10 m apart; margin 110 m
    head_on = flying([(0, 0, 0, 9), (10, 300, 180, 9)], [(0, 400), (10, -100)])
    now = 1 - 10 / 110
    proximity, predicted = pair(head_on, Costs(fade_s=12))
    assert proximity == [0, 0]
    assert predicted == pytest.approx([now * math.exp(-300 / 18 / 12) / 2] * 2)
    # the other one lands at half the way
    landing = flying([(0, 0, 0, 9), (10, 300, 180, 9)], [(0, 400), (10, 150)])
    assert pair(landing)[1] == [0, 0]
    # too far ahead: at 18 m/s 600 m take more than 30 s
    far = flying([(0, 0, 0, 9), (10, 600, 180, 9)], [(0, 400), (10, -100)])
    assert pair(far)[1] == [0, 0]
    assert pair(far, Costs(lookahead_s=40))[1][0] > 0
    # flying apart, 108 m
    assert pair(flying([(0, 0, 270, 9), (108, 0, 90, 9)]))[1] == [0, 0]


def test_each_of_a_pair_has_half(flying: Maker) -> None:
    # in a row, 105 m from each other: the middle one is in two pairs, and is charged for both in full
    change = change_of(traffic := flying([(0, 0, 0, 9), (105, 0, 0, 9), (210, 0, 0, 9)]), traffic.clone())
    costs = replace(NOTHING, proximity=8)
    assert costs_of(change, costs)["proximity"] == pytest.approx([1, 2, 1])
    assert charges(CONFIG, change, costs)["proximity"][0].tolist() == pytest.approx([2, 4, 2])


@pytest.mark.parametrize("side", [1, -1])
def test_head_on_both_turn_away_from_each_other(flying: Maker, side: int) -> None:
    # the other passes on the side `side` (1 right): both turn to the other side, equally, by symmetry
    traffic = flying([(0, 0, 0, 9), (10 * side, 300, 180, 9)], [(0, 400), (10 * side, -100)])
    action = torch.zeros((2, 2), dtype=torch.float64, requires_grad=True)
    terms = aircraft_costs(CONFIG, flown(traffic, action), replace(NOTHING, predicted=1))
    (gradient,) = torch.autograd.grad(terms["predicted"].sum(), action)
    turns = (-gradient[:, 0]).tolist()
    assert turns[0] * side < -1e-3
    assert turns[1] == pytest.approx(turns[0])


# --- outside the sector: what a whole flight comes to ---


def outside(flying: Maker, east_m: Sequence[float], end: int) -> list[float]:
    """The cost of each step of a flight that is at these places, one after the other, and ends so."""
    steps = list(pairwise(east_m))
    found = []
    for number, (there, here) in enumerate(steps, start=1):
        outcome = [end if number == len(steps) else FLYING]
        change = change_of(flying([(there, 0, 90, 9)]), flying([(here, 0, 90, 9)]), outcome=outcome)
        found += outside_cost(CONFIG, change)[0].tolist()
    return found


@pytest.mark.parametrize(
    ("east_m", "end", "steps"),
    [
        ([490, 500, 525, 550], LEFT_SECTOR, [0, 0.25, 0.75]),  # 1 at 50 m, where it has left
        ([-499, -550], LEFT_SECTOR, [1]),
        ([495, 505, 515, 510, 499, 480], WAYPOINT, [0.01, 0.08, -0.05, -0.04, 0]),  # out and back again
        ([495, 530, 535], WAYPOINT, [0.36, -0.36]),  # to a waypoint outside: all is given back
    ],
)
def test_outside_by_hand(flying: Maker, east_m: list[float], end: int, steps: list[float]) -> None:
    assert outside(flying, east_m, end) == pytest.approx(steps, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(st.floats(-549.9, 549.9), max_size=12),
    end=st.sampled_from([(550.0, LEFT_SECTOR, 1.0), (-550.0, LEFT_SECTOR, 1.0), (460.0, FLYING, 0.0),
                         (480.0, WAYPOINT, 0.0), (520.0, WAYPOINT, 0.0)]),
)  # fmt: skip
def test_a_flight_that_leaves_costs_1_and_any_other_nothing(
    flying: Maker, places: list[float], end: tuple[float, int, float]
) -> None:
    place, outcome, total = end
    assert sum(outside(flying, [0.0, *places, place], outcome)) == pytest.approx(total, abs=1e-9)


def test_the_flights_of_a_world_come_to_how_far_outside_they_end() -> None:
    """However many fly wild, leave and land: what is paid on the way is what the end says."""
    config = WorldConfig(aircraft=8, max_steps=60, sector_radius_m=300.0, sector_area_m2=150_000.0)
    world = World(config, 2, range(12))
    generator, total, ends = torch.Generator().manual_seed(0), torch.zeros(12, 8), torch.zeros(12, 8)
    held = torch.rand((12, 8, 2), generator=generator) - 0.5
    outcomes = set()
    while not bool(world.is_over.all()):
        before = world.traffic
        outcome = world.step(0.3 * held).outcome
        change = Change(before, held, world.traffic, world.pairs, outcome, world.corners_m)
        total += outside_cost(config, change)
        reached = distance_outside(world.traffic.east_m, world.traffic.north_m, world.corners_m) / config.outside_m
        ends = torch.where(before.is_flying, (reached * (outcome != WAYPOINT)).square(), ends)
        outcomes |= set(outcome.flatten().tolist())
        has_left = outcome == LEFT_SECTOR
        most = (1 + config.max_speed_mps * config.step_s / config.outside_m) ** 2
        assert ((total >= 1 - 1e-4) & (total <= most))[has_left].all(), "leaving costs 1, and the way beyond"
    assert outcomes == {FLYING, WAYPOINT, LEFT_SECTOR, TIME_LIMIT}
    torch.testing.assert_close(total, ends, rtol=1e-4, atol=1e-4)


# --- about to be outside ---


@pytest.mark.parametrize("speed", [0, 5, 18])
@pytest.mark.parametrize(
    ("place", "goal", "cost"),
    [
        ((400, 0, 90), (0, 400), 0),  # 28 m are left 8 s later
        ((464, 0, 90), (0, 400), 36 / 72),
        ((545, 0, 90), (0, 400), 117 / 72),
        ((500, 0, 270), (0, 400), 0),  # on its way in
        ((499, 0, 0), (0, 400), 0),  # along the edge
        ((464, 0, 90), (490, 0), 0),  # by way of its waypoint
        ((464, 0, 90), (490, 2 * 18.52), 0.5 * 0.5),  # past it, 2 radii off
        ((464, 0, 90), (490, -4 * 18.52), 0.5),
        ((464, 0, 90), (550, 0), 0),  # 14 m before it 8 s later
        ((464, 0, 90), (400, 0), 0.5),  # past it already
    ],
)
def test_leaving_by_hand(
    flying: Maker, place: tuple[float, float, float], goal: tuple[float, float], cost: float, speed: float
) -> None:
    traffic = flying([(*place, speed)], [goal])
    change = change_of(traffic, traffic)
    assert leaving_cost(CONFIG, change, 8.0)[0].tolist() == pytest.approx([cost], abs=1e-9)
    assert costs_of(change, replace(NOTHING, leaving=300))["leaving"] == pytest.approx([300 * cost], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(east_m=st.floats(-560, 560), north_m=st.floats(-560, 560), track=st.floats(0, 360))
def test_leaving_goes_on_with_the_way_ahead(flying: Maker, east_m: float, north_m: float, track: float) -> None:
    """Never negative, no more than the way and how far outside one is; its slope is what it changes by."""
    traffic = flying([(east_m, north_m, track, 9.0)], [(0.0, 0.0)])
    outside_m = float(distance_outside(traffic.east_m, traffic.north_m, SQUARE))

    def cost(track_rad: Tensor) -> Tensor:
        traffic.track_rad = track_rad
        return leaving_cost(CONFIG, change_of(traffic, traffic), 8.0).sum()

    heading = traffic.track_rad.clone()
    assert 0 <= float(cost(heading)) <= 1 + outside_m / 72 + 1e-9
    heading.requires_grad_()
    small = 1e-6
    low, high = (float(cost(heading.detach() + sign * small)) for sign in (-1, 1))
    found = cost(heading)
    slope = torch.autograd.grad(found, heading)[0] if found.requires_grad else torch.zeros(1)
    kinks = abs(high + low - 2 * float(found.detach()))  # corners, the edge itself
    assert float(slope) == pytest.approx((high - low) / (2 * small), abs=1e-3 + 2 * kinks / small)


def test_who_has_ended_does_not_leave(flying: Maker) -> None:
    traffic = flying([(499, 0, 90, 9)] * 3, [(0, 400)] * 3)
    change = change_of(traffic, traffic, outcome=[WAYPOINT, LEFT_SECTOR, FLYING])
    assert leaving_cost(CONFIG, change, 8.0)[0].tolist() == pytest.approx([0, 0, 71 / 72])


# --- making way ---


@pytest.mark.parametrize(
    ("own_m", "other_m", "goal_m", "cost"),
    [
        (131, 50, 0, 0),  # keeps off by more than 1.3 R
        (80, 50, 0, 0.25 / (1 + math.exp(-3))),
        (80, 50, 49, 0.25 / (1 + math.exp(-3))),
        (80, 50, 51, 0),  # does not want to go there
        (80, 80, 0, 0.25 / 2),
        (50, 80, 0, 0.64 / (1 + math.exp(3))),  # is the nearer one itself
        (80, 164, 0, 0),  # nobody to wait for
    ],
)
def test_yielding_by_hand(flying: Maker, own_m: float, other_m: float, goal_m: float, cost: float) -> None:
    traffic = flying([(0, 400 - own_m, 0, 9), (0, 400 + other_m, 180, 9)], [(0, 400), (0, 400 + goal_m)])
    found = yielding_cost(CONFIG, traffic, pairs_of(traffic), 1.3)
    assert float(found[0, 0]) == pytest.approx(cost, abs=1e-12)
    change = change_of(traffic, traffic)
    assert costs_of(change, replace(NOTHING, yielding=300))["yielding"][0] == pytest.approx(300 * cost)
    assert costs_of(change, Costs())["yielding"] == [0, 0]  # charged only where it is asked for


def test_yielding_by_lists_is_that_by_all_pairs(flying: Maker) -> None:
    """Of many aircraft only those that can matter are listed; who waits for whom is the same."""
    generator = random.Random(0)
    goals = [(2000 * (number % 10) - 9000, 0) for number in range(200)]
    rows = [(east + generator.uniform(-250, 250), generator.uniform(-250, 250), 0, 9) for east, _ in goals]
    traffic = flying(rows, goals)
    costs = Costs(yielding=300)
    pairs = pairs_around(traffic, sight_of(CONFIG, 0, costs))
    assert pairs.listed is not None
    assert pairs.east_m.shape[-1] < 200
    found = yielding_cost(CONFIG, traffic, pairs, costs.keep_off)
    assert (found > 0).sum() > 20
    torch.testing.assert_close(found, yielding_cost(CONFIG, traffic, pairs_of(traffic), costs.keep_off))


def test_of_several_the_nearest_counts_and_no_one_who_has_ended(flying: Maker) -> None:
    rows = [(0, 320, 0, 9), (0, 460, 180, 9), (30, 400, 0, 9)]
    traffic = flying([*rows, (0, 400, 0, 9)], ended=(3,))
    found = yielding_cost(CONFIG, traffic, pairs_of(traffic), 1.3)
    of = [(own / 100, 1 / (1 + math.exp(-(own - other) / 10))) for own, other in ((80, 30), (60, 30), (30, 60))]
    assert found[0].tolist() == pytest.approx([*((1.3 - own) ** 2 * share for own, share in of), 0])


def test_nobody_races_for_the_first_place(flying: Maker) -> None:
    """Its slope leads away from the own waypoint, and to no place else; the other's place has none."""
    traffic = flying([(0, 320, 0, 9), (60, 400, 270, 9)])
    traffic.east_m.requires_grad_(), traffic.north_m.requires_grad_()
    yielding_cost(CONFIG, traffic, pairs_of(traffic), 1.3)[0, 0].backward()
    share = 1 / (1 + math.exp(-2))
    assert traffic.north_m.grad is not None
    assert traffic.east_m.grad is not None
    assert traffic.north_m.grad[0].tolist() == pytest.approx([2 * 0.5 / 100 * share, 0])
    assert traffic.east_m.grad[0].tolist() == pytest.approx([0, 0])


# --- who costs nothing ---


def test_who_has_ended_is_in_nobodys_way(flying: Maker) -> None:
    rows: list[Row] = [(0, 0, 0, 9), (10, 150, 180, 9), (0, -90, 0, 9)]
    goals = [(0, 400), (10, -300), (0, 400)]
    action = torch.zeros((3, 2), dtype=torch.float64)
    ended = costs_of(flown(flying(rows, goals), action, [FLYING, WAYPOINT, FLYING]), Costs())
    alone = costs_of(flown(flying([rows[0], rows[2]], [goals[0], goals[2]]), action[:2]), Costs())
    for name in OF_PAIRS:
        assert [ended[name][0], ended[name][2]] == pytest.approx(alone[name])
        assert ended[name][1] == 0
    everybody = costs_of(flown(flying(rows, goals), action), Costs())
    assert everybody["predicted"][0] > ended["predicted"][0]
    # the step in which it ended still costs it its way, but nothing of what comes after
    assert ended["path"] == pytest.approx(everybody["path"])


def test_who_did_not_fly_costs_nothing_and_gets_no_gradient(flying: Maker) -> None:
    traffic = flying([(0, 0, 0, 9), (0, 520, 0, 3)], [(300, 400), (10, 141)], ended=(1,))
    traffic.east_m.requires_grad_()
    terms = aircraft_costs(CONFIG, flown(traffic, torch.ones((2, 2), dtype=torch.float64)), Costs())
    (gradient,) = torch.autograd.grad(torch.stack([term.sum() for term in terms.values()]).sum(), traffic.east_m)
    assert gradient[0, 0] != 0
    assert gradient[0, 1] == 0
    assert {name: float(term[0, 1].detach()) for name, term in terms.items()} == dict.fromkeys(TERMS, 0.0)


# --- whatever is flown ---


def random_change(random_traffic: Maker, seed: int, episodes: int = 3, aircraft: int = 8) -> Change:
    """A step of dense traffic, some of which does not fly, leaves, or lands."""
    before = random_traffic(seed, episodes, aircraft, 300.0)
    generator, shape = torch.Generator().manual_seed(seed), (episodes, aircraft)
    before.is_flying = torch.rand(shape, generator=generator) < 0.85
    action = torch.randn((*shape, 2), generator=generator, dtype=torch.float64)
    after = advance(before, action, CONFIG)
    outcome = torch.zeros(shape, dtype=torch.int8)
    outcome[:, 0], outcome[:, 1] = WAYPOINT, LEFT_SECTOR
    outcome *= before.is_flying
    after.is_flying = before.is_flying & (outcome == FLYING)
    corners = (0.45 * SQUARE).expand(episodes, -1, -1)
    return Change(before, action, after, pairs_of(after), outcome, corners)


def by_hand(one: list[float], other: list[float], costs: Costs) -> tuple[float, float]:
    """Proximity and predicted conflict of a pair, from (east, north, velocity east, north, seconds to land)."""
    east, north, velocity_east, velocity_north = (there - here for here, there in zip(one[:4], other[:4]))
    zone, margin = CONFIG.protected_zone_m, costs.margin * CONFIG.protected_zone_m
    depth = (margin - math.hypot(east, north)) / (margin - zone)
    proximity = 0.0 if depth <= 0 else depth**2 if depth < 1 else 1 + 2 * math.log(depth)
    tcpa = -(east * velocity_east + north * velocity_north) / (velocity_east**2 + velocity_north**2)
    dcpa = math.hypot(east + velocity_east * tcpa, north + velocity_north * tcpa)
    is_ahead = 0 < tcpa < min(costs.lookahead_s, one[4], other[4]) and dcpa < margin
    return proximity, (1 - dcpa / margin) * math.exp(-tcpa / costs.fade_s) if is_ahead else 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), margin=st.floats(1.01, 3.0), lookahead_s=st.floats(1.0, 60.0))
def test_pair_costs_are_those_of_all_pairs_one_by_one(
    random_traffic: Maker, seed: int, margin: float, lookahead_s: float
) -> None:
    traffic, costs = random_traffic(seed, 2, 7, 250.0), Costs(margin=margin, lookahead_s=lookahead_s)
    left_s = (to_go(traffic) - CONFIG.waypoint_radius_m).clamp_min(0) / traffic.speed_mps
    state = (traffic.east_m, traffic.north_m, traffic.velocity_east_mps, traffic.velocity_north_mps, left_s)
    rows = torch.stack(state, -1).tolist()
    expected = torch.zeros((2, 2, 7), dtype=torch.float64)  # proximity and predicted, episode, aircraft
    for episode, aircraft in enumerate(rows):
        for one in range(7):
            for other in range(one):
                found = torch.tensor(by_hand(aircraft[one], aircraft[other], costs), dtype=torch.float64)
                expected[:, episode, one] += found / 2
                expected[:, episode, other] += found / 2
    got = torch.stack(pair_costs(CONFIG, traffic, pairs_of(traffic), costs))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_costs_do_not_know_the_order(random_traffic: Maker, seed: int) -> None:
    change = random_change(random_traffic, seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    before, after = (each.map(lambda tensor: tensor[:, order]) for each in (change.before, change.after))
    turned = Change(
        before, change.action[:, order], after, pairs_of(after), change.outcome[:, order], change.corners_m
    )
    for costs in (aircraft_costs, charges):
        expected, got = costs(CONFIG, change, Costs()), costs(CONFIG, turned, Costs())
        for name in TERMS:
            torch.testing.assert_close(got[name], expected[name][:, order], rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_an_aircraft_is_charged_with_what_it_does_to_all(random_traffic: Maker, seed: int) -> None:
    """The slope of its charge along its own state is that of what all together pay."""
    change, costs = random_change(random_traffic, seed, episodes=1, aircraft=6), Costs(margin=2.0)
    after = change.after
    state = [after.east_m, after.north_m, after.track_rad, after.speed_mps]
    for quantity in state:
        quantity.requires_grad_()
    all_pay, charged = aircraft_costs(CONFIG, change, costs), charges(CONFIG, change, costs)

    def slopes(what: Tensor) -> Tensor:
        found = torch.autograd.grad(what, state, retain_graph=True, materialize_grads=True)
        return torch.stack(found)[:, 0]  # (4, N)

    for name in OF_PAIRS:
        expected = slopes(all_pay[name].sum())
        own = torch.stack([slopes(charged[name][0, each])[:, each] for each in range(6)], -1)
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9)
    # of the pace, what is charged is that slope times how far the aircraft is from cruise speed
    along_speed = slopes(all_pay["pace"].sum())[3]
    share = along_speed * (after.speed_mps[0] - CONFIG.cruise_mps)
    torch.testing.assert_close(charged["pace"][0], share, rtol=1e-6, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_charges_of_pairs_are_twice_their_costs_and_the_others_are_the_costs(
    random_traffic: Maker, seed: int
) -> None:
    change = random_change(random_traffic, seed)
    all_pay, charged = aircraft_costs(CONFIG, change, Costs()), charges(CONFIG, change, Costs())
    for name in set(TERMS) - {"pace"}:
        torch.testing.assert_close(charged[name], (2.0 if name in OF_PAIRS else 1.0) * all_pay[name])
