"""The notebooks of the documentation run from the first cell to the last, each in a process of its own.

Jupyter is not needed: the cells are Python, and what a cell ends with is shown as Jupyter would, by `_repr_html_`.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 100_000

RUNNER = """
import ast, json, sys, time

def display(thing):
    text = thing._repr_html_() if hasattr(thing, "_repr_html_") else repr(thing)
    print(f"shown: {text[:2000]}", flush=True)

with open(sys.argv[1], encoding="utf-8") as file:
    cells = ["".join(each["source"]) for each in json.load(file)["cells"] if each["cell_type"] == "code"]
names = {"__name__": "__main__", "display": display}
for number, cell in enumerate(cells, 1):
    tree = ast.parse(cell, f"cell {number}")
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        if shown is not None and not cell.endswith(";"):
            display(shown)
print(f"processor time: {time.process_time():.0f} s", file=sys.stderr)
"""
SHOWN = {"first-policy": ("Dataset", "Policy", "Evaluation"), "attention": ("Policy",)}
"""The tables that a notebook shows, by their titles."""


def cells_of(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    found: list[dict[str, Any]] = notebook["cells"]
    return found


def test_there_are_the_notebooks_that_are_checked() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_holds_no_outputs(path: Path) -> None:
    assert path.stat().st_size <= MOST_BYTES
    cells = cells_of(path)
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            ast.parse("".join(cell["source"]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_link_of_a_notebook_resolves(path: Path) -> None:
    text = "".join("".join(cell["source"]) for cell in cells_of(path) if cell["cell_type"] == "markdown")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets
    for target in targets:
        assert (FOLDER / target).is_file(), f"{path.name} links to {target}, which does not exist"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(path)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for title in SHOWN[path.stem]:
        assert f"shown: <div><div><b>{title}" in done.stdout
    assert not list(tmp_path.iterdir()), "it writes into the reader's folder"
