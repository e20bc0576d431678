"""The table's statistics, solved on paper: everything here is made by hand, nothing is trained."""

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.evaluate.comparison.comparison import Comparison, choose_rates
from skyclone.evaluate.comparison.config import Budget, CompareConfig, parse_variants
from skyclone.evaluate.comparison.output import answer, to_csv, to_markdown
from skyclone.evaluate.comparison.plot import draw
from skyclone.evaluate.comparison.table import Table, over_seeds, pooled, tabulate, to_json, verdict
from skyclone.train.runs.confidence_intervals import Estimate, Ratio

BUDGET = Budget("steps", 100)


@pytest.fixture(scope="module")
def comparison_of(figures_of):
    """Return a function that makes a comparison of models out of their losses and LoS events, a value per seed."""

    def make(
        losses: dict[str, list[float | None]],
        los: dict[str, list[int]],
        sharpness: float | None = 0.5,
        missing: dict[str, float] | None = None,
    ):
        seeds = tuple(range(len(next(iter(losses.values())))))
        variants = parse_variants(",".join(losses), "ego:intruders=4")
        plan = CompareConfig(variants, (BUDGET,), seeds=seeds, scenarios=40, bootstrap=400)
        runs, flown = {}, {}
        hard = np.arange(40) % 4  # what makes a scenario hard is the same for all
        for training in plan.trainings({}):
            loss = losses[training.variant.model][training.seed]
            known = {"heldout_mse": loss, "heldout_mse_conflict": loss and 5 * loss, "heldout_mse_free": loss}
            speed = {
                "samples_per_second": 5e4,
                "samples_per_processor_second": 6e4,
                "wall_s": 3.0,
                "processor_s": 2.5,
            }
            trouble = "met NaN or infinity" if loss is None else None
            runs[training] = {**known, **speed, "sharpness": sharpness, "steps": 100, "trouble": trouble}
            if loss is not None:
                events = hard + los[training.variant.model][training.seed]
                arrived = 20.0 - (missing or {}).get(training.variant.model, 0.0)
                flown[training] = _figures(figures_of, events, at_waypoint=arrived)
        references = {"none": _figures(figures_of, hard + 10), "mvp": _figures(figures_of, hard * 0)}
        data = {"path": "data", "content_hash": "0", "rows": 1}
        return Comparison(
            plan, Path("out"), data, WorldConfig(), "mvp", choose_rates(plan, {}), {}, runs, flown, references, 1.0
        )

    return make


def _figures(figures_of, events, at_waypoint=20.0):
    return figures_of(
        40, los_events=events, conflicts=20.0, aircraft=20.0, at_waypoint=at_waypoint, straight_m=1000.0,
        flown_m=1010.0, progress_m=1000.0, flight_s=100.0, steps=100.0,
    )  # fmt: skip


def _table(comparison_of, additive, other, los=((0, 0, 0), (0, 0, 0))) -> Table:
    losses = {"attention-additive": list(additive), "pairwise": list(other)}
    return tabulate(comparison_of(losses, dict(zip(losses, map(list, los)))))


def test_the_t_interval_over_seeds_by_hand():
    low_high = 4.302653 * 1.0 / math.sqrt(3)  # mean 2, standard deviation 1, 3 values
    assert over_seeds([1.0, 2.0, 3.0]) == pytest.approx(Estimate(2.0, 2 - low_high, 2 + low_high))
    assert over_seeds([5.0]).value == 5.0
    assert math.isnan(over_seeds([5.0]).low)
    assert math.isnan(over_seeds([]).value)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=40), st.floats(-5, 5))
def test_intervals_over_seeds_hold_the_mean_and_move_with_it(values, shift):
    mean, low, high = over_seeds(values)
    assert low <= mean <= high
    assert over_seeds([value + shift for value in values]) == pytest.approx(
        (mean + shift, low + shift, high + shift), abs=1e-6
    )


def test_pooling_adds_seeds_scenario_by_scenario():
    ratios = [Ratio(np.array([1.0, 0.0]), np.ones(2)), Ratio(np.array([2.0, 1.0]), np.ones(2))]
    both = pooled(ratios)
    assert both.events.tolist() == [3.0, 1.0]
    assert both.exposure.tolist() == [2.0, 2.0]


def test_told_apart_only_where_every_interval_says_so():
    below, above, across = Estimate(-2, -3, -1), Estimate(2, 1, 3), Estimate(0, -1, 1)
    nothing = Estimate(-2, math.nan, math.nan)
    assert verdict([below, below], 0) == "better"
    assert verdict([above, above], 0) == "worse"
    assert {verdict(pair, 0) for pair in ([below, across], [below, above], [below, nothing])} == {"not told apart"}
    assert verdict([Estimate(0.9, 0.8, 0.95)], 1.0) == "better"


def test_ratios_of_losses_are_paired_by_seed(comparison_of):
    """Seeds differ tenfold, but the other model has twice the loss with each: the ratio has no spread."""
    (difference,) = _table(comparison_of, [0.01, 0.1, 0.05], [0.02, 0.2, 0.1]).differences
    assert difference.loss_ratio == pytest.approx((2.0, 2.0, 2.0))
    assert difference.loss_verdict == "worse"


def test_los_needs_both_intervals(comparison_of):
    same = ([0.01] * 3, [0.01] * 3)
    (clear,) = _table(comparison_of, *same, los=((0, 0, 0), (2, 2, 2))).differences
    assert clear.flown["los_events"][0] == pytest.approx((2.0, 2.0, 2.0))
    assert clear.los_verdict == "worse"
    (unclear,) = _table(comparison_of, *same, los=((0, 0, 0), (6, 0, 0))).differences
    over_scenarios, over_seeds_ = unclear.flown["los_events"]
    assert over_scenarios.low > 0
    assert over_seeds_.low < 0 < over_seeds_.high
    assert unclear.los_verdict == "not told apart"


def test_fewer_losses_by_fewer_arrivals_are_not_safer(comparison_of):
    losses = {"attention-additive": [0.01] * 3, "pairwise": [0.01] * 3}
    los = {"attention-additive": [5, 5, 5], "pairwise": [0, 0, 0]}
    lines = answer(tabulate(comparison_of(losses, los, missing={"pairwise": 20.0})))
    (line,) = [each for each in lines if each.startswith("LoS events")]
    assert line.endswith("(less, but not safer: see the arrivals).")
    (line,) = [each for each in lines if each.startswith("Waypoint rate (points)")]
    assert line.endswith("pairwise -100 [-100, -100] over scenarios, [-100, -100] over seeds (worse).")
    lines = answer(tabulate(comparison_of(losses, los)))
    assert lines[1].endswith("(better).")
    assert lines[3].endswith("(not told apart; the scenarios could have shown 0.41).")


def test_a_seed_that_met_nan_is_left_out_and_named(comparison_of):
    table = _table(comparison_of, [0.01, 0.01, 0.01], [None, 0.02, 0.02])
    row = next(row for row in table.rows if row.variant.model == "pairwise")
    assert row.failed == [0]
    assert row.figures["heldout_mse"].estimate.value == pytest.approx(0.02)
    assert row.figures["heldout_mse"].seeds == [None, 0.02, 0.02]
    assert row.figures["los_events"].seeds[0] is None
    every = _table(comparison_of, [0.01, 0.01, 0.01], [None, None, None])
    assert every.differences == []
    assert to_json(every, [])["rows"][1]["metrics"]["los_events"]["value"] is None
    assert "- pairwise@ego:intruders=4 after 100 steps met NaN or infinity with seed 0, 1, 2" in to_markdown(every)


def test_variants_without_a_common_seed_are_not_compared(comparison_of):
    table = _table(comparison_of, [None, 0.01], [0.02, None], los=((0, 0), (0, 0)))
    assert table.differences == []
    assert [row.failed for row in table.rows] == [[0], [1]]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([[0.01, 0.011, 0.012], [0.02, 0.021, 0.024]], "dot-product: yes."),
        ([[0.02, 0.021, 0.024], [0.01, 0.011, 0.012]], "dot-product: no, the other way round."),
        ([[0.01, 0.02, 0.015], [0.02, 0.01, 0.015]], "dot-product: not told apart."),
        ([[0.01], [0.02]], "dot-product: not told apart."),
    ],
)
def test_the_question_of_the_paper(comparison_of, monkeypatch, losses, words):
    monkeypatch.setattr("skyclone.evaluate.comparison.output.ENCODERS", {"pairwise": "dot-product"})
    los = [[0] * len(losses[0])] * 2
    lines = answer(_table(comparison_of, *losses, los=los))
    assert lines[-1].startswith("Does additive attention beat the others, as Groot, Ellerbroek, Hoekstra (2025)")
    assert lines[-1].endswith(words)


def test_no_answer_without_a_pair_on_the_same_view(comparison_of):
    comparison = comparison_of({"pairwise": [0.01, 0.02]}, {"pairwise": [0, 0]})
    assert answer(tabulate(comparison)) == ["Nothing to compare: give two models or more on the same view."]


def test_csv_markdown_and_picture_hold_what_the_table_holds(comparison_of):
    table = _table(comparison_of, [0.01, 0.02, 0.03], [0.02, 0.03, 0.04], los=((1, 1, 1), (3, 3, 3)))
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["variant"] for row in rows] == [
        "attention-additive@ego:intruders=4", "pairwise@ego:intruders=4", "none", "mvp"
    ]  # fmt: skip
    assert float(rows[0]["heldout_mse"]) == pytest.approx(0.02)
    assert float(rows[1]["los_events"]) == pytest.approx(4.5)
    assert rows[3]["heldout_mse"] == ""
    text = to_markdown(table)
    assert "**Equal budget: 100 steps** (3 seeds, batch 1024, cosine, learning rate 0.001; 40 scenarios" in text
    assert "| pairwise on ego:intruders=4 | 0.001 | 35,506 | 0.03 ± 0.02 |" in text
    assert draw(table).startswith(b"\x89PNG")


def test_networks_without_attention_have_no_sharpness(comparison_of):
    losses = {"attention-additive": [0.01, 0.02], "pairwise": [0.01, 0.02]}
    table = tabulate(comparison_of(losses, {name: [0, 0] for name in losses}, sharpness=None))
    assert to_json(table, [])["rows"][0]["metrics"]["sharpness"] == {
        "value": None, "low": None, "high": None, "seeds": [None, None]
    }  # fmt: skip
    assert draw(table).startswith(b"\x89PNG")


def test_the_best_rate_is_that_of_the_lowest_loss():
    plan = CompareConfig(parse_variants("pairwise", "seed"), (BUDGET,), rates=(1e-3, 4e-3, 1e-2))
    scores = dict(zip(plan.sweep(), [0.02, 0.01, None]))
    assert list(choose_rates(plan, scores).values()) == [4e-3]
    assert list(choose_rates(plan, dict.fromkeys(plan.sweep())).values()) == [1e-3]


def test_a_notebook_shows_figures_and_verdicts(comparison_of):
    table = _table(comparison_of, [0.01, 0.1, 0.05], [0.02, 0.2, 0.1])
    text = table._repr_html_()
    for part in (">none<", ">mvp<", "attention-additive", "pairwise", "100 steps", "loss worse", "LoS events"):
        assert part in text
    trainings = table.comparison._repr_html_()
    assert trainings.count("<tr>") == 1 + 6  # headings, two models with three seeds
    assert "held-out 0.01 (in conflict 0.05)" in trainings


def test_a_notebook_shows_what_met_nan_and_escapes_names(comparison_of):
    comparison = comparison_of({"pairwise": [0.01, None]}, {"pairwise": [0, 0]})
    hostile = replace(comparison, root=Path("<script>"), references={"<b>": comparison.references["none"]})
    assert "met NaN or infinity" in hostile._repr_html_()
    assert "<script" not in hostile._repr_html_()
    table = tabulate(comparison)
    renamed = replace(table, references={"<b>x": table.references["none"]})
    assert "&lt;b&gt;x" in renamed._repr_html_()
