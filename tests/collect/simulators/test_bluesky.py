"""BlueSky as the simulator: the same flights as in the embedded one, whatever the batch does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.collector import collect
from skyclone.collect.collector.config import CollectConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.flying.flight import TeacherPilot, fly
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.layout import Layout
from skyclone.collect.simulators.simulator import Resolution
from skyclone.datasets.errors import ConfigurationError, DatasetError

EMBEDDED = WorldConfig(aircraft=5, sector_radius_m=300.0, sector_area_m2=1.5e5, start_separation_m=50.0)
CONFIG = replace(EMBEDDED, simulator="bluesky")
COARSE = replace(EMBEDDED, simulator="bluesky:simdt_s=0.25")  # where five times as fast is good enough
pytestmark = pytest.mark.usefixtures("bluesky")


def random_actions(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32))


def positions(world: World) -> torch.Tensor:
    return torch.stack((world.traffic.east_m, world.traffic.north_m), -1)  # (B, N, 2)


def test_starts_as_laid_out_and_stays_with_the_embedded_simulator() -> None:
    here, there = World(EMBEDDED, 3, range(4)), World(CONFIG, 3, range(4))
    assert torch.equal(positions(here), positions(there))
    worst = 0.0
    for second in range(10):
        action = random_actions(second, (4, 5, 2))
        results = here.step(action), there.step(action)
        assert torch.equal(results[0].outcome, results[1].outcome)
        flying = here.traffic.is_flying
        worst = max(worst, (positions(here) - positions(there))[flying].norm(dim=-1).max().item())
        turned = torch.remainder(here.traffic.track_rad - there.traffic.track_rad + 3, 6.283185307) - 3
        assert turned[flying].abs().max() < 0.02
        torch.testing.assert_close(here.traffic.speed_mps[flying], there.traffic.speed_mps[flying])
    print(f"10 s of random actions: {worst:.2f} m apart at most")
    assert 0.001 < worst < 1.0, "they integrate differently, so 0 would mean that BlueSky has not flown"


def test_straight_flight_is_exact() -> None:
    world = World(CONFIG, 3, [0])
    before = world.traffic
    for _ in range(5):
        world.step(torch.zeros(1, 5, 2))
    ahead = 5 * CONFIG.cruise_mps
    expected = before.east_m + ahead * torch.sin(before.track_rad)
    torch.testing.assert_close(world.traffic.east_m, expected, atol=2e-3, rtol=0)


def test_a_larger_time_step_of_bluesky_is_taken(bluesky: Any) -> None:
    world = World(replace(CONFIG, simulator="bluesky:simdt_s=0.5"), 3, [0])
    world.step(torch.zeros(1, 5, 2))
    assert bluesky.sim.simt == 1.0
    assert bluesky.sim.simdt == 0.5


def test_ended_aircraft_are_deleted_from_bluesky(bluesky: Any) -> None:
    world = World(COARSE, 5, range(6))
    pilot = TeacherPilot(teachers.make("none", COARSE), COARSE)
    seen = []
    for step in fly(world, pilot):
        flown = int(step.traffic.is_flying.sum())
        assert bluesky.traf.ntraf == flown
        seen.append((flown, len(step.slots)))
    assert seen[0] == (30, 6)
    assert seen[-1][1] < 6, "finished episodes have dropped out on the way"
    assert world.is_over.all()


def test_what_an_episode_does_depends_on_no_other_one() -> None:
    """Alone, in a batch, and restarted in a slot: the same flight."""
    alone = record(COARSE, 7, [2], teachers.make("mvp", COARSE))[0]
    together = record(COARSE, 7, range(4), teachers.make("mvp", COARSE))[0]
    own = together["episode"] == 2
    for name in ("east_m", "north_m", "speed_mps", "teacher_turn", "outcome"):
        np.testing.assert_allclose(together[name][own], alone[name], atol=2e-3, err_msg=name)

    world = World(COARSE, 7, range(3))
    for second in range(4):
        world.step(random_actions(second, (3, 5, 2)))
    untouched = positions(world)[[0, 2]]
    world.restart([1], [2])
    assert torch.equal(positions(world)[[0, 2]], untouched)
    rows = {name: column[alone["step"] == 3] for name, column in alone.items()}
    for _ in range(3):
        advice = TeacherPilot(teachers.make("mvp", COARSE), COARSE)(world.traffic, world.pairs)
        world.step(advice)
    there = positions(world)[1][torch.from_numpy(rows["aircraft"]).long()]
    np.testing.assert_allclose(there[:, 0], rows["east_m"], atol=2e-3)


def test_the_same_recording_twice() -> None:
    one, other = (record(COARSE, 1, range(3), teachers.make("mvp", COARSE), noise=0.2)[0] for _ in range(2))
    for name, column in one.items():
        np.testing.assert_array_equal(column, other[name])


def head_on(config: WorldConfig) -> World:
    """Two aircraft, 400 m from each other, waypoints behind each other."""
    world = World(config, 0, [0])
    traffic = world.traffic
    traffic.is_flying[:] = False
    for number, (north, track, goal) in enumerate([(-200.0, 0.0, 280.0), (200.0, np.pi, -280.0)]):
        values = (0.0, north, track, 9.0, 0.0, goal, True)
        for name, value in zip(vars(traffic), values):
            getattr(traffic, name)[0, number] = value
    world.simulator.lay_out(traffic)
    return world


@pytest.mark.parametrize(("is_resolved", "margin"), [(False, 1.05), (True, 1.05), (True, 1.5)])
def test_blueskys_own_mvp_resolves_a_head_on_conflict(is_resolved: bool, margin: float) -> None:
    class Straight:
        resolution = Resolution("MVP", margin, 15.0) if is_resolved else None
        __call__ = staticmethod(TeacherPilot(teachers.make("none", COARSE), COARSE))

    nearest, effort = np.inf, 0.0
    for step in fly(head_on(COARSE), Straight()):
        nearest = min(nearest, step.pairs.nearest_m().min().item())
        effort += step.action[0, :2].abs().sum().item()
    if is_resolved:  # it detects on R, and its pushes aim at the margin
        assert 90 < nearest < margin * 100 + 15
        assert effort > 1, "what BlueSky flew itself counts as flown"
    else:
        assert nearest < 10
        assert effort < 1e-3


def test_errors_say_what_to_do() -> None:
    first = World(CONFIG, 0, [0])
    World(CONFIG, 0, [1])
    with pytest.raises(ConfigurationError, match=r"another world has taken over .* Fly them one after the other"):
        first.step(torch.zeros(1, 5, 2))
    with pytest.raises(ConfigurationError, match=r"whole number of steps of simdt_s, got 0\.3"):
        World(replace(CONFIG, simulator="bluesky:simdt_s=0.3"), 0, [0])
    with pytest.raises(ConfigurationError, match=r"flies its M600: expected max_speed_mps 18, got 30"):
        World(replace(CONFIG, max_speed_mps=30.0), 0, [0]).step(torch.zeros(1, 5, 2))


def test_resuming_in_another_simulator_is_refused(tmp_path: Path) -> None:
    wanted = CollectConfig(world=EMBEDDED, episodes=2)
    collect(tmp_path / "data", wanted, workers=1)
    with pytest.raises(DatasetError, match="simulator as by default there, 'bluesky' now"):
        collect(tmp_path / "data", replace(wanted, world=CONFIG), workers=1)
    manifest = CollectConfig(world=CONFIG).manifest()
    assert manifest.world["simulator"] == "bluesky"
    assert manifest.packages["bluesky-simulator"][0].isdigit()


@pytest.mark.slow
def test_workers_and_resuming_keep_the_content_hash(tmp_path: Path) -> None:
    wanted = CollectConfig(world=COARSE, episodes=3, episodes_per_shard=1)
    two, _ = collect(tmp_path / "two", wanted, workers=2)
    part, _ = collect(tmp_path / "part", wanted, workers=1, shards=range(1, 2))
    assert not part.complete
    whole, _ = collect(tmp_path / "part", wanted, workers=1)
    assert two.content_hash == whole.content_hash


@pytest.mark.parametrize("scenario", ["arrivals", "arrivals:pads=2", "hover:share=0.4", "routes"])
def test_traffic_that_goes_on_is_that_of_the_embedded_simulator(
    scenario: str, monkeypatch: pytest.MonkeyPatch, bluesky: Any
) -> None:
    """Entries, legs and hovering: the same aircraft fly in the same steps, and BlueSky holds just these."""
    config = replace(EMBEDDED, aircraft=6, scenario="sector" if scenario == "routes" else scenario, max_steps=110)
    if scenario == "routes":
        monkeypatch.setattr(start, "lay_out", lambda config, seed, episode: ROUTES)
    here, there = (World(replace(config, simulator=name), 3, range(3)) for name in ("embedded", COARSE.simulator))
    pilot = TeacherPilot(teachers.make("none", config), config)
    entered, worst = 0, 0.0
    for _ in range(config.max_steps):
        flew, wanted = there.traffic.is_flying, pilot(here.traffic, here.pairs)
        for world in (here, there):
            world.step(wanted)
        entered += int((there.traffic.is_flying & ~flew).sum())
        assert torch.equal(here.traffic.is_flying, there.traffic.is_flying)
        flying = here.traffic.is_flying
        if flying.any():
            worst = max(worst, (positions(here) - positions(there))[flying].norm(dim=-1).max().item())
        assert torch.equal(here.traffic.waypoint_east_m, there.traffic.waypoint_east_m)
    assert worst < 2.0
    assert (entered > 0) == scenario.startswith("arrivals")
    assert torch.equal(here.steps, there.steps)


def test_who_hovers_stands_in_bluesky() -> None:
    world = World(replace(COARSE, scenario="hover:share=0.6"), 3, [0])
    pilot = TeacherPilot(teachers.make("mvp", world.config), world.config)
    before, hovering = positions(world), world.traffic.is_hovering
    assert hovering is not None
    for _ in range(20):
        world.step(pilot(world.traffic, world.pairs))
    assert (positions(world) - before)[hovering].abs().max() < 0.01
    assert (positions(world) - before)[~hovering].norm(dim=-1).max() > 100


ROUTES = Layout(
    600.0 * np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]),
    np.array([[-500.0, 0], [0, 0], [500, 0]]),
    np.array([[-500.0, 90], [0, 90], [500, 300]]),
    entry_s=np.array([0.0, 0, 0]),
    routes_m=(np.array([[-500.0, 180], [-300, 270]]), np.array([[0.0, 200]]), np.zeros((0, 2))),
)
