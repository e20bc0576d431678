"""The kernels against the torch world, step by step from the same state, and against themselves without cells."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skyclone.collect import teachers
from skyclone.collect.airspace.conflicts import count_of, most_urgent
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.arithmetic import compiling
from skyclone.collect.collector.labelling import record
from skyclone.collect.flying import compiled
from skyclone.collect.flying.compiled import fly_compiled, starts_of
from skyclone.collect.flying.flight import advise
from skyclone.collect.flying.world import World
from skyclone.collect.kernels.detection import FEW
from skyclone.collect.kernels.flight import Flown, begun, fly
from skyclone.collect.kernels.traffic import physics_of
from skyclone.collect.scenarios.layout import Layout
from skyclone.collect.scenarios.registry import lay_out
from skyclone.collect.scenarios.start import stack
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.record import COLUMNS, Table, check_table
from skyclone.datasets.traffic.state import Traffic

pytestmark = pytest.mark.skipif(
    bool(compiling.why_not()), reason=f"nothing is compiled here: {compiling.why_not()}"
)
ALL = 10**9
"""More work than there is."""
STATE = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")


def on_grid(table: Table, config: WorldConfig, episodes: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return a table's columns as (steps, B, N) float64, and where there is a row."""
    shape = (int(table["step"].max()) + 2, episodes, config.aircraft)
    place = (table["step"].astype(int), table["episode"], table["aircraft"])
    flies = np.zeros(shape, bool)
    flies[place] = True
    columns = {}
    for column in COLUMNS[3:]:
        values = np.zeros(shape)
        values[place] = table[column.name]
        columns[column.name] = torch.from_numpy(values)
    return columns, torch.from_numpy(flies)


@pytest.mark.parametrize(
    ("text", "scenario"),
    [
        ("none", "sector"),
        ("mvp", "sector"),
        ("rvo", "sector"),
        ("mvp:margin=0.9:lookahead_s=25", "sector"),
        ("mvp", "hover"),
        ("mvp", "mix:pads=1:inside=1:shared=1"),
    ],
)
def test_each_step_is_that_of_the_torch_world_from_the_same_state(text: str, scenario: str):
    """In float64 on both sides, so that the bounds are those of one rounding to float32."""
    episodes = 3
    size = (
        {} if "pads" in scenario else {"sector_radius_m": 500, "sector_area_m2": 500_000, "start_separation_m": 50}
    )
    config = WorldConfig(aircraft=12, scenario=scenario, **size)
    teacher = teachers.parse(text, config)
    table, _ = record(config, 5, range(episodes), teacher, noise=0.2)
    check_table(table)
    columns, flies = on_grid(table, config, episodes)
    world = World(config, 5, range(episodes))
    world.corners_m, world._inner_m = world.corners_m.double(), world._inner_m.double()
    worst: dict[str, float] = {}

    def compare(name: str, found: Tensor, step: int, where: Tensor, angle: bool = False) -> None:
        gap = (found - columns[name][step]).abs()[where]
        gap = torch.minimum(gap, 2 * torch.pi - gap) if angle else gap
        worst[name] = max(worst.get(name, 0.0), float(gap.max()) if len(gap) else 0.0)

    for step in range(len(flies) - 1):
        state = [columns[name][step] for name in STATE]
        hovers = torch.isnan(state[4])
        state[4:] = (torch.where(hovers, own, theirs) for own, theirs in zip(state[:2], state[4:]))
        world.traffic = before = Traffic(*state, flies[step], hovers if scenario == "hover" else None)
        world.pairs = pairs_of(before)
        world.steps = torch.full((episodes,), step)
        advice = advise(teacher, config, before, world.pairs)
        advice = advice._replace(action=world.held(advice.action))
        compare("conflicts", count_of(advice.conflicts, before.east_m.shape).double(), step, flies[step])
        tcpa, dcpa = most_urgent(advice.conflicts, before.east_m.shape)
        in_conflict = flies[step] & ~torch.isnan(tcpa)
        compare("tcpa_s", tcpa, step, in_conflict)
        compare("dcpa_m", dcpa, step, in_conflict)
        nearest = world.pairs.nearest_m()
        compare("nearest_m", nearest, step, flies[step] & torch.isfinite(nearest))
        compare("teacher_turn", advice.action[..., 0], step, flies[step])
        compare("teacher_speed", advice.action[..., 1], step, flies[step])
        result = world.step(torch.stack((columns["pilot_turn"][step], columns["pilot_speed"][step]), dim=-1))
        compare("reward", result.reward, step, flies[step])
        compare("outcome", result.outcome.double(), step, flies[step])
        is_over = world.is_over.unsqueeze(-1)  # then the rows end, also of those that hover on
        assert torch.equal(world.traffic.is_flying & ~is_over, flies[step + 1])
        for name in STATE[:4]:
            compare(name, getattr(world.traffic, name), step + 1, flies[step + 1], name == "track_rad")
    # half a unit in the last place of float32, at up to 1000 m, pi and 16 m/s
    assert worst["conflicts"] == worst["outcome"] == 0
    assert max(worst["east_m"], worst["north_m"], worst["dcpa_m"]) < 4e-5
    assert worst["nearest_m"] < 7e-5  # up to 2000 m
    bounds = {"track_rad": 2e-7, "speed_mps": 1e-6, "tcpa_s": 2e-4, "teacher_turn": 1e-6, "teacher_speed": 1e-6}
    assert {name: bound for name, bound in bounds.items() if worst[name] >= bound} == {}
    assert worst["reward"] < 1e-4  # of up to 100: progress comes from positions already rounded


def same(first: Flown, second: Flown) -> bool:
    """Return whether two flights are the same to the last bit."""
    return all(
        a.tobytes() == b.tobytes()
        for a, b in (
            (rows_of(first), rows_of(second)),
            (first.seen[: first.seen_count], second.seen[: second.seen_count]),
            (first.figures, second.figures),
            (first.nearest2_m2, second.nearest2_m2),
        )
    )


def rows_of(flown: Flown) -> np.ndarray:
    """Return the rows without the gaps between them."""
    return flown.rows[: flown.row_count].astype([(column.name, column.dtype) for column in COLUMNS])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(33, 120),
    st.sampled_from([300.0, 1500.0, 6000.0, 40_000.0]),
    st.sampled_from(["mvp", "none", "rvo", "mvp:margin=1.5:lookahead_s=40"]),
)
def test_cells_give_what_all_pairs_give(seed: int, aircraft: int, extent_m: float, text: str):
    """Dense, at the reference density, and so sparse that the nearest aircraft is many cells away."""
    generator = np.random.default_rng(seed)
    config = WorldConfig(aircraft=aircraft, max_steps=6)
    places = generator.uniform(-extent_m, extent_m, (4, aircraft)) * (1 if seed % 3 else generator.random() ** 2)
    if seed % 2:
        places[:2] = np.round(places[:2], -2)  # equal distances, the same places
    corners = 2 * extent_m * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    track_rad, speed_mps = generator.uniform(-3, 3, aircraft), generator.uniform(0, 18, aircraft)
    layout = Layout(corners, places[:2].T, places[2:].T, track_rad, speed_mps)
    arguments = (
        physics_of(config),
        teachers.parse(text, config).rules(),
        starts_of(stack([layout], config), config),
        0.1,
        np.array([[seed, 7]]),
    )
    room = begun(1, aircraft, 100)
    assert same(
        fly(*arguments, FEW, True, room, ALL), fly(*arguments, 10**6, True, begun(1, aircraft, 10_000), ALL)
    )


def test_the_batch_an_episode_flies_in_changes_nothing():
    config = WorldConfig(aircraft=8, scenario="random-n:low=1")
    rules = teachers.parse("mvp", config).rules()
    together = fly_compiled(config, rules, 3, range(6), 0.1)
    alone = [fly_compiled(config, rules, 3, [episode], 0.1) for episode in range(6)]
    rows = np.concatenate([rows_of(each) for each in alone])
    rows["episode"] = rows_of(together)["episode"]
    assert rows_of(together).tobytes() == rows.tobytes()
    assert together.figures.tobytes() == np.concatenate([each.figures for each in alone]).tobytes()


def test_how_much_is_flown_in_a_call_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    """A call ends after a tenth of a second, so that Ctrl-C is heard however large the batch is."""
    config = WorldConfig(aircraft=40, scenario="random-n:low=1")
    rules = teachers.parse("mvp", config).rules()
    expected = fly_compiled(config, rules, 3, range(5), 0.1)
    works: list[int] = []

    def counted(*arguments):
        works.append(arguments[-1])
        return fly(*arguments)

    monkeypatch.setattr(compiled, "fly", counted)
    monkeypatch.setattr(compiled, "_CALL_S", 1e-7)
    monkeypatch.setattr(compiled, "_FIRST_WORK", 1)
    monkeypatch.setattr(compiled, "_LEAST_WORK", 1)
    assert same(fly_compiled(config, rules, 3, range(5), 0.1), expected)
    assert len(works) > 500
    works.clear()
    monkeypatch.setattr(compiled, "_CALL_S", 1e9)
    fly_compiled(config, rules, 3, range(5), 0.1)
    assert works == [4**k for k in range(len(works))]


def test_whole_numbers_are_no_other_rules():
    config = WorldConfig(aircraft=4)
    rules = compiled.rules_of(config, teachers.make("rvo", config, margin=1, lookahead_s=20, urgency=100))
    assert [type(value) for value in rules] == [int, float, float, float]


@pytest.mark.parametrize("text", ["none", "mvp", "rvo"])
def test_a_track_of_a_turn_more_is_the_same_track(text: str):
    """A file may say 360 degrees; and `rvo` looks 90 degrees to either side of where it wants to go."""
    config = WorldConfig(
        aircraft=12, max_steps=2, sector_radius_m=500, sector_area_m2=500_000, start_separation_m=50
    )
    arguments = _start_of(config)
    made = []
    for turns in (0, -1, 1):
        arguments[2].states[:, 2] = np.float32(0.1 + 2 * np.pi * turns)
        arguments[1] = teachers.parse(text, config).rules()
        flown = fly(*arguments, begun(1, 12, 100), ALL)
        made.append(flown.rows[: flown.row_count])
    for other in made[1:]:
        for name in ("teacher_turn", "teacher_speed", "reward", "east_m", "north_m"):
            np.testing.assert_allclose(other[name], made[0][name], atol=1e-4, err_msg=name)


def test_a_world_whose_turns_are_wider_than_a_circle():
    """Standing still, an aircraft turns as far as it is told to."""
    config = WorldConfig(aircraft=12, max_steps=3, turn_rad=20.0)
    arguments = _start_of(config)
    arguments[2].states[:, 3] = 0.0  # m/s
    arguments[3] = 2.0  # noise
    flown = fly(*arguments, begun(1, 12, 100), ALL)
    rows = flown.rows[: flown.row_count]
    assert np.abs(rows["track_rad"]).max() <= np.float32(np.pi)
    first, second = rows[rows["step"] == 0], rows[rows["step"] == 1]
    turned = second["track_rad"] - first["track_rad"] - 20.0 * first["pilot_turn"]
    assert np.abs(first["pilot_turn"] * 20).max() > 3 * np.pi
    is_still = np.abs(first["pilot_speed"]) == 0  # those that accelerate turn less
    np.testing.assert_allclose(np.cos(turned[is_still]), 1.0, atol=1e-5)


def _start_of(config: WorldConfig) -> list:
    """Return the arguments of `fly` for episode 0 of seed 0, all but the last two."""
    starts = starts_of(stack([lay_out(config, 0, 0)], config), config)
    rules, keys = teachers.parse("mvp", config).rules(), np.array([[1, 7]])
    return [physics_of(config), rules, starts, 0.0, keys, FEW, True]


def test_two_aircraft_head_on_are_seen_in_closed_form():
    """Both at 9 m/s, 600 m apart: in conflict once 600 - 18 t < 100 + 18 * 15, t > 12.8 s."""
    config = WorldConfig(aircraft=2, max_steps=20)
    corners = 5000 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    layout = Layout(corners, np.array([[0.0, 0.0], [0.0, 600.0]]), np.array([[0.0, 3000.0], [0.0, -3000.0]]))
    starts = starts_of(stack([layout], config), config)
    flown = fly(
        physics_of(config),
        teachers.parse("none", config).rules(),
        starts,
        0.0,
        np.zeros((1, 2), np.int64),
        FEW,
        True,
        begun(1, 2, 10),
        ALL,
    )
    rows = flown.rows[: flown.row_count]
    assert sorted(set(rows["step"][rows["conflicts"] > 0])) == list(range(13, 20))
    at_13 = rows[2 * 13]
    assert at_13["nearest_m"] == pytest.approx(600 - 18 * 13, abs=1e-3)
    assert at_13["tcpa_s"] == pytest.approx((600 - 18 * 13) / 18, abs=1e-4)


def test_a_teacher_without_rules_flies_in_torch(monkeypatch: pytest.MonkeyPatch):
    config = WorldConfig(aircraft=4)

    class Mine:
        protected_zone_m, lookahead_s = 110.0, 15.0

        def velocity(self, state, conflicts=None):
            return teachers.parse("mvp", config).velocity(state, conflicts)

    class Bolder(type(teachers.parse("mvp", config))):
        def velocity(self, state, conflicts=None):
            return teachers.parse("none", config).velocity(state, conflicts)

    monkeypatch.setattr(compiled, "fly", None)
    assert compiled.rules_of(config, Mine()) is None
    assert compiled.rules_of(config, Bolder(config)) is None  # the rules it inherits are not what it flies
    assert len(record(config, 0, range(2), Mine())[0]["step"])
