from dataclasses import replace

import pytest
from click.testing import CliRunner

from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.cli import evaluate
from skyclone.evaluate.report import archive
from skyclone.evaluate.report.archive import ArchiveError
from skyclone.evaluate.report.cli import report as report_command

OWN = """00:00:00.00>CRE D1,M600,52.000,4.370,0,100,17.5
00:00:00.00>DEST D1 52.004 4.370
00:00:00.00>CRE D2,M600,52.004,4.370,180,100,17.5
00:00:00.00>DEST D2 52.000 4.370
"""


def _call(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result


def test_an_own_scenario_is_reported_again_without_its_file(tmp_path):
    own, out = tmp_path / "own.scn", tmp_path / "out"
    own.write_text(OWN)
    _call(evaluate, "--scenario", f"file:{own}", "--bootstrap", 100, "--out", out)
    page = (out / "report.html").read_bytes()
    own.unlink()
    for name in ("evaluation.json", "report.html"):
        (out / name).unlink()
    assert f"Report: {out / 'report.html'}" in _call(report_command, out).stderr
    assert (out / "report.html").read_bytes() == page
    again = tmp_path / "deep" / "page.html"
    assert f"Report: {again}" in _call(report_command, out, "--out", again).stderr
    assert again.read_bytes() == page
    with pytest.raises(ConfigurationError, match=r"expected a folder that can be written into, got: .* Choose"):
        _call(report_command, out, "--out", again / "page.html")


def test_a_folder_is_not_taken_for_the_report_s_file(tmp_path):
    with pytest.raises(ConfigurationError, match=r"expected the report's file, got the folder .*report\.html"):
        _call(report_command, tmp_path, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_an_archive(tmp_path):
    with pytest.raises(ArchiveError, match=r"there is none. Evaluate again: skyclone evaluate"):
        _call(report_command, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_replay_is_drawn_instead(folder, tmp_path):
    picture, animation = tmp_path / "deep" / "one.png", tmp_path / "ten.gif"
    assert "Replay:" in _call(report_command, folder, "--picture", picture, "--animation", animation).stderr
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert animation.read_bytes()[:6] == b"GIF89a"
    assert not (folder / "report.html").exists()
    _call(report_command, folder, "--picture", picture)  # over itself
    with pytest.raises(ConfigurationError, match=r"expected a file that ends on \.gif, got another name"):
        _call(report_command, folder, "--animation", tmp_path / "ten.png")
    picture.write_bytes(b"\x89PNG of somebody else")
    with pytest.raises(ConfigurationError, match="expected no file or a drawing of a replay"):
        _call(report_command, folder, "--picture", picture)


def test_a_replay_that_contradicts_itself_is_not_drawn(report, tmp_path):
    (tmp_path / archive.NAME).write_bytes(
        archive.write(replace(report, replay=report.replay._replace(scenarios=[])))
    )
    with pytest.raises(ArchiveError, match="its parts contradict each other"):
        _call(report_command, tmp_path, "--picture", tmp_path / "one.png")
    assert [path.name for path in tmp_path.iterdir()] == [archive.NAME]
