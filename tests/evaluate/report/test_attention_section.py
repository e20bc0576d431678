from dataclasses import replace

import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.traffic.view import View
from skyclone.evaluate.attention.attention import watch
from skyclone.evaluate.report import attention_plots
from skyclone.evaluate.report.attention_section import findings, render
from skyclone.train import Policy, networks
from skyclone.train.runs.intervals import Estimate

CONFIG = WorldConfig(aircraft=5, max_steps=60, sector_radius_m=300.0, sector_area_m2=1.4e5)

TWO = WorldConfig(aircraft=2, max_steps=60, sector_radius_m=300.0, sector_area_m2=1.4e5)


@pytest.fixture(scope="module")
def figures():
    view = View("ego", intruders=3)
    network = networks.make("pairwise", view, width=8, hidden=8)
    with torch.no_grad():
        network.action[-1].weight.mul_(5)  # an untrained network hardly acts on what it sees
    return watch(Policy(network, view), CONFIG, 0, range(3))


def test_the_section_is_whole(figures):
    figures = replace(figures, padded=7)
    html = render({"a/b": figures, "c": figures}, {"a/b": "<b>", "c": "c"})
    assert "<h3>&lt;b&gt;</h3>" in html
    assert html.count("<figure>") == 2 * 5
    for part in ("exactly 0", "by lot", "Each two heads", "heads 1 and 2", "Jensen-Shannon", "agreement with MVP"):
        assert part in html, part
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_without_attention_there_is_no_section():
    assert render({}, {}) == ""


def test_findings_in_words(figures):
    choice = replace(figures.masking.mean, largest=Estimate(0.62, 0.58, 0.66), highest_mps=Estimate(2, 1, 3))
    nearest = replace(figures.masking.nearest, largest=Estimate(0.5, float("nan"), float("nan")))
    masked = replace(figures.masking, rows=1234, chance=0.25, mean=choice, nearest=nearest)
    first, *_, last = findings(replace(figures, masking=masked))
    assert first.startswith("In 1,234 rows masking some intruder changes the velocity by more than 0.1 m/s.")
    assert "changes it most in 62 % [58, 66] of them; the nearest would be right in 50 %, one drawn" in first
    assert "by lot in 25 %. It changes it by 2.00 m/s" in first
    assert last.startswith("The heaviest intruders of heads ")


def test_a_leak_is_a_warning(figures):
    html = render({"run": replace(figures, padding_weight=0.01)}, {"run": "run"})
    assert "Warning: places without an intruder are looked at, with weights of up to 0.01" in html
    assert "nothing can be said about padding" in render({"run": replace(figures, padded=0)}, {"run": "run"})


def test_one_head_to_which_nobody_matters(figures):
    quiet = replace(figures, masking=None, masking_in_conflict=None, pairs=[])
    assert findings(quiet) == ["Masking an intruder never changes the velocity by more than 0.1 m/s."]
    assert attention_plots.largest_change(quiet, "x") == attention_plots.change(None, "x") == ""
    assert render({"run": quiet}, {"run": "run"}).count("<figure>") == 3


def test_two_aircraft_leave_nobody_to_choose_between():
    view = View("ego", intruders=3)
    figures = watch(Policy(networks.make("pairwise", view, width=8, hidden=8), view), TWO, 0, range(2))
    assert findings(figures) == ["No ownship ever had two intruders in view: there was nobody to choose between."]
    assert "nan" not in render({"run": figures}, {"run": "run"})
