import math

import flown_steps
import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import FigureCounter, fly_scenarios, join
from skyclone.collect.flying.flight import TeacherPilot

TWO = WorldConfig(aircraft=2)
traffic_of, step_of = flown_steps.traffic_of, flown_steps.step_of


def test_a_straight_flight_by_hand(traffic_of, step_of):
    # From 118.52 m before the waypoint to its edge: 100 m of straight line, flown at 9 m/s; it stands in the end.
    east = [0.0, 9.0, 18.0]
    flights = [traffic_of([(x, 0, math.pi / 2, 9, 118.52, 0)]) for x in east]
    config = WorldConfig(aircraft=1, waypoint_radius_m=18.52)
    counter = FigureCounter(config, flights[0])
    counter.count(step_of(flights[0], [[0.5, -0.5]]), flights[1])
    counter.count(step_of(flights[1], [[-1.0, 0.0]], outcome=[1]), flights[2])
    figures = counter.result()
    assert figures.straight_m == pytest.approx([100.0], rel=1e-6)
    assert figures.flown_m == pytest.approx([18.0])
    assert figures.progress_m == pytest.approx([18.0], rel=1e-5)
    assert figures.steps == figures.flight_s == 2
    assert figures.effort == pytest.approx([1.0])  # (0.5 + 0.5) / 2 + (1 + 0) / 2
    assert (figures.aircraft, figures.at_waypoint, figures.left_sector, figures.time_limit) == (1, 1, 0, 0)
    assert figures.nearest_m == math.inf
    assert figures.least_m == math.inf


def test_two_losses_of_one_pair(traffic_of, step_of):
    gaps = [150, 90, 150, 80, 150]
    states = [traffic_of([(0, 0, 0, 0, 900, 0), (gap, 0, 0, 0, 900, 0)]) for gap in gaps]
    counter = FigureCounter(TWO, states[0])
    for before, after in zip(states, states[1:] + states[-1:], strict=True):
        counter.count(step_of(before, outcome=[2, 3] if before is states[-1] else None), after)
    figures = counter.result()
    assert (figures.los_events, figures.los_merged, figures.los_steps) == (2, 1, 2)
    assert figures.depth == pytest.approx([0.2])
    assert figures.least_m == 80
    assert figures.nearest_m.tolist() == [[80, 80]]
    assert (figures.at_waypoint, figures.left_sector, figures.time_limit) == (0, 1, 1)
    assert figures.steps == 10


def test_flying_straight_wastes_nothing():
    config = WorldConfig(aircraft=5)
    pilot = TeacherPilot(teachers.make("none", config), config)
    figures = fly_scenarios(pilot, config, 1, range(3))
    assert figures.at_waypoint.tolist() == [5, 5, 5]
    assert figures.flown_m == pytest.approx(figures.progress_m, rel=1e-5)
    assert figures.flown_m.sum() == pytest.approx(9 * figures.flight_s.sum(), rel=1e-5)


def test_near_mid_air_collisions_by_kernels_and_by_torch():
    config = WorldConfig(aircraft=40, nmac_m=30.0)
    pilot = TeacherPilot(teachers.make("none", config), config)
    by_kernels = fly_scenarios(pilot, config, 1, range(10))
    in_torch = fly_scenarios(lambda traffic, pairs: pilot(traffic, pairs), config, 1, range(10))
    assert by_kernels.nmac_events.sum() > 20
    assert by_kernels.nmac_events.sum() == pytest.approx(in_torch.nmac_events.sum(), abs=1)  # float32 at the edge


def test_the_time_to_the_first_loss_by_kernels_and_by_torch():
    config = WorldConfig(aircraft=12)
    pilot = TeacherPilot(teachers.make("none", config), config)
    by_kernels = fly_scenarios(pilot, config, 1, range(10))
    in_torch = fly_scenarios(lambda traffic, pairs: pilot(traffic, pairs), config, 1, range(10))
    assert by_kernels.first_los_s == pytest.approx(in_torch.first_los_s, abs=1)  # float32 at the edge
    has_lost = by_kernels.los_events > 0
    assert has_lost.any()
    alone = WorldConfig(aircraft=1)
    flown = fly_scenarios(TeacherPilot(teachers.make("none", alone), alone), alone, 1, range(3))
    assert flown.first_los_s.tolist() == flown.flight_s.tolist()  # never: until its flight ends


def test_the_age_of_information_is_that_of_the_tracks():
    # a message a step, received with p: mean age (1 - p) / p steps
    config = WorldConfig(aircraft=12, surveillance="noise:reception=0.5:drop_s=60")
    pilot = TeacherPilot(teachers.make("none", config), config)
    figures = fly_scenarios(pilot, config, 1, range(6))
    assert figures.track_age_s.sum() / figures.track_steps.sum() == pytest.approx(1.0, rel=0.05)
    perfect = WorldConfig(aircraft=12)
    assert not fly_scenarios(pilot_in(perfect), perfect, 1, range(2)).track_steps.any()


def pilot_in(config: WorldConfig) -> TeacherPilot:
    """A pilot that flies straight."""
    return TeacherPilot(teachers.make("none", config), config)


def test_batches_do_not_matter():
    config = WorldConfig(aircraft=6, sector_radius_m=400.0, sector_area_m2=300_000.0, max_steps=120)
    every_other_turns = torch.tensor([[0.1, 0.0], [0.0, -0.2]] * 3)  # whatever they see: no rounding is amplified

    def pilot(traffic, pairs):
        return every_other_turns.expand(*traffic.east_m.shape, 2)

    whole = fly_scenarios(pilot, config, 3, range(5))
    told: list[int] = []
    parts = [fly_scenarios(pilot, config, 3, numbers, progress=told.append) for numbers in (range(2), range(2, 5))]
    joined = join(parts)
    assert sum(told) == len(joined) == 5
    for name in whole.__dataclass_fields__:
        assert getattr(joined, name) == pytest.approx(getattr(whole, name), rel=1e-5), name
