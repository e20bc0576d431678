from math import exp, inf, sqrt

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from skyclone.evaluate.rare.splitting import (
    Outcome,
    choose_levels,
    interval_of,
    monte_carlo_samples,
    moved,
    replicate,
)

STEPS = 10
LIMIT = -3.0
EXACT = float(ndtr(LIMIT))  # 0.00135


class Walk:
    """A random walk of ten normal steps, scaled to end as a standard normal number: closed form known."""

    first = 1

    def draw(self, count, generator):
        return list(generator.random((count, STEPS)))

    def move(self, samples, generator):
        size = np.exp(generator.uniform(np.log(0.03), np.log(0.5), (len(samples), 1)))
        return list((np.stack(samples) + size * generator.standard_normal((len(samples), STEPS))) % 1.0)

    def clones(self, samples, outcome, parents, levels, generator):
        return moved(self, [samples[each] for each in parents], outcome.taken(parents), levels[0], generator)

    def fly(self, samples, level=-inf):
        score = ndtri(np.clip(np.stack(samples), 1e-15, 1 - 1e-15)).sum(1) / sqrt(STEPS)
        ones = np.ones(len(score))
        return Outcome(score, np.stack((score < LIMIT,) * 2).astype(float), ones, ones)


class Wide(Walk):
    """The same with five times as many in the first stage."""

    first = 5


def generator(*seed):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))


KINDS = [(Walk(), (-0.84, -1.7, -2.4, LIMIT)), (Wide(), (-1.7, -2.4, LIMIT))]


@pytest.fixture(scope="module", params=KINDS, ids=["one", "five"])
def means(request):
    """Estimates of 1,500 replications."""
    problem, levels = request.param
    return np.array([replicate(problem, levels, [LIMIT], 40, generator(5, each)).means[0] for each in range(1500)])


@pytest.mark.parametrize("problem", [Walk(), Wide()])
def test_levels_are_quantiles_and_hold_the_targets(problem):
    levels, work = choose_levels(problem, [-2.0, LIMIT], 2000, generator(1))
    assert levels == sorted(levels, reverse=True)
    assert {-2.0, LIMIT} <= set(levels)
    assert levels[0] == pytest.approx(ndtri(0.2 / problem.first), abs=0.1)
    assert work == 2000 * (problem.first + 3 * (len(levels) - 1))


def test_a_frequent_event_is_the_first_level():
    levels, _ = choose_levels(Wide(), [0.5, LIMIT], 400, generator(1))
    assert levels[0] == 0.5
    found = replicate(Wide(), levels, [0.5, LIMIT], 400, generator(2))
    assert found.shares[0] == pytest.approx(ndtr(0.5), abs=0.05)
    assert found.means[1] == pytest.approx(EXACT, rel=0.8)
    assert found.families[1] <= 400, "no more than n of the first stage have clones"


def test_a_pilot_that_gets_nowhere_ends_and_names_the_targets():
    class Wall(Walk):
        def fly(self, samples, level=-inf):
            return super().fly(samples)._replace(score=np.ones(len(samples)))

    levels, _ = choose_levels(Wall(), [-2.0, LIMIT], 50, generator(1))
    assert levels == [-2.0, LIMIT]
    found = replicate(Wall(), levels, [-2.0, LIMIT], 50, generator(2))
    assert found.means.tolist() == found.families.tolist() == [0, 0]
    assert np.isnan(interval_of(np.zeros(10))[1:]).all()


def test_the_estimate_is_unbiased(means):
    error = means.std(ddof=1) / sqrt(len(means))
    assert abs(means.mean() - EXACT) < 4 * error
    assert error < 0.06 * EXACT  # else this shows nothing


@pytest.mark.parametrize("first", [1, 5])
def test_families_are_those_of_the_first_stage(first):
    class Below(Walk):
        def fly(self, samples, level=-inf):
            found = super().fly(samples)
            return found._replace(counts=np.stack([found.score < target for target in (-1.0, LIMIT)]))

    problem = Below()
    problem.first = first
    found = replicate(problem, (-1.0, -2.0, LIMIT), [-1.0, LIMIT], 200, generator(6))
    assert found.families[0] == round(first * 200 * found.shares[0])  # below the first level nobody is a clone
    assert 0 < found.families[1] <= found.families[0]


def test_the_mean_count_is_unbiased_and_so_is_its_square():
    class Twice(Walk):
        def fly(self, samples, level=-inf):
            found = super().fly(samples)
            return found._replace(counts=2.0 * found.counts)

    found = [replicate(Twice(), (-1.0, -2.0, LIMIT), [-2.0, LIMIT], 400, generator(4, each)) for each in range(40)]
    means, squares = (np.mean([getattr(each, name) for each in found], axis=0) for name in ("means", "squares"))
    assert means[1] == pytest.approx(2 * EXACT, rel=0.2)
    assert squares[1] == pytest.approx(4 * EXACT, rel=0.2)


def test_intervals_cover(means):
    """Of 95 % intervals of ten replications each, 90 to 99 % hold the closed form (150 of them: -+ 1.8 points)."""
    intervals = [interval_of(each) for each in means.reshape(150, 10)]
    covered = np.mean([low <= EXACT <= high for _, low, high in intervals])
    assert 0.90 <= covered <= 0.99, covered


def test_an_interval_on_paper():
    value, low, high = interval_of(np.array([1.0, 3.0]))
    half = 12.706 * sqrt(2.0) / sqrt(2.0) / 2.0  # t with one degree of freedom, s / sqrt(R), over the mean
    assert (value, low, high) == pytest.approx((2.0, 2.0 * exp(-half), 2.0 * exp(half)), rel=1e-3)


def test_the_cost_of_plain_monte_carlo_on_paper():
    """P = 0.01 to 10 % takes 9,900 samples: (1 / P - 1) / 0.1^2."""
    means = 0.01 + 0.001 * np.array([-1.0, 1.0])  # the standard error of their mean is 0.001
    assert monte_carlo_samples(means, np.full(2, 0.01)) == pytest.approx(9900)


class Passages:
    """A walk of 100 steps of 1 up or down; a clone goes on from where its parent passed the level."""

    first = 1
    STEPS, DOWN = 100, 30
    EXACT = float(binom.cdf((STEPS - DOWN) // 2, STEPS, 0.5) + binom.cdf((STEPS - DOWN) // 2 - 1, STEPS, 0.5))
    """Of a lowest place of -30 or less, by reflection: P(S <= -30) + P(S < -30) = 0.0027."""

    def draw(self, count, generator):
        return np.cumsum(self._steps(count, generator), axis=1)

    def _steps(self, count, generator):
        return generator.choice([-1, 1], (count, self.STEPS))

    def fly(self, samples, level=-inf):
        score, ones = samples.min(axis=1).astype(float), np.ones(len(samples))
        return Outcome(score, (score < 0.5 - self.DOWN)[None].astype(float), ones, ones)

    def clones(self, samples, outcome, parents, levels, generator):
        samples = samples[parents]
        passed = (samples < levels[0]).argmax(axis=1)[:, None]
        place, after = np.take_along_axis(samples, passed, 1), np.arange(self.STEPS) > passed
        fresh = np.cumsum(self._steps(len(samples), generator) * after, axis=1)
        samples = np.where(after, place + fresh, samples)
        found = self.fly(samples)
        return samples, found, float(found.work.sum())


def test_splitting_along_the_way_is_unbiased_and_its_intervals_cover():
    target, levels = 0.5 - Passages.DOWN, (-8.5, -15.5, -22.5, 0.5 - Passages.DOWN)
    found = [replicate(Passages(), levels, [target], 60, generator(7, each)).means[0] for each in range(1500)]
    means = np.array(found)
    error = means.std(ddof=1) / sqrt(len(means))
    assert abs(means.mean() - Passages.EXACT) < 4 * error
    assert error < 0.04 * Passages.EXACT
    covered = np.mean([low <= Passages.EXACT <= high for _, low, high in map(interval_of, means.reshape(150, 10))])
    assert 0.90 <= covered <= 0.99, covered
