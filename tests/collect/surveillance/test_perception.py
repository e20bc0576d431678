"""What aircraft know, held against formulas."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from skyclone.collect.surveillance.config import PRESETS, Surveillance
from skyclone.collect.surveillance.perception import Perception
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic

KEYS = np.array([[11, 12], [13, 14], [15, 16]], np.int64)


def straight(episodes: int = 3, aircraft: int = 30, seed: int = 0) -> Traffic:
    """Aircraft within a square of 2 km, at 5 to 15 m/s."""
    shape, random = (episodes, aircraft), np.random.default_rng(seed)
    east, north = (torch.tensor(random.uniform(-1000, 1000, shape), dtype=torch.float32) for _ in range(2))
    track = torch.tensor(random.uniform(-3, 3, shape), dtype=torch.float32)
    speed = torch.tensor(random.uniform(5, 15, shape), dtype=torch.float32)
    nowhere = torch.zeros(shape)
    return Traffic(east, north, track, speed, nowhere, nowhere, torch.ones(shape, dtype=torch.bool))


def later(traffic: Traffic, seconds: float) -> Traffic:
    """The same aircraft, straight on."""
    made = traffic.clone()
    made.east_m = traffic.east_m + seconds * traffic.velocity_east_mps
    made.north_m = traffic.north_m + seconds * traffic.velocity_north_mps
    return made


def flown(quality: Surveillance, steps: int = 200, step_s: float = 1.0, keys: np.ndarray = KEYS, looks: int = 1):
    """Fly straight; what was perceived at every `looks`-th step."""
    start = straight(len(keys))
    perception, found = Perception(quality, step_s, start, keys), []
    for step in range(1, steps + 1):
        now = later(start, step * step_s)
        perception.record(now, torch.full((len(keys),), step))
        if step % looks == 0:
            found.append((now, perception.perceive(now)))
    return found


def ages_of(found) -> np.ndarray:
    """The ages of all tracks."""
    return np.concatenate([seen.age_s[seen.pairs.is_pair].numpy() for _, seen in found])


@pytest.mark.parametrize("between", ["hold", "filter"])
def test_without_error_and_delay_it_is_the_truth(between: Any) -> None:
    for now, seen in flown(Surveillance(between=between, drift_mps=0.0), steps=5):
        truth = pairs_of(now)
        assert torch.equal(seen.pairs.is_pair, truth.is_pair)
        for known, true in zip(seen.pairs[:4], truth[:4], strict=True):
            known, true = known[truth.is_pair], true[truth.is_pair]
            torch.testing.assert_close(known, true, rtol=0, atol=2e-3)
        assert torch.isinf(seen.pairs.distance2_m2[~truth.is_pair]).all()
        torch.testing.assert_close(seen.traffic.track_rad, now.track_rad, rtol=0, atol=1e-6)
        assert not seen.age_s.any()


@pytest.mark.parametrize("reception", [0.3, 0.8])
def test_the_age_of_information_is_geometric(reception: float) -> None:
    # P(age = a) = p (1 - p)^a: the newest message was received, those after it were not
    ages = ages_of(flown(Surveillance(reception=reception, drop_s=100.0)))
    assert ages.mean() == pytest.approx((1 - reception) / reception, rel=0.03)
    for age in range(4):
        assert (ages == age).mean() == pytest.approx(reception * (1 - reception) ** age, abs=0.01)


@pytest.mark.parametrize("reception", [0.4, 0.8])
def test_the_mean_age_is_the_published_one_of_an_erasure_channel(reception: float) -> None:
    # Yates, Najm, Soljanin, Zhong 2017 (arXiv 1704.04155): updates of one symbol, sent one after another, each
    # lost with 1 - p. By renewals the age is T + E[X^2] / 2 E[X] = 1/p + 1/2 symbols in the time average, T = 1
    # for the way of an update and X, geometric, between two that arrive. Looking once a symbol misses 1/2.
    ages = ages_of(flown(Surveillance(reception=reception, latency_s=1.0, drop_s=100.0)))
    assert ages.mean() + 0.5 == pytest.approx(1 / reception + 0.5, rel=0.03)


def test_the_update_interval_of_the_adsb_masps() -> None:
    # Table 3.4.3.3.1.1a (within 3 NM): an update within 3 s in 95 % of the cases, within 6 s in 99 %. With a
    # message each 0.5 s, P(none within t) = (1 - p)^(t / 0.5): p = 1 - 0.05^(1/6), and the second follows
    least = 1.0 - 0.05 ** (1 / 6)
    ages = ages_of(flown(Surveillance(reception=least, drop_s=60.0), step_s=0.5, steps=400))
    assert (ages >= 3.0).mean() == pytest.approx(0.05, abs=0.01)
    assert (ages >= 6.0).mean() < 0.01
    preset = PRESETS["ads-b"]
    within_3_nm = preset.reception * np.exp(-((3 * 1852.0 / preset.range_m) ** 2))
    assert within_3_nm > least
    ages = ages_of(flown(preset, step_s=0.5, steps=200))
    assert (ages > 3.0).mean() < 0.05


def test_the_age_at_an_interval() -> None:
    # every third step: m (1 - p) / p until the last one received, (m - 1) / 2 since it was due
    ages = ages_of(flown(Surveillance(interval_s=3.0, reception=0.5, drop_s=100.0)))
    assert ages.mean() == pytest.approx(3 * 0.5 / 0.5 + 1.0, rel=0.03)
    regular = ages_of(flown(Surveillance(interval_s=3.0)))
    assert sorted(set(regular)) == [0.0, 1.0, 2.0]
    assert regular.mean() == pytest.approx(1.0, abs=0.2)  # phases are those of 90 aircraft


def test_an_interval_that_is_no_whole_number_of_steps() -> None:
    # every 2.5 steps on average: ages 0, 1, 2 with 2/5, 2/5, 1/5
    ages = ages_of(flown(Surveillance(interval_s=2.5), steps=500))
    assert (ages == 2).mean() == pytest.approx(0.2, abs=0.03)
    assert ages.max() == 2


@pytest.mark.parametrize(("latency_s", "step_s"), [(2.0, 1.0), (1.0, 0.5), (10.0, 5.0)])
def test_a_latency_of_whole_steps_is_exact(latency_s: float, step_s: float) -> None:
    for now, seen in flown(Surveillance(latency_s=latency_s), steps=8, step_s=step_s):
        assert (seen.age_s[seen.pairs.is_pair] == latency_s).all()
        then = later(now, -latency_s)
        expected = then.east_m.unsqueeze(-2) - now.east_m.unsqueeze(-1)
        torch.testing.assert_close(
            seen.pairs.east_m[seen.pairs.is_pair], expected[seen.pairs.is_pair], rtol=0, atol=1e-2
        )


def test_the_latest_delay_and_nothing_is_newer_than_the_least() -> None:
    ages = ages_of(flown(Surveillance(latency_s=3.0, latency_spread_s=2.0)))
    assert ages.min() == 1
    assert ages.max() <= 5
    # a message sent `lag` ago is here with probability F(lag); the newest that is here counts
    here = [0.0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1.0]  # P(floor(1 + 4 u + u') <= lag)
    expected, missing = [], 1.0
    for chance in here:
        expected.append(missing * chance)
        missing *= 1.0 - chance
    for age in range(1, 6):
        assert (ages == age).mean() == pytest.approx(expected[age], abs=0.01)


def test_a_latency_of_parts_of_a_step_is_right_on_average() -> None:
    alone = ages_of(flown(Surveillance(latency_s=0.4, interval_s=50.0, drop_s=60.0), looks=1, steps=400))
    # a message is heard after 0 or 1 step, with 0.6 and 0.4: then 1 - 0.6 of the 50 ages begin a step later
    assert (alone == 50).mean() * 50 / (49.4 / 50 + 0.4 / 50) == pytest.approx(0.4, abs=0.05)


def test_white_noise_has_its_deviations() -> None:
    found = flown(Surveillance(position_m=5.0, velocity_mps=0.5))
    own = np.concatenate([(seen.traffic.east_m - now.east_m).numpy().ravel() for now, seen in found])
    assert own.std() == pytest.approx(5.0, rel=0.03)
    assert abs(np.corrcoef(own[90:], own[:-90])[0, 1]) < 0.03  # from one step to the next
    rates = [(seen.traffic.velocity_north_mps - now.velocity_north_mps).numpy().ravel() for now, seen in found]
    assert np.concatenate(rates).std() == pytest.approx(0.5, rel=0.03)
    pairs = [(seen.pairs.east_m - pairs_of(now).east_m)[seen.pairs.is_pair].numpy() for now, seen in found]
    assert np.concatenate(pairs).std() == pytest.approx(5.0 * np.sqrt(2), rel=0.03)


def test_a_correlated_error_stays() -> None:
    found = flown(Surveillance(position_m=5.0, error_s=20.0), steps=600)
    errors = np.stack([(seen.traffic.east_m - now.east_m).numpy() for now, seen in found])
    assert errors.std() == pytest.approx(5.0, rel=0.1)
    for lag in (1, 10, 20):
        assert (errors[lag:] * errors[:-lag]).mean() / 25.0 == pytest.approx(np.exp(-lag / 20.0), abs=0.1)


def test_what_is_held_is_wrong_by_the_way_flown_since_and_straight_flight_is_extrapolated() -> None:
    for between in ("hold", "extrapolate"):
        for now, seen in flown(Surveillance(reception=0.3, between=between), looks=10):
            truth, is_pair = pairs_of(now), seen.pairs.is_pair
            error = torch.hypot(seen.pairs.east_m - truth.east_m, seen.pairs.north_m - truth.north_m)
            speed = now.speed_mps.unsqueeze(-2).expand_as(error)
            expected = speed * seen.age_s if between == "hold" else torch.zeros_like(error)
            torch.testing.assert_close(error[is_pair], expected[is_pair], rtol=0, atol=2e-2)


def test_a_track_is_dropped_when_it_is_too_old() -> None:
    found = flown(Surveillance(reception=0.2, drop_s=4.0))
    assert ages_of(found).max() == 4.0
    lost = np.concatenate([~seen.pairs.is_pair.numpy()[:, ~np.eye(30, dtype=bool)] for _, seen in found])
    assert lost.mean() == pytest.approx(0.8**5, abs=0.01)  # ages 0 to 4 all missed


def test_two_receivers_hear_different_messages_and_the_two_ways_are_independent() -> None:
    ages = np.stack([seen.age_s.numpy() for _, seen in flown(Surveillance(reception=0.5, drop_s=50.0), looks=20)])
    heard = (ages == 0)[:, :, ~np.eye(30, dtype=bool)]
    first, second = (ages == 0)[:, :, 0, 2:], (ages == 0)[:, :, 1, 2:]
    assert (first != second).mean() == pytest.approx(0.5, abs=0.06)
    there, back = (ages == 0)[:, :, *np.triu_indices(30, 1)], (ages == 0)[:, :, *np.triu_indices(30, 1)[::-1]]
    assert (there != back).mean() == pytest.approx(0.5, abs=0.03)
    assert heard.mean() == pytest.approx(0.5, abs=0.03)


def test_reception_falls_with_distance() -> None:
    # p(d) = p exp(-d^2 / R^2): Rayleigh fading over a path loss of 1 / d^2
    hits, chances = [], []
    for now, seen in flown(Surveillance(reception=0.9, range_m=800.0, drop_s=0.9), looks=5):
        truth = pairs_of(now)
        hits.append(seen.pairs.is_pair[truth.is_pair].numpy())
        chances.append(0.9 * np.exp(-truth.distance2_m2[truth.is_pair].numpy() / 800.0**2))
    hit, chance = np.concatenate(hits), np.concatenate(chances)
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.7), (0.7, 0.9)):
        chosen = (chance >= low) & (chance < high)
        assert hit[chosen].mean() == pytest.approx(chance[chosen].mean(), abs=0.03)


def test_silent_aircraft_are_seen_by_nobody_and_see_the_others() -> None:
    _, seen = flown(Surveillance(silent=0.3), steps=2)[-1]
    tracked = seen.pairs.is_pair.any(-2)  # by anyone
    assert 0.15 < (~tracked).float().mean() < 0.45
    assert seen.pairs.is_pair.any(-1).all()


HARD = Surveillance(
    position_m=5.0, velocity_mps=0.5, error_s=5.0, interval_s=1.5, latency_s=1.0, latency_spread_s=1.0,
    reception=0.6, range_m=1500.0, between="extrapolate",
)  # fmt: skip
FILTERED = replace(HARD, between="filter", outages_per_h=100.0)
both = pytest.mark.parametrize("hard", [HARD, FILTERED])


@both
def test_what_is_perceived_does_not_depend_on_the_batch_nor_on_when_one_looks(hard: Surveillance) -> None:
    together, alone = flown(hard, 30), flown(hard, 30, looks=30)
    again = flown(hard, 30, keys=KEYS[:1])
    for other, slots in ((alone[-1][1], slice(None)), (again[-1][1], slice(0, 1))):
        for one, two in zip(together[-1][1].pairs[:6], other.pairs[:6], strict=True):
            if len(two) < 3:
                continue
            assert torch.equal(one[slots], two)
    first = straight(1)
    perception = Perception(hard, 1.0, first, KEYS[1:2])
    three = Perception(hard, 1.0, straight(3), KEYS)
    three.restart(np.array([1]), KEYS[1:2], first, np.zeros(1, np.int64))
    three.restart(np.array([0]), KEYS[1:2], first, np.zeros(1, np.int64))
    three.keep(np.array([0, 1]))
    for step in range(1, 8):
        now = later(first, step)
        perception.record(now, torch.tensor([step]))
        three.record(now.map(lambda tensor: tensor.expand(2, -1)), torch.tensor([step, step]))
        wanted = perception.perceive(now)
        found = three.perceive(now.map(lambda tensor: tensor.expand(2, -1).clone()))
        for one, two in zip(wanted.pairs[:6], found.pairs[:6], strict=True):
            assert torch.equal(one.expand(2, -1, -1), two)
        assert torch.equal(wanted.age_s.expand(2, -1, -1), found.age_s)


@both
def test_a_state_that_was_saved_goes_on_alike(hard: Surveillance) -> None:
    start = straight()
    one = Perception(hard, 1.0, start, KEYS)
    for step in range(1, 6):
        one.record(later(start, step), torch.full((3,), step))
        one.perceive(later(start, step))
    other = Perception(hard, 1.0, later(start, 5), KEYS)
    other.restore({name: tensor.clone() for name, tensor in one.tensors().items()})
    for step in range(6, 9):
        now = later(start, step)
        seen = []
        for each in (one, other):
            each.record(now, torch.full((3,), step))
            seen.append(each.perceive(now))
        for first, second in zip(seen[0].pairs[:6], seen[1].pairs[:6], strict=True):
            assert torch.equal(first, second)


def test_who_enters_later_had_been_heard_before_as_if_it_had_flown_straight() -> None:
    start = straight(1, 4)
    start.is_flying[0, 3] = False
    perception = Perception(Surveillance(latency_s=2.0), 1.0, start, KEYS[:1])
    for step in range(1, 5):
        now = later(start, step)
        now.east_m[0, 3], now.north_m[0, 3] = start.east_m[0, 3], start.north_m[0, 3]
        now.is_flying = start.is_flying.clone()
        now.is_flying[0, 3] = step == 4
        perception.record(now, torch.tensor([step]))
        seen = perception.perceive(now)
        assert bool(seen.pairs.is_pair[0, 0, 3]) == (step == 4)
    expected = now.east_m[0, 3] - 2.0 * now.velocity_east_mps[0, 3] - now.east_m[0, 0]
    assert seen.pairs.east_m[0, 0, 3] == pytest.approx(float(expected), abs=1e-2)


def test_too_many_aircraft_are_refused() -> None:
    many = straight(1, 1001)
    with pytest.raises(ConfigurationError, match="expected at most 1000 aircraft with a surveillance that is not"):
        Perception(Surveillance(), 1.0, many, KEYS[:1])


@both
def test_other_keys_change_nothing_that_was_sent_before(hard: Surveillance) -> None:
    """What was lost stays lost, what is under way arrives; from the next step on errors and messages are others."""
    start = straight(1, 30)
    one = Perception(hard, 1.0, start, KEYS[:1])
    for step in range(1, 6):
        one.record(later(start, step), torch.tensor([step]))
        one.perceive(later(start, step))
    other = Perception.joined([one])
    other.keep(np.array([0]))
    other.keys = KEYS[1:2].copy()
    for step in range(6, 10):
        for each in (one, other):
            each.record(later(start, step), torch.tensor([step]))
            each.perceive(later(start, step))
        is_old = (one.heard <= 5) & (other.heard <= 5)
        assert is_old.any()
        assert (one.heard[is_old] == other.heard[is_old]).all()
        assert not np.array_equal(one.estimates[one.place], other.estimates[other.place])
    assert (one.heard != other.heard).any()


@both
def test_episodes_of_several_rings_go_on_together(hard: Surveillance) -> None:
    """Those after 4 and after 7 steps, joined, perceive what they do apart."""
    start, parts, wanted = straight(1, 20), [], []
    for steps, keys in ((4, KEYS[:1]), (7, KEYS[1:2])):
        perception = Perception(hard, 1.0, start, keys)
        for step in range(1, steps + 1):
            perception.record(later(start, step), torch.tensor([step]))
            perception.perceive(later(start, step))
        parts.append(perception)
    joined = Perception.joined(parts)
    for more in range(1, 6):
        states = [later(start, 4 + more), later(start, 7 + more)]
        for perception, state, steps in zip(parts, states, (4, 7), strict=True):
            perception.record(state, torch.tensor([steps + more]))
        wanted = [perception.perceive(state).pairs for perception, state in zip(parts, states, strict=True)]
        both = Traffic(*(torch.cat(each) for each in list(zip(*(vars(state).values() for state in states)))[:7]))
        joined.record(both, torch.tensor([4 + more, 7 + more]))
        for found, *apart in zip(joined.perceive(both).pairs[:6], *(pairs[:6] for pairs in wanted), strict=True):
            assert torch.equal(found, torch.cat(apart))
