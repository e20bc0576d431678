"""The commands of the documentation: each is shown, and what is shown can be typed like that."""

import re
import shlex
import string
from pathlib import Path

import click
import pytest
from command_lines import command_paths, parse

from skyclone.cli import skyclone

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = {"first": "0", "last": "4", "SLURM_CPUS_PER_TASK": "4"}
"""Variables of the shell in the scripts that are shown."""


def blocks(page: Path) -> list[str]:
    """Return the lines of a page's blocks of code, one command each."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(?!python)\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.replace("\\\n", " ").splitlines()]


def spans(page: Path) -> list[str]:
    """Return what the text of a page quotes as code; commands may be named there without their arguments."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose)]


def arguments(line: str) -> list[str] | None:
    """Return the arguments of `skyclone` in a line, None where it calls something else."""
    found = re.match(r"(?:\$ )?(?:\w+=\S+ )*(?:torchrun .*-m |python -m )?skyclone (.+)", line)
    if not found or "..." in line or "[" in line or "_COMPLETE=" in line or line.endswith("--help"):
        return None
    command = re.sub(r" > \S+", "", found[1])
    return shlex.split(string.Template(command).safe_substitute(SHELL), comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_parses(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.toml").touch()  # a world's file is read as it is named
    for line, is_whole in [(line, True) for line in blocks(page)] + [(line, False) for line in spans(page)]:
        given = arguments(line)
        if given is None:
            continue
        try:
            parse(given)
        except click.UsageError as error:
            if is_whole or not isinstance(error, click.MissingParameter):
                pytest.fail(f"{page.name} shows `{line}`: {error.format_message()}")


def test_what_cannot_be_typed_is_noticed() -> None:
    for line in ("skyclone fly", "skyclone collect --out d --plane 3", "skyclone collect --out d --aircraft none"):
        with pytest.raises(click.UsageError):
            parse(arguments(line) or [])


@pytest.mark.parametrize("path", command_paths(skyclone))
def test_every_command_has_its_section(path: str) -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert re.search(rf"^##+ skyclone {path}$", text, flags=re.MULTILINE)
    assert f"<!-- options: {path} -->" in text or path == "datasets"


def test_every_make_target_that_is_shown_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for line in blocks(page) + spans(page):
            if line.startswith("make "):
                words = shlex.split(line, comments=True)[1:]
                for target in (word for word in words if "=" not in word):
                    assert f"\n{target}:" in makefile, f"{page.name} shows `{line}`"
                for variable in (word.partition("=")[0] for word in words if "=" in word):
                    assert re.search(rf"^{variable} *\?=", makefile, re.MULTILINE), f"{page.name} shows `{line}`"
