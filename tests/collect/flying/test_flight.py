import numpy as np
import pytest
import torch

from skyclone.collect.airspace.conflicts import count_of
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.flight import TeacherPilot, advise, fly
from skyclone.collect.flying.world import World
from skyclone.collect.teachers.registry import action_towards, make
from skyclone.datasets.errors import FlightError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import FLYING, OUTCOMES

CONFIG = WorldConfig(aircraft=5)
PILOT = TeacherPilot(make("mvp", CONFIG), CONFIG)


def test_flying_is_stepping_until_nobody_flies():
    world, by_hand = World(CONFIG, 3, [0]), World(CONFIG, 3, [0])
    for number, step in enumerate(fly(world, PILOT)):
        assert step.steps.tolist() == [number]
        assert torch.equal(step.traffic.east_m, by_hand.traffic.east_m)
        assert torch.equal(step.action, PILOT(by_hand.traffic, by_hand.pairs))
        result = by_hand.step(step.action)
        assert torch.equal(step.result.reward, result.reward)
    assert by_hand.is_over.all()


def test_the_action_belongs_to_the_state_it_was_made_for():
    teacher = make("mvp", CONFIG)
    for step in fly(World(CONFIG, 1, range(4)), PILOT):
        state = step.traffic.clone()  # as yielded, before the action
        expected = action_towards(state, teacher.velocity(state), CONFIG)
        torch.testing.assert_close(step.action, expected, rtol=0, atol=1e-6)
        assert torch.equal(step.pairs.distance2_m2, pairs_of(state).distance2_m2)


def test_finished_episodes_drop_out_and_the_others_keep_their_slots():
    # episodes of very different lengths: the aircraft of `random-n` are few and their ways short
    config = WorldConfig(aircraft=3, scenario="random-n:low=1", max_steps=150)
    pilot = TeacherPilot(make("mvp", config), config)
    world = World(config, 0, range(12))
    tracks: dict[int, list] = {slot: [] for slot in range(12)}
    ends = np.zeros((12, len(OUTCOMES)), int)
    sizes = []
    for step in fly(world, pilot):
        sizes.append(len(step.slots))
        assert sorted(set(step.slots.tolist())) == step.slots.tolist()
        for row, slot in enumerate(step.slots.tolist()):
            if step.traffic.is_flying[row].any():
                assert step.steps[row] == len(tracks[slot])
                tracks[slot].append(step.traffic.north_m[row].clone())
            for code in step.result.outcome[row].tolist():
                ends[slot, code] += code != FLYING
    assert sizes[0] == 12
    assert sizes[-1] < 9
    assert len(set(sizes)) > 3
    for slot in range(0, 12, 3):
        alone = World(config, 0, [slot])
        assert ends[slot].sum() == alone.traffic.is_flying.sum()  # every flight ended, once
        states = [step.traffic.north_m[0] for step in fly(alone, pilot)]
        assert len(states) == len(tracks[slot])
        torch.testing.assert_close(torch.stack(states), torch.stack(tracks[slot]), rtol=0, atol=1e-2)


def test_two_threads_fly_what_one_flies():
    """All other tests have one; torch shares out arrays of more than 32,768 numbers."""
    config = WorldConfig(aircraft=60, max_steps=5)
    pilot = TeacherPilot(make("mvp", config), config)
    flights = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            flights.append([step.traffic.north_m for step in fly(World(config, 0, range(12)), pilot)])
        finally:
            torch.set_num_threads(1)
    assert len(flights[0]) == 5
    assert all(torch.equal(one, two) for one, two in zip(*flights, strict=True))


def test_advice_counts_the_conflicts_the_teacher_acts_on(traffic_of):
    # 106 m beside each other: inside MVP's 110 m, outside of R
    traffic = traffic_of([(0, 0, 0, 9), (106, 100, 180, 9)], waypoints=[(0, 900), (106, -900)])
    config = WorldConfig(aircraft=2)
    advice = advise(make("mvp", config), config, traffic, pairs_of(traffic))
    assert count_of(advice.conflicts, traffic.east_m.shape).tolist() == [[1, 1]]
    assert advice.action[0, 0, 0] < 0  # away from the one on the right
    tight = advise(make("mvp", config, margin=1.0), config, traffic, pairs_of(traffic))
    assert len(tight.conflicts.episode) == 0
    assert tight.action.abs().max() < 1e-6


def test_actions_are_in_range():
    for name in ("mvp", "rvo", "none"):
        pilot = TeacherPilot(make(name, CONFIG), CONFIG)
        for number, step in enumerate(fly(World(CONFIG, 9, range(3)), pilot)):
            assert step.action.abs().max() <= 1
            assert step.action.isfinite().all()
            if number == 20:
                break


def test_a_world_that_is_over_is_not_flown():
    world = World(WorldConfig(aircraft=1, max_steps=1), 0, [0])
    assert len(list(fly(world, PILOT))) == 1
    assert list(fly(world, PILOT)) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_action_that_is_no_number_ends_the_flight_with_its_place(value):
    calls = []

    def pilot(traffic, pairs):
        calls.append(len(calls))
        action = PILOT(traffic, pairs)
        if len(calls) == 3:
            action[1, 3, 0] = value
        return action

    with pytest.raises(FlightError, match=rf"got turn {value} and .* aircraft 3 in scenario 7 of seed 4, step 2\."):
        list(fly(World(CONFIG, 4, [6, 7]), pilot))


def test_what_an_ended_aircraft_is_asked_does_not_matter():
    def pilot(traffic, pairs):
        return PILOT(traffic, pairs).masked_fill(~traffic.is_flying.unsqueeze(-1), torch.nan)

    world, other = World(CONFIG, 4, [6]), World(CONFIG, 4, [6])
    assert len(list(fly(world, pilot))) == len(list(fly(other, PILOT)))
