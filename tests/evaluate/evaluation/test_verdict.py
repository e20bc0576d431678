"""The sentences, from made-up figures: nothing is flown but the one small evaluation of `evaluated`."""

import math
from dataclasses import replace

import numpy as np
import pytest

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.evaluate.evaluation.config import Contender, EvaluationConfig
from skyclone.evaluate.evaluation.evaluation import from_figures
from skyclone.evaluate.evaluation.verdict import findings, judge, shown
from skyclone.train.runs.confidence_intervals import Estimate

LESS, MORE, SAME = Estimate(-0.3, -0.4, -0.2), Estimate(0.3, 0.2, 0.4), Estimate(-0.1, -0.3, 0.1)
AIRCRAFT, S = 20, 200
HARD = np.arange(1000) % 4 / 2  # what makes a scenario hard is the same for all: 0.75 events in the mean


@pytest.fixture
def said(figures_of):
    """Return a function that judges a clone against mvp, by what each of them did in S scenarios."""

    def flown(scenarios, los=0.0, seconds=2.0, nmac=0.0, missing=0.0, stalled=0.0, left=0.0, extra=0.03, mps=9.0):
        events = np.broadcast_to(los, scenarios)
        arrived = AIRCRAFT - np.broadcast_to(missing, scenarios)
        return figures_of(
            scenarios, los_events=events, los_steps=events * seconds, nmac_events=nmac, aircraft=AIRCRAFT,
            at_waypoint=arrived, stalled=stalled, left_sector=left, straight_m=1e4, flown_m=1e4 * (1 + extra),
            progress_m=1e4, flight_s=1e4 * (1 + extra) / mps, conflicts=10.0, steps=1e3,
        )  # fmt: skip

    def judged(clone, mvp, scenarios=S):
        contenders = (Contender("mvp", False), Contender("runs/clone", True))
        plan = EvaluationConfig(contenders, WorldConfig(aircraft=AIRCRAFT), scenarios=scenarios, bootstrap=400)
        each = {"none": flown(scenarios, los=5.0), "mvp": flown(scenarios, **mvp)}
        figures = {**each, "runs/clone": flown(scenarios, **clone)}
        evaluation = from_figures(plan, figures, warnings=[], meta={}, seconds={})
        return judge(evaluation), evaluation

    return judged


def some(rate, scenarios=S, seed=0):
    """Return how many events each scenario has, by chance."""
    return np.random.default_rng(seed).poisson(rate, scenarios).astype(float)


# --- standing still ---


def test_a_frozen_fleet_is_not_safer_though_it_loses_no_separation(said):
    frozen = {"missing": 20.0, "stalled": 20.0, "extra": 0.0, "mps": 0.01}
    verdict, _ = said(frozen, {"los": some(0.5), "missing": some(0.02)})
    assert verdict.headline.startswith(
        "Against mvp, clone brings fewer aircraft to their waypoints (0.00 % instead of 99."
    )
    assert "leaves more without progress for a minute (100.00 % instead of 0.00 %)" in verdict.headline
    assert (
        "that it has fewer losses of separation and spends less time in LoS does not make it safer"
        in verdict.headline
    )
    assert "is safer" not in verdict.headline
    assert "shorter" not in verdict.headline, "who does not arrive flies no long way"
    assert any(text.startswith("Waypoint rate: 0.00 % with clone") for text in verdict.details)


def test_two_that_stand_in_each_others_zone_are_less_safe(said):
    """As many losses of separation, but each of them 300 s long instead of 2."""
    verdict, _ = said({"los": HARD[:S], "seconds": 300.0, "missing": 2 * HARD[:S]}, {"los": HARD[:S]})
    assert verdict.headline.startswith("clone is less safe than mvp and brings fewer aircraft to their waypoints (")
    assert "safety" not in verdict.headline
    times = next(text for text in verdict.details if text.startswith("Time in LoS per scenario: "))
    assert times.startswith("Time in LoS per scenario: 225 s with clone, 1.50 s with mvp; difference +224 s")


def test_fewer_losses_but_fewer_arrivals_is_no_success(said):
    verdict, _ = said({"los": some(0.1), "missing": some(0.6, seed=1)}, {"los": some(0.8, seed=2)})
    assert verdict.headline.startswith("Against mvp, clone brings fewer aircraft to their waypoints (9")
    assert "does not make it safer" in verdict.headline
    assert "is safer" not in verdict.headline


def test_whoever_arrives_is_not_less_safe_than_a_frozen_fleet(said):
    frozen = {"missing": 20.0, "stalled": 20.0, "extra": 0.0}
    verdict, _ = said({"los": some(0.5)}, frozen)
    assert verdict.headline.startswith(
        "Against mvp, clone brings more aircraft to their waypoints (100.00 % instead"
    )
    assert ", but has more losses of separation (0." in verdict.headline
    assert "longer" not in verdict.headline


@pytest.mark.parametrize("count", ["stalled", "left"])
def test_arriving_late_or_elsewhere_counts_too(said, count):
    verdict, _ = said({"los": some(0.1), count: some(0.6, seed=1)}, {"los": some(0.8, seed=2)})
    words = {"stalled": "leaves more without progress for a minute (", "left": "lets more leave the sector ("}
    assert verdict.headline.startswith("Against mvp, clone has fewer losses of separation (0.")
    assert f", but {words[count]}" in verdict.headline
    assert "safer" not in verdict.headline


def test_fewer_but_longer_losses_are_both_named(said):
    verdict, _ = said({"los": some(0.3), "seconds": 20.0}, {"los": some(0.9, seed=2)})
    assert verdict.headline.startswith("Against mvp, clone has fewer losses of separation (0.")
    assert ", but spends more time in LoS (" in verdict.headline


def test_fewer_losses_that_may_last_longer_make_nobody_safer(said):
    """A few of them are so long that the time in LoS is not told apart, and may well be more."""
    seconds = np.where(np.arange(S) % 20 == 0, 30.0, 2.0)
    verdict, evaluation = said({"los": some(0.2), "seconds": seconds, "extra": 0.02}, {"los": some(0.6, seed=2)})
    gap = evaluation.differences["runs/clone"]["mvp"]["time_in_los_s"]
    assert gap.low < 0.0 < gap.high
    assert verdict.headline.startswith("Against mvp, clone has fewer losses of separation (0.")
    assert ") and flies shorter routes; 200 scenarios are too few to tell about time in LoS" in verdict.headline
    assert "safer" not in verdict.headline


def test_near_mid_air_collisions_count(said):
    verdict, _ = said({"los": HARD[:S], "nmac": some(0.2)}, {"los": HARD[:S]})
    assert verdict.headline.startswith("clone is less safe than mvp")
    assert any(text.startswith("Near mid-air collisions per scenario: 0.") for text in verdict.details)


# --- plain differences ---


@pytest.mark.parametrize(
    ("los", "extra", "headline"),
    [
        (0.1, 0.02, "clone is safer than mvp and flies shorter routes."),
        (0.1, 0.04, "clone is safer than mvp but flies longer routes."),
        (0.1, 0.03, "clone is safer than mvp; no difference in route length was shown."),
        (2.0, 0.02, "clone is less safe than mvp but flies shorter routes."),
        (2.0, 0.04, "clone is less safe than mvp and flies longer routes."),
    ],
)
def test_a_sentence_for_every_difference(said, los, extra, headline):
    verdict, _ = said({"los": some(los), "extra": extra}, {"los": some(0.8, seed=1)})
    assert verdict.headline == headline
    assert verdict.details[0].startswith("Losses of separation per scenario: ")
    assert "95 % interval" in verdict.details[0]
    assert [text.partition(":")[0] for text in verdict.details] == [
        "Losses of separation per scenario", "Time in LoS per scenario", "Waypoint rate", "Extra distance"
    ]  # fmt: skip


def test_a_safer_one_that_also_arrives_more(said):
    verdict, _ = said({"los": some(0.1)}, {"los": some(0.8, seed=1), "missing": some(0.6)})
    assert verdict.headline.startswith(
        "clone is safer than mvp and brings more aircraft to their waypoints (100.00 %"
    )


def test_another_speed_is_not_hidden_behind_a_good_headline(said):
    verdict, _ = said({"los": some(0.1), "mps": 6.0}, {"los": some(0.8, seed=1)})
    assert verdict.headline.endswith("; it flies slower (6.0 m/s instead of 9.0).")


# --- no difference, and too few scenarios to tell ---


def test_equals_are_called_so_where_a_difference_would_have_shown(said):
    generator = np.random.default_rng(3)
    extra = 0.03 + generator.normal(0, 0.005, (2, 800))
    one, other = (
        {"los": some(0.8, 800, 8 + n), "extra": extra[n], "missing": some(0.02, 800, 6 + n)} for n in (0, 1)
    )
    verdict, evaluation = said(one, other, 800)
    found = findings(evaluation, "runs/clone", "mvp")
    assert verdict.headline.startswith(
        "No difference between clone and mvp was shown in safety, arrivals or route length (the scenarios could "
    )
    assert found["los_events"].detectable == pytest.approx(2.8 * math.sqrt(2 * 0.8 / 800), rel=0.2)
    assert f"shown {found['los_events'].detectable:.2f} losses of separation per scenario, 0." in verdict.headline
    assert "could have been shown." in verdict.details[0]


def test_the_same_policy_twice_is_no_difference(said):
    policy = {"los": HARD[:S], "extra": 0.03}
    verdict, _ = said(policy, policy)
    assert verdict.headline.startswith("No difference between clone and mvp was shown in safety, arrivals or route")


def test_few_scenarios_are_too_few_to_tell(said):
    extra = 0.03 + np.random.default_rng(3).normal(0, 0.02, (2, 20))
    one, other = ({"los": HARD[n : 20 + n], "extra": extra[n]} for n in (0, 1))
    verdict, _ = said(one, other, 20)
    assert verdict.headline.startswith(
        "20 scenarios are too few to tell clone from mvp in safety, arrivals or route length (the scenarios "
    )
    assert "o difference" not in verdict.headline


def test_what_is_told_and_what_is_not_are_in_one_sentence(said):
    """Nothing happened in 40 scenarios. In 200 that says something; in both, routes are known."""
    verdict, _ = said({"extra": 0.02}, {}, 40)
    assert verdict.headline == (
        "40 scenarios are too few to tell clone from mvp in safety or arrivals; clone flies shorter routes "
        "(the scenarios could have shown 0.24 losses of separation per scenario and 1.2 points of arrivals)."
    )
    verdict, _ = said({"extra": 0.02}, {}, S)
    assert verdict.headline.startswith(
        "No difference between clone and mvp was shown in safety or arrivals; clone flies sh"
    )


def test_without_knowing_who_arrives_nobody_is_called_safer(said):
    """Whole scenarios freeze, but only 5 of them: too few to be shown."""
    frozen = np.zeros(60)
    frozen[:5] = 20.0
    verdict, _ = said({"los": some(0.1, 60), "missing": frozen}, {"los": some(1.5, 60, seed=2)}, 60)
    assert verdict.headline.startswith("Against mvp, clone has fewer losses of separation (0.")
    assert "; 60 scenarios are too few to tell about arrivals" in verdict.headline
    assert "is safer" not in verdict.headline


@pytest.mark.parametrize("clone", [{}, {"los": 5.0, "seconds": 300.0, "missing": 20.0, "stalled": 20.0}])
def test_one_scenario_is_never_a_verdict(said, clone):
    verdict, _ = said(clone, {"los": 1.0}, 1)
    assert verdict.headline == "One scenario is too few to tell clone from mvp."
    assert verdict.details[0].endswith(" with clone, 1.00 with mvp.")
    assert not any("difference" in text for text in verdict.details)


def test_of_five_scenarios_counts_show_nothing(said):
    verdict, _ = said({"los": 9.0, "seconds": 3.0}, {"los": 1.0}, 5)
    assert verdict.headline.startswith(
        "5 scenarios are too few to tell clone from mvp in safety, arrivals or route"
    )
    assert verdict.headline.endswith(" (fewer than 6 scenarios show none).")


# --- whom it is about ---


def test_a_third_contender_is_held_against_the_first_run_too(evaluated):
    verdict = judge(evaluated[0])
    assert "tuned" in verdict.headline
    first = [number for number, text in enumerate(verdict.details) if text.startswith("Losses of separation per")]
    assert len(first) == 2
    sentence = verdict.details[first[1] - 1]
    assert "tuned" in sentence
    assert "clone" in sentence


def test_alone_there_is_nothing_to_compare(evaluated):
    assert judge(replace(evaluated[0], differences={})).headline == "There is one contender: nothing to compare."


@pytest.mark.parametrize(
    ("estimate", "sign"),
    [(LESS, -1), (MORE, 1), (SAME, 0), (Estimate(0.1, 0.0, 0.2), 0), (Estimate(1, math.nan, math.nan), 0)],
)
def test_shown_means_that_the_interval_excludes_zero(estimate, sign):
    assert shown(estimate) == sign


def test_a_fine_tuned_run_that_is_the_clone_is_called_so(evaluated):
    evaluation = evaluated[0]
    clone, tuned = (each.name for each in evaluation.plan.contenders if each.is_run)
    same = replace(evaluation, meta={**evaluation.meta, tuned: evaluation.meta[clone]})
    assert "tuned is clone: their weights are the same." in judge(same).details
    assert not any("with clone" in text for text in judge(same).details)


def test_what_an_older_archive_lacks_is_left_out(said):
    _, evaluation = said({"los": some(0.1)}, {"los": some(0.8, seed=1)})
    known = evaluation.differences["runs/clone"]["mvp"]
    older = {name: gap for name, gap in known.items() if name not in ("nmac_events", "stalled_rate")}
    figures = {name: replace(each, nmac_events=np.zeros(0)) for name, each in evaluation.figures.items()}
    verdict = judge(replace(evaluation, figures=figures, differences={"runs/clone": {"mvp": older}}))
    assert verdict.headline == "clone is safer than mvp; no difference in route length was shown."
