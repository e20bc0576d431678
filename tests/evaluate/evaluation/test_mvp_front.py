"""The front of the MVP family: its geometry by hand, its intervals, and its place in the report."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from skyclone.evaluate.cli import evaluate
from skyclone.evaluate.evaluation.config import FAMILY
from skyclone.evaluate.evaluation.mvp_front import LOSSES, find, losses_at, members_on_front
from skyclone.train.runs import confidence_intervals
from skyclone.train.runs.confidence_intervals import Ratio

POINTS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 1000)), min_size=1, max_size=12)


def test_the_family_is_as_the_report_says():
    assert len(FAMILY) == 36
    assert FAMILY[0] == "none"
    assert "mvp:margin=1.15:lookahead_s=20" in FAMILY


def test_the_hull_by_hand():
    costs = np.array([0.0, 1.0, 2.0, 2.0, 3.0, 4.0])
    losses = np.array([8.0, 2.0, 3.0, 1.5, 1.2, 0.0])
    assert members_on_front(costs, losses) == [0, 1, 5]  # (2, 1.5) lies above the line from (1, 2) to (4, 0)
    assert losses_at(0.5, costs, losses) == pytest.approx(5.0)  # half of the scenarios each
    assert losses_at(2.5, costs, losses) == pytest.approx(1.0)
    assert losses_at(-1.0, costs, losses) == 8.0
    assert losses_at(9.0, costs, losses) == 0.0


def test_of_members_that_cost_the_same_only_the_safest_counts():
    assert members_on_front(np.array([1.0, 1.0, 1.0]), np.array([3.0, 2.0, 2.0])) == [1]


@given(POINTS)
def test_no_member_lies_below_the_front_and_it_falls(points):
    costs, losses = (np.array(column, float) for column in zip(*points, strict=True))
    hull = members_on_front(costs, losses)
    assert np.all(np.diff(costs[hull]) > 0)
    assert np.all(np.diff(losses[hull]) < 0)
    for cost, loss in points:
        assert losses_at(cost, costs, losses) <= loss + 1e-9 * max(1.0, loss)
    slopes = np.diff(losses[hull]) / np.diff(costs[hull])
    assert np.all(np.diff(slopes) >= -1e-6 * np.abs(slopes[:-1]))


@given(POINTS, st.floats(0, 1))
def test_mixing_two_members_never_gets_below_it(points, share):
    costs, losses = (np.array(column, float) for column in zip(*points, strict=True))
    mixed = share * costs[0] + (1 - share) * costs[-1], share * losses[0] + (1 - share) * losses[-1]
    assert losses_at(mixed[0], costs, losses) <= mixed[1] + 1e-6


def _ratios(scenarios: int, run: tuple[float, float]) -> dict[str, dict[str, Ratio]]:
    """Return a family on the line from (0, 10) to (10 %, 0), and a run somewhere."""
    drawn = np.random.Generator(np.random.PCG64(3))
    hours = np.ones(scenarios)

    def metrics(cost: float, losses: float) -> dict[str, Ratio]:
        events = drawn.poisson(losses, scenarios).astype(float)
        return {
            LOSSES: Ratio(events, hours, is_count=True),
            "extra_distance": Ratio(np.full(scenarios, cost), hours),
            "extra_time": Ratio(np.full(scenarios, 2 * cost), hours),
        }

    line = np.linspace(0, 1, len(FAMILY))
    return {
        **{name: metrics(0.1 * at, 10 * (1 - at)) for name, at in zip(FAMILY, line, strict=True)},
        "run": metrics(*run),
    }


@pytest.mark.parametrize(("losses", "sign"), [(2.0, -1), (9.0, 1)])
def test_a_run_off_the_front_is_shown_to_be(losses, sign):
    ratios = _ratios(200, (0.05, losses))
    found = find(ratios, ["run"], confidence_intervals.resample(200, 300, 0))
    for cost in ("extra_distance", "extra_time"):
        place = found.positions["run"][cost]
        assert place.front == pytest.approx(5.0, abs=0.6)
        assert sign * place.difference.low > 0
        assert sign * place.difference.high > 0
        assert place.difference.value == pytest.approx(
            confidence_intervals.value_of(ratios["run"][LOSSES]) - place.front
        )


def test_from_the_command_to_the_report(make_run, tmp_path, monkeypatch):
    some = FAMILY[::12]  # all of them take a while
    monkeypatch.setattr("skyclone.evaluate.evaluation.mvp_front.FAMILY", some)
    monkeypatch.setattr("skyclone.evaluate.evaluation.config.FAMILY", some)
    run = make_run(tmp_path / "clone")
    options = ["--front", "--scenarios", 3, "--aircraft", "4,3", "--bootstrap", 100, "--baselines", "mvp"]
    options += ["--world", "m600:max_steps=60"]
    result = CliRunner().invoke(evaluate, [str(each) for each in (run, *options, "--out", tmp_path / "out")])
    assert result.exit_code == 0, result.stderr
    assert "the MVP family" in result.stderr
    data = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert list(data["contenders"]) == ["mvp", str(run)]
    assert list(data["by_aircraft"]) == ["3", "4"]  # the family flies at the first number of aircraft alone
    assert list(data["front"]["members"]) == list(some)
    assert set(data["front"]["positions"][str(run)]) == {"extra_distance", "extra_time"}
    page = Path(tmp_path / "out" / "report.html").read_text()
    assert "Beside every MVP" in page
    assert "front-extra_distance-" in page
