import numpy as np
import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.assurance import AssuranceConfig, Assured, Fallback
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot
from skyclone.collect.flying.world import World
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.evaluate.rare import flights
from skyclone.evaluate.rare.flights import Flights, nearness
from skyclone.evaluate.rare.rates import check, estimate_rates

NOISE = "noise:position_m=10:velocity_mps=1:latency_s=1:reception=0.6"
WORLD = WorldConfig(aircraft=6, surveillance=NOISE, sector_radius_m=1000.0, max_steps=150, nmac_m=80.0)


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


def mvp(world):
    return TeacherPilot(teachers.make("mvp", world), world)


@pytest.mark.parametrize("scenario", ["circle", "pads"])
def test_a_clone_with_its_parents_keys_flies_on_as_its_parent(monkeypatch, scenario):
    """From the states in which flights passed a level, put together in one batch: the same scores and counts."""
    world = WorldConfig(aircraft=8, surveillance=NOISE, scenario=scenario, gust_mps=1.0, max_steps=160)
    problem = Flights(mvp(world), world)
    samples = problem.draw(24, generator(1))
    level = 130.0
    parents_outcome = problem.fly(samples, level)
    parents = np.flatnonzero(parents_outcome.score < level)
    assert samples.numbers.tolist() == parents.tolist()
    assert samples.passed is not None
    assert len(set(samples.passed.world.steps.tolist())) > 3  # they passed at different times
    monkeypatch.setattr(flights, "_keys", lambda count, generator: samples.passed.world.perception.keys)
    _, found, work = problem.clones(samples, parents_outcome, parents, (level, 0.0), generator(2))
    np.testing.assert_allclose(found.score, parents_outcome.score[parents], rtol=1e-4)
    np.testing.assert_array_equal(found.counts, parents_outcome.counts[:, parents])
    assert work == found.work.sum() < parents_outcome.work[parents].sum()


def waiting(world):
    """A monitor around a pilot that brakes where anybody is within 200 m; within 150 m is outside its envelope."""

    def brakes(traffic, pairs):
        nearest_m = pairs.nearest_m()
        action = torch.zeros((*nearest_m.shape, 2))
        action[..., 1] = -(nearest_m < 200.0).float()
        return action, nearest_m < 150.0

    return Assured(brakes, world, AssuranceConfig(patience_s=15.0))


def handed(pilot):
    return pilot.reason > 0


def insisting(pilot):
    """Whose patience is over; by then it has been out of the fallback's way once."""
    return pilot.insists(pilot._approach.since_s)


@pytest.mark.parametrize(
    ("make", "marked"),
    [(waiting, handed), (lambda world: Fallback(world, AssuranceConfig(margin=2.0, patience_s=15.0)), insisting)],
)
def test_a_clone_of_a_flight_is_flown_by_whom_its_parent_was(monkeypatch, make, marked):
    """Otherwise as above; who is handed over or insists, and since when, is part of the state."""
    world = WorldConfig(aircraft=8, surveillance=NOISE, scenario="circle", max_steps=160)
    problem = Flights(make(world), world)
    samples = problem.draw(20, generator(1))
    level = 130.0
    parents_outcome = problem.fly(samples, level)
    parents = np.flatnonzero(parents_outcome.score < level)
    assert samples.passed is not None
    found = marked(samples.passed.pilot)
    assert 0 < found.sum() < found.numel()
    monkeypatch.setattr(flights, "_keys", lambda count, generator: samples.passed.world.perception.keys)
    _, found, _ = problem.clones(samples, parents_outcome, parents, (level, 0.0), generator(2))
    np.testing.assert_allclose(found.score, parents_outcome.score[parents], rtol=1e-4)
    np.testing.assert_array_equal(found.counts, parents_outcome.counts[:, parents])


def test_a_pilot_that_remembers_and_cannot_be_cloned_is_refused():
    class Remembers:
        def begin(self, traffic, is_flown=None):
            pass

        def keep(self, slots):
            pass

        def __call__(self, traffic, pairs):
            return torch.zeros((*traffic.east_m.shape, 2))

    with pytest.raises(ConfigurationError, match=r"the methods `taken` and `joined` .*, got a Remembers without"):
        Flights(Remembers(), WORLD).draw(2, generator(0))


def test_monitored_flights_have_the_law_of_plain_ones():
    world, pilot = WORLD, waiting(WORLD)
    found = Flights(pilot, world).fly(Flights(pilot, world).draw(150, generator(5)))
    figures = fly_scenarios(pilot, world, 5, range(150))
    assert found.exposure.mean() == pytest.approx(figures.flight_s.mean() / 3600, rel=0.08)
    assert found.score.mean() == pytest.approx(figures.least_m.mean(), abs=5 * figures.least_m.std() / 12)


def test_clones_part_and_stay_below_the_level():
    problem = Flights(mvp(WORLD), WORLD)
    samples = problem.draw(30, generator(3))
    outcome = problem.fly(samples)  # the level is not known yet: they fly again
    level = float(np.quantile(outcome.score, 0.3))
    parents = np.resize(np.flatnonzero(outcome.score < level), 30)
    _, found, work = problem.clones(samples, outcome, parents, (level, 0.0), generator(4))
    assert (found.score < level).all()
    assert len(np.unique(found.score)) > 1.5 * len(np.unique(parents))
    assert work == outcome.work.sum() + found.work.sum()


def test_flights_have_the_law_of_plain_ones():
    found = Flights(mvp(WORLD), WORLD).fly(Flights(mvp(WORLD), WORLD).draw(200, generator(5)))
    figures = fly_scenarios(mvp(WORLD), WORLD, 5, range(200))
    assert found.exposure.mean() == pytest.approx(figures.flight_s.mean() / 3600, rel=0.05)
    assert ((found.counts[0] > 0) == (found.score < WORLD.protected_zone_m)).all()
    assert found.score.mean() == pytest.approx(figures.least_m.mean(), abs=5 * figures.least_m.std() / 14)


@pytest.mark.slow
def test_agrees_with_plain_monte_carlo():
    """Below 80 m per flight hour by splitting and by 600 scenarios, within four standard errors of both."""
    world = WorldConfig(aircraft=6, surveillance=NOISE, nmac_m=80.0)
    check(world, 20)
    rates = estimate_rates(mvp(world), world, 20, 1)
    figures = fly_scenarios(mvp(world), world, 9, range(600))
    hours = figures.flight_s.mean() / 3600
    for (value, low, high), events in (
        (rates.los_per_h, figures.los_events),
        (rates.nmac_per_h, figures.nmac_events),
    ):
        plain, error = events.mean() / hours, events.std() / np.sqrt(600) / hours
        assert abs(value - plain) < 4 * np.hypot((high - low) / 4.5, error)


def test_nearness_on_paper():
    """Of three aircraft 300 m, 400 m and 500 m apart; then the nearest has ended its flight."""
    world = World(WorldConfig(aircraft=3), 0, [0])
    traffic = world.traffic
    traffic.east_m, traffic.north_m = torch.tensor([[0.0, 300.0, 0.0]]), torch.tensor([[0.0, 0.0, 400.0]])
    for flying, expected in (([True] * 3, 300.0), ([True, False, True], 400.0), ([True, False, False], np.inf)):
        traffic.is_flying = torch.tensor([flying])
        assert nearness(traffic, pairs_of(traffic)).item() == pytest.approx(expected)
