import re
from dataclasses import replace

import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.errors import ConfigurationError, FlightError
from skyclone.evaluate.evaluation import batches
from skyclone.evaluate.evaluation.batches import BatchFlyer
from skyclone.evaluate.evaluation.config import EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import load_all
from skyclone.evaluate.evaluation.evaluation import evaluate
from skyclone.evaluate.evaluation.flight_store import FlightStore

WORLD = WorldConfig(aircraft=4, sector_radius_m=400.0, sector_area_m2=2.5e5, max_steps=25)


def plan_of(run):
    return EvaluationConfig(tuple(name_all([str(run)], "none,mvp")), WORLD, 5, batch=2, bootstrap=100)


@pytest.fixture(scope="module")
def plan(make_run, tmp_path_factory):
    return plan_of(make_run(tmp_path_factory.mktemp("batches") / "run"))


@pytest.fixture(scope="module")
def whole(plan):
    """What an evaluation comes to that nothing interrupts."""
    return evaluate(plan, load_all(plan)).to_json()


@pytest.fixture
def flown(monkeypatch):
    """What was flown since, as (first episode, number of episodes)."""
    calls = []
    fly_scenarios = batches.fly_scenarios

    def record(pilot, config, seed, episodes, *rest):
        calls.append((episodes[0], len(episodes)))
        return fly_scenarios(pilot, config, seed, episodes, *rest)

    monkeypatch.setattr(batches, "fly_scenarios", record)
    return calls


def _evaluate(plan, folder, progress=None):
    store = FlightStore(folder, plan.world, plan.seed, plan.device)
    return evaluate(plan, load_all(plan), progress=progress, store=store).to_json()


def test_batches_are_numbered_contender_by_contender(plan):
    flyer = BatchFlyer(plan)
    tasks = [(contender.name, list(episodes)) for contender, episodes in map(flyer.task, range(len(flyer)))]
    assert tasks[:4] == [("none", [0, 1]), ("none", [2, 3]), ("none", [4]), ("mvp", [0, 1])]
    assert len(tasks) == 9


@pytest.mark.parametrize("done", [0, 1, 4, 8])
def test_interrupted_it_goes_on_to_the_same_figures(plan, whole, flown, tmp_path, monkeypatch, done):
    def interrupted(*arguments):
        if len(flown) == done:
            raise KeyboardInterrupt
        return record(*arguments)

    record = batches.fly_scenarios
    with monkeypatch.context() as patched:
        patched.setattr(batches, "fly_scenarios", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _evaluate(plan, tmp_path / "flown")
    told = []
    assert _evaluate(plan, tmp_path / "flown", told.append) == whole
    assert len(flown) == 9
    assert sum(told) == 15
    assert told[0] == sum(count for _, count in flown[:done])


def test_only_what_is_new_is_flown(plan, flown, tmp_path):
    _evaluate(plan, tmp_path / "flown")
    flown.clear()
    _evaluate(replace(plan, contenders=plan.contenders[:2]), tmp_path / "flown")
    assert flown == []
    _evaluate(replace(plan, scenarios=6), tmp_path / "flown")  # the last batch is another one, for each contender
    assert flown == [(4, 2)] * 3


def test_other_weights_under_the_same_name_fly_again(flown, make_run, tmp_path):
    plan = plan_of(make_run(tmp_path / "run"))
    first = _evaluate(plan, tmp_path / "flown")
    flown.clear()
    make_run(tmp_path / "run", seed=1)
    second = _evaluate(plan, tmp_path / "flown")
    assert flown == [(0, 2), (2, 2), (4, 1)]
    run = plan.contenders[-1].name
    assert second["contenders"]["mvp"] == first["contenders"]["mvp"]
    assert second["contenders"][run] != first["contenders"][run]
    assert second == evaluate(plan, load_all(plan)).to_json()


def test_another_seed_flies_again(plan, flown, tmp_path):
    _evaluate(plan, tmp_path / "flown")
    flown.clear()
    _evaluate(replace(plan, seed=3), tmp_path / "flown")
    assert len(flown) == 9


def test_a_run_that_changes_meanwhile_is_an_error(make_run, tmp_path):
    plan = plan_of(make_run(tmp_path / "run"))
    identities = {name: each.identity for name, each in load_all(plan).items()}
    assert BatchFlyer(plan, identities=identities)(8).figures.aircraft.tolist() == [4]
    make_run(tmp_path / "run", seed=1)
    with pytest.raises(ConfigurationError, match="has changed while it was evaluated: is it still being"):
        BatchFlyer(plan, identities=identities)(8)


def test_a_contender_whose_actions_are_nan_is_named(plan):
    loaded = load_all(plan)
    run = plan.contenders[-1].name
    with torch.no_grad():
        loaded[run].policy.network.action[-1].bias.fill_(torch.nan)
    with pytest.raises(
        FlightError, match=rf"^{re.escape(run)}: expected finite actions, got turn nan .* scenario 0 "
    ):
        evaluate(plan, loaded)
