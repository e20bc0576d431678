"""The report in a real browser: headless Chromium, driven with playwright."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.assurance import REASONS
from skyclone.collect.flying.flight import advise
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.layout import Layout
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.evaluate.evaluation.config import EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import load_all
from skyclone.evaluate.evaluation.evaluation import evaluate
from skyclone.evaluate.report import replay
from skyclone.evaluate.report.archive import decode, encode
from skyclone.evaluate.report.camera import DECISION, GONE
from skyclone.evaluate.report.content import Report
from skyclone.evaluate.report.output import write_again
from skyclone.evaluate.report.page import render

N = 6  # aircraft
NAME = '<img src=x onerror=alert(1)>&"'
OVERFLOWING = """() => [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll, pre, svg"))
    .map((each) => each.tagName)"""


@pytest.fixture(scope="session")
def report(report: Report) -> Report:
    """The report, one of whose runs has a name that is not to be trusted."""
    run = report.evaluation.plan.contenders[-1].name
    text = json.dumps(encode(report)).replace(json.dumps(run)[1:-1], json.dumps(NAME)[1:-1])
    renamed: Report = decode(Report, json.loads(text))
    return renamed


@pytest.fixture(scope="session")
def address(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the report is."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(render(report))
    return path.as_uri()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the report in a window; nothing may go wrong in it or leave it."""
    said: list[str] = []
    asked: list[str] = []
    pages = []

    def open_it(width: int = 1100, height: int = 900, **options: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.set_default_timeout(120_000)  # of a machine that others keep busy too
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        pages.append(page)
        return page

    yield open_it
    for page in pages:
        page.close()
    assert said == []
    assert asked == [address] * len(pages)


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    """The report in a wide window, the replay focused."""
    page = open_page()
    page.focus("#replay")
    return page


def _clock(page: Any) -> int:
    return int(page.inner_text("#replay-clock").removesuffix(" s"))


def _data(page: Any, panel: int = 1) -> dict[str, str]:
    return page.locator(".picture").nth(panel).evaluate("each => ({...each.dataset})")


def _pixels(page: Any, panel: int = 1) -> str:
    return page.locator(".picture").nth(panel).evaluate("each => each.toDataURL()")


def _flight(report: Report, contender: int, scenario: int = 0) -> replay.Flight:
    assert report.replay
    return report.replay.contenders[contender].flights[scenario]


def test_it_opens_with_the_verdict_and_names_are_escaped(page):
    assert NAME in page.inner_text("h1") + page.inner_text(".details")
    assert page.locator("img").count() == 0
    texts = page.locator(".replay-panel select").nth(1).locator("option").all_inner_texts()
    assert texts == ["none", "mvp", "clone", NAME]
    assert page.locator("h1").bounding_box()["y"] < 100
    page.emulate_media(media="print")
    assert page.locator("#replay").is_hidden()


def test_it_plays_and_pauses(page):
    assert _clock(page) == 0
    before = _pixels(page)
    page.select_option("#replay-speed", "30")
    page.click("#replay-play")
    assert page.inner_text("#replay-play") == "Pause"
    page.wait_for_function("() => parseInt(document.getElementById('replay-clock').textContent) >= 3")
    page.click("#replay-play")
    stopped = _clock(page)
    assert _pixels(page) != before
    page.wait_for_timeout(80)
    assert _clock(page) == stopped >= 3


def test_it_stops_at_the_end_and_plays_again_from_the_beginning(page, report):
    page.keyboard.press("End")
    steps = max(_flight(report, contender).steps for contender in (1, 3))
    assert _clock(page) == steps
    assert "all have ended" in page.locator(".status").nth(1).inner_text()
    page.keyboard.press("ArrowLeft")
    page.select_option("#replay-speed", "30")
    page.click("#replay-play")
    page.wait_for_function("() => document.getElementById('replay-play').textContent === 'Play'")
    assert _clock(page) == steps
    page.click("#replay-play")
    assert _clock(page) < steps


def test_it_scrubs(page):
    page.locator("#replay-scrub").fill("7.5")
    assert _clock(page) == 7
    assert _data(page)["step"] == "7"
    between = _pixels(page)
    page.locator("#replay-scrub").fill("7")
    assert _pixels(page) != between  # between two steps aircraft are drawn between their places


def test_a_click_on_the_strip_goes_there(page, report):
    steps = max(_flight(report, contender).steps for contender in (1, 3))
    strip = page.locator(".strip").nth(1)
    before = strip.evaluate("each => each.toDataURL()")
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] / 2, "y": 9})
    assert _clock(page) == pytest.approx(steps / 2, abs=1)
    assert strip.evaluate("each => each.toDataURL()") != before


def test_it_switches_scenario_and_contender(page, report):
    page.keyboard.press("ArrowRight")
    first = _pixels(page)
    page.select_option("#replay-scenario", "1")
    assert _clock(page) == 0
    page.keyboard.press("Home")
    second = _pixels(page)
    assert second != first
    page.locator("#replay-scrub").fill("9")
    page.locator(".replay-panel select").nth(1).select_option("none")
    flight = _flight(report, 0, 1)
    frames = np.frombuffer(base64.b64decode(flight.positions), "<i2").reshape(flight.steps, N, 2)
    flying = int((frames[9, :, 0] != GONE).sum())
    conflicts = sum(code // (N * N) == 9 for code in flight.conflicts)
    assert (
        page.locator(".status")
        .nth(1)
        .inner_text()
        .startswith(f"{flying} flying, {conflicts} pair{'' if conflicts == 1 else 's'} in conflict, ")
    )


def test_losses_of_separation_are_counted_as_in_the_table(page, report):
    page.locator(".replay-panel select").nth(0).select_option("none")
    page.keyboard.press("End")
    counted = int(re.search(r"(\d+) LoS in all", page.locator(".status").nth(0).inner_text()).group(1))
    assert counted == report.evaluation.figures["none"].los_events[0] > 0


def test_an_ownship_shows_its_attention_beside_what_mvp_would_have_done(page, report):
    before = _pixels(page)
    page.select_option("#replay-ownship", "2")
    assert _pixels(page) != before
    flight = _flight(report, 3)
    weights = np.frombuffer(base64.b64decode(flight.attention.weights), "u1").reshape(-1, 3, 4)[
        2
    ]  # aircraft 2, step 0
    intruders = np.frombuffer(base64.b64decode(flight.attention.intruders), "<u2").reshape(-1, 4)[2]
    lines = str((weights / 255 >= 0.02).sum())
    assert _data(page) == {"step": "0", "ownship": "2", "lines": lines, "ghosts": "0", "arrows": "2"}
    rows = page.locator(".replay-panel").nth(1).locator(".looks tbody tr")
    for place, intruder in enumerate(intruders):
        cells = rows.nth(place).locator("td").all_inner_texts()
        assert cells[0].split(",")[0] == str(intruder)
        assert cells[2:] == [f"{round(weight / 2.55)} %" for weight in weights[:, place].tolist()]
    decision = np.frombuffer(base64.b64decode(flight.decisions), DECISION)[2]
    table = page.locator(".replay-panel").nth(1).locator(".decisions")
    for row, name in enumerate(("turn", "mvp_turn")):
        turn = float(decision[name]) / 127 * 45
        side = "left" if turn < 0 else "right"
        text = f"{abs(turn):.1f}° {side}" if round(abs(turn), 1) else "straight on"
        assert table.locator("tbody tr").nth(row).locator("td").first.inner_text() == text


def test_one_without_attention_shows_the_arrows_only(page):
    page.select_option("#replay-ownship", "2")
    assert _data(page, 0) == {"step": "0", "ownship": "2", "lines": "0", "ghosts": "0", "arrows": "2"}
    assert "no attention to show" in page.locator(".note").nth(0).inner_text()
    decisions = page.locator(".decisions").nth(0).locator("tbody tr")
    assert decisions.nth(0).locator("td").all_inner_texts() == decisions.nth(1).locator("td").all_inner_texts()


def test_heads_can_be_hidden_and_differ_in_more_than_colour(page):
    page.select_option("#replay-ownship", "2")
    lines = int(_data(page)["lines"])
    seen = _pixels(page)
    page.locator(".replay-panel").nth(1).get_by_label("head 2").uncheck()
    assert int(_data(page)["lines"]) < lines
    assert _pixels(page) != seen
    looks = (
        page.locator(".replay-panel")
        .nth(1)
        .locator(".sample path")
        .evaluate_all(
            "all => all.filter((each) => each.style.strokeDasharray).map((each) => "
            "[each.style.strokeDasharray, each.style.strokeWidth])"
        )
    )
    assert len(looks) == 3
    assert all(len(set(column)) == 3 for column in zip(*looks, strict=True))


def test_an_ownship_is_chosen_by_a_click_and_dropped_by_another(page, report):
    flight = _flight(report, 3)
    frame = np.frombuffer(base64.b64decode(flight.positions), "<i2").reshape(flight.steps, N, 2)[0]
    box = page.locator(".picture").nth(1).bounding_box()
    scale = box["width"] / 32768
    place = {
        "x": box["width"] / 2 + float(frame[4, 0]) * scale + 3,
        "y": box["width"] / 2 - float(frame[4, 1]) * scale + 3,
    }
    page.locator(".picture").nth(1).click(position=place)
    assert page.input_value("#replay-ownship") == "4"
    assert _data(page, 0)["ownship"] == _data(page, 1)["ownship"] == "4"
    page.locator(".picture").nth(1).click(position=place)
    assert _data(page)["ownship"] == ""
    assert page.locator(".ownship").nth(1).is_hidden()


def test_everything_works_by_keyboard(page):
    press = page.keyboard.press
    press("ArrowRight")
    assert _clock(page) == 1
    press("Shift+ArrowRight")
    assert _clock(page) == 11
    press("ArrowLeft")
    assert _clock(page) == 10
    press("Home")
    press("o")
    assert _data(page)["ownship"] == "0"
    press("o")
    press("Shift+O")
    assert _data(page)["ownship"] == "0"
    lines, wide = int(_data(page)["lines"]), _pixels(page)
    press("1")
    assert int(_data(page)["lines"]) < lines
    press("1")
    press("z")
    assert page.is_checked("#replay-zoom")
    assert _pixels(page) != wide
    press("Escape")
    assert _data(page)["ownship"] == ""
    speed = float(page.input_value("#replay-speed"))
    press("+")
    assert float(page.input_value("#replay-speed")) > speed
    press(" ")
    assert page.inner_text("#replay-play") == "Pause"
    press(" ")
    assert page.inner_text("#replay-play") == "Play"


def test_controls_keep_their_own_keys_and_show_the_focus(page):
    for name, key in (("play", "Enter"), ("zoom", " ")):
        page.focus(f"#replay-{name}")
        page.keyboard.press(key)
    assert page.inner_text("#replay-play") == "Pause"
    assert page.is_checked("#replay-zoom")
    order = []
    page.focus("#replay")
    for _ in range(9):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert order[1:8] == [
        f"replay-{name}" for name in ("play", "scrub", "scenario", "speed", "ownship", "zoom", "conflict")
    ]


def test_the_next_conflict_is_found(page, report):
    page.locator(".replay-panel select").nth(1).select_option("mvp")
    last: dict[int, int] = {}
    begins: dict[int, set[int]] = {}
    for code in _flight(report, 1).conflicts:
        step, pair = divmod(code, N * N)
        if step - last.get(pair, -99) > 10:  # a pair that was not in conflict in the ten seconds before
            begins.setdefault(step, set()).add(pair)
        last[pair] = step
    later = [step for step in begins if step]
    assert len(later) >= 2
    for step in later[:2]:
        page.keyboard.press("c")
        assert _clock(page) == step
        assert int(_data(page)["ownship"]) in {pair // N for pair in begins[step]}
    page.keyboard.press("End")
    page.click("#replay-conflict")
    assert _clock(page) == next(iter(begins))


def _side(page: Any) -> float:
    return float(page.locator(".picture").first.evaluate("each => each.clientWidth"))


def _centre_of(page: Any, flight: replay.Flight, aircraft: int, panel: int = 1) -> tuple[int, int]:
    frame = np.frombuffer(base64.b64decode(flight.positions), "<i2").reshape(flight.steps, N, 2)[0]
    box = page.locator(".picture").nth(panel).bounding_box()
    x, y = (float(part) * _side(page) / 32768 for part in frame[aircraft])
    middle = box["width"] / 2
    return round(box["x"] + middle + x), round(box["y"] + middle - y)  # a mouse has whole pixels


def _drag(page: Any, start: tuple[float, float], by: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0], start[1] + by[1], steps=3)


def _decisions(page: Any, panel: int = 1) -> list[str]:
    return page.locator(".decisions").nth(panel).locator("tbody td").all_inner_texts()


def test_a_dragged_aircraft_changes_what_policy_and_mvp_do(page, report):
    """By as much as the policy and MVP say of that traffic in Python."""
    page.locator("#replay").scroll_into_view_if_needed()
    before, recorded = _pixels(page), _flight(report, 3)
    start_at, other = _centre_of(page, recorded, 2), _centre_of(page, recorded, 4)
    halfway = tuple(round(0.6 * (there - here)) for here, there in zip(start_at, other, strict=True))
    page.select_option("#replay-ownship", "4")
    unmoved = _decisions(page)
    _drag(page, start_at, halfway)
    while_held = _decisions(page)
    page.mouse.up()
    assert while_held == _decisions(page) != unmoved
    assert "moved by hand" in page.locator(".status").nth(1).inner_text()
    assert "moved by hand" not in page.locator(".status").nth(0).inner_text()
    assert _data(page)["ownship"] == "4"  # the one that was chosen, not the one that was dragged

    world, metres = report.evaluation.plan.world, report.replay.unit_m * 32768 / _side(page)
    traffic = World(world, report.evaluation.plan.seed, [0]).traffic
    traffic.east_m[0, 2] += halfway[0] * metres
    traffic.north_m[0, 2] -= halfway[1] * metres
    wanted = advise(teachers.make("mvp", world), world, traffic, pairs_of(traffic)).action[0, 4, 0] * 45
    turns = [re.fullmatch(r"([\d.]+)° (left|right)", text) for text in _decisions(page)[::2]]
    angles = [float(turn[1]) * (-1 if turn[2] == "left" else 1) if turn else 0.0 for turn in turns]
    assert angles[1] == pytest.approx(wanted.item(), abs=0.3)  # what is kept of speed and track is rounded
    page.click("#replay-back")
    assert page.is_disabled("#replay-back")
    assert _decisions(page) == unmoved
    page.keyboard.press("Escape")
    assert _pixels(page) == before


def test_an_aircraft_is_moved_by_keys_and_put_back_when_time_goes_on(page):
    page.keyboard.press("d")
    assert page.is_disabled("#replay-back")  # there is no ownship
    page.keyboard.press("o")
    before = _pixels(page)
    for key in ("d", "w", "Shift+D"):
        page.keyboard.press(key)
    assert _pixels(page) != before
    for panel in (0, 1):
        assert "moved by hand" in page.locator(".status").nth(panel).inner_text()
    for key in ("a", "s", "Shift+A"):
        page.keyboard.press(key)
    assert "moved by hand" in page.locator(".status").nth(1).inner_text()
    page.keyboard.press("b")
    assert _pixels(page) == before
    page.keyboard.press("s")
    page.keyboard.press("ArrowRight")
    assert page.is_disabled("#replay-back")
    assert "moved by hand" not in page.locator(".status").nth(1).inner_text()


def test_what_was_recorded_is_what_the_page_computes(page, report):
    """An aircraft that is put back exactly where it was by hand decides as it did: up to how states are kept."""
    for ownship in range(N):
        page.select_option("#replay-ownship", str(ownship))
        recorded = _decisions(page)
        for key in ("w", "s"):
            page.keyboard.press(key)
        for text, other in zip(recorded, _decisions(page), strict=True):
            numbers = [float(re.search(r"[−+]?[\d.]+|$", each)[0].replace("−", "-") or 0) for each in (text, other)]
            assert abs(numbers[0] - numbers[1]) < 0.6, (text, other)
        page.keyboard.press("b")


def test_who_is_flown_by_the_fallback_is_marked(browser, tmp_path, make_run):
    """Two 60 m apart in the first step, whose policy is untrained; the third is alone."""
    run = f"{make_run(tmp_path / 'run')}@rta"
    world = WorldConfig(aircraft=3, max_steps=10, scenario="inside")
    plan = EvaluationConfig(tuple(name_all([run], "none")), world, scenarios=1, bootstrap=100)
    loaded = load_all(plan)
    flights = replay.record(list(loaded.values()), world, plan.seed, [0])
    path = tmp_path / "report.html"
    path.write_bytes(render(Report(evaluate(plan, loaded), replay=flights)))
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.focus("#replay")
    assert "handed" not in _data(page, 0)
    first, reason = _data(page, 1)["handed"].split(",")[0], "is flown by the fallback: separation is lost."
    page.select_option("#replay-ownship", first)
    assert page.locator(".note").nth(1).inner_text() == f"Aircraft {first} {reason}"
    page.keyboard.press("w")  # moved by hand, the policy decides
    assert _data(page, 1)["handed"] == ""
    legend = page.locator(".legend").inner_text()
    assert "Dashed rings with a letter" in legend
    assert all(reason in legend for reason in REASONS)
    assert "neighbour" not in legend
    page.close()
    assert said == []


def test_who_flies_what_in_a_mix_is_said(browser, tmp_path, make_run):
    """Who is moved by hand is not decided for by a policy that does not fly it, nor seen if it is silent."""
    run = str(make_run(tmp_path / "run", view="ego:intruders=5"))
    world = WorldConfig(aircraft=6, max_steps=10, scenario="inside")
    plan = EvaluationConfig(
        tuple(name_all([run], "none")), world, scenarios=1, bootstrap=100, mix="0.5=self,0.25=mvp,0.25=silent"
    )
    loaded = load_all(plan)
    flights = replay.record(list(loaded.values()), world, plan.seed, [0], shares=plan.shares)
    path = tmp_path / "report.html"
    path.write_bytes(render(Report(evaluate(plan, loaded), replay=flights)))
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.focus("#replay")
    assert "Nobody knows of those that are silent" in page.locator(".legend").inner_text()
    flown_by = flights.scenarios[0].flown_by
    for is_moved in (False, True):
        for number, who in enumerate(flown_by):
            page.select_option("#replay-ownship", str(number))
            page.focus("#replay")
            if is_moved:
                page.keyboard.press("w")
            note = page.locator(".note").nth(1).inner_text()
            is_own = who == "self"
            assert note.startswith(f"Aircraft {number} " + ("looks at" if is_own else f"is flown by {who}, not by"))
            rows = page.locator(".looks").nth(1).locator("tr[data-intruder]")
            assert rows.first.is_visible() == is_own
            shown = [row.get_attribute("data-intruder") for row in rows.all()] if is_own else []
            assert "silent" not in [flown_by[int(each)] for each in shown if each]
            assert _data(page, 1)["arrows"] == ("2" if is_own or not is_moved else "1")
            page.keyboard.press("b")
    page.close()
    assert said == []


def test_what_an_ownship_perceives_is_shown(browser, tmp_path):
    world = WorldConfig(aircraft=8, max_steps=20, surveillance="noise:position_m=20:reception=0.2:drop_s=2")
    plan = EvaluationConfig(tuple(name_all([], "none,mvp")), world, scenarios=1, bootstrap=100)
    loaded = load_all(plan)
    flights = replay.record(list(loaded.values()), world, plan.seed, [0])
    path = tmp_path / "report.html"
    path.write_bytes(render(Report(evaluate(plan, loaded), replay=flights)))
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.focus("#replay")
    page.locator("#replay-scrub").fill("6")
    assert _data(page)["ghosts"] == "0"
    page.keyboard.press("o")
    assert _data(page)["ghosts"] == "7"
    seen = _pixels(page)
    page.keyboard.press("g")
    assert not page.is_checked("#replay-ghosts")
    assert _data(page)["ghosts"] == "0"
    assert _pixels(page) != seen
    assert "a question mark" in page.locator(".legend").inner_text()
    page.close()
    assert said == []


def test_each_aircraft_has_a_zone_of_its_own(browser, tmp_path):
    fleet = "m600=0.5,wing(protected_zone_m=300)=0.5"
    world = WorldConfig(aircraft=8, max_steps=60, fleet=fleet)
    plan = EvaluationConfig(tuple(name_all([], "none")), world, scenarios=1, bootstrap=100)
    loaded = load_all(plan)
    evaluation = evaluate(plan, loaded)
    flights = replay.record(list(loaded.values()), world, plan.seed, [0])
    alike = flights._replace(scenarios=[flights.scenarios[0]._replace(zone_scales=[])])
    pixels, losses = [], []
    for name, shown in (("own", flights), ("alike", alike)):
        path = tmp_path / f"{name}.html"
        path.write_bytes(render(Report(evaluation, replay=shown)))
        page = browser.new_page(viewport={"width": 900, "height": 900})
        page.goto(path.as_uri())
        page.focus("#replay")
        pixels.append(_pixels(page, 0))
        page.keyboard.press("End")
        losses.append(int(re.search(r"(\d+) LoS in all", page.locator(".status").first.inner_text()).group(1)))
        page.close()
    assert pixels[0] != pixels[1]
    assert losses[0] == evaluation.figures["none"].los_events[0] > losses[1]


def test_an_archive_from_before_aircraft_could_be_moved(browser, folder):
    """Its flights are shown as they were; nothing can be moved."""
    write_again(folder, folder / "report.html")
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((folder / "report.html").as_uri())
    page.focus("#replay")
    page.keyboard.press("o")
    before = _pixels(page)
    page.keyboard.press("d")
    assert _pixels(page) == before
    assert page.is_disabled("#replay-back")
    assert "Drag" not in page.locator("#replay p").first.inner_text()
    page.close()
    assert said == []


def test_a_finger_drags_only_once_an_ownship_is_chosen(browser, address, report):
    context = browser.new_context(viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(address)
    page.locator(".picture").nth(0).scroll_into_view_if_needed()
    x, y = _centre_of(page, _flight(report, 1), 3, panel=0)
    touch = """([x, y, kind]) => document.querySelector(".picture").dispatchEvent(new PointerEvent(kind, {
        clientX: x, clientY: y, pointerType: "touch", pointerId: 1, button: 0, bubbles: true }))"""
    page.evaluate("() => { Element.prototype.setPointerCapture = () => {}; }")  # of events that are made up
    for is_chosen in (False, True):
        for kind, away in (("pointerdown", 0), ("pointermove", 40), ("pointerup", 40)):
            page.evaluate(touch, [x + away, y + away, kind])
        assert page.is_disabled("#replay-back") != is_chosen
        page.select_option("#replay-ownship", "3")
    context.close()


def test_in_a_narrow_window_nothing_overflows(open_page):
    page = open_page(360, 740)
    page.focus("#replay")
    page.keyboard.press("c")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate(OVERFLOWING) == []
    assert page.locator(".picture").nth(0).bounding_box()["width"] > 280
    for cell in page.locator(".replay-panel td, .replay-panel th").all():
        assert cell.evaluate("each => each.scrollWidth <= each.clientWidth + 1"), cell.inner_text()


def test_dark_is_drawn_in_other_colours(open_page):
    light, dark = (open_page(color_scheme=scheme) for scheme in ("light", "dark"))
    colours = [page.evaluate("getComputedStyle(document.body).backgroundColor") for page in (light, dark)]
    assert colours[0] != colours[1]
    assert _pixels(light) != _pixels(dark)
    light.emulate_media(color_scheme="dark")
    assert _pixels(light) == _pixels(dark)


@pytest.mark.slow
def test_sixty_aircraft_are_drawn_smoothly(browser, tmp_path):
    """What one frame costs the script; how often frames come depends on the machine, and is measured by hand."""
    world = WorldConfig(aircraft=60)
    plan = EvaluationConfig(tuple(name_all(["pretrained:clone"], "mvp")), world, scenarios=1, bootstrap=100)
    loaded = load_all(plan)
    flights = replay.record([loaded[each.name] for each in plan.contenders], world, plan.seed, [0])
    path = tmp_path / "report.html"
    path.write_bytes(render(Report(evaluate(plan, loaded), replay=flights)))
    assert len(json.dumps(flights)) < 2e6
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    page.focus("#replay")
    page.keyboard.press("c")
    costs = page.evaluate(
        """() => Array.from({ length: 200 }, (_, i) => {
            const scrub = document.getElementById("replay-scrub"), start = performance.now();
            scrub.value = String(10 + 0.27 * i);
            scrub.dispatchEvent(new Event("input"));
            return performance.now() - start;
        }).sort((a, b) => a - b)"""
    )
    moved = page.evaluate(
        """() => Array.from({ length: 100 }, (_, i) => {
            const event = new KeyboardEvent("keydown", { key: "wasd"[i % 4], bubbles: true });
            const start = performance.now();
            document.getElementById("replay").dispatchEvent(event);
            return performance.now() - start;
        }).sort((a, b) => a - b)"""
    )
    page.close()
    # of those that no other process has interrupted
    assert costs[20] < 8, "half of what a frame has at 60 frames/s"
    assert moved[10] < 16, "a frame at 60 frames/s, for both panels"


def test_traffic_that_goes_on_is_shown(browser, tmp_path, monkeypatch):
    """Who hovers, enters later, flies a route, and where nobody should fly."""
    square = 1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
    layout = Layout(
        square,
        np.array([[-500.0, 0], [0, 0], [700, 700]]),
        np.array([[-500.0, 45], [0, 99], [700, 700]]),
        entry_s=np.array([0.0, 5, 0]),
        routes_m=(np.array([[-500.0, 500]]), np.zeros((0, 2)), np.zeros((0, 2))),
        hovers=np.array([False, False, True]),
        no_fly_m=(square[:3] / 5,),
    )
    for module in (start, replay):
        monkeypatch.setattr(module, "lay_out", lambda config, seed, episode: layout)
    world = WorldConfig(aircraft=3, max_steps=90)
    plan = EvaluationConfig(tuple(name_all([], "none")), world, scenarios=2, bootstrap=100)
    loaded = load_all(plan)
    flights = replay.record(list(loaded.values()), world, plan.seed, [0])
    path = tmp_path / "report.html"
    path.write_bytes(render(Report(evaluate(plan, loaded), replay=flights)))
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.focus("#replay")
    status, note = page.locator(".status").first, page.locator(".note").first
    assert status.inner_text().startswith("1 flying, 1 hovering, 1 yet to enter, 0 pairs in conflict")
    page.select_option("#replay-ownship", "1")
    assert note.inner_text() == "Aircraft 1 enters at 5 s."
    assert _data(page, 0)["arrows"] == "0"
    page.select_option("#replay-ownship", "2")
    assert note.inner_text() == "Aircraft 2 hovers: nobody flies it."
    assert _data(page, 0) == {"step": "0", "ownship": "2", "lines": "0", "ghosts": "0", "arrows": "0"}
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+O")  # the last one that somebody flies now
    assert _data(page, 0)["ownship"] == "0"
    before = _pixels(page, 0)
    page.locator("#replay-scrub").fill("6")
    assert status.inner_text().startswith("2 flying, 1 hovering, 0 pairs in conflict")
    assert _pixels(page, 0) != before
    assert page.locator(".legend").inner_text().count("Hatched: areas that nobody should enter.") == 1
    page.keyboard.press("End")
    assert status.inner_text() == "all have ended; 0 LoS in all"
    page.close()
    assert said == []
