"""The page of scenarios: each of them, with its parameters and defaults, in the table and in the picture."""

import inspect
import re
from pathlib import Path

import pytest

from skyclone.collect import scenarios
from skyclone.collect.scenarios.registry import _SCENARIOS

PAGE = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
ROWS = {found[1]: found[2] for found in re.finditer(r"^\| `([\w-]+)[^`]*` \|(.*)\|$", PAGE, flags=re.MULTILINE)}


@pytest.mark.parametrize("name", scenarios.names())
def test_every_scenario_has_its_row(name: str) -> None:
    assert name in ROWS


@pytest.mark.parametrize("name", sorted(_SCENARIOS))
def test_its_parameters_are_named_with_their_defaults(name: str) -> None:
    parameters = list(inspect.signature(_SCENARIOS[name]).parameters.values())[2:]
    told = dict(re.findall(r"`(\w+)` \(([\d.]+)", ROWS[name]))
    assert {each.name: float(each.default) for each in parameters} == {key: float(told[key]) for key in told}


@pytest.mark.parametrize("name", sorted(_SCENARIOS))
def test_the_picture_shows_it(name: str) -> None:
    drawn = (Path(__file__).parents[2] / "docs" / "scenario_figure.py").read_text(encoding="utf-8")
    assert f'"{name}"' in drawn
