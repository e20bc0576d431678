"""Counting afterwards, against an answer worked out by hand and against the counter that looks at every pair."""

import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.conflicts import Conflicts, find
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.flying.events import EventCounter
from skyclone.collect.flying.flight import TeacherPilot, fly
from skyclone.collect.flying.tally import Tally
from skyclone.collect.flying.world import World
from skyclone.collect.teachers.registry import Teacher
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic

CONFIG = WorldConfig(aircraft=2, max_steps=20)


def _conflicts(distance_m: float, closing_mps: float) -> Conflicts:
    """Return what a teacher with a margin of 1.1 sees of two aircraft, one north of the other."""
    north = torch.tensor([[0.0, distance_m]])
    speed = torch.tensor([[closing_mps / 2, closing_mps / 2]])
    track = torch.tensor([[0.0, torch.pi]])
    zero = torch.zeros_like(north)
    traffic = Traffic(zero, north, track, speed, zero, zero, torch.ones_like(north, dtype=torch.bool))
    return find(pairs_of(traffic), 110.0, 15.0)


def test_events_of_one_pair_by_hand() -> None:
    tally = Tally(CONFIG, teachers.make("mvp", CONFIG))
    states = {
        3: (150.0, 18.0),  # in conflict, first event
        4: (132.0, 18.0),
        5: (95.0, 18.0),  # in conflict and in loss of separation, first loss, depth 0.05
        6: (105.0, -1.0),  # parting: neither, though a teacher that keeps a margin still acts
        7: (120.0, 1.0),  # closing, but 20 s from R: neither
        8: (80.0, 18.0),  # second event, second loss, depth 0.2
        9: (60.0, 18.0),  # depth 0.4
        19: (101.0, 18.0),  # third event
    }
    for step, (distance_m, closing_mps) in states.items():
        conflicts = _conflicts(distance_m, closing_mps)
        count = len(conflicts.episode)
        tally.add(conflicts, torch.full((count,), 7), torch.full((count,), step))
    assert tally.figures() == {
        "conflicts": 3.0,
        "conflicts_merged": 1.0,
        "los_events": 2.0,
        "los_merged": 1.0,
        "los_steps": 3.0,
        "conflict_steps": 6.0,
        "severity": pytest.approx(0.4),
    }


def test_the_end_of_one_pair_and_the_begin_of_the_next_are_two_events() -> None:
    tally = Tally(CONFIG, teachers.make("mvp", CONFIG))
    for slot, step in ((0, CONFIG.max_steps - 1), (1, 0)):
        conflicts = _conflicts(150.0, 18.0)
        tally.add(conflicts, torch.full((2,), slot), torch.full((2,), step))
    assert tally.figures()["conflicts"] == tally.figures()["conflicts_merged"] == 2


def test_nothing_counts_as_nothing() -> None:
    tally = Tally(CONFIG, teachers.make("mvp", CONFIG))
    tally.add(_conflicts(500.0, 0.0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert set(tally.figures().values()) == {0.0}


def _teachers(config: WorldConfig) -> dict[str, Teacher]:
    return {
        "sees more": teachers.make("mvp", config, margin=1.1),
        "smaller zone": teachers.make("mvp", config, margin=0.8),
        "shorter look-ahead time": teachers.make("mvp", config, lookahead_s=5.0),
        "does nothing": teachers.make("none", config),
    }


@pytest.mark.parametrize("name", ["sees more", "smaller zone", "shorter look-ahead time", "does nothing"])
def test_the_figures_are_those_of_the_event_counter(name: str) -> None:
    config, episodes = WorldConfig(aircraft=12, max_steps=120), range(3, 9)
    teacher = _teachers(config)[name]
    _, figures = record(config, 5, episodes, teacher)
    counter = EventCounter(config, len(episodes))
    for step in fly(World(config, 5, episodes), TeacherPilot(teacher, config)):
        counter.count(step.traffic, step.pairs, step.slots)
    expected = counter.result()
    for key in (
        "conflicts",
        "conflicts_merged",
        "los_events",
        "los_merged",
        "los_steps",
        "conflict_steps",
        "severity",
    ):
        assert figures[key] == pytest.approx(float(getattr(expected, key).sum()), rel=1e-6), key
    assert figures["flight_s"] == float(expected.flight_s.sum())
    assert figures["conflicts"] > 0
    if name == "does nothing":
        assert figures["los_events"] > 0
