"""A monitor where aircraft come and go: what it knows follows them, and who flies well notices nothing of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.deployment.deployment import AirTraffic, Deployment
from skyclone.evaluate.deployment.monitor import Monitor, named

from .test_deployment import EARTH_M, air_of

PATIENCE = 30


@pytest.fixture
def deployment() -> Deployment:
    return Deployment.load(f"pretrained:tuned@rta:patience_s={PATIENCE}")


def monitor_of(deployment: Deployment) -> Monitor:
    assert deployment.monitor is not None
    return deployment.monitor


def some(air: AirTraffic, places: list[int]) -> AirTraffic:
    """Return some of the aircraft, in another order."""
    parts = {name: values[places] for name, values in vars(air).items() if name != "callsigns"}
    return AirTraffic(**parts, callsigns=tuple(air.callsigns[place] for place in places))


def test_who_avoids_nobody_is_not_monitored(deployment: Deployment) -> None:
    monitor, air = monitor_of(deployment), air_of([0, 150], [0, 0])
    air.avoids[0] = False
    deployment.decide = lambda own, pairs: torch.zeros(len(own.east_m), 2)
    for _ in range(PATIENCE + 1):
        deployment.fly(air)
    assert monitor.reasons == {"D1": "progress"}
    assert monitor.lines()[0] == "Flown at present: by the fallback D1 (progress); by their autopilots D0."


def test_who_makes_no_progress_is_handed_over_and_known_again_by_its_callsign(deployment: Deployment) -> None:
    """D0 is nearing its waypoint 500 m north, the others stand still; D2 goes, D9 comes, the order changes."""
    monitor, air = monitor_of(deployment), air_of([0, 150, 300], [0, 0, 0])
    waypoint = air.waypoint_latitude_deg.copy()

    def step(second: int) -> AirTraffic:
        latitude = air.latitude_deg.copy()
        latitude[0] += math.degrees(5 * second / EARTH_M)
        north = np.zeros(3)
        return replace(
            air, latitude_deg=latitude, waypoint_latitude_deg=waypoint, track_deg=north, heading_deg=north
        )

    deployment.decide = lambda own, pairs: torch.zeros(len(own.east_m), 2)
    for second in range(PATIENCE):
        deployment.fly(step(second))
    assert monitor.reasons == {}
    later = some(step(PATIENCE), [2, 1, 0])
    later = replace(later, callsigns=("D9", "D1", "D0"))
    orders = deployment.fly(later)
    assert monitor.reasons == {"D1": "progress"}, "D9 stands where D2 stood, and has just come"
    assert orders.is_flown.all()
    now, often = monitor.lines()
    assert now == "Flown at present: by the fallback D1 (progress); by the policy D9, D0."
    assert often == ("Handed over so far: separation 0, progress 1, envelope 0; 1 s flown by the fallback.")
    deployment.fly(some(later, [0]))  # alone: left to its autopilot
    assert monitor.reasons == {}
    assert monitor.lines() == ["Flown at present: nobody.", often]


def test_who_has_no_route_is_not_asked_for_progress(deployment: Deployment) -> None:
    """Its waypoint is ahead of it, wherever it is."""
    deployment.decide = lambda own, pairs: torch.zeros(len(own.east_m), 2)
    for second in range(2 * PATIENCE):
        air = air_of([0, 150], [second, second])
        deployment.fly(air)
    assert monitor_of(deployment).reasons == {}


@pytest.mark.parametrize("wind_mps", [0.0, 4.0])
def test_a_loss_of_separation_is_opened_by_the_fallback(deployment: Deployment, wind_mps: float) -> None:
    """Two head-on at 60 m, whose policy flies straight on: MVP turns each away, to the same side. Wind: east."""
    air = air_of([0, 0], [0, 60])
    air.track_deg[:] = 0, 180
    air.heading_deg[:] = np.degrees(np.arctan2(-wind_mps, (9.0, -9.0)))
    air.airspeed_mps[:] = math.hypot(9.0, wind_mps)
    deployment.decide = lambda own, pairs: torch.zeros(len(own.east_m), 2)
    orders = deployment.fly(air)
    assert monitor_of(deployment).reasons == {"D0": "separation", "D1": "separation"}
    heading = np.radians(orders.heading_deg)
    east, north = orders.airspeed_mps * np.sin(heading) + wind_mps, orders.airspeed_mps * np.cos(heading)
    turn = (np.degrees(np.arctan2(east, north)) - air.track_deg + 180) % 360 - 180
    assert abs(turn).min() > 10
    assert turn[0] * turn[1] > 0
    if not wind_mps:
        assert turn[0] == pytest.approx(turn[1], abs=0.1)


def test_who_flies_well_is_flown_as_without_a_monitor(deployment: Deployment) -> None:
    plain, air = Deployment.load("pretrained:tuned"), air_of([0, 250, 40_000], [0, 100, 0])
    with_it, without = deployment.fly(air), plain.fly(air)
    assert with_it.is_flown.tolist() == [True, True, False]
    np.testing.assert_array_equal(with_it.heading_deg, without.heading_deg)
    np.testing.assert_array_equal(with_it.airspeed_mps, without.airspeed_mps)
    assert monitor_of(deployment).lines()[0].endswith("by the policy D0, D1; by their autopilots D2.")


def test_a_parameter_that_no_monitor_has() -> None:
    with pytest.raises(ConfigurationError, match="monitor 'rta' has no parameter 'colour'"):
        Deployment.load("pretrained:tuned@rta:colour=1")


def test_only_a_few_are_named() -> None:
    assert named(["A", "B", "C"], np.array([True, False, True])) == "A, C"
    assert named(list("ABCDE"), torch.ones(5).bool().numpy()) == "A, B, C and 2 more"
