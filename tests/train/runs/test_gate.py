from collections.abc import Sequence
from dataclasses import replace
from math import cos

import numpy as np
import pytest
import torch
from torch import Tensor

from skyclone.collect.airspace.objective import TERMS, Change, Costs, aircraft_costs
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import _fly_in_torch
from skyclone.collect.flying.flight import TeacherPilot
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.layout import Layout
from skyclone.collect.teachers.registry import make
from skyclone.datasets.traffic.pairs import Pairs
from skyclone.datasets.traffic.state import Traffic
from skyclone.train.runs import gate
from skyclone.train.runs.gate import GATE_EPISODES, MARGINS, GateFlights, Margins

CONFIG = WorldConfig(aircraft=6, max_steps=120, sector_radius_m=400.0, sector_area_m2=300_000.0)
AIRCRAFT, STEPS = 20.0, 100.0
Figures = float | Sequence[float] | np.ndarray


def flown(
    objective: Figures = 1.0,
    los: Figures = 2.0,
    extra: Figures = 0.03,
    missing: Figures = 0.0,
    scenarios: int = 4,
    **counts: Figures,
) -> GateFlights:
    """Flights of 20 aircraft a scenario, 100 steps and 1 km in all; one figure may stand for all scenarios."""
    nothing = torch.zeros(scenarios, dtype=torch.float64)

    def column(figures: Figures) -> Tensor:
        return nothing + torch.as_tensor(figures, dtype=torch.float64)

    return GateFlights(
        los_events=column(los),
        detour_m=1000.0 * column(extra),
        straight_m=column(1000.0),
        at_waypoint=AIRCRAFT - column(missing),
        aircraft=column(AIRCRAFT),
        flown_m=column(9000.0),
        flight_s=column(1000.0),
        steps=column(STEPS),
        **{name: column(counts.get(name, 0.0)) for name in ("los_s", "nmac_events", "stalled", "left_sector")},
        **{name: nothing for name in TERMS if name != "path"},
        path=STEPS * column(objective),
    )


CLONE = flown()


# --- what is flown ---


def test_straight_flight_at_cruise_speed_has_no_extra_distance() -> None:
    result = gate.fly_gate(TeacherPilot(make("none", CONFIG), CONFIG), CONFIG, 0, 3)
    figures = result.figures()
    assert figures["extra_distance"] == pytest.approx(0.0, abs=1e-5)
    assert figures["waypoint_rate"] == 1.0
    assert figures["mean_speed_mps"] == pytest.approx(9.0, rel=1e-6)
    assert result.aircraft.tolist() == [6, 6, 6]
    assert result.steps.tolist() == result.flight_s.tolist()
    assert figures["los_per_flight_hour"] == pytest.approx(
        float(result.los_events.sum() / result.flight_s.sum() * 3600)
    )
    assert figures["stalled_rate"] == figures["left_sector_rate"] == 0.0
    assert figures["time_in_los_s"] >= figures["los_events"] > 0.0  # steps of a second
    assert {name for name, term in figures["objective_terms"].items() if abs(term) > 1e-3} <= {
        "proximity",
        "predicted",
    }, "only who is in whose way costs anything"


def test_a_known_detour_is_measured() -> None:
    # a track held 0.2 rad beside the waypoint is a logarithmic spiral: 1 / cos(0.2) times the straight way
    def pilot(traffic: Traffic, pairs: Pairs) -> Tensor:
        turn = (0.2 - traffic.drift_rad) / CONFIG.turn_rad
        return torch.stack((turn, torch.zeros_like(turn)), -1)

    extra = gate.fly_gate(pilot, CONFIG, 0, 3).figures()["extra_distance"]
    assert extra == pytest.approx(1 / cos(0.2) - 1, rel=0.15)


def test_the_same_scenarios_for_everybody_and_in_any_number() -> None:
    pilot = TeacherPilot(make("none", CONFIG), CONFIG)
    few, many = gate.fly_gate(pilot, CONFIG, 0, 2), gate.fly_gate(pilot, CONFIG, 0, 66)
    for one, other in zip(few, many):
        torch.testing.assert_close(one, other[:2], rtol=1e-5, atol=1e-2)
    other_seed = gate.fly_gate(pilot, CONFIG, 1, 2)
    assert not torch.equal(few.straight_m, other_seed.straight_m)


def test_parts_of_the_scenarios_are_put_together_again() -> None:
    pilot = TeacherPilot(make("none", CONFIG), CONFIG)
    whole = gate.fly_gate(pilot, CONFIG, 0, 5)
    parts = [gate.fly_gate(pilot, CONFIG, 0, range(rank, 5, 2)) for rank in range(2)]
    for one, other in zip(gate.interleave(parts), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-2)
    for one, other in zip(gate.join(gate.split(whole, [2, 3])), whole, strict=True):
        assert torch.equal(one, other)


def test_the_objective_is_that_of_the_flight_added_up_by_hand() -> None:
    costs, pilot = Costs(path=3.0, margin=1.5), TeacherPilot(make("mvp", CONFIG), CONFIG)
    result = gate.fly_gate(pilot, CONFIG, 0, 3, costs=costs)
    world = World(CONFIG, 0, [gate.GATE_EPISODES + number for number in range(3)])
    sums, steps = {name: torch.zeros(3) for name in TERMS}, torch.zeros(3)
    while not bool(world.is_over.all()):
        before = world.traffic
        action = pilot(before, world.pairs)
        outcome = world.step(action).outcome
        change = Change(before, action.clamp(-1, 1), world.traffic, world.pairs, outcome, world.corners_m)
        for name, term in aircraft_costs(CONFIG, change, costs).items():
            sums[name] += term.sum(-1)
        steps += before.is_flying.sum(-1)
    torch.testing.assert_close(result.steps, steps.double())
    for name in TERMS:
        torch.testing.assert_close(getattr(result, name), sums[name].double(), rtol=1e-4, atol=1e-2)
    expected = sum(sums.values()) / steps
    torch.testing.assert_close(result.objective(), expected.double(), rtol=1e-4, atol=1e-4)
    usual = gate.fly_gate(pilot, CONFIG, 0, 3)
    assert usual.figures()["objective_terms"]["path"] == pytest.approx(
        result.figures()["objective_terms"]["path"] / 3
    )


def test_the_objective_is_the_sum_of_its_terms() -> None:
    generator = torch.Generator().manual_seed(0)
    random = GateFlights(
        *(10 * torch.rand(5, generator=generator, dtype=torch.float64) for _ in GateFlights._fields)
    )
    figures = random.figures()
    assert tuple(figures["objective_terms"]) == TERMS
    assert sum(figures["objective_terms"].values()) == pytest.approx(figures["objective"])
    all_steps = float(random.steps.clamp_min(1.0).sum() if len(random.steps) == 1 else random.steps.sum())
    assert figures["objective"] == pytest.approx(
        float(sum(getattr(random, name).sum() for name in TERMS)) / all_steps
    )


# --- the verdict, by hand ---


@pytest.mark.parametrize(
    ("candidate", "best", "is_better", "reason"),
    [
        (flown(0.5), CLONE, True, "better than the clone: objective -0.50 [-0.50, -0.50] m, and nothing is worse"),
        (flown(0.5, los=0.0, extra=0.0), CLONE, True, "better than the clone"),
        # within the margins (0.01 LoS a flight, 0.02 of the aircraft, 0.03 of the way) is not worse
        (flown(0.5, extra=0.059, missing=0.39), CLONE, True, "better than the clone"),
        (flown(0.5, los=2.21), CLONE, False, "the LoS rate may be worse than the clone's: by up to 0.01"),
        (flown(0.5, missing=0.41), CLONE, False, "the waypoint rate may be worse than the clone's: by up to 0.02"),
        (flown(0.5, extra=0.061), CLONE, False, "the extra distance may be worse than the clone's: by up to 0.031"),
        # who stands still loses no separation, and is not the best for it (0.01 NMACs and 0.0069 s a flight)
        (flown(0.5, los=0.0, missing=20.0, stalled=20.0), CLONE, False, "the waypoint rate may be worse"),
        (
            flown(0.5, los=0.0, stalled=0.41),
            CLONE,
            False,
            "the share without progress may be worse than the clone's",
        ),
        (flown(0.5, los=0.0, stalled=0.39), CLONE, True, "better than the clone"),
        (flown(0.5, los=0.0, left_sector=0.41), CLONE, False, "the share that leaves the sector may be worse"),
        (
            flown(0.5, los=1.0, los_s=300.0),
            CLONE,
            False,
            "the time in LoS may be worse than the clone's: by up to 15",
        ),
        (flown(0.5, los_s=0.13), CLONE, True, "better than the clone"),
        (flown(0.5, nmac_events=0.21), CLONE, False, "the NMAC rate may be worse than the clone's: by up to 0.01"),
        # no better
        (flown(1.0), CLONE, False, "not clearly better than the clone: objective +0.00 [+0.00, +0.00] m"),
        (flown(1.5), CLONE, False, "not clearly better than the clone: objective +0.50"),
        (flown(0.5), flown(0.4), False, "no better than the best"),
        (flown(0.5), flown(0.5), False, "no better than the best"),
        (flown(0.4), flown(0.5), True, "better than the clone"),
        # what is no number is never published
        (flown(float("nan")), CLONE, False, "not clearly better than the clone"),
        (flown(0.5, los=float("nan")), CLONE, False, "the LoS rate may be worse"),
    ],
)
def test_who_becomes_the_best(candidate: GateFlights, best: GateFlights, is_better: bool, reason: str) -> None:
    verdict = gate.judge(candidate, best, CLONE, margins=Margins(0.01, 0.02, 0.03))
    assert verdict.is_better is is_better
    assert reason in verdict.reason


def test_what_counts_for_less_may_be_worse_for_what_counts_for_more() -> None:
    standing = flown(los=1.0, los_s=300.0, missing=2.0)

    def verdict(**figures: float) -> tuple[bool, str]:
        return gate.judge(flown(0.5, **{"los": 1.0, "los_s": 300.0, "missing": 2.0, **figures}), standing, standing)

    assert verdict(extra=0.2) == (
        False,
        "the extra distance may be worse than the clone's: by up to 0.17 (0.005 is let pass)",
    )
    assert verdict(los=3.0)[1].startswith("the LoS rate may be worse")
    assert verdict(los=3.0, missing=0.0)[1].startswith("the LoS rate may be worse")
    paid = "better than the clone: objective -0.50 [-0.50, -0.50] m; {} may be worse, for safety"
    assert verdict(extra=0.2, los_s=5.0) == (True, paid.format("the extra distance"))
    assert verdict(extra=0.2, missing=0.0) == (True, paid.format("the extra distance"))
    assert verdict(extra=0.2, los=0.0) == (True, paid.format("the extra distance"))
    assert verdict(extra=0.2, los=3.0, los_s=5.0) == (True, paid.format("the LoS rate and the extra distance"))
    assert verdict(extra=0.2, los_s=5.0, missing=4.0)[1].startswith("the waypoint rate may be worse")


def test_chance_counts_against_a_policy() -> None:
    # LoS per flight differ by 0, 0, 0, 0.02: 0.005 more, -+ 1.96 * 0.01 / 2 = 0.0148 at the most
    unsure = flown(0.5, los=[2.0, 2.0, 2.0, 2.4])
    assert gate.judge(unsure, CLONE, CLONE, margins=Margins(los_per_flight=0.0149)).is_better
    verdict = gate.judge(unsure, CLONE, CLONE, margins=Margins(los_per_flight=0.0147))
    assert verdict == (False, "the LoS rate may be worse than the clone's: by up to 0.015 (0.0147 is let pass)")
    # the objective by 1, 1, 1, 5: 2 less, -+ 1.96 with 95 % confidence, but -+ 2.58 with 99 %
    lower = flown([0.0, 0.0, 0.0, -4.0])
    assert gate.judge(lower, CLONE, CLONE) == (
        False,
        "not clearly better than the clone: objective -2.00 [-4.58, +0.58] m",
    )


def test_one_scenario_alone_shows_nothing() -> None:
    assert not gate.judge(flown(0.1, los=0.0, scenarios=1), flown(scenarios=1), flown(scenarios=1)).is_better


def test_one_loss_more_in_twenty_scenarios_is_let_pass_and_no_more() -> None:
    assert MARGINS.los_per_flight == pytest.approx(1 / (20 * AIRCRAFT))
    assert MARGINS.waypoint_rate <= 1 / 200
    assert MARGINS.extra_distance <= 1 / 200
    assert Margins.of(WorldConfig()).los_s_per_flight == pytest.approx(MARGINS.los_s_per_flight, abs=1e-4)
    assert Margins.of(WorldConfig(cruise_mps=4.5)) == pytest.approx((*MARGINS[:3], 2 * 0.0069), abs=1e-4)


def test_in_no_density_clearly_more_losses_than_the_clone() -> None:
    # far fewer in the second density, all together fewer; but clearly more in the first
    clone = flown(los=[0.0, 0.0, 0.0, 0.0, 9.0, 8.0, 9.0, 9.0], scenarios=8)
    worse = flown(0.5, los=[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], scenarios=8)
    assert gate.judge(worse, clone, clone).is_better
    verdict = gate.judge(worse, clone, clone, [4, 4])
    assert verdict == (False, "clearly more LoS events than the clone in world 1")
    by_chance = flown(0.5, los=[4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], scenarios=8)
    assert gate.judge(by_chance, clone, clone, [4, 4]).is_better


def test_what_is_published_is_within_the_margins_and_better_than_all_before() -> None:
    """Whatever is judged: the intervals are calculated again here, from the figures."""
    generator = np.random.default_rng(0)
    clone = flown(generator.gamma(2.0, 0.5, 8), generator.poisson(1.0, 8), 0.03, 0.0, 8)
    margins, best, published = Margins(0.04, 0.05, 0.03), clone, 0

    def high(difference: Tensor, quantile: float) -> float:
        return float(difference.mean() + quantile * difference.std() / len(difference) ** 0.5)

    for _ in range(1000):
        objective = clone.objective().numpy() + generator.normal(generator.uniform(-0.6, 0.1), 0.2, 8)
        los = np.maximum(clone.los_events.numpy() + generator.integers(-1, 2, 8), 0)
        extra, missing = 0.03 + generator.normal(0, 0.02, 8), generator.integers(0, 2, 8)
        seconds = 0.05 * generator.poisson(1.0, 8)
        candidate = flown(objective, los, extra, missing, 8, los_s=seconds)
        if gate.judge(candidate, best, clone, margins=margins).is_better:
            fewer_los = high((candidate.los_events - clone.los_events) / AIRCRAFT, 1.96)
            assert fewer_los <= margins.los_per_flight
            assert high((clone.at_waypoint - candidate.at_waypoint) / AIRCRAFT, 1.96) <= margins.waypoint_rate
            assert high((candidate.los_s - clone.los_s) / AIRCRAFT, 1.96) <= margins.los_s_per_flight
            is_longer = high((candidate.detour_m - clone.detour_m) / 1000.0, 1.96) > margins.extra_distance
            assert not is_longer or fewer_los < 0
            assert high(candidate.objective() - clone.objective(), 2.5758) < 0
            assert candidate.objective().mean() < best.objective().mean()
            best, published = candidate, published + 1
    assert published > 2


# --- how often it errs: 128 scenarios, and figures such as those of `pretrained:clone` ---

SCENARIOS, LOSSES, MISSING, EXTRA = 128, 0.055, 0.03, 0.015
LOS_MARGIN, WAYPOINT_MARGIN = MARGINS.los_per_flight * AIRCRAFT, MARGINS.waypoint_rate * AIRCRAFT


def drawn(
    generator: np.random.Generator,
    hard: np.ndarray,
    objective: float = 0.8,
    los: float = LOSSES,
    missing: float = MISSING,
    extra: float = EXTRA,
) -> GateFlights:
    """Flights of a policy of these means: rare losses, and a long tail of costly scenarios, `hard` for all."""
    cost = objective - 0.8 + hard + 0.35 * generator.gamma(0.45, 1 / 0.45**0.5, SCENARIOS)
    way = extra + generator.normal(0.0, 0.007, SCENARIOS)
    return flown(cost, generator.poisson(los, SCENARIOS), way, generator.poisson(missing, SCENARIOS), SCENARIOS)


def hardness(generator: np.random.Generator) -> np.ndarray:
    """What each scenario costs every policy."""
    hard: np.ndarray = generator.gamma(0.45, 0.5, SCENARIOS)
    return hard


def test_in_a_run_of_twenty_looks_a_policy_that_is_no_better_is_hardly_ever_published() -> None:
    generator, runs, published = np.random.default_rng(0), 150, 0
    for _ in range(runs):
        hard = hardness(generator)
        clone = drawn(generator, hard, los=0.0, missing=0.0)  # nothing but the objective stands in the way
        looks = (drawn(generator, hard, los=0.0, missing=0.0, extra=EXTRA - 0.005) for _ in range(20))
        published += any(gate.judge(each, clone, clone).is_better for each in looks)
    assert 0 < published <= 0.1 * runs


@pytest.mark.parametrize(
    ("clone", "policy", "most"),
    [
        ({"los": LOSSES}, {"los": LOSSES + LOS_MARGIN}, 0.05),
        ({"los": 0.5}, {"los": 0.5 + LOS_MARGIN}, 0.05),
        ({"los": LOSSES}, {"los": LOSSES + 2 * LOS_MARGIN}, 0.01),
        ({"missing": MISSING}, {"missing": MISSING + WAYPOINT_MARGIN}, 0.06),
        ({"missing": 0.2}, {"missing": 0.2 + WAYPOINT_MARGIN}, 0.05),
        ({"missing": MISSING}, {"missing": MISSING + 2 * WAYPOINT_MARGIN}, 0.01),
        ({"extra": EXTRA}, {"extra": EXTRA + MARGINS.extra_distance}, 0.05),
        # beside a clone without any loss, a normal interval around the policy's few is too narrow
        ({}, {"los": LOS_MARGIN}, 0.15),
        ({}, {"los": 2 * LOS_MARGIN}, 0.01),
    ],
)
def test_a_policy_that_is_worse_by_the_margin_is_hardly_ever_published(
    clone: dict[str, float], policy: dict[str, float], most: float
) -> None:
    """Though its objective is much better, and all else as it was: little oftener than 95 % to one side say."""
    generator, looks = np.random.default_rng(0), 400
    published = 0
    for _ in range(looks):
        hard = hardness(generator)
        same = {"los": 0.0, "missing": 0.0, "extra": 0.0}
        parent = drawn(generator, hard, **(same | clone))
        candidate = drawn(generator, hard, **(same | {"objective": 0.2} | policy))
        published += gate.judge(candidate, parent, parent).is_better
    assert published <= most * looks


def test_a_policy_that_is_better_is_published() -> None:
    generator, looks, published = np.random.default_rng(0), 200, 0
    for _ in range(looks):
        hard = hardness(generator)
        clone = drawn(generator, hard)
        better = drawn(generator, hard, objective=0.55, los=0.01, missing=0.01, extra=0.012)
        published += gate.judge(better, clone, clone).is_better
    assert published >= 0.9 * looks


# --- beside the clone, and in parts ---


def test_figures_beside_the_clone() -> None:
    figures = gate.compare(flown([0.4, 0.6, 0.4, 0.6], los=[0.0, 0.0, 1.0, 0.0], extra=0.02, missing=1.0), CLONE)
    assert figures["los_events"] == 0.25
    assert figures["extra_distance"] == pytest.approx(0.02)
    assert figures["objective"] == pytest.approx(0.5)
    assert figures["los_events_difference"] == pytest.approx([-1.75 - 0.49, -1.75 + 0.49], abs=1e-4)
    assert figures["extra_distance_difference"] == pytest.approx([-0.01, -0.01])
    assert figures["waypoint_rate_difference"] == pytest.approx([-0.05, -0.05])
    half = 1.96 * (0.04 / 3) ** 0.5 / 2
    assert figures["objective_difference"] == pytest.approx([-0.5 - half, -0.5 + half], abs=1e-4)


def test_scenarios_are_shared_out_and_split_again() -> None:
    assert gate.shared_out(8, 3) == [3, 3, 2]
    parts = gate.split(flown(los=[0.0, 1.0, 2.0], scenarios=3), [1, 2])
    assert [part.los_events.tolist() for part in parts] == [[0.0], [1.0, 2.0]]


@pytest.mark.parametrize("scenario", ["hover", "arrivals", "shared", "routes"])
def test_traffic_that_goes_on_is_judged_by_the_figures_of_an_evaluation(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aircraft that enter, fly routes or hover count as they do there, and a straight route is no detour."""
    config = replace(CONFIG, aircraft=8, max_steps=200, scenario="sector" if scenario == "routes" else scenario)
    if scenario == "routes":
        layout = Layout(
            1000.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]),
            np.array([[-500.0, 0], [0, 0]]),
            np.array([[-500.0, 90], [0, 90]]),
            routes_m=(np.array([[-500.0, 180], [-500, 270]]), np.array([[0.0, 200]])),
        )
        monkeypatch.setattr(start, "lay_out", lambda config, seed, episode: layout)
    pilot = TeacherPilot(make("none", config), config)
    result = gate.fly_gate(pilot, config, 0, 4)
    figures = _fly_in_torch(pilot, config, 0, range(GATE_EPISODES, GATE_EPISODES + 4), "cpu", None)
    for name in ("los_events", "aircraft", "at_waypoint", "straight_m", "flown_m", "steps"):
        np.testing.assert_allclose(getattr(result, name).numpy(), getattr(figures, name), err_msg=name)
    assert all(torch.isfinite(column).all() for column in result)
    assert (result.at_waypoint > 0).all()
    if scenario == "routes":
        assert result.detour_m.abs().max() < 0.1
        assert result.path.abs().max() < 0.1
        assert result.straight_m[0] == pytest.approx(270 + 200 - 2 * config.waypoint_radius_m, abs=0.1)
