import json
import math
from dataclasses import replace

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.evaluation.config import Contender, EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import load_all
from skyclone.evaluate.evaluation.evaluation import evaluate, references

SMALL = WorldConfig(aircraft=4, sector_radius_m=400.0, sector_area_m2=2.5e5, max_steps=60)


def _evaluate(baselines, runs=(), workers=1, **options):
    plan = EvaluationConfig(
        tuple(name_all(runs, baselines)), SMALL, **{"scenarios": 5, "bootstrap": 100, "batch": 3, **options}
    )
    told: list[int] = []
    return evaluate(plan, load_all(plan), workers, told.append), told


def test_everybody_flies_the_same_scenarios(evaluated):
    evaluation, _ = evaluated
    straight = [figures.straight_m for figures in evaluation.figures.values()]
    assert len(straight) == 4
    for other in straight[1:]:
        np.testing.assert_allclose(other, straight[0], rtol=1e-6)


def test_the_json_is_as_documented(evaluated):
    evaluation, _ = evaluated
    data = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    names = [contender.name for contender in evaluation.plan.contenders]
    assert data["version"] == 1
    assert list(data["contenders"]) == names
    for metrics in data["contenders"].values():
        wanted = "los_events conflicts ipr los_per_flight_hour extra_distance waypoint_rate mean_speed_mps"
        assert set(metrics) >= set(wanted.split())
        for estimate in metrics.values():
            assert set(estimate) == {"value", "low", "high"}
            if estimate["low"] is not None:
                assert estimate["low"] <= estimate["high"]
    assert data["differences"][names[3]][names[2]]["los_events"]["value"] == pytest.approx(
        data["contenders"][names[3]]["los_events"]["value"] - data["contenders"][names[2]]["los_events"]["value"]
    )
    assert (data["seed"], data["scenarios"], data["simulator"]) == (1_000_000, 6, "embedded")
    assert data["world"]["aircraft"] == 6
    assert set(data["runs"]) == set(names[2:])
    assert {"code", "packages", "warnings"} <= set(data)


def test_flying_without_resolution_is_straight(evaluated):
    none = evaluated[0].estimates["none"]
    assert none["extra_distance"].value == pytest.approx(0, abs=1e-5)
    assert none["waypoint_rate"].value == 1
    assert none["mean_speed_mps"].value == pytest.approx(9)
    assert none["dep"].value == 0


def test_the_same_again_is_the_same_and_another_seed_is_not():
    first, told = _evaluate("mvp")
    assert sum(told) == 2 * 5  # none flies too: the DEP needs it
    assert list(first.estimates) == ["mvp"]
    assert set(first.figures) == {"none", "mvp"}
    assert first.to_json() == _evaluate("mvp")[0].to_json()
    assert first.to_json()["contenders"] != _evaluate("mvp", seed=1)[0].to_json()["contenders"]


def test_a_single_aircraft_has_nobody_to_conflict_with():
    plan = EvaluationConfig(tuple(name_all([], "none,mvp")), WorldConfig(aircraft=1), scenarios=3, bootstrap=100)
    found = evaluate(plan, load_all(plan)).estimates["mvp"]
    assert found["los_events"].value == found["conflicts"].value == 0
    assert math.isnan(found["ipr"].value)
    assert found["waypoint_rate"].value == 1


@pytest.mark.parametrize(
    ("baselines", "runs", "expected"),
    [
        ("none,mvp", ["a", "b"], {"mvp": ["none"], "a": ["mvp"], "b": ["mvp", "a"]}),
        ("none,rvo,mvp:margin=1.2,mvp", ["a"], {
            "rvo": ["mvp:margin=1.2"], "mvp:margin=1.2": ["none"], "mvp": ["mvp:margin=1.2"],
            "a": ["mvp:margin=1.2"],
        }),
        ("none", ["a"], {"a": ["none"]}),
        ("rvo", ["a"], {"a": ["rvo"]}),
        ("", ["a", "b", "c"], {"b": ["a"], "c": ["a"]}),
        ("none", [], {}),
        ("mvp", [], {}),
    ],
)  # fmt: skip
def test_who_is_held_against_whom(baselines, runs, expected):
    assert references(name_all(runs, baselines)) == expected


def test_short_names_stay_distinct():
    plan = EvaluationConfig(
        tuple(name_all(["x/clone", "y/clone", "z/tuned/", "z/mvp", "pretrained:clone"], "none,mvp")), SMALL
    )
    assert plan.short_names == {
        "none": "none", "mvp": "mvp", "x/clone": "x/clone", "y/clone": "y/clone", "z/tuned/": "tuned",
        "z/mvp": "z/mvp", "pretrained:clone": "pretrained:clone",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenarios": 0}, "expected scenarios from 1 to 2,147,483,647, got 0"),
        ({"batch": 0}, "expected batch from 1 to"),
        ({"seed": -1}, "expected seed of 0 or more"),
        ({"world": WorldConfig(scenario="maze")}, "unknown scenario 'maze'. There are: arrivals, circle"),
        ({"world": WorldConfig(aircraft=60, start_separation_m=400.0)}, "could not place 60 aircraft"),
    ],
)
def test_what_cannot_be_evaluated(options, message):
    with pytest.raises(ConfigurationError, match=message):
        EvaluationConfig(tuple(name_all([], "none")), **options)


@pytest.mark.slow
def test_workers_change_nothing(make_run, tmp_path):
    run = str(make_run(tmp_path / "run"))
    alone, _ = _evaluate("none,mvp", [run])
    crew, told = _evaluate("none,mvp", [run], workers=2)
    assert sum(told) == 15
    assert alone.to_json() == crew.to_json()


def test_a_notebook_shows_each_contender_and_escapes_it(evaluated):
    evaluation = evaluated[0]
    name = "runs/<script>alert(1)"
    contenders = (*evaluation.plan.contenders[:-1], Contender(name, True))
    last = evaluation.plan.contenders[-1].name
    renamed = replace(
        evaluation,
        plan=replace(evaluation.plan, contenders=contenders),
        estimates={name if key == last else key: each for key, each in evaluation.estimates.items()},
        warnings=["<b>Beware</b>"],
    )
    text = renamed._repr_html_()
    for part in (
        ">none<",
        ">mvp<",
        ">clone<",
        "&lt;script&gt;alert(1)",
        "LoS events",
        "extra distance",
        "6 scenarios",
    ):
        assert part in text
    assert "Warning: &lt;b&gt;Beware" in text
    assert "<script" not in text
    assert text.count("<tr>") == 5  # headings and four contenders
