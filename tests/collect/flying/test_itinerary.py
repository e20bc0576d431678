"""Aircraft that enter later, fly routes, hover, or should keep out: by hand, and by kernels and torch alike."""

import numpy as np
import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.flying import compiled, figures, world
from skyclone.collect.flying.figures import Figures, fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot
from skyclone.collect.scenarios import start
from skyclone.collect.scenarios.layout import Layout
from skyclone.datasets.traffic.record import TIME_LIMIT, WAYPOINT, check_table

BOX = 2000.0 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


@pytest.fixture(params=["kernels", "torch"])
def flown(request, monkeypatch):
    """Return a function that flies a layout, by each arithmetic: its figures and its rows."""

    compiled.reason()  # flies one aircraft of its own

    def fly(layout: Layout, text: str = "none", **changes: float) -> tuple[Figures, dict[str, np.ndarray]]:
        config = WorldConfig(aircraft=len(layout.position_m), **changes)
        monkeypatch.setattr(start, "lay_out", lambda config, seed, episode: layout)
        teacher = teachers.parse(text, config)
        if request.param == "torch":
            for module in (compiled, figures):
                monkeypatch.setattr(module, "rules_of", lambda *_, **__: None)
            monkeypatch.setattr("skyclone.collect.collector.labelling.rules_of", lambda *_: None)
        table, _ = record(config, 0, [0], teacher)
        check_table(table)
        return fly_scenarios(TeacherPilot(teacher, config), config, 0, [0]), table

    return fly


def rows_of(table: dict[str, np.ndarray], aircraft: int) -> dict[str, np.ndarray]:
    return {name: column[table["aircraft"] == aircraft] for name, column in table.items()}


def test_an_aircraft_enters_before_its_step(flown):
    """The second one enters at 40 s, when the first, 270 m on its way at 9 m/s, has arrived."""
    layout = Layout(BOX, np.zeros((2, 2)), np.array([[0.0, 270.0], [0.0, 180.0]]), entry_s=np.array([0.0, 40.0]))
    made, table = flown(layout)
    first, second = rows_of(table, 0), rows_of(table, 1)
    assert first["step"].tolist() == list(range(28))  # (270 - 18.52) / 9 = 27.9
    assert second["step"].tolist() == list(range(40, 58))
    assert second["north_m"][0] == 0
    assert second["outcome"][-1] == WAYPOINT
    assert (made.aircraft[0], made.at_waypoint[0], made.los_events[0]) == (2, 2, 0)
    assert made.straight_m[0] == pytest.approx(270 + 180 - 2 * 18.52, abs=0.01)
    assert np.isinf(made.least_m[0])


def test_who_would_enter_after_the_time_limit_never_does(flown):
    layout = Layout(BOX, np.zeros((2, 2)), np.array([[0.0, 270.0], [0.0, 180.0]]), entry_s=np.array([0.0, 40.0]))
    made, table = flown(layout, max_steps=40)
    assert set(table["aircraft"]) == {0}
    assert (made.aircraft[0], made.at_waypoint[0]) == (1, 1)
    made, table = flown(layout, max_steps=45)
    assert rows_of(table, 1)["step"].tolist() == [40, 41, 42, 43, 44]
    assert (made.aircraft[0], made.time_limit[0]) == (2, 1)


@pytest.mark.parametrize("waits", [False, True])
def test_one_that_waits_enters_once_there_is_room(flown, waits: bool):
    """The first passes the entry at 9 m/s; within 125 m of it until (125 + 90) / 9 = 23.9 s."""
    layout = Layout(
        BOX,
        np.array([[0.0, -90.0], [0.0, 0.0]]),
        np.array([[0.0, 900.0], [0.0, -900.0]]),
        entry_s=np.array([0.0, 5.0]),
        waits=waits,
    )
    _, table = flown(layout)
    assert rows_of(table, 1)["step"][0] == (24 if waits else 5)


def test_of_two_that_enter_at_once_the_second_waits(flown):
    layout = Layout(
        BOX,
        np.zeros((3, 2)) + np.array([[500.0, 0.0], [0.0, 0.0], [0.0, 0.0]]),
        np.array([[500.0, 900.0], [0.0, 900.0], [0.0, 900.0]]),
        entry_s=np.array([0.0, 3.0, 3.0]),
        waits=True,
    )
    made, table = flown(layout)
    assert rows_of(table, 1)["step"][0] == 3
    assert rows_of(table, 2)["step"][0] == 3 + 14  # 14 * 9 m = 126 m
    assert made.los_events[0] == 0


def test_a_route_by_hand(flown):
    """Straight through the first waypoint, 270 m, then 90 degrees to the right, 360 m more."""
    layout = Layout(
        BOX,
        np.zeros((1, 2)),
        np.array([[0.0, 270.0]]),
        routes_m=(np.array([[360.0, 270.0]]),),
    )
    made, table = flown(layout)
    turned = np.flatnonzero(table["waypoint_east_m"] == 360)
    assert turned[0] == 28  # the waypoint changes where the first is reached: (270 - 18.52) / 9
    assert (table["waypoint_north_m"] == 270).all()
    assert table["outcome"][-1] == WAYPOINT
    assert (table["outcome"][:-1] == 0).all()
    assert made.straight_m[0] == pytest.approx(270 + 360 - 18.52, abs=0.01)
    assert made.at_waypoint[0] == 1
    assert made.flown_m[0] == pytest.approx(270 + 360, abs=30)
    assert 0 <= made.flown_m[0] - made.progress_m[0] < 20  # the turn
    assert (made.stalled[0], made.left_sector[0]) == (0, 0)


def test_a_route_straight_on_costs_no_detour(flown):
    layout = Layout(
        BOX, np.zeros((1, 2)), np.array([[0.0, 200.0]]), routes_m=(np.array([[0.0, 400.0], [0.0, 600.0]]),)
    )
    made, table = flown(layout)
    assert made.flown_m[0] == pytest.approx(made.progress_m[0], abs=0.01)
    assert len(table["step"]) == 65  # (600 - 18.52) / 9 = 64.6
    assert (np.abs(table["reward"][:-1]) < 0.1).all()  # no jump where the waypoint changes


def test_a_hovering_aircraft_stays_and_is_avoided(flown):
    layout = Layout(
        BOX,
        np.array([[0.0, 0.0], [0.0, 500.0]]),
        np.array([[0.0, 1000.0], [0.0, 500.0]]),
        speed_mps=np.array([9.0, 0.0]),
        hovers=np.array([False, True]),
    )
    straight, table = flown(layout)
    hovering = rows_of(table, 1)
    assert (hovering["north_m"] == 500).all()
    assert (hovering["east_m"] == 0).all()
    assert np.isnan(hovering["waypoint_east_m"]).all()
    assert (hovering["reward"] == 0).all()
    assert (hovering["teacher_turn"] == 0).all()
    assert (hovering["outcome"] == 0).all()  # it is still there when the other has arrived
    assert (straight.aircraft[0], straight.at_waypoint[0], straight.los_events[0]) == (1, 1, 1)
    assert straight.steps[0] == (table["aircraft"] == 0).sum()
    around, table = flown(layout, "mvp")
    assert (around.los_events[0], around.at_waypoint[0]) == (0, 1)
    assert around.nearest_m[0, 0] > 100
    assert np.isinf(around.nearest_m[0, 1])
    assert (rows_of(table, 1)["north_m"] == 500).all()


def test_two_that_hover_side_by_side_lose_no_separation(flown):
    layout = Layout(
        BOX,
        np.array([[0.0, 0.0], [600.0, 500.0], [650.0, 500.0]]),
        np.array([[0.0, 300.0], [600.0, 500.0], [650.0, 500.0]]),
        hovers=np.array([False, True, True]),
    )
    made, _ = flown(layout)
    assert (made.los_events[0], made.conflicts[0], made.los_steps[0]) == (0, 0, 0)
    assert made.least_m[0] == pytest.approx(np.hypot(600, 500 - 297), abs=20)


def test_no_fly_polygons_are_counted_and_are_no_sector(flown):
    """From -500 to +500 m north at 9 m/s, a square of 180 m on the way: 20 s inside it."""
    square = 90.0 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    away = square + 1500.0
    layout = Layout(
        BOX, np.array([[0.0, -500.0]]), np.array([[0.0, 500.0]]), no_fly_m=(away, square, square[:3] - 900)
    )
    made, _ = flown(layout)
    assert made.no_fly_steps[0] == 20
    assert made.at_waypoint[0] == 1


def test_who_stands_has_stalled(flown):
    """At the lowest speed allowed, 0.5 m/s, 60 s bring 30 m: less than a tenth of the way at cruise speed."""
    layout = Layout(BOX, np.zeros((1, 2)), np.array([[0.0, 900.0]]), speed_mps=np.array([0.0]))
    made, _ = flown(layout, cruise_mps=9.0)
    assert made.stalled[0] == 0
    made, table = flown(layout, max_speed_mps=18.0, speed_change_mps=1e-3, acceleration_mps2=1e-3, max_steps=90)
    assert made.stalled[0] == 1
    assert table["outcome"][-1] == TIME_LIMIT


SCENARIOS = ["hover", "arrivals", "arrivals:pads=2", "pads", "inside", "shared", "converging"]


@pytest.mark.parametrize("text", ["none", "mvp"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_kernels_and_torch_fly_the_same(scenario: str, text: str):
    """For a few steps before chaos sets in; without resolution to the end."""
    config = WorldConfig(aircraft=12, scenario=scenario, max_steps=200 if text == "none" else 10)
    teacher = teachers.parse(text, config)
    episodes = range(4)
    made = compiled.fly_compiled(config, teacher.rules(), 3, episodes)
    compiled_figures = figures._figures_of(made, config)
    flown_figures = figures._fly_in_torch(TeacherPilot(teacher, config), config, 3, episodes, "cpu", None)
    for name in (
        "aircraft",
        "steps",
        "at_waypoint",
        "left_sector",
        "time_limit",
        "los_events",
        "stalled",
        *(("conflicts",) if text == "none" else ()),
    ):
        np.testing.assert_array_equal(getattr(compiled_figures, name), getattr(flown_figures, name), err_msg=name)
    for name in ("flown_m", "progress_m", "straight_m", "least_m", "effort"):
        np.testing.assert_allclose(
            getattr(compiled_figures, name), getattr(flown_figures, name), rtol=1e-3, atol=0.1
        )


def test_slots_that_are_restarted_with_other_routes_and_polygons():
    """A world whose slots get episodes with more of everything, and the other way round."""
    plain = Layout(BOX, np.zeros((2, 2)), np.full((2, 2), 900.0))
    rich = Layout(
        BOX,
        np.zeros((2, 2)),
        np.full((2, 2), 90.0),
        entry_s=np.array([0.0, 2.0]),
        hovers=np.array([True, False]),
        routes_m=(np.zeros((0, 2)), np.array([[300.0, 300.0], [500.0, 500.0]])),
        no_fly_m=(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),),
    )
    config = WorldConfig(aircraft=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "lay_out", lambda config, seed, episode: rich if episode % 2 else plain)
        made = world.World(config, 0, [0, 2, 4])
        fresh = world.World(config, 0, [0, 1, 4])
        made.restart([1], [1])
        action = torch.zeros(3, 2, 2)
        for _ in range(4):
            for each in (made, fresh):
                each.step(action)
            for name, tensor in vars(fresh.traffic).items():
                assert tensor is None or torch.equal(getattr(made.traffic, name), tensor), name
        assert made.traffic.is_flying[1].tolist() == [True, True]
        made.restart([1], [6])
        assert made.traffic.is_piloted[1].tolist() == [True, True]
        assert not made.itinerary.has_more()[1].any()


def test_nobody_who_waits_enters_at_the_time_limit(flown):
    """When all others end at once there is room: too late."""
    layout = Layout(
        BOX,
        np.array([[0.0, -90.0], [0.0, 0.0]]),
        np.array([[0.0, 1900.0], [0.0, -900.0]]),
        speed_mps=np.array([0.5, 9.0]),
        entry_s=np.array([0.0, 5.0]),
        waits=True,
    )
    made, table = flown(layout, max_steps=20)
    assert set(table["aircraft"]) == {0}
    assert table["step"].max() == 19
    assert (made.aircraft[0], made.time_limit[0]) == (1, 1)
