"""Trackers in perception: what filters know, beside what is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skyclone.collect.surveillance.config import PRESETS, Surveillance
from skyclone.collect.surveillance.perception import Perceived, Perception
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic

KEYS = np.array([[11, 12], [13, 14]], np.int64)
NOISE = Surveillance(position_m=5.0, velocity_mps=0.5, latency_s=1.0, reception=0.8)


def weaving(step: int, aircraft: int = 30) -> Traffic:
    """Aircraft about 800 m of a place, each on a slow curve of its own, at 8 to 12 m/s."""
    random, shape = np.random.default_rng(3), (2, aircraft)
    east, north, phase = (random.uniform(-400, 400, shape) for _ in range(3))
    speed, rate = random.uniform(8, 12, shape), random.uniform(0.01, 0.03, shape)
    track = phase + rate * step  # an arc of speed / rate
    east, north = east - speed / rate * np.cos(track), north + speed / rate * np.sin(track)
    track = np.arctan2(np.sin(track), np.cos(track))
    columns = [torch.tensor(each, dtype=torch.float32) for each in (east, north, track, speed)]
    zero = torch.zeros(shape)
    return Traffic(*columns, zero, zero, torch.ones(shape, dtype=torch.bool))


def errors(quality: Surveillance, steps: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square errors of the ownships' own state and of intruders', (2,): position and velocity."""
    perception, own, others = Perception(quality, 1.0, weaving(0), KEYS), [], []
    for step in range(1, steps + 1):
        now = weaving(step)
        perception.record(now, torch.full((2,), step))
        seen = perception.perceive(now)
        if step > 15:
            truth = torch.stack((now.east_m, now.north_m, now.velocity_east_mps, now.velocity_north_mps), -1)
            own.append((seen.itself - truth).reshape(-1, 2, 2))
            others.append(
                torch.stack([(one - two)[seen.pairs.is_pair] for one, two in zip(seen.pairs[:4], pairs_of(now)[:4],
                             strict=True)], -1).reshape(-1, 2, 2)
            )  # fmt: skip
    made = [torch.cat(each).square().mean((0, 2)).sqrt().numpy() for each in (own, others)]
    return made[0], made[1]


@pytest.mark.parametrize("quality", [NOISE, replace(NOISE, error_s=60.0), PRESETS["ads-b"], PRESETS["remote-id"]])
def test_who_filters_knows_more_than_who_takes_what_is_told(quality: Surveillance) -> None:
    told = min((errors(replace(quality, between=each)) for each in ("hold", "extrapolate")), key=lambda e: e[1][0])
    own, others = errors(replace(quality, between="filter"))
    assert (own <= told[0] * 1.02).all()
    assert own[1] < 0.7 * told[0][1]
    assert others[0] <= told[1][0] * 1.02
    assert others[1] < 0.8 * told[1][1]
    if quality.error_s == 0.0:
        assert own[0] < 0.5 * told[0][0]
        assert others[0] < 0.5 * told[1][0]


def test_without_gnss_a_filter_is_carried_by_inertial_sensors_alone() -> None:
    lost = replace(NOISE, outages_per_h=1e6, outage_s=1e9, drift_mps=0.0)
    perception = Perception(replace(lost, between="filter"), 1.0, weaving(0), KEYS)
    assert perception.tracker is not None
    start = perception.tracker.own.copy()
    for step in range(1, 11):
        perception.record(weaving(step), torch.full((2,), step))
    found = perception.tracker.own
    np.testing.assert_allclose(found[..., 1], start[..., 1])
    np.testing.assert_allclose(found[..., 0], start[..., 0] + 10.0 * start[..., 1])


def test_who_enters_is_tracked_anew() -> None:
    quality = replace(NOISE, between="filter", reception=1.0)
    perception, seen = Perception(quality, 1.0, weaving(0), KEYS), None
    for step in range(1, 40):
        now = weaving(step)
        now.is_flying[:, 4] = step < 10 or step >= 30
        if step >= 30:  # elsewhere
            now.east_m[:, 4] += 3000.0
        perception.record(now, torch.full((2,), step))
        seen = perception.perceive(now)
        assert bool(seen.pairs.is_pair[:, 0, 4].all()) == (step < 10 or step >= 30)
        if step in (30, 31):
            away = seen.pairs.east_m[:, :, 4] - pairs_of(now).east_m[:, :, 4]
            assert away.abs().max() < 50.0
    assert isinstance(seen, Perceived)


def test_what_is_broadcast_is_what_gnss_says() -> None:
    qualities = [replace(NOISE, between=each) for each in ("hold", "filter")]
    held, filtered = (Perception(quality, 1.0, weaving(0), KEYS) for quality in qualities)
    for step in range(1, 20):
        for each in (held, filtered):
            each.record(weaving(step), torch.full((2,), step))
            each.perceive(weaving(step))
    assert np.array_equal(held.estimates, filtered.estimates)
    assert np.array_equal(held.heard, filtered.heard)
    assert held.tracker is None
