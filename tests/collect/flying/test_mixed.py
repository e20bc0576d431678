"""Several pilots in one airspace: who flies whom, who sees whom, and what is counted of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.events import EventCounter
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot, fly
from skyclone.collect.flying.mixed import NOBODY, Group, Mix, between, counts_of, draw, hide, only
from skyclone.collect.flying.sums import PAIR_EVENTS
from skyclone.collect.flying.watching import watch
from skyclone.collect.flying.world import World
from skyclone.datasets.traffic.pairs import pairs_of

WORLD = WorldConfig(aircraft=10, sector_radius_m=500.0, sector_area_m2=4e5, max_steps=120)


def pilot_of(name: str) -> TeacherPilot:
    return TeacherPilot(teachers.parse(name, WORLD), WORLD)


def asking(turn: float, asked: list | None = None):
    """A pilot that always asks for one turn, and notes what it was shown."""

    def fly_it(traffic, pairs):
        if asked is not None:
            asked.append((traffic.is_flying.clone(), pairs.is_pair.clone()))
        action = torch.zeros((*traffic.east_m.shape, 2))
        action[..., 0] = turn
        return action

    return fly_it


@pytest.mark.parametrize(
    ("shares", "aircraft", "expected"),
    [
        ([0.8, 0.1, 0.1], 20, [16, 2, 2]),
        ([0.8, 0.1, 0.1], 10, [8, 1, 1]),
        ([0.5, 0.3, 0.2], 7, [4, 2, 1]),  # 3.5, 2.1, 1.4
        ([0.5, 0.5], 3, [2, 1]),  # equal remainders: the first one's
        ([0.9, 0.1], 1, [1, 0]),
        ([0.2, 0.8], 1, [0, 1]),
        ([0.7, 0.3], 0, [0, 0]),
        ([1 / 3, 1 / 3, 1 / 3], 6, [2, 2, 2]),
    ],
)
def test_as_many_as_the_share_says(shares, aircraft, expected):
    assert counts_of(shares, aircraft) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5), st.integers(0, 60))
def test_counts_add_up_and_are_off_by_less_than_one(weights, aircraft):
    shares = [weight / sum(weights) for weight in weights]
    counts = counts_of(shares, aircraft)
    assert sum(counts) == aircraft
    assert all(abs(count - share * aircraft) < 1 for count, share in zip(counts, shares, strict=True))


def test_only_those_are_drawn_that_are_there():
    is_there = np.array([True] * 6 + [False] * 4)
    drawn = [draw([0.5, 0.5], is_there, np.random.default_rng(seed)) for seed in range(50)]
    assert all((each[6:] == NOBODY).all() and sorted(each[:6]) == [0, 0, 0, 1, 1, 1] for each in drawn)
    assert np.mean([each[:6] for each in drawn], axis=0) == pytest.approx(np.full(6, 0.5), abs=0.25)


def test_who_flies_whom_depends_on_seed_and_episode_alone():
    def numbers(seed, episodes, **changes):
        groups = [Group(0.6, asking(0.1)), Group(0.4, asking(0.2))]
        return Mix(groups).in_world(World(WORLD, seed, episodes)).number

    whole = numbers(3, [0, 1, 2, 7])
    assert (whole == 0).sum(-1).tolist() == [6] * 4
    assert len({tuple(row) for row in whole.tolist()}) == 4
    assert torch.equal(numbers(3, [7, 1]), whole[[3, 1]])
    assert not torch.equal(numbers(4, [0, 1, 2, 7]), whole)


def test_each_group_is_flown_by_its_own_pilot_to_the_end():
    mix = Mix([Group(0.5, asking(0.01)), Group(0.3, asking(-0.01)), Group(0.2, asking(0.02))])
    world = World(WORLD, 0, range(12))
    turns = torch.tensor([0.01, -0.01, 0.02])[mix.in_world(world).number]
    left = []
    for step in fly(world, mix):
        assert torch.equal(step.action[..., 0], turns[step.slots])
        left.append(len(step.slots))
    assert min(left) < 12  # some have dropped out before the end


def test_nobody_but_themselves_sees_who_is_silent():
    seen, own = [], []
    mix = Mix([Group(0.6, asking(0.0, seen)), Group(0.4, asking(0.0, own), is_silent=True)])
    for surveillance in ("perfect", "remote-id"):
        world = World(WorldConfig(**{**WORLD.to_json(), "surveillance": surveillance}), 0, range(3))
        is_silent = mix.in_world(world).number == 1
        for _ in zip(fly(world, mix), range(5)):
            pass
        assert is_silent.sum() == 3 * 4
        for is_flying, is_pair in seen:
            assert not is_flying[is_silent].any()
            assert not is_pair[is_silent.unsqueeze(-2).expand_as(is_pair)].any()
            assert is_pair.any()
        assert any(is_flying[is_silent].all() for is_flying, _ in own)
        if world.perception is not None:
            assert (world.perception.phases[is_silent.numpy()] < 0).all()
        seen.clear()
        own.clear()


def test_of_many_aircraft_the_next_ones_are_listed_instead_of_silent_ones():
    many = WorldConfig(aircraft=80)
    world = World(many, 0, [0, 1])
    is_hidden = torch.rand((2, 80), generator=torch.Generator().manual_seed(0)) < 0.4
    traffic, pairs = hide(world.traffic, world.pairs, is_hidden)
    assert world.pairs.listed is not None
    every = pairs_of(traffic)
    nearest, expected = (each.distance2_m2.sort(-1).values[..., :10] for each in (pairs, every))
    torch.testing.assert_close(nearest, expected)
    assert torch.equal(traffic.is_flying, world.traffic.is_flying & ~is_hidden)


def test_pairs_between_groups_share_out_all_pairs():
    world = World(WORLD, 0, range(2))
    number = torch.randint(0, 3, (2, 10), generator=torch.Generator().manual_seed(1))
    parts = [between(world.pairs, number, one, other) for one in range(3) for other in range(one, 3)]
    assert torch.equal(torch.stack([part.is_pair for part in parts]).sum(0), world.pairs.is_pair.long())
    assert all(torch.equal(part.is_pair, part.is_pair.transpose(-1, -2)) for part in parts)
    assert all(torch.isinf(part.distance2_m2[~part.is_pair]).all() for part in parts)


def test_a_mix_of_one_pilot_with_itself_flies_as_it_does_alone_and_its_groups_add_up():
    mvp, episodes = pilot_of("mvp"), range(6)
    alone = fly_scenarios(lambda traffic, pairs: mvp(traffic, pairs), WORLD, 1, episodes)
    groups = [Group(0.5, mvp), Group(0.3, mvp), Group(0.2, mvp)]
    mixes = [fly_scenarios(Mix(groups), WORLD, 1, episodes)]
    for name in alone.__dataclass_fields__:
        if name != "groups":
            assert np.array_equal(getattr(mixes[0], name), getattr(alone, name)), name
    figures = mixes[0]
    assert figures.groups.shape[:2] == (6, 4)  # and who hovers
    own = figures.group(None)
    assert own.aircraft.tolist() == [5] * 6
    assert (own.conflicts > 0).all()
    for name in PAIR_EVENTS:
        parts = sum(getattr(figures.group(number), name) for number in range(4))
        assert getattr(own, name) == pytest.approx(parts)
        assert (getattr(own, name) <= getattr(alone, name) + 1e-9).all()
    assert (own.steps < alone.steps).all()
    assert (own.least_m >= alone.least_m).all()
    assert (own.first_los_s >= figures.first_los_s).all() or (own.los_events == 0).any()


def test_pairs_and_aircraft_of_a_group_by_hand():
    # everybody flies straight: pairs of the first group are those of its aircraft, whoever flies them
    straight = pilot_of("none")
    figures = fly_scenarios(Mix([Group(0.4, straight), Group(0.6, straight)]), WORLD, 2, range(4))
    number = Mix([Group(0.4, straight), Group(0.6, straight)]).in_world(World(WORLD, 2, range(4))).number
    lost = torch.zeros((4, 10, 10), dtype=torch.bool)
    for moment in watch(straight, WORLD, 2, range(4)):
        for row, slot in enumerate(moment.slots.tolist()):
            lost[slot] |= (moment.pairs.is_pair & moment.pairs.has_lost(WORLD.protected_zone_m))[row]
    is_own = number == 0
    both = is_own.unsqueeze(-1) & is_own.unsqueeze(-2)
    one = is_own.unsqueeze(-1) ^ is_own.unsqueeze(-2)
    assert figures.group(0).los_merged.tolist() == ((lost & both).sum((-2, -1)) / 2).tolist()
    assert figures.group(1).los_merged.tolist() == ((lost & one).sum((-2, -1)) / 2).tolist()
    assert figures.group(None).los_merged.sum() > figures.group(0).los_merged.sum() > 0
    assert figures.group(None).at_waypoint.tolist() == [4] * 4


def test_pairs_with_who_hovers_are_pairs_of_the_first_group():
    changes = {"sector_radius_m": 500.0, "sector_area_m2": 4e5, "max_steps": 120}
    world = WorldConfig(aircraft=10, scenario="hover:share=0.4", **changes)
    straight = TeacherPilot(teachers.parse("none", world), world)
    mix, episodes = Mix([Group(0.5, straight), Group(0.5, straight)]), range(6)
    figures, number = fly_scenarios(mix, world, 2, episodes), mix.in_world(World(world, 2, episodes)).number
    counter = EventCounter(world, 6)
    for step in fly(World(world, 2, episodes), straight):
        is_own = (number == 0)[step.slots]
        pairs = only(step.pairs, is_own.unsqueeze(-1) | is_own.unsqueeze(-2))
        counter.count(step.traffic, pairs, step.slots)
    assert figures.group(None).los_events.tolist() == counter.result().los_events.tolist()
    assert figures.group(2).los_events.sum() > 0
