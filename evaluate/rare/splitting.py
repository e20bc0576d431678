"""Multilevel splitting over whatever is random in a flight: a small probability as a product of larger ones.

A sample is one flight; its score says how near it came to the event, the lower the nearer. Stage k holds n samples
whose score is below level k - 1. The share of them below level k is counted. Those are cloned to n again, in one of
two ways that make the clones differ, and leave them samples of the law given score < level k:

- `moved`: a proposal that leaves the law of all samples as it is, accepted if its score is below level k too
  (Metropolis). This is subset simulation (Au, Beck, Probabilistic Engineering Mechanics 16, 2001), a sequential
  Monte Carlo method (Cerou, Del Moral, Furon, Guyader, Statistics and Computing 22, 2012). See `encounters`.
- Along the flight: a clone goes on from the state in which its parent passed level k, by random numbers of its own.
  This is fixed-effort splitting (Garvels, The splitting method in rare event simulation, Twente, 2000). See
  `flights`.

With levels fixed beforehand the estimate is unbiased either way, whatever the moves: so a pilot run chooses the
levels, and independent replications use them.

The first stage may hold several times n samples. They are independent, and each takes one flight where a clone
takes `MOVES`: so the first levels, which a sample may pass for another reason than the rare one, are best passed by
many of them.

Notation: n samples, R replications.
"""

from collections.abc import Callable, Sequence
from math import exp, inf, isfinite, nan
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...train.runs.confidence_intervals import Estimate, student_interval

SHARE = 0.2
"""Of the samples that are below the next level, in the pilot run."""
MOVES = 3
"""Of each sample at each level."""
_MOST_LEVELS = 18  # 0.2^18 is 3e-13: nothing that rare is believed of a simulation


class Outcome(NamedTuple):
    """What n samples came to.

    Attributes:
        score: (n,) the lower the nearer.
        counts: (targets, n) how many events of each target happened; 0 where the score is not below the target,
            perhaps also where it is.
        exposure: (n,) what rates are per.
        work: (n,) what they cost.
    """

    score: np.ndarray
    counts: np.ndarray
    exposure: np.ndarray
    work: np.ndarray

    def taken(self, index: np.ndarray) -> "Outcome":
        """Return that of some samples."""
        return Outcome(*(column[..., index] for column in self))

    def joined(self, other: "Outcome") -> "Outcome":
        """Return that of these samples and others."""
        return Outcome(*(np.concatenate(both, axis=-1) for both in zip(self, other, strict=True)))

    def replaced(self, where: np.ndarray, other: "Outcome") -> "Outcome":
        """Return this one with another's columns where (n,) says so."""
        return Outcome(*(np.where(where, new, old) for old, new in zip(self, other, strict=True)))


class Problem(Protocol):
    """What is random, and what follows from it.

    Attributes:
        first: How many times n samples the first stage has; above 1, samples are a list.
    """

    first: int

    def draw(self, count: int, generator: np.random.Generator) -> Any:
        """Return independent samples of the law."""

    def fly(self, samples: Any, level: float = -inf) -> Outcome:
        """Return what they come to.

        Args:
            samples: n of them.
            level: The next level, if it is known: below it they will be cloned.
        """

    def clones(
        self,
        samples: Any,
        outcome: Outcome,
        parents: np.ndarray,
        levels: tuple[float, float],
        generator: np.random.Generator,
    ) -> tuple[Any, Outcome, float]:
        """Return samples of the law, given that their score is below a level, what they come to, and the work.

        Args:
            samples: n of them.
            outcome: Theirs.
            parents: (n,) int64, those below the level, some more than once: each is to become another sample.
            levels: That level, and the next.
            generator: Draws.
        """


class Movable(Protocol):
    """Samples that can be moved; see `moved`."""

    def move(self, samples: list[Any], generator: np.random.Generator) -> list[Any]:
        """Return a proposal for each; proposing must be reversible with respect to the law."""

    def fly(self, samples: list[Any]) -> Outcome:
        """Return what they come to."""


class Replication(NamedTuple):
    """One independent run.

    Attributes:
        means: (targets,) unbiased estimates of the mean count of each target.
        squares: (targets,) the same of its square.
        exposure: Mean exposure of a sample.
        work: What it cost.
        sample_work: What a sample costs.
        shares: Of the samples below each level, as far as it came.
        families: (targets,) int64, of how many samples of the first stage those with an event are descendants.
    """

    means: np.ndarray
    squares: np.ndarray
    exposure: float
    work: float
    sample_work: float
    shares: list[float]
    families: np.ndarray


def choose_levels(
    problem: Problem, targets: Sequence[float], count: int, generator: np.random.Generator
) -> tuple[list[float], float]:
    """Choose levels by a pilot run: each is the `SHARE` quantile of the scores at the one before.

    Args:
        problem: What is random.
        targets: The scores below which events happen, descending; each becomes a level.
        count: n.
        generator: Draws.

    Returns:
        The levels, descending, as far as the pilot came and then the targets it did not reach; and its work.
    """
    least = int(SHARE * count) + 1

    def bound(scores: np.ndarray) -> float:
        return max(float(np.partition(scores, least)[least]), targets[0])

    samples, places, outcome = _first_stage(problem, count, generator, -inf, bound)
    work, waiting = float(outcome.work.sum()), list(targets)
    levels: list[float] = []
    while waiting and len(levels) < _MOST_LEVELS:
        share = SHARE if levels else SHARE / problem.first
        level = max(float(np.quantile(outcome.score, share)), waiting[0])
        if not (outcome.score < level).any() or (levels and level >= levels[-1]):
            break
        levels.append(level)
        if level == waiting[0]:
            waiting.pop(0)
        if len(levels) == 1:
            outcome = outcome.taken(places)
        if waiting:
            samples, outcome, _, spent = _next_stage(problem, samples, outcome, count, (level, -inf), generator)
            work += spent
    return levels + waiting, work


def replicate(
    problem: Problem, levels: Sequence[float], targets: Sequence[float], count: int, generator: np.random.Generator
) -> Replication:
    """Run once with fixed levels.

    Args:
        problem: What is random.
        levels: Descending; the targets are among them.
        targets: As for `choose_levels`.
        count: n.
        generator: Draws.
    """
    samples, places, outcome = _first_stage(problem, count, generator, levels[0], lambda scores: levels[0])
    exposure, sample_work, work = outcome.exposure.mean(), outcome.work.mean(), outcome.work.sum()
    means, squares, families = np.zeros(len(targets)), np.zeros(len(targets)), np.zeros(len(targets), np.int64)
    ancestors = np.arange(len(outcome.score))
    weight, shares = 1.0, []
    for level, following in zip(levels, [*levels[1:], -inf], strict=True):
        is_below = outcome.score < level
        for place, target in enumerate(targets):
            if level == target:
                counts = outcome.counts[place] * is_below
                means[place], squares[place] = weight * counts.mean(), weight * (counts * counts).mean()
                families[place] = len(np.unique(ancestors[counts > 0]))
        shares.append(float(is_below.mean()))
        weight *= shares[-1]
        if not weight or following == -inf:
            break
        if len(shares) == 1:
            outcome, ancestors = outcome.taken(places), places
        pair = (level, following)
        samples, outcome, parents, spent = _next_stage(problem, samples, outcome, count, pair, generator)
        work, ancestors = work + spent, ancestors[parents]
    return Replication(means, squares, float(exposure), float(work), float(sample_work), shares, families)


def _first_stage(
    problem: Problem,
    count: int,
    generator: np.random.Generator,
    level: float,
    bound: Callable[[np.ndarray], float],
) -> tuple[Any, np.ndarray, Outcome]:
    """Draw and fly `first` times n samples; keep no more than n of those below a bound of all scores so far.

    Returns:
        The samples kept, which they are of all, and what all come to.
    """
    samples = problem.draw(count, generator)
    outcome, places = problem.fly(samples, level), np.arange(count)
    for _ in range(problem.first - 1):
        drawn = problem.draw(count, generator)
        places = np.append(places, len(outcome.score) + np.arange(count))
        outcome = outcome.joined(problem.fly(drawn, level))
        kept = np.flatnonzero(outcome.score[places] < bound(outcome.score))[:count]
        both = samples + drawn
        samples, places = [both[each] for each in kept], places[kept]
    return samples, places, outcome


def _next_stage(
    problem: Problem,
    samples: Any,
    outcome: Outcome,
    count: int,
    levels: tuple[float, float],
    generator: np.random.Generator,
) -> tuple[Any, Outcome, np.ndarray, float]:
    """Clone the samples below the first of two levels to n; return the parent of each, and the work, too."""
    below = generator.permutation(np.flatnonzero(outcome.score < levels[0]))
    parents = np.resize(below, count)  # each as often as the others, but for one
    samples, outcome, work = problem.clones(samples, outcome, parents, levels, generator)
    return samples, outcome, parents, work


def moved(
    problem: Movable, samples: list[Any], outcome: Outcome, level: float, generator: np.random.Generator
) -> tuple[list[Any], Outcome, float]:
    """Move samples below a level `MOVES` times; a proposal is accepted if it is below it too (Metropolis).

    Returns:
        The samples, what they come to, and the work.
    """
    work = 0.0
    for _ in range(MOVES):
        proposed = problem.move(samples, generator)
        found = problem.fly(proposed)
        work += float(found.work.sum())
        is_accepted = found.score < level
        outcome = outcome.replaced(is_accepted, found)
        samples = [new if yes else old for old, new, yes in zip(samples, proposed, is_accepted, strict=True)]
    return samples, outcome, work


def interval_of(means: np.ndarray) -> Estimate:
    """Return the mean of the estimates of R replications (R,) with its 95 % interval.

    Student's interval of the mean, on a logarithmic scale: m exp(-+ t s / (m sqrt(R))). Estimates are products, so
    skewed to the right, and so is their interval. None if every estimate is 0: then nothing is known but that.
    """
    mean, _, high = student_interval(means)
    if not mean or not isfinite(high):
        return Estimate(mean, nan, nan)
    half = (high - mean) / mean
    return Estimate(mean, mean * exp(-half), mean * exp(half) if half < 700 else inf)


def monte_carlo_samples(means: np.ndarray, squares: np.ndarray) -> float:
    """Return how many samples plain Monte Carlo needs for the relative error of the mean of R replications.

    Args:
        means: (R,) estimates of the mean of a count.
        squares: (R,) estimates of the mean of its square.
    """
    mean = float(means.mean())
    if not mean or len(means) < 2:
        return nan
    relative_variance = float(means.var(ddof=1)) / len(means) / mean**2
    return (float(squares.mean()) / mean**2 - 1.0) / relative_variance if relative_variance else nan
