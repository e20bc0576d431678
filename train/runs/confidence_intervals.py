"""Intervals: what a figure would be if other scenarios had been drawn.

Aircraft within a scenario are not independent, scenarios are: so scenarios are resampled, whole. One
matrix of resamples serves every metric and every contender, so a difference between two contenders is
paired: what makes a scenario hard for both cancels out.

Notation: S scenarios, R resamples.
"""

from collections.abc import Callable, Sequence
from math import inf, isfinite, nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit  # the normal distribution, its quantiles, and Student's t

CONFIDENCE = 0.95
RULE_OF_THREE = 3.0
"""No event in n trials: with 95 % confidence fewer than 3/n happen (-ln 0.05 = 3.0; Hanley, Lippman-Hand 1983)."""


FEWEST_UNEQUAL = 6
"""With fewer scenarios that differ between two contenders, a sign test shows nothing: 2 / 2^5 > 5 %."""
POWER = 0.8
"""Chance that a difference as large as `detectable` says is shown."""


class Ratio(NamedTuple):
    """A metric of one contender: value = base + sign * sum(events) / sum(exposure).

    A ratio of sums, not a mean of ratios: a scenario without conflicts then has no say in an IPR, and one
    with many has much.

    Attributes:
        events: (S,) float64.
        exposure: (S,) float64.
        base: What the value is without any event.
        sign: 1 or -1.
        is_count: Whether events are counted, so that none at all leaves room for some.
    """

    events: np.ndarray
    exposure: np.ndarray
    base: float = 0.0
    sign: float = 1.0
    is_count: bool = False


class Estimate(NamedTuple):
    """A value with its 95 % interval; NaN where there is none (no conflicts, a single scenario)."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Return a JSON object, null for NaN."""
        return {key: value if isfinite(value) else None for key, value in self._asdict().items()}


class _Resampled(NamedTuple):
    """A statistic: its value, in each resample (R,), and with each scenario left out (S,)."""

    value: float
    resamples: np.ndarray
    left_out: np.ndarray


def resample(scenarios: int, count: int, seed: int) -> np.ndarray:
    """Draw how often each scenario appears in each resample.

    Args:
        scenarios: S.
        count: R.
        seed: Seed of the draw.

    Returns:
        (R, S) float64; every row sums to S.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.multinomial(scenarios, np.full(scenarios, 1 / scenarios), size=count).astype(np.float64)


def estimate(ratio: Ratio, weights: np.ndarray) -> Estimate:
    """Return a metric with its 95 % interval.

    BCa bootstrap (Efron 1987): percentiles corrected for bias and skewness, which matters for rare events, and
    for few scenarios.
    Where not a single event happened every resample is the same; then the rule of three gives the bound.

    Args:
        ratio: The metric.
        weights: (R, S) from `resample`.
    """
    interval = _interval(_resample(ratio, weights), _witnesses(ratio))
    margin = ratio.sign * _margin_of_none(ratio)
    if not margin or not isfinite(interval.low):
        return interval
    return Estimate(interval.value, *sorted((interval.value, interval.value + margin)))


def difference(one: Ratio, other: Ratio, weights: np.ndarray) -> Estimate:
    """Return `one` minus `other`, flown on the same scenarios, with the 95 % interval of the difference.

    Where counts differ in a handful of scenarios only, the bootstrap would see a difference too soon: the
    interval then holds 0.

    Args:
        one: The metric of one contender.
        other: The same metric of the other contender.
        weights: (R, S) from `resample`.
    """
    first, second = _resample(one, weights), _resample(other, weights)
    gap = _Resampled(
        first.value - second.value, first.resamples - second.resamples, first.left_out - second.left_out
    )
    interval = _interval(gap, min(_witnesses(one), _witnesses(other)))
    if not one.is_count or not isfinite(interval.low):
        return interval
    margins = _margin_of_none(one), _margin_of_none(other)
    if all(margins):
        return Estimate(interval.value, interval.value - max(margins), interval.value + max(margins))
    if np.count_nonzero(one.events != other.events) < FEWEST_UNEQUAL:
        return Estimate(interval.value, min(interval.low, 0.0), max(interval.high, 0.0))
    return interval


def detectable(gap: Estimate, one: Ratio, other: Ratio, size: float = 1.0) -> float:
    """Return the smallest difference that these scenarios could have shown; infinite if they could show none.

    A true difference of k = 1.96 + 0.84 standard errors is shown four times in five, at 5 % (two-sided; Bloom,
    "Minimum Detectable Effects", Evaluation Review 19(5), 1995). The standard error SE is that of the paired
    difference, from its interval. Further events bring a variance of their own, as Poisson numbers do: D more, of
    size s each, in an exposure of n add D s / n to SE^2, so D = k^2 s / 2n + sqrt((k^2 s / 2n)^2 + (k SE)^2). Where
    nothing happened at all, that is 8 events or more: enough for `FEWEST_UNEQUAL`, too.

    Args:
        gap: Their difference, from `difference`.
        one: The metric of one contender.
        other: The same metric of the other contender.
        size: s, where no scenario differs: of an event counted as 1, that; of seconds, how long an event takes.
    """
    scenarios, exposure = len(one.events), min(float(each.exposure.sum()) for each in (one, other))
    if scenarios < FEWEST_UNEQUAL or not isfinite(gap.high - gap.low) or not exposure > 0:
        return inf
    quantile = float(ndtri((1 + CONFIDENCE) / 2))
    k = quantile + float(ndtri(POWER))
    smallest = k * (gap.high - gap.low) / (2 * quantile)
    if not one.is_count:
        return smallest
    unequal = np.abs(one.events - other.events)
    size = float(unequal[unequal > 0].mean()) if unequal.any() else size
    own = k**2 * size / (2 * exposure)
    return own + sqrt(own**2 + smallest**2)


def mean_of_rows(values: np.ndarray, scenario: np.ndarray, weights: np.ndarray) -> Estimate:
    """Return the mean over rows, several of them from one scenario, with its 95 % interval over scenarios.

    Args:
        values: (M,) one a row; those that are not finite are left out.
        scenario: (M,) int, which scenario each row is from, 0 to S - 1.
        weights: (R, S) from `resample`.
    """
    counted = np.isfinite(values)
    events, exposure = (
        np.bincount(scenario[counted], each, minlength=weights.shape[1]).astype(np.float64)
        for each in (values[counted], None)
    )
    return estimate(Ratio(events, exposure), weights)


def normal_interval(values: np.ndarray, value: float | None = None, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of many values with its interval, -+ 1.96 s / sqrt(n) for 95 %; infinite around one alone.

    Args:
        values: (n,) such as paired differences, one per scenario.
        value: What stands in the middle instead of the mean, if each value is what a scenario moves it by.
        confidence: That the interval holds what it should.
    """
    return _around_mean(values, value, float(ndtri((1 + confidence) / 2)))


def student_interval(values: np.ndarray) -> Estimate:
    """Return the mean of a few values with Student's 95 % interval; infinite around one alone."""
    return _around_mean(values, None, float(stdtrit(max(len(values) - 1, 1), (1 + CONFIDENCE) / 2)))


def _around_mean(values: np.ndarray, value: float | None, quantile: float) -> Estimate:
    """Return the mean, or another value, plus and minus a quantile times the mean's standard error."""
    middle = float(np.mean(values)) if value is None else value
    half = quantile * float(np.std(values, ddof=1)) / sqrt(len(values)) if len(values) > 1 else inf
    return Estimate(middle, middle - half, middle + half)


def combine(ratios: Sequence[Ratio], function: Callable[[np.ndarray], np.ndarray], weights: np.ndarray) -> Estimate:
    """Return a function of several metrics, flown on the same scenarios, with its 95 % interval.

    Args:
        ratios: C metrics.
        function: Maps values (n, C) to (n,).
        weights: (R, S) from `resample`.
    """
    each = [_resample(ratio, weights) for ratio in ratios]
    value = function(np.array([[one.value for one in each]]))[0]
    parts = (np.stack([getattr(one, name) for one in each], axis=1) for name in ("resamples", "left_out"))
    return _interval(_Resampled(float(value), *map(function, parts)), min(map(_witnesses, ratios)))


def value_of(ratio: Ratio) -> float:
    """Return the metric itself, NaN if it has no exposure."""
    exposure = float(ratio.exposure.sum())
    return ratio.base + ratio.sign * float(ratio.events.sum()) / exposure if exposure else nan


def _margin_of_none(ratio: Ratio) -> float:
    """Return the rule of three's bound if no event was counted; 0 if there were some."""
    exposure = float(ratio.exposure.sum())
    if not ratio.is_count or exposure <= 0 or ratio.events.any():
        return 0.0
    return RULE_OF_THREE / exposure


def _witnesses(ratio: Ratio) -> int:
    """Return how many scenarios say something; one alone says nothing about others."""
    return int(np.count_nonzero(ratio.exposure))


def _resample(ratio: Ratio, weights: np.ndarray) -> _Resampled:
    """Compute the metric from all scenarios, from each resample, and without each scenario."""
    events, exposure = ratio.events, ratio.exposure
    sums = weights @ np.stack((events, exposure), axis=1)  # (R, 2)
    total_events, total_exposure = events.sum(), exposure.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        quotients = (
            np.divide(total_events, total_exposure),
            sums[:, 0] / sums[:, 1],
            (total_events - events) / (total_exposure - exposure),
        )
    value, resamples, left_out = (
        ratio.base + ratio.sign * np.where(np.isfinite(quotient), quotient, nan) for quotient in quotients
    )
    return _Resampled(float(value), resamples, left_out)


def _interval(statistic: _Resampled, witnesses: int) -> Estimate:
    """Return the BCa interval; none if a single scenario is behind the value.

    A bootstrap of few values is too narrow, as a normal interval is without Student's t. So the tails are moved
    out by as much: z becomes t sqrt(n/(n - 1)), with n the scenarios behind the value (expanded percentiles;
    Hesterberg 2015, "What Teachers Should Know About the Bootstrap"). For 200 scenarios that is 1 %.
    """
    value = statistic.value
    resamples = np.sort(statistic.resamples[np.isfinite(statistic.resamples)])
    if not isfinite(value) or witnesses < 2 or not len(resamples):
        return Estimate(value, nan, nan)
    count = len(resamples)
    tolerance = 1e-12 * max(1.0, abs(value))
    below = np.searchsorted(resamples, value - tolerance) / count
    not_above = np.searchsorted(resamples, value + tolerance, side="right") / count
    share = min(max((below + not_above) / 2, 0.5 / count), 1 - 0.5 / count)  # of ties half are below
    bias = ndtri(share)
    acceleration = _acceleration(statistic.left_out)
    bounds = []
    for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        shifted = bias + stdtrit(witnesses - 1, tail) * sqrt(witnesses / (witnesses - 1))
        bounds.append(ndtr(bias + shifted / max(1 - acceleration * shifted, 1e-3)))
    low, high = np.quantile(resamples, bounds)
    return Estimate(value, float(low), float(high))


def _acceleration(left_out: np.ndarray) -> float:
    """Return BCa's acceleration, from the jackknife: sum d^3 / (6 (sum d^2)^1.5), d = mean - value."""
    finite = left_out[np.isfinite(left_out)]
    if not len(finite):
        return 0.0
    deviation = finite.mean() - finite
    squares = float((deviation**2).sum())
    return float((deviation**3).sum()) / (6 * squares**1.5) if squares > 1e-24 else 0.0
