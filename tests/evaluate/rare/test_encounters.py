import numpy as np
import pytest
from scipy.stats import kstest

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot
from skyclone.collect.scenarios.wind import kept_of
from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.rare.encounters import Encounters, check, gusts_of, targets_of
from skyclone.evaluate.rare.tape import Tape

WORLD = WorldConfig(aircraft=8, gust_mps=2.0)


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


def straight(world):
    return TeacherPilot(teachers.make("none", world), world)


def test_samples_have_the_law_of_scenarios():
    """Smallest distances of 400 tapes and of 400 scenarios are of one distribution (Kolmogorov, Smirnov)."""
    pilot = straight(WORLD)
    problem = Encounters(pilot, WORLD)
    found = problem.fly(problem.draw(400, generator(1)))
    figures = fly_scenarios(pilot, WORLD, 5, range(400))
    assert kstest(found.score, figures.least_m).pvalue > 1e-3
    assert found.exposure.mean() == pytest.approx(figures.flight_s.mean() / 3600, rel=0.03)
    assert ((found.counts[0] > 0) == (found.score < WORLD.protected_zone_m)).all()
    assert ((found.counts[1] > 0) == (found.score < WORLD.nmac_m)).all()


def test_moved_samples_have_it_too():
    problem = Encounters(straight(WORLD), WORLD)
    samples, moves = problem.draw(300, generator(2)), generator(3)
    first = problem.fly(samples)
    for _ in range(4):
        samples = problem.move(samples, moves)
    moved = problem.fly(samples)
    assert kstest(first.score, moved.score).pvalue > 1e-3
    assert (first.score != moved.score).all()


def test_the_same_tape_flies_the_same_by_kernels_and_in_torch():
    pilot = straight(WORLD)
    samples = Encounters(pilot, WORLD).draw(10, generator(4))
    by_kernels = Encounters(pilot, WORLD).fly(samples)
    in_torch = Encounters(lambda traffic, pairs: pilot(traffic, pairs), WORLD).fly(samples)
    for one, other in zip(by_kernels, in_torch, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_gusts_are_gauss_markov():
    tapes = [Tape(generator(seed)) for seed in range(200)]
    gusts = gusts_of(tapes, WORLD)
    assert gusts.shape == (200, WORLD.max_steps + 1, 2)
    assert gusts.std() == pytest.approx(1.0, abs=0.05)
    kept = (gusts[:, 1:] * gusts[:, :-1]).mean() / (gusts * gusts).mean()
    assert kept == pytest.approx(kept_of(WORLD), abs=0.01)
    assert gusts_of(tapes, WorldConfig()) is None


def test_targets():
    assert targets_of(WorldConfig()) == (100.0, 15.24)
    assert targets_of(WorldConfig(protected_zone_m=10.0)) == (10.0,)


@pytest.mark.parametrize(
    ("world", "message"),
    [
        (WorldConfig(simulator="bluesky"), "expected --simulator embedded, got bluesky"),
        (WorldConfig(scenario="file:a.scn"), "expected something random, got 'file:a.scn' without gusts"),
        (
            WorldConfig(fleet="m600=0.5,wing(protected_zone_m=150)=0.5"),
            "expected one protected zone for all, got the fleet",
        ),
    ],
)
def test_worlds_it_cannot_be_done_in(world, message):
    with pytest.raises(ConfigurationError, match=message):
        check(world)
