"""One report with everything in it, for all tests of the report."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skyclone.evaluate.evaluation.contenders import Loaded
from skyclone.evaluate.evaluation.evaluation import Evaluation
from skyclone.evaluate.report import archive, content, page
from skyclone.evaluate.report.content import Report
from skyclone.evaluate.report.learning_curves import Curve

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="session")
def report(evaluated: tuple[Evaluation, dict[str, Loaded]]) -> Report:
    """The report on `evaluated`: two scenarios for the attention and the replay, learning curves of one run."""
    evaluation, loaded = evaluated
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(content, "WATCHED_SCENARIOS", 2)
        patched.setattr(content, "REPLAYED_SCENARIOS", 2)
        made = content.gather(evaluation, loaded, "skyclone evaluate a b", "2030-01-01 12:00 UTC")
    run = next(iter(made.attention))
    curves = {run: {"imitation": [Curve("training", [1.0, 2.0], [0.5, 0.1], "iteration", "loss")]}}
    return replace(made, curves=curves, code="skyclone 0.0.1; torch 1.0")


@pytest.fixture(scope="session")
def html(report: Report) -> str:
    """Its page."""
    return page.render(report).decode()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium for all tests."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (extra 'dev')")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an archive of three contenders, written by the skyclone of 2026-11-25."""
    shutil.copy(Path(__file__).with_name("archive_of_version_1.json"), tmp_path / archive.NAME)
    return tmp_path
