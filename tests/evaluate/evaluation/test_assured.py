"""`RUN@rta`: named, flown, counted; and what it is worth, over many worlds."""

from pathlib import Path

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.assurance import AssuranceConfig, Assured, Fallback
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.scenarios.registry import world_for
from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.evaluation.assured import describe, sentence, split
from skyclone.evaluate.evaluation.config import Contender, EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import load, load_all
from skyclone.evaluate.evaluation.evaluation import evaluate
from skyclone.evaluate.evaluation.table import render
from skyclone.evaluate.evaluation.verdict import are_same
from skyclone.train.policy import load_policy

CASES = Path(__file__).parents[4] / "shared" / "cases"
KINDS = ("circle", "crossing", "pads", "inside", "shared", "converging", "hover", "arrivals")


def assured(world):
    return Assured(load_policy("pretrained:tuned").judged, world)


def test_names_say_the_run_and_the_monitor():
    assert split("runs/tuned") == ("runs/tuned", None)
    assert split("a@b/tuned") == ("a@b/tuned", None)
    assert split("pretrained:tuned@rta") == ("pretrained:tuned", AssuranceConfig())
    assert split("pretrained:tuned@rta:margin=1.3:hold_s=8") == (
        "pretrained:tuned",
        AssuranceConfig(margin=1.3, hold_s=8.0),
    )
    with pytest.raises(ConfigurationError, match="monitor 'rta' has no parameter 'colour'"):
        split("runs/tuned@rta:colour=1")


def test_an_evaluation_says_what_its_monitors_did():
    plan = EvaluationConfig(
        tuple(name_all(["pretrained:tuned", "pretrained:tuned@rta"], "mvp")),
        WorldConfig(aircraft=6, scenario="inside", max_steps=200),
        scenarios=4,
        bootstrap=100,
    )
    found = evaluate(plan, load_all(plan))
    (told,) = found.to_json()["assurance"].items()
    assert told[0] == "pretrained:tuned@rta"
    assert told[1]["handovers"]["separation"] > 0
    assert 0 < told[1]["share"] < 1
    assert "The fallback flew" in render(found).replace("\n", " ")
    assert not are_same(found, "pretrained:tuned", "pretrained:tuned@rta")
    assert found.meta["pretrained:tuned@rta"]["assurance"] == {"margin": 1.2, "patience_s": 60.0, "hold_s": 5.0}
    assert found.warnings == []


def test_another_monitor_flies_again():
    one, other = (
        load(Contender(f"pretrained:tuned@rta{text}", True), WorldConfig()) for text in ("", ":margin=1.3")
    )
    plain = load(Contender("pretrained:tuned", True), WorldConfig())
    assert len({str(each.identity) for each in (one, other, plain)}) == 3


def test_a_checkpoint_without_an_envelope_says_so(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    plan = EvaluationConfig(
        tuple(name_all([f"{run}@rta"], "")), WorldConfig(aircraft=2, max_steps=5), 2, bootstrap=100
    )
    assert any("has no envelope, so only its progress" in each for each in evaluate(plan, load_all(plan)).warnings)


def test_so_does_that_of_another_group_of_a_mix(make_run, tmp_path):
    """Once, whoever flies beside it; and in which world it was trained."""
    run = make_run(tmp_path / "run", world=WorldConfig(protected_zone_m=50.0).to_json())
    world = WorldConfig(aircraft=2, max_steps=5)
    plan = EvaluationConfig(tuple(name_all([], "none,mvp")), world, 2, bootstrap=100, mix=f"0.5=self,0.5={run}@rta")
    without, scale = evaluate(plan, load_all(plan)).warnings
    assert without.startswith(f"{run}@rta: its checkpoint has no envelope")
    assert "was trained with protected_zone_m 50; here it is 100" in scale


@pytest.mark.parametrize("case", ["inside-zone", "pads", "shared-goal"])
def test_all_arrive_where_the_policy_stands_for_ever(case):
    if not CASES.is_dir():
        pytest.skip("the cases are not beside this checkout")
    world = world_for(f"file:{CASES / case}.scn")
    figures = fly_scenarios(assured(world), world, 1_000_000, [0])
    assert figures.at_waypoint.tolist() == figures.aircraft.tolist()


def test_on_the_reference_world_it_hardly_ever_acts():
    world = WorldConfig()
    figures = fly_scenarios(assured(world), world, 16, range(8))
    found = describe(figures, world)
    assert found["share"] < 1e-3
    plain = fly_scenarios(load_policy("pretrained:tuned").pilot, world, 16, range(8))
    if not any(found["handovers"].values()):
        np.testing.assert_array_equal(plain.flown_m, figures.flown_m)
        assert sentence("it", figures, world) == "The monitor of it handed over nobody."


@pytest.mark.slow
def test_nobody_stands_for_ever_and_separation_is_lost_little_longer_than_by_the_fallback():
    generator, lost_s = np.random.default_rng(1616), np.zeros(2)
    for kind in KINDS:
        world = WorldConfig(aircraft=int(generator.integers(2, 25)), scenario=kind, max_steps=900)
        for number, pilot in enumerate((assured(world), Fallback(world))):
            figures = fly_scenarios(pilot, world, 1616, range(20))
            assert figures.time_limit.sum() == 0, (kind, world.aircraft, type(pilot).__name__)
            lost_s[number] += figures.los_steps.sum()
    assert lost_s[0] <= 1.2 * lost_s[1]  # 0.43 times in docs/assurance.md
