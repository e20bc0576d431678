import math
from dataclasses import replace

import pytest

from skyclone.evaluate.evaluation.verdict import judge, shown
from skyclone.train.runs.confidence_intervals import Estimate

LESS, MORE, SAME = Estimate(-0.3, -0.4, -0.2), Estimate(0.3, 0.2, 0.4), Estimate(-0.1, -0.3, 0.1)


def _with(evaluation, **differences):
    """The evaluation of one run against mvp, with these differences and otherwise none shown."""
    run = evaluation.plan.contenders[2].name
    known = evaluation.differences[run]["mvp"]
    made_up = {name: differences.get(name, SAME) for name in known}
    return replace(evaluation, differences={run: {"mvp": made_up}})


@pytest.mark.parametrize(
    ("los", "distance", "headline"),
    [
        (LESS, LESS, "clone is safer than mvp and flies shorter routes."),
        (LESS, MORE, "clone is safer than mvp but flies longer routes."),
        (LESS, SAME, "clone is safer than mvp; no difference in route length was shown."),
        (MORE, LESS, "clone is less safe than mvp but flies shorter routes."),
        (MORE, MORE, "clone is less safe than mvp and flies longer routes."),
        (SAME, LESS, "No difference in safety between clone and mvp was shown; clone flies shorter routes."),
        (SAME, SAME, "No difference between clone and mvp was shown, neither in safety nor in route length."),
    ],
)
def test_a_sentence_for_every_case(evaluated, los, distance, headline):
    verdict = judge(_with(evaluated[0], los_events=los, extra_distance=distance))
    assert verdict.headline == headline
    assert verdict.details[0].startswith("Losses of separation per scenario: ")
    assert "95 % interval" in verdict.details[0]
    assert len(verdict.details) == 2


def test_nothing_is_hidden_behind_a_good_headline(evaluated):
    evaluation = _with(evaluated[0], los_events=LESS, waypoint_rate=LESS, mean_speed_mps=Estimate(-3, -4, -2))
    headline = judge(evaluation).headline
    assert "; it brings fewer aircraft to their waypoints (" in headline
    assert " and flies slower (" in headline


def test_a_third_contender_is_held_against_the_first_run_too(evaluated):
    verdict = judge(evaluated[0])
    assert "tuned" in verdict.headline
    assert any("tuned and clone" in text or "than clone" in text for text in verdict.details)


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
