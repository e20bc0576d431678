"""The pages that `make docs` builds: complete, and readable from the disk without a network."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from skyclone.cli import skyclone

ROOT = Path(__file__).parents[2]
pytest.importorskip("material", reason="building the pages needs mkdocs-material (extra 'docs')")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages; a dead link or a page outside the navigation fails the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_fetches_nothing(site: Path) -> None:
    names = {page.stem for page in (ROOT / "docs").glob("*.md")} | {"log", "changelog"}
    assert names <= {page.stem for page in site.glob("*.html")}
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for tag in re.findall(r"<(?:script|link|img)\b[^>]*>", text):
            assert not re.search(r"(?:src|href)=\"https?:", tag), f"{page.name}: {tag}"


def test_every_option_is_in_its_table(site: Path) -> None:
    text = (site / "commands.html").read_text(encoding="utf-8")
    assert "options:" not in text, "a table was not filled in"
    context = click.Context(skyclone)
    for name in skyclone.list_commands(context):
        command = skyclone.get_command(context, name)
        assert command is not None
        for option in (each for each in command.params if isinstance(each, click.Option)):
            assert option.opts[0] in text, f"{name} {option.opts[0]}"
