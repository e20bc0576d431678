import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from skyclone.evaluate.attention import attention
from skyclone.evaluate.evaluation.contenders import name_all
from skyclone.evaluate.evaluation.evaluation import Plan, evaluate
from skyclone.evaluate.report import plots, replay
from skyclone.evaluate.report.learning_curves import Curve
from skyclone.evaluate.report.page import Report, render

CURVES = {"imitation": [Curve("training", [1, 2], [0.5, 0.1], "iteration", "loss")]}


class _Page(HTMLParser):
    """Collects what a page holds."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.links, self.handlers, self.text = [], [], [], [], []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action"):
                self.links.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def report(evaluated):
    evaluation, loaded = evaluated
    plan = evaluation.plan
    runs = [contender.name for contender in plan.contenders if contender.is_run]
    return Report(
        evaluation,
        "skyclone evaluate a b",
        "2030-01-01 12:00 UTC",
        {run: attention.watch(loaded[run].policy, plan.world, plan.seed, range(2)) for run in runs},
        {runs[0]: CURVES},
        replay.record(list(loaded.values()), plan.world, plan.seed, range(2)),
    )


@pytest.fixture(scope="module")
def html(report):
    return render(report)


def test_the_page_is_whole_and_needs_no_network(html):
    page = _Page(html)
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {
        "http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg",
    }  # fmt: skip
    assert page.tags.count("svg") >= 2 + 2 + 1 + 4  # pictures: differences, contenders, learning, attention
    assert not re.search(r"#(0a0b0|01020|04050|07080|0c0d0)", html)  # every stand-in became a colour of the page
    assert "Content-Security-Policy" in html
    assert page.handlers == []


def test_the_page_says_what_was_found_and_how(html):
    page = _Page(html)
    text = " ".join(page.text)
    for part in (
        "tuned", "LoS events", "extra distance", "Differences on the same scenarios", "skyclone evaluate a b",
        "2030-01-01", "of seed 1000000", "What the attention looks at", "How they learned", "Replay",
        "BCa bootstrap", "weights_sha256",
    ):  # fmt: skip
        assert part in text, part
    flights = json.loads(re.search(r'id="replay-data">(.*?)</script>', html, re.DOTALL).group(1))
    assert len(flights["contenders"]) == 4


def test_a_page_without_runs_is_short(report):
    plan = Plan(tuple(name_all([], "none")), report.evaluation.plan.world, scenarios=2, bootstrap=100)
    html = render(Report(evaluate(plan, plan.load())))
    for part in ("Differences on", "How they learned", "What the attention", '<section id="replay"'):
        assert part not in html
    assert _Page(html).tags.count("html") == 1


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "</script><b>'so' & \"on\"", "_$x$_^{"])
def test_names_are_escaped(make_run, tmp_path, monkeypatch, report, name):
    monkeypatch.chdir(tmp_path)
    folder = name.replace("/", "")
    make_run(tmp_path / folder)
    contenders = tuple(name_all([folder], "none,mvp"))
    plan = replace(report.evaluation.plan, contenders=contenders, scenarios=2)
    loaded = plan.load()
    evaluation = replace(evaluate(plan, loaded), warnings=[f"{folder} is odd"])
    flights = replay.record(list(loaded.values()), plan.world, plan.seed, range(1))
    watched = attention.watch(loaded[folder].policy, plan.world, plan.seed, range(2))
    html = render(
        Report(evaluation, f"skyclone evaluate {folder}", "", {folder: watched}, {folder: CURVES}, flights)
    )
    page = _Page(html)
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    assert page.tags.count("b") == page.tags.count("figure")  # their titles
    assert page.handlers == []
    assert folder in " ".join(page.text)


def test_the_page_can_be_made_without_any_figure(report):
    evaluation = report.evaluation
    figures = {
        name: replace(each, nearest_m=np.full_like(each.nearest_m, np.inf))
        for name, each in evaluation.figures.items()
    }
    assert "<svg" in render(Report(replace(evaluation, figures=figures)))


def test_thirty_six_contenders_look_different() -> None:
    marks = [plots.mark(index) for index in range(36)]
    assert len({(mark.colour, mark.marker) for mark in marks}) == 36
    assert marks[0] == plots.marks_of(["none", "mvp"])["mvp"]
