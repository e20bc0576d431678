"""The weights that ship with the package: what they say of themselves, and that they fly like their teacher."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import Figures, fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot, advise, fly
from skyclone.collect.flying.world import World
from skyclone.train import Policy, load_policy
from skyclone.train.checkpoint import PRETRAINED
from skyclone.train.runs.gate import GATE_EPISODES

WORLD = WorldConfig()
SCENARIOS = range(GATE_EPISODES, GATE_EPISODES + 8)
NOISE = "noise:position_m=5:velocity_mps=0.5:latency_s=1:reception=0.8"


def detour_m(flown: Figures) -> Any:
    """Return by how much more was flown than came nearer, in m, (S,)."""
    return flown.flown_m - flown.progress_m


@pytest.fixture(scope="module")
def clone() -> Policy:
    return load_policy("pretrained:clone")


def test_the_clone_says_where_it_comes_from(clone: Policy) -> None:
    assert clone.meta["stage"] == "clone"
    assert clone.meta["teacher"] == "mvp"  # with its default margin, 1.1
    assert clone.meta["world"] == WORLD.to_json()
    (dataset,) = clone.meta["datasets"]
    assert (dataset["episodes"], dataset["pilot"], dataset["noise"]) == (1000, "teacher", 0.0)
    assert "+" in clone.meta["code"]
    assert "dirty" not in clone.meta["code"], "the weights come from a commit"
    copy = json.loads((PRETRAINED / "clone.json").read_text())
    assert copy["weights_sha256"] == clone.meta["weights_sha256"]
    assert (PRETRAINED / "clone.safetensors").stat().st_size < 1e6
    figures = clone.meta["metrics"]["heldout"]
    assert figures["mse"] < 0.002
    assert figures["mse_conflict"] < 0.015
    assert figures["sharpness"] > 0.5


@torch.no_grad()
def test_the_clone_flies_like_its_teacher(clone: Policy) -> None:
    # Two scenarios nobody trained on, each state seen by both: what would the teacher have done here?
    teacher, errors, in_conflict = teachers.make("mvp", WORLD, margin=1.1), [], []
    for step in fly(World(WORLD, 1_000_000, range(2)), clone):
        advice = advise(teacher, WORLD, step.traffic, step.pairs)
        flying = step.traffic.is_flying
        errors.append((step.action - advice.action).square().mean(-1)[flying])
        acting = torch.zeros_like(flying)
        acting[advice.conflicts.episode, advice.conflicts.ownship] = True
        in_conflict.append(acting[flying])
        assert step.pairs.nearest_m()[flying].min() > WORLD.protected_zone_m, "nobody loses separation"
        if step.steps[0] == 100:
            break
    error, acting = torch.cat(errors), torch.cat(in_conflict)
    assert acting.float().mean() > 0.05
    assert error.mean() < 0.003
    assert error[acting].mean() < 0.02


def test_the_clone_found_the_teachers_zone(clone: Policy) -> None:
    # Nobody told it that the teacher keeps 110 m: a learned step of the distance at the closest point stands there.
    places_m = 100 * clone.network.step_places[1]
    assert (places_m - 110.0).abs().min() < 1.0


def test_the_tuned_one_says_where_it_comes_from() -> None:
    tuned = load_policy("pretrained:tuned")
    assert (tuned.meta["stage"], tuned.meta["teacher"]) == ("finetune", "mvp:margin=1.15")
    assert tuned.meta["config"]["method"] == "analytic"
    assert tuned.meta["config"]["aircraft"] == [20, 40]
    assert "yielding" in tuned.meta["config"]["reward"]
    assert tuned.meta["config"]["scenario"].startswith("mix:")
    assert [each["episodes"] for each in tuned.meta["datasets"]] == [500, 300, 200]
    assert "+" in tuned.meta["code"]
    assert "dirty" not in tuned.meta["code"], "the weights come from a commit"
    assert (PRETRAINED / "tuned.safetensors").stat().st_size < 1e6
    assert tuned.envelope is not None


def test_the_robust_one_says_where_it_comes_from() -> None:
    robust = load_policy("pretrained:robust")
    assert robust.meta["config"]["surveillance"] == robust.meta["world"]["surveillance"] == NOISE
    assert "dirty" not in robust.meta["code"], "the weights come from a commit"
    assert robust.envelope is not None


def test_the_filtered_one_says_where_it_comes_from() -> None:
    filtered = load_policy("pretrained:filtered")
    assert all(text.endswith("between=filter") for text in filtered.meta["config"]["surveillance"].split(","))
    assert filtered.meta["parent"]["weights_sha256"] == load_policy("pretrained:robust").meta["weights_sha256"]
    assert "dirty" not in filtered.meta["code"], "the weights come from a commit"
    assert filtered.envelope is not None


@pytest.mark.parametrize(
    ("scenario", "aircraft", "count"),
    [("inside", 12, 8), ("pads", 12, 8), ("circle", 20, 8), ("shared", 12, 64), ("hover", 12, 8)],
)
def test_outside_the_reference_sector_they_arrive_and_lose_separation_no_longer_than_mvp(
    scenario: str, aircraft: int, count: int
) -> None:
    """`pretrained:tuned` of before stood still in the first two for ever.

    In `shared` a few leave while they wait at the sector's edge, three in one of the first eight scenarios.
    So there are more of them: 99.5 % arrive with `tuned`, 97.9 % with `robust`, 98.3 % with MVP.
    """
    world = replace(WORLD, aircraft=aircraft, scenario=scenario)
    scenarios = range(GATE_EPISODES, GATE_EPISODES + count)
    teacher = TeacherPilot(teachers.make("mvp", world, margin=1.2), world)
    mvp_s = fly_scenarios(teacher, world, 1, scenarios).los_steps.sum()
    for name in ("tuned", "robust"):
        flown = fly_scenarios(load_policy(f"pretrained:{name}").pilot, world, 1, scenarios)
        assert flown.at_waypoint.sum() >= 0.97 * flown.aircraft.sum(), name
        assert flown.los_steps.sum() <= 1.2 * mvp_s + 4.0, name


@pytest.mark.parametrize("name", ["tuned", "robust", "filtered"])
def test_all_reach_a_waypoint_that_they_share(name: str) -> None:
    """They approach it from all sides at about the same time. The policies of before kept each other away."""
    world = replace(WORLD, aircraft=4, scenario="converging")
    flown = fly_scenarios(load_policy(f"pretrained:{name}").pilot, world, 1, SCENARIOS[:6])
    assert flown.at_waypoint.sum() >= 0.9 * flown.aircraft.sum()
    assert flown.los_steps.sum() <= 2


@torch.no_grad()
def test_under_noise_the_robust_one_is_far_safer_than_a_careful_mvp() -> None:
    world = replace(WORLD, aircraft=40, surveillance=NOISE)
    pilots = (load_policy("pretrained:robust").pilot, TeacherPilot(teachers.make("mvp", world, margin=1.4), world))
    robust, mvp = (fly_scenarios(each, world, 1, SCENARIOS[:3]) for each in pilots)
    assert robust.los_events.sum() < 0.25 * mvp.los_events.sum()
    assert detour_m(robust).sum() < 0.25 * detour_m(mvp).sum()


@torch.no_grad()
def test_who_remembers_flies_shorter_routes_and_loses_separation_no_more() -> None:
    worlds = [replace(WORLD, aircraft=40, surveillance=each) for each in (f"{NOISE}:between=filter", NOISE)]
    names = ("pretrained:filtered", "pretrained:robust")
    filtered, robust = (
        fly_scenarios(load_policy(name).pilot, world, 1, SCENARIOS)
        for name, world in zip(names, worlds, strict=True)
    )
    assert filtered.los_events.sum() <= robust.los_events.sum() + 2
    assert detour_m(filtered).sum() < 0.9 * detour_m(robust).sum()
    assert filtered.at_waypoint.sum() >= 0.99 * filtered.aircraft.sum()


@torch.no_grad()
@pytest.mark.parametrize(("aircraft", "most"), [(20, 0.011), (40, 0.028), (60, 0.068)])
def test_the_tuned_one_flies_hardly_longer_than_straight(aircraft: int, most: float) -> None:
    """0.6, 2.0 and 5.3 % in 500 scenarios each; MVP of margin 1.2 has 2.0, 8.2 and 25 % there (docs/results.md)."""
    world = replace(WORLD, aircraft=aircraft)
    flown = fly_scenarios(load_policy("pretrained:tuned").pilot, world, 1, SCENARIOS[: 320 // aircraft])
    assert detour_m(flown).sum() < most * flown.straight_m.sum()
    assert flown.los_events.sum() <= 1


@torch.no_grad()
def test_the_tuned_one_is_safer_and_shorter_than_a_careful_mvp() -> None:
    world = replace(WORLD, aircraft=40)
    teacher = teachers.make("mvp", world, margin=1.15)
    tuned, mvp = (
        fly_scenarios(each, world, 1, SCENARIOS[:2])
        for each in (load_policy("pretrained:tuned").pilot, TeacherPilot(teacher, world))
    )
    assert tuned.los_events.sum() <= mvp.los_events.sum()
    assert tuned.los_events.sum() == 0
    assert (detour_m(tuned) < detour_m(mvp)).all()
    assert tuned.at_waypoint.sum() == tuned.aircraft.sum()
