import math

import pytest
import torch

from skyclone.collect.airspace.conflicts import detect
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.events import EventCounter
from skyclone.collect.flying.flight import TeacherPilot, fly
from skyclone.collect.flying.world import World
from skyclone.collect.teachers.registry import make
from skyclone.datasets.traffic.pairs import pairs_of

FAST = WorldConfig(aircraft=2, step_s=0.5)


def counted(states, config):
    """What one episode's states add up to, as a dict of floats."""
    counter = EventCounter(config, 1)
    for state in states:
        counter.count(state, pairs_of(state))
    return {name: value.item() for name, value in counter.result()._asdict().items()}


def at_gaps(traffic_of, gaps, speed=0.0, **options):
    """Two aircraft that far apart, one state per gap; they stand still, so a conflict is a loss of separation."""
    return [traffic_of([(0, 0, 0, speed), (gap, 0, 0, speed)], **options) for gap in gaps]


# --- hand-made flights ---


def test_entering_leaving_and_entering_again(traffic_of):
    found = counted(at_gaps(traffic_of, [150, 90, 80, 120, 130, 95, 99, 140]), FAST)
    assert found["los_events"] == found["conflicts"] == 2
    assert found["los_merged"] == found["conflicts_merged"] == 1
    assert found["los_steps"] == found["conflict_steps"] == 4
    assert found["least_m"] == 80
    assert found["severity"] == pytest.approx(0.2)  # the deepest of the pair, once
    assert found["flight_s"] == 8  # 8 states, 2 aircraft, 0.5 s


def test_a_loss_that_lasts_is_one_event(traffic_of):
    found = counted(at_gaps(traffic_of, [50] * 10), FAST)
    assert (found["los_events"], found["los_steps"], found["severity"]) == (1, 10, 0.5)


def test_near_mid_air_collisions(traffic_of):
    found = counted(at_gaps(traffic_of, [150, 15, 14, 16, 15.24, 15, 99]), FAST)
    assert (found["nmac_events"], found["los_events"]) == (2, 1)  # 15.24 m is none: below it is
    small = WorldConfig(aircraft=2, protected_zone_m=10.0)
    assert counted(at_gaps(traffic_of, [150, 12, 9, 12]), small)["nmac_events"] == 1  # never more than R


def test_when_separation_is_first_lost(traffic_of):
    assert counted(at_gaps(traffic_of, [150, 120, 90, 120, 80]), FAST)["first_los_step"] == 2
    assert counted(at_gaps(traffic_of, [90, 120]), FAST)["first_los_step"] == 0
    assert counted(at_gaps(traffic_of, [101, 100, 250]), FAST)["first_los_step"] == math.inf


def test_no_event(traffic_of):
    found = counted(at_gaps(traffic_of, [101, 100, 250]), FAST)  # exactly R is no loss
    assert found["los_events"] == found["conflicts"] == found["severity"] == found["los_merged"] == 0
    assert found["least_m"] == 100


def test_a_conflict_without_a_loss(traffic_of):
    # head-on 40 m beside: in conflict 15 s before the zone is entered; then they have turned away
    far = traffic_of([(0, 0, 0, 9), (40, 600, 180, 9)])
    near = traffic_of([(0, 0, 0, 9), (40, 300, 180, 9)])
    away = traffic_of([(0, 0, 270, 9), (40, 300, 90, 9)])
    found = counted([far, near, away], WorldConfig(aircraft=2))
    assert (found["conflicts"], found["los_events"], found["conflict_steps"]) == (1, 0, 1)
    assert found["least_m"] == pytest.approx(math.hypot(40, 300))


def test_pairs_are_counted_apart_and_once(traffic_of):
    # three in a row, 60 m apart: two losses, and the outer ones 120 m from each other
    state = traffic_of([(0, 0, 0, 0), (60, 0, 0, 0), (120, 0, 0, 0)])
    found = counted([state], WorldConfig(aircraft=3))
    assert (found["los_events"], found["los_merged"], found["severity"]) == (2, 2, pytest.approx(0.8))


def test_the_zone_is_the_worlds_not_a_teachers(traffic_of):
    states = at_gaps(traffic_of, [105, 75])
    assert counted(states, FAST)["los_events"] == 1
    assert counted(states, WorldConfig(aircraft=2, protected_zone_m=50))["los_events"] == 0


def test_ended_aircraft_are_not_counted(traffic_of):
    states = [*at_gaps(traffic_of, [150]), *at_gaps(traffic_of, [50, 50], ended=(1,))]
    found = counted(states, FAST)
    assert (found["los_events"], found["least_m"], found["flight_s"]) == (0, 150, 2)  # 2 + 1 + 1 aircraft


def test_one_aircraft_alone(traffic_of):
    found = counted([traffic_of([(0, 0, 0, 9)])] * 3, WorldConfig(aircraft=1))
    assert (found["conflicts"], found["los_events"], found["flight_s"]) == (0, 0, 3)
    assert found["least_m"] == math.inf


# --- batches ---


def test_a_batch_counts_each_episode_by_itself_whatever_drops_out(random_traffic):
    config = WorldConfig(aircraft=10)
    states = [random_traffic(seed, 4, 10, dtype=torch.float32) for seed in range(6)]
    together = EventCounter(config, 4)
    alone = [EventCounter(config, 1) for _ in range(4)]
    for step, state in enumerate(states):
        slots = torch.arange(4) if step < 3 else torch.tensor([3, 1])  # 0 and 2 have ended
        some = state.map(lambda tensor, slots=slots: tensor[slots])
        together.count(some, pairs_of(some), slots)
        for slot in slots.tolist():
            one = state.map(lambda tensor, slot=slot: tensor[slot : slot + 1])
            alone[slot].count(one, pairs_of(one))
    for name, values in together.result()._asdict().items():
        single = torch.cat([getattr(counter.result(), name) for counter in alone])
        torch.testing.assert_close(values, single, msg=name)
    assert together.result().los_events.min() >= 3


def test_a_loss_of_separation_is_always_a_conflict(random_traffic):
    # the counter looks for losses among the conflicts only
    pairs = pairs_of(random_traffic(8, 400, 20, half_m=300.0, dtype=torch.float32))
    is_los = pairs.distance2_m2 < 100.0**2
    assert is_los.sum() > 10_000
    assert (detect(pairs, 100.0, 15.0) | ~is_los).all()


def test_resolving_loses_separation_less_often():
    """End to end: the reference world flown by nobody's and by MVP's resolution, as in the design's table."""
    losses = {}
    for name in ("none", "mvp"):
        config = WorldConfig()
        world, counter = World(config, 77, range(6)), EventCounter(config, 6)
        for step in fly(world, TeacherPilot(make(name, config), config)):
            counter.count(step.traffic, step.pairs, step.slots)
        result = counter.result()
        losses[name] = result.los_events.mean().item()
        assert (result.los_merged <= result.los_events).all()
        assert (result.los_events <= result.conflicts).all()
    print(f"losses of separation per episode: {losses}")
    assert losses["none"] > 5
    assert losses["mvp"] < 1
