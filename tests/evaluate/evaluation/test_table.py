from dataclasses import replace

from skyclone.evaluate.evaluation.config import Contender
from skyclone.evaluate.evaluation.table import WIDTH, render, shortened


def test_the_table_is_aligned_and_fits_the_screen(evaluated):
    text = render(evaluated[0])
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    head, rows = lines[0], lines[1:5]
    assert [row.split()[0] for row in rows] == ["none", "mvp", "clone", "tuned"]
    for heading in ("LoS events", "IPR (%)", "extra distance (%)", "waypoint rate (%)"):
        assert heading in head
    starts = [{row.index("[", head.index(heading)) for row in rows} for heading in ("LoS events", "waypoint rate")]
    assert all(len(start) == 1 for start in starts)
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
