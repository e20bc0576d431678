from dataclasses import replace

from skyclone.evaluate.report import attention_plots, plots
from skyclone.evaluate.report.learning_curves import Curve
from skyclone.evaluate.report.plot_style import mark, marks_of


def test_thirty_six_contenders_look_different() -> None:
    marks = [mark(index) for index in range(36)]
    assert len({(each.colour, each.marker) for each in marks}) == 36
    assert marks[0] == marks_of(["none", "mvp"])["mvp"]


def test_marks_as_svg_writes_them() -> None:
    none, mvp, run = marks_of(["none", "mvp", "run"]).values()
    assert (none.variable, none.stroke) == ("--c0", "1.5 2.25")
    assert (mvp.variable, mvp.stroke) == ("--c1", "none")
    assert (run.variable, run.stroke, run.shape) == ("--c2", "7.5 3", "M13 3h8v8h-8z")


def test_without_masking_there_is_no_plot_of_it(report):
    quiet = replace(next(iter(report.attention.values())), masking=None, masking_in_conflict=None)
    assert attention_plots.largest_change(quiet, "x") == attention_plots.change(None, "x") == ""


def test_names_that_are_no_utf_8_are_written_with_escapes() -> None:
    svg = plots.learning([Curve(name, [1, 2], [3, 4], "step", "d\udcff") for name in ("a\udcff", "b")], "x")
    assert r"d\udcff" in svg
    assert r"a\udcff" in svg
