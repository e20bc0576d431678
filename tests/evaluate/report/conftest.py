"""The page of a report with everything in it, and a browser, for all tests of the report."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skyclone.evaluate.report import archive, page
from skyclone.evaluate.report.content import Report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


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
