import math

import flown_steps
import numpy as np
import pytest
import torch

from skyclone.collect.airspace.distances import distance_flown, distance_to_go
from skyclone.collect.airspace.dynamics import advance
from skyclone.collect.airspace.world_config import WorldConfig

traffic_of = flown_steps.traffic_of


def test_the_distance_to_the_waypoint(traffic_of):
    assert distance_to_go(traffic_of([(0, 0, 0, 9, 300, 400), (300, 0, 0, 9, 300, -40)])).tolist() == [[500, 40]]


@pytest.mark.parametrize("change", [0.0, 1.0, -1.0, 0.3])
def test_the_distance_flown_is_the_integral_of_the_speed(traffic_of, change):
    config = WorldConfig(aircraft=1)
    before = traffic_of([(0, 0, 0.3, 9, 900, 900)])
    after = advance(before, torch.tensor([[[0.0, change]]]), config)
    times = np.linspace(0, 1, 100_001)
    target = 9 + change * config.speed_change_mps
    speed = 9 + np.sign(change) * np.minimum(config.acceleration_mps2 * times, abs(target - 9))
    expected = np.trapezoid(speed, times)
    assert distance_flown(before, after, config).item() == pytest.approx(expected, rel=1e-5)
    chord = math.hypot(after.east_m.item(), after.north_m.item())
    assert chord == pytest.approx(expected, rel=1e-5)  # no turn: as far as it got


def test_a_turn_is_longer_than_its_chord(traffic_of):
    before = traffic_of([(0, 0, 0, 9, 900, 900)])
    after = advance(before, torch.tensor([[[1.0, 0.0]]]), WorldConfig(aircraft=1))
    chord = math.hypot(after.east_m.item(), after.north_m.item())
    half = after.track_rad.item() / 2
    assert distance_flown(before, after, WorldConfig(aircraft=1)).item() == pytest.approx(9.0)
    assert chord == pytest.approx(9.0 * math.sin(half) / half, rel=1e-3)
