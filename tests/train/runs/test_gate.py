from math import cos

import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.flight import teacher_pilot
from skyclone.collect.teachers.registry import make
from skyclone.datasets.traffic.pairs import Pairs
from skyclone.datasets.traffic.state import Traffic
from skyclone.train.runs import gate
from skyclone.train.runs.confidence_intervals import normal_interval
from skyclone.train.runs.gate import GateFlights

CONFIG = WorldConfig(aircraft=6, max_steps=120, sector_radius_m=400.0, sector_area_m2=300_000.0)


def flown(los: list[float], detour: float = 30.0, at_waypoint: float = 20.0) -> GateFlights:
    count = len(los)
    return GateFlights(
        torch.tensor(los, dtype=torch.float64),
        *(torch.full((count,), number, dtype=torch.float64) for number in (detour, 1000.0, at_waypoint, 20.0)),
        *(torch.full((count,), number, dtype=torch.float64) for number in (9000.0, 1000.0)),
    )


CLONE = flown([2.0, 1.0, 3.0, 2.0])  # 2 per scenario, 3 % extra distance
FEWER = [0.0, 0.0, 1.0, 0.0]
SAME = [2.0, 1.0, 3.0, 2.0]


def test_straight_flight_at_cruise_speed_has_no_extra_distance() -> None:
    result = gate.fly_gate(teacher_pilot(make("none", CONFIG), CONFIG), CONFIG, 0, 3)
    figures = result.figures()
    assert figures["extra_distance"] == pytest.approx(0.0, abs=1e-5)
    assert figures["waypoint_rate"] == 1.0
    assert figures["mean_speed_mps"] == pytest.approx(9.0, rel=1e-6)
    assert result.aircraft.tolist() == [6, 6, 6]
    assert figures["los_per_flight_hour"] == pytest.approx(
        float(result.los_events.sum() / result.flight_s.sum() * 3600)
    )


def test_a_known_detour_is_measured() -> None:
    # a track held 0.2 rad beside the waypoint is a logarithmic spiral: 1 / cos(0.2) times the straight way
    def pilot(traffic: Traffic, pairs: Pairs) -> torch.Tensor:
        turn = (0.2 - traffic.drift_rad) / CONFIG.turn_rad
        return torch.stack((turn, torch.zeros_like(turn)), -1)

    extra = gate.fly_gate(pilot, CONFIG, 0, 3).figures()["extra_distance"]
    assert extra == pytest.approx(1 / cos(0.2) - 1, rel=0.15)


def test_the_same_scenarios_for_everybody_and_in_any_number() -> None:
    pilot = teacher_pilot(make("none", CONFIG), CONFIG)
    few, many = gate.fly_gate(pilot, CONFIG, 0, 2), gate.fly_gate(pilot, CONFIG, 0, 66)
    for one, other in zip(few, many):
        torch.testing.assert_close(one, other[:2], rtol=1e-5, atol=1e-3)
    other_seed = gate.fly_gate(pilot, CONFIG, 1, 2)
    assert not torch.equal(few.straight_m, other_seed.straight_m)


@pytest.mark.parametrize(
    ("candidate", "best", "is_better", "reason"),
    [
        (flown(FEWER), CLONE, True, "clearly fewer LoS events"),
        (flown(FEWER, detour=60.0), CLONE, True, "clearly fewer LoS events"),  # a longer way is worth it
        (flown(SAME, detour=20.0), CLONE, True, "as few LoS events on a shorter way"),
        (flown([2.0, 1.0, 2.0, 2.0], detour=20.0), CLONE, True, "as few LoS events on a shorter way"),
        (flown(SAME), CLONE, False, "as many LoS events on a way no shorter"),
        (flown([2.0, 1.0, 3.0, 3.0], detour=1.0), CLONE, False, "more LoS events than the clone"),
        (flown(FEWER, at_waypoint=19.0), CLONE, False, "fewer aircraft at their waypoints than the clone"),
        (flown([2.0, 1.0, 2.0, 2.0], detour=31.0), CLONE, False, "a longer way than the clone's without"),
        # against a best that is already better than the clone
        (flown(FEWER, detour=29.0), flown(FEWER), True, "as few LoS events on a shorter way"),
        (flown([0.0, 0.0, 1.0, 0.5], detour=29.0), flown(FEWER), True, "as few LoS events on a shorter way"),
        (flown([1.0, 0.0, 1.0, 0.0], detour=1.0), flown(FEWER), False, "more LoS events than the best"),
    ],
)
def test_who_becomes_the_best(candidate: GateFlights, best: GateFlights, is_better: bool, reason: str) -> None:
    verdict = gate.judge(candidate, best, CLONE)
    assert verdict.is_better is is_better
    assert reason in verdict.reason


def test_what_is_published_is_never_worse_than_the_clone() -> None:
    generator = torch.Generator().manual_seed(0)
    best, published = CLONE, 0
    for _ in range(3000):
        los = torch.randint(0, 5, (4,), generator=generator).double().tolist()
        detour, at_waypoint = (torch.rand(2, generator=generator) * torch.tensor([60.0, 2.0])).tolist()
        candidate = flown(los, detour, 18.5 + at_waypoint)
        if gate.judge(candidate, best, CLONE).is_better:
            best, published = candidate, published + 1
            new, clone = best.figures(), CLONE.figures()
            assert new["los_events"] <= clone["los_events"]
            assert new["waypoint_rate"] >= clone["waypoint_rate"]
            assert (
                new["extra_distance"] <= clone["extra_distance"]
                or normal_interval((best.los_events - CLONE.los_events).numpy()).high < 0
            )
    assert published > 2


def test_figures_beside_the_clone() -> None:
    figures = gate.compare(flown(FEWER, detour=20.0), CLONE)
    assert figures["los_events"] == 0.25
    assert figures["extra_distance"] == 0.02
    assert figures["los_events_difference"][1] < 0
    assert figures["extra_distance_difference"] == pytest.approx([-0.01, -0.01])


def test_in_no_density_clearly_worse_than_the_clone() -> None:
    # much better in the second density, all together better; but clearly worse in the first
    clone = flown([0.0, 0.0, 0.0, 0.0, 9.0, 8.0, 9.0, 9.0])
    worse = flown([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    assert gate.judge(worse, clone, clone).is_better
    verdict = gate.judge(worse, clone, clone, [4, 4])
    assert verdict == (False, "clearly more LoS events than the clone in density 1")
    longer = worse._replace(los_events=torch.tensor([0.0, 0, 0, 0, 0, 0, 0, 0], dtype=torch.float64))
    longer.detour_m[:4] += torch.tensor([30.0, 31.0, 29.0, 30.0])
    verdict = gate.judge(longer, clone, clone, [4, 4])
    assert verdict == (False, "a clearly longer way without clearly fewer LoS events in density 1")


def test_scenarios_are_shared_out_and_split_again() -> None:
    assert gate.shared_out(8, 3) == [3, 3, 2]
    parts = gate.split(flown([0.0, 1.0, 2.0]), [1, 2])
    assert [part.los_events.tolist() for part in parts] == [[0.0], [1.0, 2.0]]
