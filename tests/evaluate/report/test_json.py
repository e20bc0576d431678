"""The JSON of `evaluate` is what `docs/evaluation-json.md` says, key by key, type by type."""

import json
import re
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.datasets.traffic.view import View
from skyclone.evaluate.evaluation.config import FAMILY, EvaluationConfig, name_all
from skyclone.evaluate.evaluation.contenders import load_all
from skyclone.evaluate.evaluation.evaluation import VERSION, evaluate, side_by_side
from skyclone.evaluate.metrics.formulas import METRICS, PERCENTILES
from skyclone.evaluate.rare.rates import Rates
from skyclone.evaluate.report import output, page
from skyclone.train import checkpoint, networks
from skyclone.train.checkpoint import META_KEYS
from skyclone.train.runs.confidence_intervals import Estimate

PAGE = (Path(__file__).parents[3] / "docs" / "evaluation-json.md").read_text(encoding="utf-8")
SECTION = PAGE[: PAGE.index("## The archive")]
RARE = Rates(
    Estimate(1e-5, 5e-6, 2e-5), Estimate(0.0, nan, nan), 50, 0, [100.0, 15.24], 200, 20, 10, 3e7, 60.0, 2e10, nan
)
MIX = "0.7=self,0.3=none"
ESTIMATE = {"value", "low", "high"}


def _documented() -> dict[str, str]:
    """Return the type of each documented key."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", SECTION, re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a key is documented twice"
    return {key: kind.strip() for key, kind in rows}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The JSON of an evaluation that has everything: several densities, the front, attention."""
    folder = tmp_path_factory.mktemp("json")
    view = View("ego", intruders=4)
    network = networks.make("pairwise", view, width=8, hidden=8)
    with torch.no_grad():
        network.action[-1].weight.mul_(5)  # an untrained network hardly acts on what it sees
    checkpoint.save(folder / "best", network, view, {"stage": "clone"})
    run = str(folder)
    worlds = [
        WorldConfig(aircraft=count, sector_radius_m=300.0, sector_area_m2=1.4e5, max_steps=12) for count in (3, 2)
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(page, "render", lambda report: b"")  # not looked at here
        found = []
        for world in (*worlds, replace(worlds[0], surveillance="remote-id")):
            contenders = tuple(name_all([run, f"{run}@rta"], "none,mvp"))
            plan = EvaluationConfig(contenders, world, 2, bootstrap=100, front=world is worlds[0], mix=MIX)
            loaded = load_all(plan)
            found.append((evaluate(plan, loaded), loaded))
        evaluation = replace(side_by_side([each for each, _ in found]), rare={run: RARE})
        output.write(folder, evaluation, found[0][1], "skyclone evaluate run")
    return json.loads((folder / output.JSON_NAME).read_text()), run


def _names(run: str) -> dict[str, str]:
    """Return what the page writes for a key that is a name, by the key's place."""
    names = {run: "NAME", f"{run}@rta": "NAME", "none": "NAME", "mvp": "NAME", "3": "AIRCRAFT", "2": "AIRCRAFT"}
    names |= dict.fromkeys(("self", "self-self", "self-none"), "PART")
    names |= {"perfect": "SURVEILLANCE", "remote-id": "SURVEILLANCE"}
    names |= dict.fromkeys(METRICS, "METRIC") | dict.fromkeys(map(str, PERCENTILES), "PERCENTILE")
    names |= dict.fromkeys(("by_distance", "by_tcpa", "by_dcpa"), "PROFILE")
    return names | dict.fromkeys(("masking", "masking_in_conflict"), "MASKING")


def _leaves(value: object, path: tuple[str, ...], names: dict[str, str]) -> dict[str, set[str]]:
    """Return the types found under each key, as the page writes keys and types."""
    place = ".".join(path)
    if isinstance(value, dict) and set(value) != ESTIMATE:
        opaque = {"world": "PARAMETER", "packages": "PACKAGE", "runs.NAME": "KEY", "assurance.NAME": "KEY"}.get(
            place
        )
        if opaque:
            return {f"{place}.{opaque}": {"any"}}
        if place == "front.members":
            assert set(value) == set(FAMILY)
        generic = "MEMBER" if place == "front.members" else ""
        found: dict[str, set[str]] = {}
        for key, part in value.items():
            shown = generic or ("COST" if place == "front.positions.NAME" else names.get(key, key))
            if place.startswith("front.members.") and key in METRICS:
                shown = "METRIC"
            if path[-1:] == ("MASKING",) and key in ("mean", "nearest"):
                shown = "CHOICE"
            for where, kinds in _leaves(part, (*path, shown), names).items():
                found.setdefault(where, set()).update(kinds)
        return found
    if isinstance(value, list) and value and isinstance(value[0], dict) and set(value[0]) != ESTIMATE:
        found = {}
        for part in value:
            last = "CHOICE" if path[-2] == "MASKING" else path[-1] + "[]"
            for where, kinds in _leaves(part, (*path[:-1], last), names).items():
                found.setdefault(where, set()).update(kinds)
        return found
    return {place: {_kind(value)}}


def _kind(value: object) -> str:
    """Return what the page calls a value's type."""
    if isinstance(value, dict):
        return "estimate"
    if isinstance(value, list):
        kinds = {_kind(part) for part in value} - {"null"}
        return f"list of {kinds.pop().partition(' ')[0]}s" if kinds else "list"
    return {bool: "boolean", int: "integer", float: "number", str: "text", type(None): "null"}[type(value)]


def test_every_key_is_documented_with_its_type_and_nothing_else_is(result):
    data, run = result
    found = _leaves(data, (), _names(run))
    assert found.pop("attention.NAME.MASKING", {"null"}) == {"null"}  # no row in conflict, in so few scenarios
    documented = _documented()
    assert sorted(found) == sorted(documented)
    for key, kinds in found.items():
        wanted = {part.strip() for part in documented[key].split(" or ")}
        assert kinds - {"null", "list"} <= wanted, (key, kinds, documented[key])
        if "null" in kinds:
            assert "null" in wanted, key


def test_the_version_and_the_names_are_documented(result):
    data, _ = result
    assert data["version"] == VERSION
    assert f"version {VERSION}" in SECTION
    for name in (*METRICS, *META_KEYS):
        assert f"`{name}`" in SECTION, name
    assert set(data["world"]) == set(WorldConfig().to_json())


def test_what_depends_on_the_options_may_be_missing_or_empty(evaluated):
    data = output.describe(evaluated[0])
    assert data["front"] is None
    assert data["by_aircraft"] == data["by_surveillance"] == data["from_surveillance"] == {}
    assert data["by_equipage"] == {}
    assert {"attention", "command"}.isdisjoint(data)
