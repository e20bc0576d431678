"""What the built pages have beyond their text: tables of options, change log, networks' log, notebooks."""

import json
import re
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {"../CHANGELOG.md": "changelog.md", "../train/LOG.md": "log.md"}
"""Pages that lie elsewhere in the repository, as the pages here link to them, and their names in the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, and each notebook as a page."""
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / "docs" / path).read_text(encoding="utf-8")))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page_of(notebook)))
    return files


def page_of(notebook: Path) -> str:
    """Return a notebook as Markdown: its text, and its code without what it puts out."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    parts = [f"```python\n{text}\n```" if is_code else text for text, is_code in texts]
    return "\n\n".join([*parts, f"[Download the notebook]({notebook.name}){{: download}}"])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables of options, and lead links to pages that lie elsewhere to their place in the site."""
    markdown = re.sub(r"<!-- options: (.+?) -->", lambda found: options(found[1].split()), markdown)
    markdown = re.sub(r"\]\(docs/([\w/-]+\.(?:md|ipynb))", r"](\1", markdown)
    markdown = re.sub(r"\]\(([\w/-]+)\.ipynb\)(?!\{)", r"](\1.md)", markdown)
    for path, name in OUTSIDE.items():
        markdown = markdown.replace(f"]({path}", f"]({name}")
    return markdown


def options(path: list[str]) -> str:
    """Return the usage line of a command and a table of its options."""
    from skyclone.cli import skyclone

    command: click.Command = skyclone
    context = click.Context(command, info_name="skyclone")
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None, f"no command {' '.join(path)}"
        command = found
        context = click.Context(command, parent=context, info_name=name)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [f"| `{name}` | {_escaped(text)} |" for name, text in filter(None, records) if "--help" not in name]
    usage = f"```\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    return "\n".join([usage, *(["| option | meaning |", "|---|---|", *rows] if rows else [])])


def _escaped(text: str) -> str:
    """Return help as a cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("[", "\\[").replace("<", "&lt;")
