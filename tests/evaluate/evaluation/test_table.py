import re
from dataclasses import replace

from skyclone.evaluate.evaluation.config import Contender
from skyclone.evaluate.evaluation.table import WIDTH, render, shortened


def test_the_table_is_aligned_and_fits_the_screen(evaluated):
    text = render(evaluated[0])
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    tables = (
        ("LoS events", "time in LoS (s)", "NMAC events", "IPR (%)"),
        ("waypoint rate (%)", "stalled (%)", "left the sector (%)", "extra distance (%)"),
    )
    for first, headings in zip((0, 6), tables, strict=True):
        head, rows = lines[first], lines[first + 1 : first + 5]
        assert [row.split()[0] for row in rows] == ["none", "mvp", "clone", "tuned"]
        assert re.split("  +", head.strip()) == list(headings)
        for heading in headings[:3]:
            assert len({row.index("[", head.index(heading)) for row in rows if "[" in row}) == 1
    assert "6 scenarios of 6 aircraft" in text
    assert "seed 1000000" in text


def test_long_names_keep_their_end(evaluated):
    evaluation = evaluated[0]
    names = {
        each.name: each.name if not each.is_run else "r" * 40 + each.name[-5:]
        for each in evaluation.plan.contenders
    }
    contenders = tuple(Contender(names[each.name], each.is_run) for each in evaluation.plan.contenders)
    renamed = replace(
        evaluation,
        plan=replace(evaluation.plan, contenders=contenders),
        estimates={names[name]: estimates for name, estimates in evaluation.estimates.items()},
        differences={},
    )
    text = render(renamed)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "rclone " in text
    assert shortened("abcdef", 4) == "…def"
    assert shortened("abc", 4) == "abc"


def test_another_simulator_is_named(evaluated):
    evaluation = evaluated[0]
    world = replace(evaluation.plan.world, simulator="bluesky")
    assert "bluesky" not in render(evaluation)
    elsewhere = replace(evaluation, plan=replace(evaluation.plan, world=world))
    assert "seed 1000000, in bluesky)." in " ".join(render(elsewhere).split())


def test_one_scenario_is_singular(evaluated):
    plan = replace(evaluated[0].plan, scenarios=1)
    text = " ".join(render(replace(evaluated[0], plan=plan)).split())
    assert "1 scenario of 6 aircraft" in text
    assert "One scenario is too few to tell" in text
    assert "1 scenarios" not in text
