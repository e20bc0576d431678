"""Lists of neighbours: whatever is computed from them is what all pairs give."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect.airspace import neighbours
from skyclone.collect.airspace.conflicts import find, most_urgent
from skyclone.collect.airspace.neighbours import Sight, complete, pairs_around, sight_of
from skyclone.collect.airspace.objective import Change, Costs, pair_costs
from skyclone.collect.airspace.reward import seed_reward
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.events import EventCounter
from skyclone.collect.flying.flight import TeacherPilot, advise, fly
from skyclone.collect.flying.world import World
from skyclone.collect.teachers.registry import make, parse
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.observation import observe, observe_all
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic
from skyclone.datasets.traffic.view import View

ALL, LISTS = 10**6, 3
"""Values of `FEW` with which everything has all pairs, or lists."""
VIEWS = tuple(map(View.parse, ("seed:intruders=3", "ego:intruders=6", "cpa:intruders=9")))


def few(count):
    """Keep all pairs of so many aircraft."""
    return mock.patch.object(neighbours, "FEW", count)


@st.composite
def traffics(draw):
    """Traffic (2, N) float32: scattered, a cluster, some in one place, one far away, some that have ended."""
    count = draw(st.integers(20, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def uniform(low, high):
        return low + (high - low) * torch.rand((2, count), generator=generator)

    half = draw(st.sampled_from([300.0, 1500.0, 6000.0]))
    east, north = uniform(-half, half), uniform(-half, half)
    if draw(st.booleans()):
        east[:, :8], north[:, :8] = east[:, :8] * 0.02, north[:, :8] * 0.02
    if draw(st.booleans()):
        east[:, 8:11], north[:, 8:11] = 50.0, -20.0
    if draw(st.booleans()):
        east[:, 11] = 1e5
    is_flying = uniform(0, 1) < draw(st.sampled_from([0.05, 0.8, 1.1]))
    return Traffic(east, north, uniform(-3.1, 3.1), uniform(0, 18), uniform(-half, half), north * 0.5, is_flying)


def changes_of(config, traffic, pairs):
    """A step that leads to this traffic."""
    shape = traffic.is_flying.shape
    everyone = traffic.map(torch.clone)
    everyone.is_flying = torch.ones(shape, dtype=torch.bool)
    corners = 900.0 * torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]).expand(shape[0], 4, 2)
    return Change(everyone, torch.zeros((*shape, 2)), traffic, pairs, torch.zeros(shape, dtype=torch.int8), corners)


@settings(max_examples=12, deadline=None)
@given(traffics())
def test_whatever_comes_from_pairs_is_the_same(traffic):
    config, costs = WorldConfig(aircraft=traffic.east_m.shape[1]), Costs()
    dense = pairs_of(traffic)
    with few(LISTS):
        pairs = pairs_around(traffic, sight_of(config, 9, costs))
        assert pairs.listed is not None
        assert_same_conflicts(config, traffic, pairs, dense)
        for view in VIEWS:
            seen, expected = observe_all(traffic, view, pairs), observe_all(traffic, view, dense)
            for one, other in zip(seen, expected, strict=True):
                torch.testing.assert_close(one, other)
        torch.testing.assert_close(pairs.nearest_m(), dense.nearest_m())
        change, expected = (changes_of(config, traffic, each) for each in (pairs, dense))
        torch.testing.assert_close(seed_reward(config, change), seed_reward(config, expected))
        for one, other in zip(*(pair_costs(config, traffic, each, costs) for each in (pairs, dense)), strict=True):
            torch.testing.assert_close(one, other)
    for teacher in (parse(text, config) for text in ("mvp", "mvp:margin=1.4:lookahead_s=25", "rvo")):
        with few(LISTS):
            listed = advise(teacher, config, traffic, pairs).action
        with few(ALL):
            torch.testing.assert_close(listed, advise(teacher, config, traffic, dense).action)


def assert_same_conflicts(config, traffic, pairs, dense):
    """The same conflicts in the same order, the same counts and labels."""
    found, expected = (find(each, config.protected_zone_m, config.lookahead_s) for each in (pairs, dense))
    for one, other in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(one, other)
    shape = traffic.is_flying.shape
    for one, other in zip(most_urgent(found, shape), most_urgent(expected, shape), strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    counters = [EventCounter(config, shape[0]) for _ in range(2)]
    for counter, each in zip(counters, (pairs, dense), strict=True):
        counter.count(traffic, each)
    for one, other in zip(*(counter.result() for counter in counters), strict=True):
        torch.testing.assert_close(one, other)


def test_single_ownships_and_kept_episodes_carry_their_lists():
    config = WorldConfig(aircraft=12)
    with few(LISTS):
        world = World(config, 0, range(3), sight=sight_of(config, 4))
        pairs = world.pairs.map(lambda tensor: tensor[world.traffic.is_flying])
        own = world.traffic.map(lambda tensor: tensor[world.traffic.is_flying])
        world.keep(torch.tensor([2]))
    assert pairs.listed is not None
    assert world.pairs.listed is not None
    assert pairs.listed.number.shape == pairs.east_m.shape
    assert world.pairs.listed.number.shape[0] == 1
    seen = observe(own, pairs, View.parse("ego:intruders=4"))
    place = torch.arange(4).expand(36, 4)
    assert torch.equal(pairs.number_of(place), pairs.listed.number[:, :4])
    assert seen.intruders.shape == (36, 4, 5)


@pytest.mark.parametrize("teacher", ["mvp", "none"])
def test_a_flight_by_lists_is_that_by_all_pairs(teacher):
    """Numbers of events are equal; the rest to rounding, while no rounding has grown."""
    config = WorldConfig(aircraft=24, max_steps=40, reward="detour")
    rewards, counters = [], []
    for count in (LISTS, ALL):
        with few(count):
            world, total = World(config, 5, range(4), sight=sight_of(config, 2)), 0.0
            counter = EventCounter(config, 4)
            assert (world.pairs.listed is None) == (count == ALL)
            for step in fly(world, TeacherPilot(make(teacher, config), config)):
                counter.count(step.traffic, step.pairs, step.slots)
                total = total + step.result.reward.sum()
        counters.append(counter.result())
        rewards.append(total)
    torch.testing.assert_close(*rewards, rtol=1e-3, atol=1e-3)
    for one, other in zip(*counters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    assert counters[0].conflicts.sum() > 0


def test_no_episode_at_all():
    traffic = World(WorldConfig(aircraft=40), 0, range(1)).traffic.map(lambda tensor: tensor[:0])
    with few(LISTS):
        assert pairs_around(traffic, Sight(100.0, 15.0, 16)).east_m.shape == (0, 40, 17)


def test_few_aircraft_keep_all_pairs():
    world = World(WorldConfig(aircraft=20), 0, range(2))
    assert world.pairs.listed is None
    assert world.pairs.east_m.shape == (2, 20, 20)


def test_lists_are_made_again_only_for_what_they_do_not_hold():
    with few(LISTS):
        world = World(WorldConfig(aircraft=40), 0, range(2))
        pairs, traffic = world.pairs, world.traffic
        assert complete(pairs, traffic, Sight(110.0, 15.0, 16)) is pairs
        farther, more = complete(pairs, traffic, Sight(300.0, 40.0)), complete(pairs, traffic, Sight(seen=18))
        assert farther.listed.has_conflicts(300.0, 40.0)
        assert more.listed.seen == 18
        assert complete(pairs, traffic, Sight(seen=39)).listed is None  # all others: all pairs
        with pytest.raises(AssertionError):  # lists that do not reach that far are not taken for all
            find(pairs, 300.0, 40.0)


def test_to_see_all_of_too_many_is_refused():
    traffic = Traffic(*(torch.zeros((1, 1001)) for _ in range(6)), torch.ones((1, 1001), dtype=torch.bool))
    with pytest.raises(ConfigurationError, match=r"at most 1000 .* sees 1000 others, got 1001.*intruders="):
        pairs_around(traffic, Sight(seen=1000))
    with (
        mock.patch.object(neighbours.compiling, "why_not", return_value="ImportError: no numba"),
        pytest.raises(ConfigurationError, match=r"numba compiles nothing \(ImportError: no numba\).*install numba"),
    ):
        pairs_around(traffic, Sight())
