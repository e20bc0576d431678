"""Labels must be right: checked on what was really recorded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios.registry import lay_out
from skyclone.collect.teachers.registry import action_towards
from skyclone.datasets.traffic.record import LEFT_SECTOR, TIME_LIMIT, WAYPOINT, Table, check_table
from skyclone.datasets.traffic.state import Traffic

CONFIG = WorldConfig(aircraft=12, max_steps=120)
EPISODES = range(3, 9)
STATES = ("east_m", "north_m", "track_rad", "speed_mps", "waypoint_east_m", "waypoint_north_m")


def _record(**options: object) -> tuple[Table, dict[str, float]]:
    arguments: dict = {"config": CONFIG, "seed": 5, "episodes": EPISODES, **options}
    teacher = teachers.make("mvp", arguments["config"])
    return record(teacher=arguments.pop("teacher", teacher), **arguments)


@pytest.fixture(scope="module")
def recorded() -> tuple[Table, dict[str, float]]:
    return _record(noise=0.4)


def _snapshots(table: Table) -> tuple[Traffic, torch.Tensor, torch.Tensor]:
    """Return all snapshots of a table as traffic (S, N), and of each row the snapshot and aircraft."""
    key = table["episode"].astype(np.int64) << 16 | table["step"]
    _, snapshot = np.unique(key, return_inverse=True)
    aircraft = table["aircraft"].astype(np.int64)
    state = torch.zeros((len(STATES), snapshot.max() + 1, CONFIG.aircraft))
    is_flying = torch.zeros(state.shape[1:], dtype=torch.bool)
    is_flying[snapshot, aircraft] = True
    for number, name in enumerate(STATES):
        state[number, snapshot, aircraft] = torch.from_numpy(table[name])
    fields = dict(zip(STATES, state))
    return Traffic(**fields, is_flying=is_flying), torch.from_numpy(snapshot), torch.from_numpy(aircraft)


def test_the_label_is_what_the_teacher_says_to_the_stored_state(recorded: tuple[Table, dict[str, float]]) -> None:
    table, _ = recorded
    traffic, snapshot, aircraft = _snapshots(table)
    teacher = teachers.make("mvp", CONFIG)
    action = action_towards(traffic, teacher.velocity(traffic), CONFIG)[snapshot, aircraft].numpy()
    assert np.abs(action[:, 0] - table["teacher_turn"]).max() < 1e-4  # float32 against float64
    assert np.abs(action[:, 1] - table["teacher_speed"]).max() < 1e-4
    shifted = np.abs(np.roll(action[:, 0], CONFIG.aircraft) - table["teacher_turn"])
    assert shifted.max() > 0.1  # the test would see a label that is off by one step


def test_where_aircraft_do_not_know_all_the_label_is_still_about_the_stored_state() -> None:
    config = replace(CONFIG, surveillance="noise:position_m=20:velocity_mps=2")
    table, _ = _record(config=config)
    traffic, snapshot, aircraft = _snapshots(table)
    action = action_towards(traffic, teachers.make("mvp", CONFIG).velocity(traffic), CONFIG)[snapshot, aircraft]
    assert np.abs(action[:, 0].numpy() - table["teacher_turn"]).max() < 1e-4
    assert np.abs(table["pilot_turn"] - table["teacher_turn"]).mean() > 0.05  # the pilot perceived something else
    again, _ = _record(config=config, episodes=[5])
    rows = table["episode"] == 5
    for name in ("east_m", "north_m"):  # torch's last bits depend on the batch, what is heard does not
        assert np.allclose(again[name], table[name][rows], rtol=0, atol=0.01)


def test_flying_the_stored_actions_gives_the_next_stored_state(recorded: tuple[Table, dict[str, float]]) -> None:
    table, _ = recorded
    for number, episode in enumerate(EPISODES):
        world = World(CONFIG, 5, [episode])
        rows = {name: column[table["episode"] == episode] for name, column in table.items()}
        for step in range(int(rows["step"].max()) + 1):
            now = {name: column[rows["step"] == step] for name, column in rows.items()}
            flying = world.traffic.is_flying[0]
            assert np.array_equal(np.flatnonzero(flying.numpy()), now["aircraft"])
            for name in STATES:
                found = getattr(world.traffic, name)[0][flying].numpy()
                np.testing.assert_allclose(found, now[name], rtol=0, atol=1e-2, err_msg=f"{name} at {step}")
            action = torch.zeros((1, CONFIG.aircraft, 2))
            action[0, flying] = torch.from_numpy(np.stack((now["pilot_turn"], now["pilot_speed"]), axis=-1))
            result = world.step(action)
            np.testing.assert_allclose(result.reward[0][flying].numpy(), now["reward"], atol=1e-3)
            assert np.array_equal(result.outcome[0][flying].numpy(), now["outcome"])
        assert bool(world.is_over.all()), number


def test_rows_are_of_flying_aircraft_only_and_end_with_an_outcome(recorded: tuple[Table, dict[str, float]]) -> None:
    table, figures = recorded
    check_table(table)
    assert set(table["episode"].tolist()) == set(EPISODES)
    flights, counts = np.unique(table["episode"] * 1000 + table["aircraft"], return_counts=True)
    assert len(flights) == len(EPISODES) * CONFIG.aircraft
    assert (table["outcome"] != 0).sum() == len(flights)
    order = np.lexsort((table["step"], table["aircraft"], table["episode"]))
    last = np.cumsum(counts) - 1
    assert (table["outcome"][order][last] != 0).all()  # and so no row comes after the end
    assert (table["outcome"] == TIME_LIMIT).sum() == figures["time_limit"] > 0
    assert (table["outcome"] == WAYPOINT).sum() == figures["waypoint"] > 0
    assert (table["outcome"] == LEFT_SECTOR).sum() == figures["left_sector"]
    assert table["step"].max() == CONFIG.max_steps - 1


def test_nearest_and_most_urgent_are_those_of_the_state(recorded: tuple[Table, dict[str, float]]) -> None:
    table, _ = recorded
    radius, lookahead = 1.1 * CONFIG.protected_zone_m, CONFIG.lookahead_s
    position = np.stack((table["east_m"], table["north_m"]), axis=-1).astype(float)
    speed, track = table["speed_mps"].astype(float), table["track_rad"].astype(float)
    velocity = np.stack((speed * np.sin(track), speed * np.cos(track)), axis=-1)
    random = np.random.default_rng(0)
    rows = np.concatenate((random.choice(len(speed), 150), random.choice(np.flatnonzero(table["conflicts"]), 150)))
    for row in rows:
        others = np.flatnonzero((table["episode"] == table["episode"][row]) & (table["step"] == table["step"][row]))
        others = others[others != row]
        d, v = position[others] - position[row], velocity[others] - velocity[row]
        assert np.hypot(*d.T).min() == pytest.approx(table["nearest_m"][row], abs=1e-2)
        v2 = (v**2).sum(-1)
        tcpa = -(d * v).sum(-1) / v2
        dcpa = np.hypot(*(d + v * tcpa[:, None]).T)
        half = np.sqrt(np.maximum(radius**2 - dcpa**2, 0) / v2)
        conflict = (dcpa < radius) & (tcpa + half > 0) & (tcpa - half < lookahead)
        if np.abs(dcpa - radius).min() < 1e-2 or np.abs(tcpa - half - lookahead).min() < 1e-3:
            continue  # float32 may decide otherwise
        assert conflict.sum() == table["conflicts"][row]
        if conflict.any():
            first = np.argmin(np.where(conflict, tcpa, np.inf))
            assert table["tcpa_s"][row] == pytest.approx(tcpa[first], abs=1e-2)
            assert table["dcpa_m"][row] == pytest.approx(dcpa[first], abs=1e-1)
        else:
            assert np.isnan(table["tcpa_s"][row])
            assert np.isnan(table["dcpa_m"][row])


def test_without_noise_the_teacher_s_action_is_flown() -> None:
    table, _ = _record()
    assert np.array_equal(table["pilot_turn"], table["teacher_turn"])
    assert np.array_equal(table["pilot_speed"], table["teacher_speed"])


def test_noise_is_on_the_flown_action_only(recorded: tuple[Table, dict[str, float]]) -> None:
    table, _ = recorded
    inside = (np.abs(table["pilot_turn"]) < 1) & (np.abs(table["teacher_turn"]) < 0.1)
    noise = (table["pilot_turn"] - table["teacher_turn"])[inside]
    assert noise.mean() == pytest.approx(0.0, abs=0.03)
    assert noise.std() == pytest.approx(0.4, abs=0.04)
    assert np.abs(table["pilot_speed"]).max() == 1.0  # clipped
    first = (table["step"] == 0) & (table["aircraft"] == 0)
    assert len(np.unique(table["pilot_turn"][first])) > 1  # each episode has its own


def test_an_episode_does_not_depend_on_the_batch_it_flies_in(recorded: tuple[Table, dict[str, float]]) -> None:
    table, _ = recorded
    alone, _ = _record(episodes=[6], noise=0.4)
    early = alone["step"] < 20  # from then on the last bit, which may depend on the batch, grows in conflicts
    rows = (table["episode"] == 6) & (table["step"] < 20)
    for name, column in alone.items():
        np.testing.assert_allclose(column[early], table[name][rows], atol=1e-2, err_msg=name)


def test_recording_twice_gives_the_same_bits(recorded: tuple[Table, dict[str, float]]) -> None:
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 (global states must not matter)
    again, figures = _record(noise=0.4)
    assert all(np.array_equal(again[name], column, equal_nan=True) for name, column in recorded[0].items())
    assert figures == recorded[1]


def test_a_student_flies_and_the_teacher_labels() -> None:
    def student(traffic: Traffic, pairs: object) -> torch.Tensor:
        return torch.full((*traffic.east_m.shape, 2), 0.25)

    table, _ = _record(pilot=student)
    assert (table["pilot_turn"] == 0.25).all()
    assert table["teacher_turn"].std() > 0.1


def test_one_aircraft_has_no_nearest() -> None:
    table, figures = _record(config=WorldConfig(aircraft=1, max_steps=50))
    assert np.isnan(table["nearest_m"]).all()
    assert (table["conflicts"] == 0).all()
    assert figures["conflicts"] == 0
    check_table(table)


def test_a_varying_number_of_aircraft_is_recorded_as_it_is() -> None:
    config = WorldConfig(aircraft=8, scenario="random-n", max_steps=30)
    table, _ = _record(config=config)
    for episode in EPISODES:
        rows = (table["episode"] == episode) & (table["step"] == 0)
        assert rows.sum() == len(lay_out(config, 5, episode).position_m)
