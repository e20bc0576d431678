"""The monitor: on paper first, then whole flights of pilots that would stand for ever."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from skyclone.collect import scenarios, teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.assurance import (
    ENVELOPE,
    LOS,
    PROGRESS,
    Approach,
    AssuranceConfig,
    Assured,
    Fallback,
    closing,
)
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot
from skyclone.collect.scenarios.registry import Layout
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic

WORLD = WorldConfig(aircraft=2, max_steps=900)


def meeting_point(generator, config):
    """All fly to one waypoint, from all sides, and are there at the same time."""
    n = config.aircraft
    angle = 2 * np.pi * (np.arange(n) + 0.05 * generator.uniform(-1, 1, n)) / n
    start = 700.0 * np.stack((np.sin(angle), np.cos(angle)), axis=1)
    return Layout(1000.0 * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]), start, np.zeros((n, 2)))


def pair(distance_m=60.0, speeds=(9.0, 9.0), tracks=(0.0, math.pi)):
    """One aircraft at 0, the other so far to the north of it; waypoints 500 m away."""

    def row(*values):
        return torch.tensor([values])

    return Traffic(
        east_m=row(0.0, 0.0),
        north_m=row(0.0, distance_m),
        track_rad=row(*tracks),
        speed_mps=row(*speeds),
        waypoint_east_m=row(500.0, -500.0),
        waypoint_north_m=row(0.0, 0.0),
        is_flying=torch.ones((1, 2), dtype=torch.bool),
    )


def standing(traffic, pairs):
    """Brake, whatever happens."""
    action = torch.zeros((*traffic.east_m.shape, 2))
    action[..., 1] = -1.0
    return action, None


def flown(pilot, traffic, steps=1):
    pilot.begin(traffic)
    for _ in range(steps):
        action = pilot(traffic, pairs_of(traffic))
    return action


def test_a_command_that_parts_opens_and_one_that_waits_does_not():
    nothing = torch.zeros((1, 2, 2))
    head_on, parting, at_rest = pair(), pair(tracks=(math.pi, 0.0)), pair(speeds=(0.0, 0.0))
    for traffic, expected in ((head_on, [True, True]), (parting, [False, False]), (at_rest, [True, True])):
        assert closing(traffic, pairs_of(traffic), nothing, WORLD).tolist() == [expected]
    far = pair(distance_m=100.5)
    assert not closing(far, pairs_of(far), nothing, WORLD).any()


def test_what_counts_is_the_command_not_the_present_velocity():
    traffic = pair(speeds=(0.5, 0.0), tracks=(math.pi, 0.0))
    hold, brake = torch.zeros((1, 2, 2)), torch.zeros((1, 2, 2))
    brake[0, 0, 1] = -1.0  # to rest: below a tenth of 9 m/s in both cases
    assert closing(traffic, pairs_of(traffic), brake, WORLD)[0, 0]
    assert closing(traffic, pairs_of(traffic), hold, WORLD)[0, 0]
    hold[0, 0, 1] = 1.0  # to 2.21 m/s: above
    assert not closing(traffic, pairs_of(traffic), hold, WORLD)[0, 0]


def test_progress_is_forgotten_at_another_waypoint_and_counts_from_the_best():
    traffic = pair()
    approach = Approach(WORLD, 30.0, traffic)
    approach.look(traffic)
    for _ in range(10):
        approach.look(traffic)
    assert approach.since_s.tolist() == [[10.0, 10.0]]
    approach.look(replace(traffic, east_m=torch.tensor([[26.0, -28.0]])))  # 27 m is a tenth of 30 s at 9 m/s
    assert approach.since_s.tolist() == [[11.0, 0.0]]
    approach.look(replace(traffic, waypoint_east_m=torch.tensor([[900.0, -500.0]])))
    assert approach.since_s.tolist() == [[0.0, 1.0]]  # the second is farther than it was at best


def test_each_reason_hands_over_and_is_counted():
    los = Assured(standing, WORLD)
    flown(los, pair())
    assert los.reason.tolist() == [[LOS, LOS]]
    assert los.counts.tolist() == [[2, 0, 0, 2, 0, 0]]
    stuck = Assured(standing, WORLD)
    flown(stuck, pair(distance_m=900.0), steps=60)
    assert stuck.reason.tolist() == [[0, 0]]
    flown(stuck, pair(distance_m=900.0), steps=61)
    assert stuck.reason.tolist() == [[PROGRESS, PROGRESS]]
    outside = Assured(lambda t, p: (standing(t, p)[0], torch.tensor([[True, False]])), WORLD)
    flown(outside, pair(distance_m=900.0))
    assert outside.reason.tolist() == [[ENVELOPE, 0]]


def test_who_is_handed_over_flies_as_the_fallback_and_nobody_else():
    traffic = pair(distance_m=900.0)
    assured = Assured(lambda t, p: (standing(t, p)[0], torch.tensor([[True, False]])), WORLD)
    action = flown(assured, traffic)
    straight = TeacherPilot(teachers.make("mvp", WORLD, margin=1.2), WORLD)(traffic, pairs_of(traffic))
    assert action[0, 0].tolist() == straight[0, 0].tolist()
    assert action[0, 1].tolist() == [0.0, -1.0]


def test_it_is_handed_back_after_a_while_and_not_before():
    outside = [True] + 20 * [False]
    states = []
    assured = Assured(lambda t, p: (standing(t, p)[0], torch.tensor([[outside.pop(0), False]])), WORLD)
    traffic = pair(distance_m=900.0)
    assured.begin(traffic)
    for _ in range(8):
        assured(traffic, pairs_of(traffic))
        states.append(int(assured.reason[0, 0]))
    assert states == 5 * [ENVELOPE] + 3 * [0]  # hold_s = 5
    assert assured.counts.tolist() == [[0, 0, 5, 0, 0, 1]]


def test_nobody_is_handed_back_with_another_in_the_fallbacks_zone():
    assert flown_back_at(119.0) is False
    assert flown_back_at(121.0) is True


def flown_back_at(distance_m):
    """Return whether a pair is back with its pilot after it has been at a distance for long."""
    assured = Assured(standing, WORLD)
    first = pair(60.0)
    assured.begin(first)
    assured(first, pairs_of(first))
    for _ in range(20):
        after = pair(distance_m, tracks=(math.pi, 0.0))
        assured(after, pairs_of(after))
    return bool((assured.reason == 0).all())


def test_it_remembers_the_episodes_that_go_on():
    three = pair().map(lambda tensor: tensor.expand(3, 2).clone())
    three.north_m[0, 1] = three.north_m[2, 1] = 900.0
    assured = Assured(standing, WORLD)
    assured.begin(three)
    assured(three, pairs_of(three))
    assured.keep(torch.tensor([1, 2]))
    two = three.of(torch.tensor([1, 2]))
    assured(two, pairs_of(two))
    assert assured.reason.tolist() == [[LOS, LOS], [0, 0]]
    assert assured.counts[:, 0].tolist() == [0, 4, 0]


@pytest.mark.parametrize("aircraft", [4, 6])
def test_who_stands_for_ever_arrives_with_it(aircraft):
    world = WorldConfig(aircraft=aircraft, scenario="sector", max_steps=900)
    figures = fly_scenarios(Assured(standing, world), world, 16, range(2))
    assert figures.at_waypoint.sum() + figures.left_sector.sum() == 2 * aircraft
    assert figures.los_steps.sum() == 0
    assert figures.assurance[:, 4].sum() >= 2 * aircraft  # each was stuck once at least


def test_four_at_one_waypoint_circle_for_ever_without_a_right_of_way(monkeypatch):
    monkeypatch.setattr(scenarios.registry, "_SCENARIOS", dict(scenarios.registry._SCENARIOS))
    scenarios.register("meeting-point")(meeting_point)
    world = WorldConfig(aircraft=4, scenario="meeting-point", max_steps=600)
    alone = fly_scenarios(TeacherPilot(teachers.make("mvp", world, margin=1.2), world), world, 16, range(8))
    fallback = fly_scenarios(Fallback(world), world, 16, range(8))
    assert alone.time_limit.sum() > 0
    assert fallback.time_limit.sum() == 0
    assert fallback.at_waypoint.sum() == 32


@pytest.mark.parametrize(("distance_m", "expected_mps"), [(130.0, 6.0), (101.0, 0.2), (90.0, 0.0), (190.0, 9.0)])
def test_who_insists_flies_on_by_the_room_before_it(distance_m, expected_mps):
    """Head-on, 5 s to come within 100 m; the other gives way, and it is never slower than that needs."""
    traffic = replace(
        pair(distance_m), waypoint_east_m=torch.zeros(1, 2), waypoint_north_m=torch.tensor([[900.0, -900.0]])
    )
    insists = torch.tensor([[True, False]])
    action = Fallback(WORLD).resolve(traffic, pairs_of(traffic), insists)
    assert action[0, 0, 0].item() == pytest.approx(0.0, abs=1e-6)
    change = max(-1.0, (expected_mps - 9.0) / WORLD.speed_change_mps)
    assert action[0, 0, 1].item() == pytest.approx(change, abs=1e-5)
    assert abs(action[0, 1, 0].item()) > 0.1


@pytest.mark.parametrize("numbers", [{"margin": 0.9}, {"patience_s": 0.0}, {"hold_s": -1.0}, {"margin": math.nan}])
def test_numbers_that_cannot_be_are_refused(numbers):
    with pytest.raises(ConfigurationError, match=re.escape("rta: expected margin from 1 to below 100")):
        AssuranceConfig(**numbers)
