"""The house holds: what is installed, which way imports run, how large its parts are, where their tests lie."""

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("datasets", "collect", "train", "evaluate")

ORDER = """
datasets.errors datasets.machine
datasets.numbers
datasets.provenance
datasets.config datasets.console datasets.notebook
datasets.spec
datasets.options
datasets.traffic
datasets.files
datasets.effort
datasets.loading
datasets.dataset
datasets.conversion datasets.labels datasets.selection
datasets.cli
datasets
collect.arithmetic
collect.surveillance
collect.airspace
collect.teachers collect.scenarios collect.simulators
collect.kernels
collect.flying
collect.environments
collect.collector collect.ownship_environment
collect.exports
collect.cli
collect
train.tensor_file train.networks
train.checkpoint
train.policy
train.runs
train.cloning
train.dagger train.finetuning
train
evaluate.metrics
evaluate.rare
evaluate.attention evaluate.evaluation
evaluate.deployment
evaluate.report evaluate.bluesky_resolution
evaluate.flights evaluate.recorded_flights
evaluate.comparison
evaluate.cli
evaluate
demo smoke
ctrl_c
cli
__main__
"""
"""From the ground up: a room imports from lines above its own, and from itself."""

TESTS_OF_NO_MODULE = {
    "test_hostile_options.py": "every option of every command",
    "test_killed_anywhere.py": "every command, killed, and on full disks",
    "test_makefile.py": "the Makefile",
    "test_metadata.py": "what files of others make commands do",
    "test_packaging.py": "the whole house",
    "test_without_posix.py": "every module, on a simulated Windows",
    "datasets/test_help.py": "the help of `options.py`, in groups and with examples",
    "datasets/test_fuzz.py": "damage, through every door of the floor",
    "datasets/test_readers.py": "other people's readers",
    "train/test_gpu.py": "every stage, on a GPU",
    "train/test_pretrained.py": "the weights that ship",
    "train/networks/test_networks.py": "every network alike",
    "train/networks/test_variants.py": "the parameters of every network",
    "train/finetuning/test_ppo_update.py": "the update of `ppo.py`, at length",
    "evaluate/report/test_browser.py": "the report in a browser",
    "evaluate/report/test_json.py": "the documented JSON",
}


def _modules() -> dict[str, Path]:
    """Return every module of the package by its name below `skyclone`."""
    found = {path.stem: path for path in ROOT.glob("*.py") if path.stem != "__init__"}
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(name: str) -> Iterator[str]:
    """Yield the modules of the package that one names: nested imports and those for type checkers included."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("skyclone.") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            if node.level:
                module = package[: len(package) + 1 - node.level] + module
            elif module[0] == "skyclone":
                module = module[1:]
            else:
                continue
            for alias in node.names:
                below = ".".join([*module, alias.name])
                yield below if below in MODULES else ".".join(module)


@cache
def graph() -> dict[str, set[str]]:
    """Return which modules of the package each one names; not above: who only collects reads no code."""
    return {name: {other for other in _imports(name) if other in MODULES and other != name} for name in MODULES}


LINES = [line.split() for line in ORDER.split("\n") if line]


def _room(module: str) -> tuple[int, str]:
    """Return the line of `ORDER` and the room a module is in."""
    found = [
        (line, room)
        for line, rooms in enumerate(LINES)
        for room in rooms
        if module == room or (module.startswith(f"{room}.") and room not in FLOORS)
    ]
    assert found, f"{module} is in no room: move it into one, or give it a place in ORDER (tests/test_packaging.py)"
    return found[0]


def test_no_imports_run_in_a_circle() -> None:
    TopologicalSorter(graph()).prepare()  # raises CycleError, with the circle


@pytest.mark.parametrize("floor", [*FLOORS, "cli"])
def test_imports_run_one_way(floor: str) -> None:
    for module in (name for name in MODULES if name.split(".")[0] == floor):
        line, room = _room(module)
        for other in graph()[module]:
            below, found = _room(other)
            assert found == room or below < line, f"{module} imports {other}, which stands no lower"


@pytest.mark.parametrize("floor", FLOORS)
def test_parts_are_small(floor: str) -> None:
    """At most 14 modules a folder, 400 lines a module, 60 lines a function."""
    for folder in {path.parent for path in (ROOT / floor).rglob("*.py")}:
        count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        assert count <= 14, f"{folder.relative_to(ROOT)} has {count} modules"
    for path in (ROOT / floor).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                assert size <= 60, f"{path.relative_to(ROOT)}: {node.name} has {size} lines"


def test_tests_mirror_the_source() -> None:
    tests = [path for floor in FLOORS for path in (ROOT / "tests" / floor).rglob("test_*.py")]
    without = set()
    for path in [*tests, *(ROOT / "tests").glob("test_*.py")]:
        place = path.relative_to(ROOT / "tests")
        if not (ROOT / place.with_name(place.name.removeprefix("test_"))).exists():
            without.add(place.as_posix())
    assert without == set(TESTS_OF_NO_MODULE)


def test_what_benchmarks_import_is_there() -> None:
    """No other test runs them."""
    for path in sorted((ROOT / "tests" / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skyclone"):
                for name in node.names:
                    assert _is_there(node.module or "", name.name), f"{path.name} imports {name.name}"


def _is_there(module: str, name: str) -> bool:
    """Return whether `from module import name` works."""
    found = import_module(module)
    listed = getattr(found, "__all__", ())  # `hasattr` would import what needs other packages
    return name in listed or hasattr(found, name) or find_spec(f"{module}.{name}") is not None


def test_every_package_is_listed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(setup["options"]["packages"].split())
    folders = [ROOT] + [path.parent for floor in FLOORS for path in (ROOT / floor).rglob("__init__.py")]
    expected = {".".join(("skyclone", *folder.relative_to(ROOT).parts)) for folder in folders}
    assert listed == expected


def test_nobody_elses_datasets_is_ours(tmp_path: Path) -> None:
    code = f"import importlib.util as u; print([u.find_spec(n) for n in {FLOORS}])"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(ROOT) not in found.stdout
