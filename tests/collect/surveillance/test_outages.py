"""Outages of GNSS, held against formulas."""

import numpy as np
import pytest
import torch

from skyclone.collect.arithmetic.links import dead_reckon
from skyclone.collect.surveillance.config import Surveillance
from skyclone.collect.surveillance.outages import Outages
from skyclone.collect.surveillance.perception import Perception
from skyclone.datasets.traffic.state import Traffic

KEYS = np.array([[11, 12], [13, 14]], np.int64)
ALWAYS = Surveillance(outages_per_h=1e6, outage_s=1e9, drift_mps=0.3)
"""GNSS is lost in the first step, and does not come back."""


def outages_of(quality: Surveillance, steps: int, step_s: float = 1.0, aircraft: int = 2000, errors=0.0):
    """The outages after each step of two episodes, and what the errors were."""
    shape = (2, aircraft, 4)
    outages = Outages(quality, step_s, shape[:2])
    outages.restart(np.arange(2), np.broadcast_to(errors, shape))
    is_there, with_gnss = np.ones(shape[:2], bool), np.full(shape, 7.0)
    for step in range(1, steps + 1):
        made = outages.advance(KEYS, np.full(2, step), is_there, with_gnss)
        yield outages.is_lost.copy(), made.copy()


@pytest.mark.parametrize("step_s", [1.0, 0.5])
def test_the_error_grows_as_a_random_walk_of_the_velocity(step_s: float) -> None:
    # var(e_v) = q^2 t; var(e_p) = q^2 t^3 / 3 - q^2 t dt^2 / 12, of the trapezoids, from no error at all
    for number, (is_lost, errors) in enumerate(outages_of(ALWAYS, 40, step_s), start=1):
        assert is_lost.all()
        if number in (1, 10, 40):
            t = number * step_s
            velocity, position = errors[..., 2:].std(), errors[..., :2].std()
            assert velocity == pytest.approx(0.3 * np.sqrt(t), rel=0.03)
            assert position == pytest.approx(0.3 * np.sqrt(t**3 / 3 - t * step_s**2 / 12), rel=0.03)
            assert np.abs(errors.mean((0, 1)) / np.array([position] * 2 + [velocity] * 2)).max() < 0.06


def test_without_a_random_walk_the_velocity_s_error_stays_and_the_position_s_grows_with_it() -> None:
    quality = Surveillance(outages_per_h=1e6, outage_s=1e9, drift_mps=0.0)
    *_, (_, errors) = outages_of(quality, 20, errors=np.array([3.0, -1.0, 0.5, -0.25]))
    np.testing.assert_allclose(errors[0, 0], [3.0 + 20 * 0.5, -1.0 - 20 * 0.25, 0.5, -0.25], rtol=1e-12)


def test_outages_are_as_frequent_and_as_long_as_asked() -> None:
    # one in 60 s of GNSS, 20 s long: without it 20 / 80 of the time, once that is steady
    states = np.stack([is_lost for is_lost, _ in outages_of(Surveillance(outages_per_h=60, outage_s=20), 600)])
    begun, ended = states[1:] & ~states[:-1], ~states[1:] & states[:-1]
    assert begun.sum() / (~states[:-1]).sum() == pytest.approx(1 / 60, rel=0.03)
    assert ended.sum() / states[:-1].sum() == pytest.approx(1 / 20, rel=0.03)
    assert states[200:].mean() == pytest.approx(0.25, abs=0.01)
    assert not states[0].all()


def test_with_gnss_again_the_error_is_what_it_would_have_been() -> None:
    for is_lost, errors in outages_of(Surveillance(outages_per_h=600, outage_s=5), 50, aircraft=50):
        assert (errors[~is_lost] == 7.0).all()
        assert (errors[is_lost] != 7.0).any() == is_lost.any()


def test_compiled_and_plain_are_the_same_bits_and_each_aircraft_has_draws_of_its_own() -> None:
    made = []
    for function in (dead_reckon, dead_reckon.plain):
        is_lost, errors = np.zeros((2, 6), bool), np.zeros((2, 6, 4))
        for step in range(1, 30):
            rest = (is_lost, errors, np.ones((2, 6, 4)), 0.2, 0.1, 1.0, 0.3)
            function(KEYS, np.full(2, step), np.ones((2, 6), bool), *rest)
        made.append((is_lost, errors))
    assert np.array_equal(made[0][0], made[1][0])
    assert np.array_equal(made[0][1], made[1][1])
    assert len(np.unique(made[0][1][made[0][0]])) == 4 * made[0][0].sum() > 4


def straight(step: int, episodes: int = 2, aircraft: int = 20) -> Traffic:
    """Aircraft that fly north at 10 m/s, 500 m apart."""
    shape = (episodes, aircraft)
    east = torch.arange(aircraft, dtype=torch.float32).mul(500).expand(shape).clone()
    speed, zero = torch.full(shape, 10.0), torch.zeros(shape)
    return Traffic(east, zero + 10.0 * step, zero, speed, zero, zero, torch.ones(shape, dtype=torch.bool))


def test_an_aircraft_without_gnss_is_wrong_about_itself_and_tells_others_so() -> None:
    perception = Perception(ALWAYS, 1.0, straight(0), KEYS)
    for step in range(1, 31):
        perception.record(straight(step), torch.full((2,), step))
    now, seen = straight(30), perception.perceive(straight(30))
    own = (seen.traffic.east_m - now.east_m).numpy()
    assert own.std() == pytest.approx(0.3 * np.sqrt(30**3 / 3), rel=0.4)  # of 40 aircraft
    believed = seen.traffic.east_m.unsqueeze(-2) - seen.traffic.east_m.unsqueeze(-1)
    is_pair = seen.pairs.is_pair
    torch.testing.assert_close(seen.pairs.east_m[is_pair], believed[is_pair], rtol=0, atol=1e-2)


def test_who_has_just_entered_has_gnss() -> None:
    before = straight(0)
    before.is_flying[:, 3] = False
    perception = Perception(ALWAYS, 1.0, before, KEYS)
    perception.record(straight(1), torch.ones(2, dtype=torch.int64))
    assert perception.outages is not None
    assert not perception.outages.is_lost[:, 3].any()
    assert perception.outages.is_lost.sum() == 2 * 19


def test_a_state_that_was_saved_and_one_of_fewer_episodes_go_on_alike() -> None:
    quality = Surveillance(position_m=2.0, error_s=9.0, outages_per_h=600, outage_s=5.0)
    one = Perception(quality, 1.0, straight(0), KEYS)
    for step in range(1, 9):
        one.record(straight(step), torch.full((2,), step))
    other = Perception(quality, 1.0, straight(8), KEYS)
    other.restore({name: tensor.clone() for name, tensor in one.tensors().items()})
    last = Perception(quality, 1.0, straight(8, 1), KEYS[1:])
    last.restore({name: tensor.clone() for name, tensor in one.tensors().items()})
    last.outages = last.outages.kept(np.array([1]))
    last.drawn, last.estimates = last.drawn[:, 1:], last.estimates[:, 1:]
    last.was_flying, last.heard = last.was_flying[1:], last.heard[1:]
    for step in range(9, 20):
        for each, episodes in ((one, 2), (other, 2), (last, 1)):
            each.record(straight(step, episodes), torch.full((episodes,), step))
    assert np.array_equal(one.estimates, other.estimates)
    assert np.array_equal(one.estimates[:, 1:], last.estimates)


def test_without_outages_nothing_is_kept() -> None:
    perception = Perception(Surveillance(position_m=2.0), 1.0, straight(0), KEYS)
    assert perception.outages is None
    assert not [name for name in perception.tensors() if "outage" in name]
