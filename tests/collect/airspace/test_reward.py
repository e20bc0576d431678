import math

import pytest
import torch

from skyclone.collect.airspace.reward import reward_named
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import LEFT_SECTOR, TIME_LIMIT, WAYPOINT

CONFIG = WorldConfig()


def reward_of(before, after, outcome=None, name="seed"):
    """The reward of each aircraft, (N,)."""
    codes = torch.tensor([outcome or [0] * before.east_m.shape[1]], dtype=torch.int8)
    after.is_flying = before.is_flying & (codes == 0)
    return reward_named(name)(CONFIG, before, after, pairs_of(after), codes)[0].tolist()


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


@pytest.mark.parametrize("name", ["seed", "separation"])
def test_rewards_do_not_know_the_order(random_traffic, name):
    before, after = random_traffic(1, 4, 10), random_traffic(2, 4, 10)
    outcome, order = torch.zeros((4, 10), dtype=torch.int8), torch.arange(9, -1, -1)
    reward = reward_named(name)
    expected = reward(CONFIG, before, after, pairs_of(after), outcome)
    before, after = (traffic.map(lambda tensor: tensor[:, order]) for traffic in (before, after))
    torch.testing.assert_close(reward(CONFIG, before, after, pairs_of(after), outcome), expected[:, order])


# --- the reward that asks for what is evaluated ---


def test_separation_reward_is_zero_on_the_straight_way_at_cruise_speed(traffic_of):
    before = traffic_of([(0, 0, 0, 9)], waypoints=[(0, 500)])
    after = traffic_of([(0, 9, 0, 9)], waypoints=[(0, 500)])
    assert reward_of(before, after, name="separation") == pytest.approx([0], abs=1e-5)
    assert reward_of(before, after, [WAYPOINT], name="separation") == pytest.approx([0], abs=1e-5)


def test_separation_reward_costs_detour_and_losses(traffic_of):
    # 9 m flown, none gained: 0.18; 60 m beside each other: 2 (1 + 0.4) for the loss of separation, 0.1 for nearness
    goals = [(0, 1e5), (60, 1e5)]
    before = traffic_of([(0, 0, 90, 9), (60, 0, 90, 9)], waypoints=goals, dtype=torch.float64)
    assert reward_of(before, before.clone(), name="separation") == pytest.approx([-0.18 - 2.8 - 0.1] * 2, abs=1e-6)


def test_an_unknown_reward():
    with pytest.raises(ConfigurationError, match=r"unknown reward 'sead'\. There are: .*seed"):
        reward_named("sead")
