import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.train.runs.confidence_intervals import (
    Estimate,
    Ratio,
    detectable,
    difference,
    estimate,
    mean_of_rows,
    normal_interval,
    resample,
    student_interval,
)

COUNTS = st.lists(st.integers(0, 5), min_size=2, max_size=30)


def _count(events, exposure=None):
    events = np.array(events, float)
    return Ratio(events, np.ones(len(events)) if exposure is None else np.array(exposure, float), is_count=True)


def test_resamples_are_of_whole_scenarios():
    weights = resample(7, 50, 3)
    assert weights.shape == (50, 7)
    assert (weights.sum(1) == 7).all()
    assert (weights == resample(7, 50, 3)).all()
    assert (weights != resample(7, 50, 4)).any()


def test_a_ratio_of_sums_and_not_a_mean_of_ratios():
    found = estimate(_count([9, 0], [10, 90]), resample(2, 100, 0))
    assert found.value == pytest.approx(0.09)


def test_symmetric_figures_give_the_textbook_s_interval():
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    found = estimate(Ratio(values, np.ones(400)), resample(400, 4000, 1))
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_no_event_leaves_room_for_some():
    weights = resample(100, 200, 0)
    assert estimate(_count([0] * 100), weights) == Estimate(0.0, 0.0, 0.03)
    never = Ratio(np.zeros(100), np.full(100, 20.0), base=1.0, sign=-1.0, is_count=True)
    assert estimate(never, weights) == pytest.approx(Estimate(1.0, 1 - 3 / 2000, 1.0))
    assert difference(_count([0] * 100), _count([0] * 100), weights) == Estimate(0.0, -0.03, 0.03)


def test_where_there_is_nothing_there_is_no_interval():
    weights = resample(5, 100, 0)
    assert all(map(math.isnan, estimate(_count([0] * 5, [0] * 5), weights)))
    alone = estimate(Ratio(np.array([0.0, 3, 0, 0, 0]), np.array([0.0, 6, 0, 0, 0])), weights)
    assert alone.value == 0.5
    assert math.isnan(alone.low)
    single = estimate(_count([3]), resample(1, 100, 0))
    assert single.to_json() == {"value": 3.0, "low": None, "high": None}


def test_a_paired_difference_sees_what_unpaired_intervals_hide():
    generator = np.random.default_rng(1)
    hard = generator.gamma(1.0, 10.0, 60)  # scenarios differ much, contenders little
    one, other = Ratio(hard + generator.normal(1, 0.3, 60), np.ones(60)), Ratio(hard, np.ones(60))
    weights = resample(60, 1000, 2)
    first, second = estimate(one, weights), estimate(other, weights)
    gap = difference(one, other, weights)
    assert first.low < second.high
    assert 0.8 < gap.low < gap.value < gap.high < 1.2
    assert gap.value == pytest.approx(first.value - second.value)
    assert difference(other, one, weights) == pytest.approx(Estimate(-gap.value, -gap.high, -gap.low), abs=5e-3)


@pytest.mark.parametrize(("unequal", "is_shown"), [(5, False), (6, True)])
def test_a_handful_of_unequal_scenarios_shows_nothing(unequal, is_shown):
    one = [0] * 100
    other = [1] * unequal + [0] * (100 - unequal)
    found = difference(_count(one), _count(other), resample(100, 2000, 0))
    assert found.value == pytest.approx(-unequal / 100)
    assert (found.high < 0) == is_shown


@given(COUNTS)
@settings(deadline=None, max_examples=60)
def test_an_interval_holds_its_value_and_stays_in_range(events):
    found = estimate(_count(events), resample(len(events), 200, 0))
    assert found.low <= found.high
    assert min(events) <= found.value <= max(events)
    assert found.low >= min(events)
    assert found.high <= max(max(events), 3 / len(events))


@given(COUNTS)
@settings(deadline=None, max_examples=60)
def test_counting_the_good_is_counting_the_bad(events):
    bad, weights = _count(events), resample(len(events), 200, 0)
    good = bad._replace(base=1.0, sign=-1.0)
    found, mirrored = estimate(bad, weights), estimate(good, weights)
    assert mirrored.value == pytest.approx(1 - found.value)
    assert mirrored.low <= 1 - found.value <= mirrored.high or found.value < found.low or found.value > found.high


@pytest.mark.parametrize(
    ("mean", "dispersion", "least"), [(0.05, 0.0, 0.93), (0.1, 0.5, 0.93), (1.0, 0.5, 0.93), (12.0, 2.0, 0.935)]
)
def test_intervals_cover_the_truth(mean, dispersion, least):
    """95 % intervals of 200 scenarios hold the true mean about 95 % of the time, also of rare events."""
    generator, weights = np.random.default_rng(5), resample(200, 1000, 0)
    covered = 0
    for _ in range(1000):
        rate = generator.gamma(dispersion, mean / dispersion, 200) if dispersion else np.full(200, mean)
        found = estimate(_count(generator.poisson(rate)), weights)
        covered += found.low <= mean <= found.high
    assert least <= covered / 1000 <= 0.98


@pytest.mark.parametrize(("shared", "one", "other"), [(0.0, 0.05, 0.05), (0.5, 0.1, 0.05), (0.0, 0.5, 0.1)])
def test_differences_cover_the_truth(shared, one, other):
    generator, weights = np.random.default_rng(6), resample(200, 1000, 0)
    covered = 0
    for _ in range(1000):
        both = generator.poisson(shared, 200)
        pair = [_count(both + generator.poisson(rate, 200)) for rate in (one, other)]
        found = difference(*pair, weights)
        covered += found.low <= one - other <= found.high
    assert 0.925 <= covered / 1000 <= 0.98


def test_ratios_cover_the_truth():
    """IPR-like ratios: losses per conflict, both varying from scenario to scenario."""
    generator, weights = np.random.default_rng(7), resample(100, 1000, 0)
    covered = 0
    for _ in range(1000):
        conflicts = generator.poisson(generator.gamma(2.0, 6.0, 100))
        losses = generator.binomial(conflicts, 0.05)
        ratio = Ratio(losses.astype(float), conflicts.astype(float), base=1.0, sign=-1.0, is_count=True)
        found = estimate(ratio, weights)
        covered += found.low <= 0.95 <= found.high
    assert 0.93 <= covered / 1000 <= 0.98


def test_rows_of_one_scenario_count_as_one():
    values, scenario = np.repeat([0.0, 1.0, 4.0], [10, 10, 20]), np.repeat([0, 1, 2], [10, 10, 20])
    weights = resample(3, 200, 0)
    found = mean_of_rows(np.append(values, np.nan), np.append(scenario, 0), weights)
    assert found == estimate(Ratio(np.array([0.0, 10, 80]), np.array([10.0, 10, 20])), weights)
    assert found.value == 90 / 40
    assert all(map(math.isnan, mean_of_rows(np.full(3, np.nan), np.arange(3), weights)))


@pytest.mark.parametrize(("count", "t"), [(2, 12.706), (4, 3.182), (10, 2.262), (200, 1.972)])
def test_student_s_t_as_in_the_tables(count, t):
    values = np.arange(count) - 3.0
    half = t * values.std(ddof=1) / math.sqrt(count)
    found = student_interval(values)
    assert found == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), rel=1e-3)


def test_a_normal_interval_by_hand():
    half = 1.959964 * math.sqrt(2 / 3) / 2
    assert normal_interval(np.array([1.0, 2.0, 3.0, 2.0])) == pytest.approx((2, 2 - half, 2 + half))
    assert normal_interval(np.array([1.0, 2.0, 3.0, 2.0]), 7.0) == pytest.approx((7, 7 - half, 7 + half))
    surer = half * 2.575829 / 1.959964
    assert normal_interval(np.array([1.0, 2.0, 3.0, 2.0]), confidence=0.99) == pytest.approx(
        (2, 2 - surer, 2 + surer)
    )
    assert normal_interval(np.zeros(5)) == (0, 0, 0)
    assert normal_interval(np.array([3.0])) == student_interval(np.array([3.0])) == (3, -math.inf, math.inf)


def test_intervals_of_few_events_cover_the_truth():
    """Like the severity of MVP's losses: of 200 scenarios about ten have one, each of some depth."""
    generator, weights = np.random.default_rng(8), resample(200, 1000, 0)
    covered = count = 0
    for _ in range(1000):
        losses = generator.poisson(0.05, 200).astype(float)
        depth = np.array([generator.gamma(2.0, 0.02, int(n)).sum() for n in losses])
        found = estimate(Ratio(depth, losses), weights)
        if math.isfinite(found.low):
            count += 1
            covered += found.low <= 0.04 <= found.high
    assert count > 990
    assert 0.91 <= covered / count <= 0.97


# --- the smallest difference that could have been shown ---


def test_what_is_detectable_by_hand():
    gap, ones = Estimate(0.1, -0.1, 0.3), np.ones(100)
    mean = Ratio(ones, ones)
    assert detectable(gap, mean, mean) == pytest.approx(2.8016 * 0.2 / 1.95996, rel=1e-3)
    # two counts differ by 1 in every other scenario: D = 2.8^2 / 200 + sqrt((2.8^2 / 200)^2 + (2.8 SE)^2)
    one, other = _count(ones), _count(np.arange(100) % 2)
    own = 2.8016**2 / 200
    assert detectable(gap, one, other) == pytest.approx(own + math.hypot(own, 2.8016 * 0.2 / 1.95996), rel=1e-3)
    # nothing at all, and no spread: 7.8 events are needed; of 10 s each, 78 s
    none = _count(np.zeros(100))
    assert detectable(Estimate(0, 0, 0), none, none) == pytest.approx(7.85 / 100, rel=1e-3)
    seconds = _count([10.0] + [0.0] * 99)
    assert detectable(Estimate(0, 0, 0), none, seconds) == pytest.approx(78.5 / 100, rel=1e-3)


def test_too_few_scenarios_or_no_interval_detect_nothing():
    five, hundred = _count(np.zeros(5)), _count(np.zeros(100))
    assert detectable(Estimate(0, -0.1, 0.1), five, five) == math.inf
    assert detectable(Estimate(0, math.nan, math.nan), hundred, hundred) == math.inf
    nowhere = _count(np.zeros(100), np.zeros(100))
    assert detectable(Estimate(0, -0.1, 0.1), nowhere, nowhere) == math.inf


@pytest.mark.parametrize(("scenarios", "rate"), [(200, 0.8), (200, 0.02), (20, 1.5)])
def test_what_is_detectable_is_shown_four_times_in_five_and_a_quarter_of_it_hardly_ever(scenarios, rate):
    generator, weights = np.random.default_rng(0), resample(scenarios, 400, 1)

    def pair(more):
        return [_count(generator.poisson(each, scenarios)) for each in (rate + more, rate)]

    def share_shown(more):
        gaps = [difference(*pair(more), weights) for _ in range(150)]
        return np.mean([not each.low <= 0 <= each.high for each in gaps])

    pairs = [pair(0.0) for _ in range(20)]
    smallest = np.median([detectable(difference(*each, weights), *each) for each in pairs])
    assert share_shown(smallest) >= 0.72  # 0.8 up to three standard errors
    assert share_shown(smallest / 4) <= 0.35
