import math

import pytest
import torch

from skyclone.collect.airspace.objective import Change, Costs, charges
from skyclone.collect.airspace.reward import REWARDS, reward_named, seed_reward
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import LEFT_SECTOR, TIME_LIMIT, WAYPOINT

CONFIG = WorldConfig()


def change_of(before, after, outcome):
    """What became of (B, N) traffic in a step, in a sector without an edge nearby."""
    corners = torch.tensor([[-1e4, -1e4], [1e4, -1e4], [1e4, 1e4], [-1e4, 1e4]], dtype=before.east_m.dtype)
    action = before.east_m.new_zeros((*before.east_m.shape, 2))
    return Change(before, action, after, pairs_of(after), outcome, corners.expand(len(outcome), -1, -1))


def reward_of(before, after, outcome=None, name="seed"):
    """The reward of each aircraft, (N,)."""
    codes = torch.tensor([outcome or [0] * before.east_m.shape[1]], dtype=torch.int8)
    after.is_flying = before.is_flying & (codes == 0)
    return reward_named(name)(CONFIG, change_of(before, after, codes))[0].tolist()


# --- the seed's reward, term by term ---


def test_straight_to_the_waypoint(traffic_of):
    # no drift; 9 of 1852 m of progress; one step
    before = traffic_of([(0, 0, 0, 9)], waypoints=[(0, 500)])
    after = traffic_of([(0, 9, 0, 9)], waypoints=[(0, 500)])
    assert reward_of(before, after) == pytest.approx([5 * 9 / 1852 - 0.005], abs=1e-6)


def test_drift_costs_half_per_radian_on_either_side(traffic_of):
    for track, drift in ((90, math.pi / 2), (-90, math.pi / 2), (180, math.pi), (30, math.pi / 6)):
        before = traffic_of([(0, 0, track, 9)], waypoints=[(0, 500)])
        assert reward_of(before, before.clone()) == pytest.approx([-0.5 * drift - 0.005], abs=1e-6)


def test_flying_away_costs_progress(traffic_of):
    before = traffic_of([(0, 0, 180, 9)], waypoints=[(0, 500)])
    after = traffic_of([(0, -9, 180, 9)], waypoints=[(0, 500)])
    assert reward_of(before, after) == pytest.approx([-0.5 * math.pi - 0.005 - 5 * 9 / 1852], abs=1e-6)


@pytest.mark.parametrize(("outcome", "bonus"), [(WAYPOINT, 10), (LEFT_SECTOR, 0), (TIME_LIMIT, 0)])
def test_only_the_waypoint_brings_a_bonus(traffic_of, outcome, bonus):
    before = traffic_of([(0, 0, 0, 9)], waypoints=[(0, 20)])
    after = traffic_of([(0, 9, 0, 9)], waypoints=[(0, 20)])
    assert reward_of(before, after, [outcome]) == pytest.approx([bonus + 5 * 9 / 1852 - 0.005], abs=1e-5)


@pytest.mark.parametrize(
    ("gap_m", "cost"),
    [(201, 0), (200, 0), (150, 0.25), (101, 0.495), (100, 0.5), (99.9, 10.5), (30, 10.5)],
)
def test_proximity_and_intrusion(traffic_of, gap_m, cost):
    # linear from 0 at 2R to 0.5 at R; inside R 10 more for each intruder
    traffic = traffic_of([(0, 0, 0, 9), (gap_m, 0, 0, 9)], waypoints=[(0, 500), (gap_m, 500)])
    assert reward_of(traffic, traffic.clone()) == pytest.approx([-cost - 0.005] * 2, abs=1e-5)


def test_intruders_count_each_but_only_the_nearest_is_near(traffic_of):
    # at 0, 50, 80 and 140 m in a row: the outer ones have 2 intruders inside R, the inner ones 3
    east = [0, 50, 80, 140]
    traffic = traffic_of([(x, 0, 0, 9) for x in east], waypoints=[(x, 500) for x in east])
    assert reward_of(traffic, traffic.clone()) == pytest.approx([-20.505, -30.505, -30.505, -20.505], abs=1e-4)


def test_aircraft_that_end_are_intruders_no_more(traffic_of):
    traffic = traffic_of([(0, 0, 0, 9), (50, 0, 0, 9)], waypoints=[(0, 500), (50, 500)])
    rewards = reward_of(traffic, traffic.clone(), [0, WAYPOINT])
    assert rewards == pytest.approx([-0.005, 10 - 0.005], abs=1e-5)


def test_aircraft_that_ended_before_get_nothing_and_cost_nothing(traffic_of):
    rows = [(0, 0, 0, 9), (50, 0, 90, 9), (150, 0, 0, 9)]
    goals = [(0, 500), (50, 500), (150, 500)]
    before = traffic_of(rows, waypoints=goals, ended=(1,))
    assert reward_of(before, before.clone()) == pytest.approx([-0.255, 0, -0.255], abs=1e-5)


def test_one_aircraft_alone_gets_a_finite_reward(traffic_of):
    before = traffic_of([(0, 0, 0, 9)], waypoints=[(0, 0)])  # on its waypoint: no direction to it
    assert math.isfinite(reward_of(before, before.clone())[0])


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_do_not_know_the_order(random_traffic, name):
    before, after = random_traffic(1, 4, 10), random_traffic(2, 4, 10)
    outcome, order = torch.zeros((4, 10), dtype=torch.int8), torch.arange(9, -1, -1)
    reward = reward_named(name)
    expected = reward(CONFIG, change_of(before, after, outcome))
    before, after = (traffic.map(lambda tensor: tensor[:, order]) for traffic in (before, after))
    torch.testing.assert_close(reward(CONFIG, change_of(before, after, outcome)), expected[:, order])


# --- the reward that asks for what is evaluated; its terms are in test_objective.py ---


def test_detour_is_zero_on_the_straight_way_at_cruise_speed(traffic_of):
    before = traffic_of([(0, 0, 0, 9)], waypoints=[(0, 500)])
    after = traffic_of([(0, 9, 0, 9)], waypoints=[(0, 500)])
    assert reward_of(before, after, name="detour") == pytest.approx([0], abs=1e-4)
    assert reward_of(before, after, [WAYPOINT], name="detour") == pytest.approx([0], abs=1e-4)


def test_detour_pays_for_the_way_and_for_who_is_close(traffic_of):
    # 9 m flown, none gained, at 2 a metre; 105 m beside each other, margin 110 m: a quarter of 80, for each
    before = traffic_of([(0, 0, 90, 9), (105, 0, 90, 9)], [(0, 1e9), (105, 1e9)], dtype=torch.float64)
    reward = reward_of(before, before.clone(), name="detour:path=2:proximity=80:predicted=0:margin=1.1")
    assert reward == pytest.approx([-2 * 9 - 80 / 4] * 2, abs=1e-4)


def test_a_reward_by_name_has_the_parameters_behind_it(random_traffic):
    assert reward_named("seed") is seed_reward
    assert reward_named("detour") == Costs()
    costs = reward_named("detour:path=2:margin=1.2")
    assert costs == Costs(path=2.0, margin=1.2)
    before, after = random_traffic(1, 4, 10), random_traffic(2, 4, 10)
    change = change_of(before, after, torch.zeros((4, 10), dtype=torch.int8))
    expected = -torch.stack(list(charges(CONFIG, change, costs).values())).sum(0)
    torch.testing.assert_close(costs(CONFIG, change), expected)


def test_a_world_pays_minus_the_charges():
    config = WorldConfig(
        aircraft=12,
        scenario="shared:group=12",
        reward="detour:path=2:margin=1.5:yielding=300",
        sector_radius_m=400,
        sector_area_m2=2.5e5,
    )
    world, costs = World(config, 0, range(3)), Costs(path=2.0, margin=1.5, yielding=300.0)
    generator, paid = torch.Generator().manual_seed(0), torch.zeros(())
    for _ in range(40):
        before = world.traffic
        action = 2 * torch.randn((3, 12, 2), generator=generator)
        result = world.step(action)
        change = Change(before, action, world.traffic, world.pairs, result.outcome, world.corners_m)
        terms = charges(config, change, costs)
        torch.testing.assert_close(result.reward, -torch.stack(list(terms.values())).sum(0))
        paid = torch.stack([term.abs().sum() for term in terms.values()]) + paid
    assert (paid > 0).all(), "every term was met"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead", r"unknown reward 'sead'\. There are: seed, detour"),
        ("seed:path=1", r"reward 'seed' has no parameter 'path'\. It has: none"),
        ("detour:fame=1", r"reward 'detour' has no parameter 'fame'\. It has: path, proximity, predicted"),
        ("detour:path", r"expected NAME:key=value:key=value, got 'path'\. Example: detour:path=1\.0"),
        ("detour:path=far", r"expected a number for path, got 'far'"),
        ("detour:path=1:path=2", r"expected path once, got it again"),
        ("detour:path=-1", r"expected path of 0 or more, got -1"),
        ("detour:margin=1", r"expected margin above 1, got 1.0. It is times the protected zone"),
        ("detour:fade_s=0", r"expected fade_s above 0, got 0"),
    ],
)
def test_wrong_rewards(text, message):
    with pytest.raises(ConfigurationError, match=message):
        reward_named(text)
