"""The reward that `finetune` improves by default, term by term, in units of 100 m of detour."""

from collections.abc import Callable

import pytest
import torch

from skyclone.collect.airspace.reward import REWARDS, separation_reward, separation_terms
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import FLYING, LEFT_SECTOR
from skyclone.datasets.traffic.state import Traffic

CONFIG = WorldConfig(aircraft=2)
Maker = Callable[..., Traffic]


def terms_of(before: Traffic, after: Traffic, outcome: int = FLYING) -> dict[str, list[float]]:
    ended = torch.full(before.east_m.shape, outcome, dtype=torch.int8)
    terms = separation_terms(CONFIG, before, after, pairs_of(after), ended)
    return {name: term[0].tolist() for name, term in terms.items()}


def test_straight_flight_at_cruise_speed_costs_nothing(traffic_of: Maker) -> None:
    goals = [(0.0, 900.0), (500.0, 900.0)]
    before = traffic_of([(0, 0, 0, 9), (500, 0, 0, 9)], goals)
    after = traffic_of([(0, 9, 0, 9), (500, 9, 0, 9)], goals)
    assert all(value == pytest.approx([0, 0], abs=1e-6) for value in terms_of(before, after).values())


@pytest.mark.parametrize(
    ("distance_m", "los", "proximity"),
    [
        (120, 0.0, 0.0),
        (110, 0.0, 0.0),
        (105, 0.0, -0.05),
        (100.1, 0.0, -0.099),
        (90, -2.2, -0.1),
        (50, -3.0, -0.1),
    ],
)
def test_separation(traffic_of: Maker, distance_m: float, los: float, proximity: float) -> None:
    state = traffic_of([(0, 0, 0, 9), (distance_m, 0, 0, 9)], [(0.0, 900.0), (500.0, 900.0)])
    terms = terms_of(state, state)
    assert terms["los"] == pytest.approx([los, los], rel=1e-4)
    assert terms["proximity"] == pytest.approx([proximity, proximity], abs=1e-3)


def test_detour_speed_and_turns(traffic_of: Maker) -> None:
    # one flies 9 m across its way (and 0.04 m farther from the waypoint), one 10.8 m/s along it after a turn of 0.1
    before = traffic_of([(0, 0, 90, 9), (500, 0, 0, 10.8)], [(0.0, 900.0), (500.0, 900.0)])
    after = traffic_of([(9, 0, 90, 9), (500, 10.8, 4.5, 10.8)], [(0.0, 900.0), (500.0, 900.0)])
    terms = terms_of(before, after)
    assert terms["path"] == pytest.approx([-0.18 - 0.0009, 0.0], abs=1e-5)
    assert terms["speed"] == pytest.approx([0.0, -0.2 * 0.2**2], abs=1e-6)
    assert terms["effort"] == pytest.approx([0.0, -0.02 * 0.1**2], abs=1e-6)


def test_leaving_is_no_way_out(traffic_of: Maker) -> None:
    state = traffic_of([(0, 0, 0, 9), (500, 0, 0, 9)])
    assert terms_of(state, state, LEFT_SECTOR)["left"] == [-20, -20]


def test_ended_aircraft_cost_nothing(traffic_of: Maker) -> None:
    before = traffic_of([(0, 0, 0, 9), (50, 0, 0, 9)], ended=(1,))
    terms = terms_of(before, before)
    assert terms["los"] == [0, 0]
    assert terms["path"][1] == terms["speed"][1] == 0


def test_it_is_the_sum_of_its_terms_and_a_world_pays_it() -> None:
    config = WorldConfig(aircraft=12, reward="separation", sector_radius_m=400, sector_area_m2=250_000)
    world = World(config, 0, range(3))
    before = world.traffic
    result = world.step(torch.zeros(3, 12, 2))
    terms = separation_terms(config, before, world.traffic, world.pairs, result.outcome)
    torch.testing.assert_close(result.reward, sum(terms.values()))
    assert REWARDS["separation"] is separation_reward
