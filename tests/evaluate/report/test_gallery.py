import os
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from click.testing import CliRunner

from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.report import archive, gallery
from skyclone.evaluate.report.cli import gallery as command
from skyclone.evaluate.report.output import REPORT_NAME


@pytest.fixture
def reports(folder, report):
    """A folder with one report at its top, and one below with a name that needs escapes."""
    below = folder / "a & b" / "<i>#1"
    below.mkdir(parents=True)
    (below / archive.NAME).write_bytes(archive.write(report))
    (below / REPORT_NAME).write_text("the page")
    (folder / REPORT_NAME).write_text("the page")
    return folder


def test_every_report_is_in_it(reports, report):
    path, left_out = gallery.write(reports)
    page = path.read_text()
    assert (path.name, left_out) == ("index.html", [])
    assert page.count("<section>") == page.count("data:image/png;base64,") == 2
    assert 'href="a%20%26%20b/%3Ci%3E%231/report.html"' in page
    assert "<i>#1" not in page
    assert "<i>#1" in unescape(page)
    for name in report.evaluation.plan.short_names.values():
        assert f"<th scope=row>{name}</th>" in page
    assert gallery.write(reports)[0].read_text() == page  # over itself


def test_what_cannot_be_shown_is_named(reports):
    (reports / REPORT_NAME).unlink()
    damaged = reports / "damaged"
    damaged.mkdir()
    (damaged / REPORT_NAME).write_text("")
    (damaged / archive.NAME).write_text("{")
    _, left_out = gallery.write(reports)
    assert len(left_out) == 2
    assert any(f"skyclone report {reports}" in line for line in left_out)
    result = CliRunner().invoke(command, [str(reports)])
    assert result.exit_code == 0
    assert "damaged" in result.stderr


def test_without_reports_there_is_none(tmp_path):
    with pytest.raises(ConfigurationError, match="got none"):
        gallery.write(tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_a_page_of_somebody_else_is_left_alone(reports):
    (reports / "index.html").write_text("mine")
    with pytest.raises(ConfigurationError, match="expected no file or a gallery"):
        gallery.write(reports)
    assert (reports / "index.html").read_text() == "mine"


def test_a_report_that_contradicts_itself_and_a_name_that_is_no_text_hinder_no_other(reports, report):
    other = reports / "other"
    other.mkdir()
    (other / REPORT_NAME).write_text("the page")
    empty = replace(report, replay=report.replay._replace(contenders=[]))
    (other / archive.NAME).write_bytes(archive.write(empty))
    latin = Path(os.fsdecode(os.fsencode(reports) + b"/lat\xe4in"))
    try:
        (reports / "a & b").rename(latin)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    path, left_out = gallery.write(reports)
    assert [line.partition(":")[0] for line in left_out] == [str(other / archive.NAME)]
    assert "contradict each other" in left_out[0]
    assert 'href="lat%E4in/%3Ci%3E%231/report.html"' in path.read_text()
