"""Contenders that fly a share of the aircraft."""

import pickle
from dataclasses import replace

import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import join
from skyclone.collect.simulators.simulator import Resolution
from skyclone.datasets.errors import CheckpointError, ConfigurationError
from skyclone.evaluate.evaluation import batches
from skyclone.evaluate.evaluation.batches import BatchFlyer
from skyclone.evaluate.evaluation.config import EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import SelfResolving, load_all
from skyclone.evaluate.evaluation.equipage import OF_PAIRS
from skyclone.evaluate.evaluation.evaluation import evaluate
from skyclone.evaluate.evaluation.flight_store import FlightStore
from skyclone.evaluate.evaluation.mix import among
from skyclone.evaluate.evaluation.shares import parse
from skyclone.evaluate.evaluation.table import WIDTH, render
from skyclone.evaluate.metrics.formulas import METRICS

WORLD = WorldConfig(aircraft=10, sector_radius_m=400.0, sector_area_m2=2.5e5, max_steps=60)
MIX = "0.6=self,0.2=mvp:margin=1.3,0.2=silent"


def plan_of(mix, *runs, **options):
    contenders = tuple(name_all([str(run) for run in runs], "none,mvp"))
    return EvaluationConfig(contenders, WORLD, 6, batch=4, bootstrap=100, mix=mix, **options)


@pytest.fixture(scope="module")
def mixed():
    plan = plan_of(MIX)
    return evaluate(plan, load_all(plan))


def test_figures_of_all_of_the_equipped_and_of_their_pairs(mixed):
    found = mixed.by_equipage
    assert list(found) == ["none", "mvp"]
    parts = ["self", "self-self", "self-mvp:margin=1.3", "self-silent"]
    assert all(list(each) == parts for each in found.values())
    for name, each in found.items():
        assert list(each["self"]) == list(METRICS)
        assert all(list(each[part]) == list(OF_PAIRS) for part in parts[1:])
        lost = [each[part]["los_events"].value for part in parts]
        assert lost[0] == pytest.approx(sum(lost[1:]))
        assert lost[0] <= mixed.estimates[name]["los_events"].value
        assert each["self-self"]["los_per_flight_hour"].value <= each["self"]["los_per_flight_hour"].value
    assert found["none"]["self"]["risk_ratio"].value == 1.0  # beside the same others
    assert found["mvp"]["self-self"]["risk_ratio"].value < 0.5
    assert found["none"]["self"]["extra_distance"].value == pytest.approx(0.0, abs=1e-4)
    assert mixed.figures["mvp"].group(None).aircraft.tolist() == [6] * 6
    assert mixed.figures["mvp"].aircraft.tolist() == [10] * 6


def test_the_table_has_them_and_fits_the_screen(mixed):
    text = render(mixed)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "The aircraft that each contender flies (self), and their pairs with each group of the mix" in text
    assert any(line.startswith("mvp   self-silent") and line.endswith("-") for line in text.splitlines())
    assert f"mix {MIX}" in " ".join(text.split())


def test_batches_and_processes_do_not_matter():
    plan = plan_of("0.6=self,0.2=none,0.2=silent")  # straight flight amplifies no rounding
    loaded = load_all(plan)
    identities = {name: each.identity for name, each in loaded.items()}
    flyer, each = BatchFlyer(plan, loaded), BatchFlyer(replace(plan, batch=1), identities=identities)
    at_once = join([flyer(number).figures for number in (0, 1)])
    alone = join([each(number).figures for number in range(6)])  # loads its own
    assert alone.los_events.tolist() == at_once.los_events.tolist()
    assert alone.groups == pytest.approx(at_once.groups, rel=1e-3, abs=1e-2)


def test_what_was_flown_is_kept_and_another_mix_flies_again(tmp_path, monkeypatch):
    calls = []
    fly_scenarios = batches.fly_scenarios

    def record(pilot, *rest):
        calls.append(pilot)
        return fly_scenarios(pilot, *rest)

    monkeypatch.setattr(batches, "fly_scenarios", record)

    def run(mix):
        plan = replace(plan_of(mix), world=replace(WORLD, max_steps=20))
        store = FlightStore(tmp_path, plan.world, plan.seed, plan.device)
        return evaluate(plan, load_all(plan), store=store).to_json()

    whole = run(MIX)
    assert len(calls) == 4
    assert run(MIX) == whole
    assert len(calls) == 4
    assert run("") != whole
    assert len(calls) == 8
    run("0.6=self,0.2=mvp:margin=1.1,0.2=silent")
    run("0.6=self,0.2=mvp:margin=1.3,0.2=none")
    run("0.8=self,0.2=mvp:margin=1.3")
    assert len(calls) == 20
    assert run(MIX) == whole
    assert len(calls) == 20


def test_other_weights_of_who_flies_beside_are_another_mix(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    plan = plan_of(f"0.5=self,0.5={run}")
    before = load_all(plan)["mvp"].identity
    assert load_all(plan)["mvp"].identity == before
    make_run(tmp_path / "run", seed=1)
    assert load_all(plan)["mvp"].identity != before
    assert "mix" not in load_all(plan_of(""))["mvp"].identity


def test_a_monitor_is_known_in_a_mix_too(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    names = [f"{run}{text}" for text in ("", "@rta", "@rta:margin=1.3")]
    loaded = load_all(plan_of("0.5=self,0.5=mvp", *names))
    assert len({str(loaded[name].identity) for name in names}) == 3
    assert [loaded[name].meta.get("assurance", {}).get("margin") for name in names] == [None, 1.2, 1.3]


def test_who_cannot_fly_a_share():
    shares, resolving = parse("0.5=self,0.5=mvp"), SelfResolving(Resolution("MVP", 1.05, 20.0), lambda *_: None)
    for pilot, other in ((resolving, None), (None, resolving)):
        with pytest.raises(ConfigurationError, match="bluesky-mvp: BlueSky resolves for all aircraft, or for none"):
            among(pilot, shares, {"mvp": other})
    with pytest.raises(CheckpointError, match="there is no such folder"):
        load_all(plan_of("0.5=self,0.5=orca"))
    with pytest.raises(ConfigurationError, match="expected shares that add up to 1"):
        plan_of("0.5=self,0.4=mvp")


def test_a_contender_of_a_mix_can_travel(make_run, tmp_path):
    plan = plan_of(MIX, make_run(tmp_path / "run"))
    loaded = load_all(plan)
    flyer = BatchFlyer(plan, loaded)
    there = pickle.loads(pickle.dumps(flyer))
    assert there(4).figures.groups == pytest.approx(flyer(4).figures.groups, nan_ok=True)
