import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from jinja2 import UndefinedError

from skyclone.evaluate.evaluation.config import EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import load_all
from skyclone.evaluate.evaluation.evaluation import evaluate
from skyclone.evaluate.report import archive
from skyclone.evaluate.report.archive import decode, encode
from skyclone.evaluate.report.content import Report
from skyclone.evaluate.report.page import environment, render
from skyclone.train.runs.confidence_intervals import Estimate


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


def _flights(html):
    return json.loads(re.search(r'id="replay-data">(.*?)</script>', html, re.DOTALL).group(1))


def test_the_page_is_whole_and_needs_no_network(html):
    page = _Page(html)
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {
        "http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg",
    }  # fmt: skip
    assert page.tags.count("figure") == 2 + 2 + 1 + 2 * 3  # differences, contenders, learning, attention of two
    assert not re.search(r"#(0a0b0|01020|04050|07080|0c0d0)", html)  # every stand-in became a colour of the page
    assert "Content-Security-Policy" in html
    assert page.handlers == []


def test_the_page_says_what_was_found_and_how(html):
    text = " ".join(" ".join(_Page(html).text).split())
    for part in (
        "tuned", "LoS events", "extra distance", "Differences on the same scenarios", "skyclone evaluate a b",
        "2030-01-01", "skyclone 0.0.1; torch 1.0", "6 scenarios, numbers 0 to 5 of seed 1000000; 4 at a time",
        "What the attention looks at", "exactly 0", "Heads compared in pairs", "heads 1 and 2",
        "Jensen-Shannon", "agreement with MVP", "How they learned", "Replay", "BCa bootstrap", "weights_sha256",
    ):  # fmt: skip
        assert part in text, part
    assert len(_flights(html)["contenders"]) == 4


def test_a_page_without_runs_is_short(report):
    plan = EvaluationConfig(tuple(name_all([], "none")), report.evaluation.plan.world, scenarios=1, bootstrap=100)
    html = render(Report(evaluate(plan, load_all(plan)))).decode()
    for part in ("Differences on", "How they learned", "What the attention", '<section id="replay"', "1 scenarios"):
        assert part not in html
    assert "1 scenario of 6 aircraft" in html
    assert "1 scenario, number 0 of seed" in html
    assert _Page(html).tags.count("html") == 1


NASTY = """"><img src=x onerror=alert(1)></script><script>alert(2)</script><b>'&amp;{{ 7 * 7 }}{% x %}$x$_^{"""
SURROGATE = "_d\udcff<svg onload=alert(3)>--><!--"


def _named(report, first, second):
    """The report with these names for its two runs, and the second for every other text that is not ours."""
    text = json.dumps(encode(report))
    for old, new in zip(report.attention, (first, second), strict=True):
        text = text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
    data = json.loads(text)
    data |= {"command": second, "made_at": second, "code": second}
    data["evaluation"]["warnings"] = [f"{first} is odd", second]
    data["evaluation"]["meta"][first] = {second: [first, second]}
    data["curves"][first] = {second: [{**data["curves"][first]["imitation"][0], "name": first, "x_label": second}]}
    data["replay"]["mvp"] = first
    return decode(Report, data)


def test_no_name_gets_through(report, html):
    hostile = render(_named(report, NASTY, SURROGATE)).decode()
    page, plain = _Page(hostile), _Page(html)
    assert {"img", "script"} & set(page.tags) == {"script"}
    for tag in ("script", "svg", "figure", "b", "section", "option"):
        assert page.tags.count(tag) == plain.tags.count(tag), tag
    assert hostile.count("</script") == html.count("</script") == 2
    assert page.handlers == []
    text = " ".join(page.text)
    assert text.count(NASTY) > 3  # elsewhere it is shortened
    assert text.count(SURROGATE.replace("\udcff", r"\udcff")) > 10
    assert [each["name"] for each in _flights(hostile)["contenders"]] == ["none", "mvp", NASTY, SURROGATE]


def test_the_page_can_be_made_without_any_figure(report):
    evaluation = report.evaluation
    figures = {
        name: replace(each, nearest_m=np.full_like(each.nearest_m, np.inf))
        for name, each in evaluation.figures.items()
    }
    assert b"<svg" in render(Report(replace(evaluation, figures=figures)))


def test_a_template_s_unknown_name_is_an_error():
    with pytest.raises(UndefinedError, match="'verdict' is undefined"):
        environment().get_template("report.html").render(script_hash="")


@pytest.fixture(scope="module")
def attention():
    """The macros of the attention's template: called, they return text with single spaces."""
    empty = {"report": Report.__new__(Report), "names": {}}
    object.__setattr__(empty["report"], "attention", {})
    module = environment().get_template("attention.html").make_module(empty)
    return lambda macro, figures: " ".join(getattr(module, macro)(figures).split())


@pytest.fixture
def looks(folder):
    """What a policy looks at."""
    return archive.read(folder).attention["clone"]


def test_findings_in_words(looks, attention):
    choice = replace(looks.masking.mean, largest=Estimate(0.62, 0.58, 0.66), highest_mps=Estimate(2, 1, 3))
    nearest = replace(looks.masking.nearest, largest=Estimate(0.5, float("nan"), float("nan")))
    masked = replace(looks.masking, rows=1234, chance=0.25, mean=choice, nearest=nearest)
    text = attention("findings", replace(looks, masking=masked))
    assert text.startswith(
        "<li>Masking the most-attended intruder (mean of the heads) changes the velocity most in 62 % [58, 66] of "
        "the 1,234 rows where masking matters, that is, changes it by more than 0.1 m/s; the nearest intruder does "
        "in 50 %, one chosen at random in 25 %. The change is 2.00 m/s for the most attended, "
    )
    assert "<li>The heaviest intruders of heads " in text
    once = replace(masked, rows=1)
    assert "of the 1 row where" in attention("findings", replace(looks, masking=once))


def test_a_leak_is_a_warning(looks, attention):
    leaking = attention("padding", replace(looks, padding_weight=0.01))
    assert "Warning: places without an intruder receive attention, with weights of up to 0.01: the" in leaking
    assert "nothing is known about padding" in attention("padding", replace(looks, padded=0))
    assert "on the 7 places without" in attention("padding", replace(looks, padded=7))


def test_one_head_to_which_no_intruder_matters(looks, attention):
    quiet = replace(looks, masking=None, masking_in_conflict=None, pairs=[])
    assert (
        attention("findings", quiet)
        == "<li>Masking an intruder never changes the velocity by more than 0.1 m/s.</li>"
    )
    assert attention("heads", quiet).count('<td>-<span class="interval">-') == len(quiet.sharpness)
    assert "<details>" not in attention("pairs_of_heads", [])


def test_two_aircraft_leave_no_choice(looks, attention):
    alone = attention("findings", replace(looks, uniform_sharpness=float("nan")))
    assert alone == "<li>No ownship ever had two intruders in view, so there was no choice to make.</li>"
