"""Flights recorded elsewhere: what is decoded is what was recorded, and MVP is asked about those states."""

import base64
import re
from math import pi

import numpy as np
import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.flight import advise
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic
from skyclone.evaluate.recorded_flights import Recorded, replay_of
from skyclone.evaluate.report.page import render_flights
from skyclone.evaluate.report.replay import GONE, Flight, Replay

CONFIG = WorldConfig()
DECISION = np.dtype("<u2,u1,i1,i1,i1,i1")


def head_on(steps: int = 4, apart_m: float = 300.0, turn_rad: float = 0.0) -> Recorded:
    """Two aircraft on a north-south line that fly towards each other at 10 m/s; commanded: a turn, and 8 m/s."""
    second = np.arange(steps)[:, None]
    north = np.array([-apart_m / 2, apart_m / 2]) + 10.0 * second * [1, -1]
    track, speed = np.tile([0.0, pi], (steps, 1)), np.full((steps, 2), 10.0)
    return Recorded(
        np.zeros((steps, 2)), north, track, speed, track + turn_rad, np.full((steps, 2), 8.0),
        np.zeros((steps, 2)), np.tile([1000.0, -1000.0], (steps, 1)),
    )  # fmt: skip


def gone(flight: Recorded, step: int, aircraft: int) -> Recorded:
    """Return the flight without an aircraft from a step on."""
    parts = [part.copy() for part in flight]
    for part in parts:
        part[step:, aircraft] = np.nan
    return Recorded(*parts)


def decoded(replay: Replay, flight: Flight) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (T, N, 2) m, NaN for who does not fly, and the decisions' columns (rows, 6)."""
    raw = np.frombuffer(base64.b64decode(flight.positions), "<i2").reshape(flight.steps, replay.aircraft, 2)
    rows = np.frombuffer(base64.b64decode(flight.decisions), DECISION)
    return np.where(raw == GONE, np.nan, raw * replay.unit_m), np.array(rows.tolist())


def test_two_aircraft_head_on_by_hand() -> None:
    replay = replay_of({"left": gone(head_on(turn_rad=-0.1), 3, 1)}, CONFIG)
    flight = replay.contenders[0].flights[0]
    places, rows = decoded(replay, flight)
    expected = np.array([[-150, 150], [-140, 140], [-130, 130], [-120, np.nan]])
    np.testing.assert_allclose(places[..., 1], expected, atol=replay.unit_m / 2)
    assert len(rows) == 7
    np.testing.assert_allclose(rows[:2, 0] / 65536 * 2 * pi, [0.0, pi], atol=1e-4)
    np.testing.assert_allclose(rows[:, 1] / 255 * replay.speed_mps, 10.0, atol=replay.speed_mps / 510)
    np.testing.assert_allclose(rows[:, 2] / 127 * replay.turn_rad, -0.1, atol=replay.turn_rad / 254)
    np.testing.assert_allclose(rows[:, 3] / 127 * replay.change_mps, -2.0, atol=replay.change_mps / 254)
    assert flight.conflicts == [(step * 2 + 0) * 2 + 1 for step in range(3)]  # R = 100 m in (300 - 100) / 20 s
    assert replay.scenarios[0].waypoints_m == [[0.0, 1000.0], [0.0, -1000.0]]


def test_far_apart_there_is_no_conflict() -> None:
    """They meet within R after (1000 - 100) / 20 = 45 s, more than the look-ahead time."""
    replay = replay_of({"a": head_on(apart_m=1000.0)}, CONFIG)
    assert replay.contenders[0].flights[0].conflicts == []


def test_a_turn_of_any_size_is_kept_as_it_was_commanded() -> None:
    replay = replay_of({"a": head_on(turn_rad=2.0), "b": head_on(turn_rad=-0.5)}, CONFIG)
    assert replay.turn_rad == pytest.approx(2.0)
    turns = [decoded(replay, each.flights[0])[1][0, 2] / 127 * replay.turn_rad for each in replay.contenders]
    np.testing.assert_allclose(turns, [2.0, -0.5], atol=replay.turn_rad / 254)


def test_mvp_is_asked_about_the_recorded_state() -> None:
    flight = head_on()
    replay = replay_of({"a": flight}, CONFIG, teacher="mvp:margin=1.2")
    rows = decoded(replay, replay.contenders[0].flights[0])[1]
    state = [torch.from_numpy(part[:1]) for part in (*flight[:4], *flight[6:])]
    traffic = Traffic(*state, torch.ones(1, 2, dtype=torch.bool))
    action = advise(teachers.parse("mvp:margin=1.2", CONFIG), CONFIG, traffic, pairs_of(traffic)).action[0].numpy()
    assert np.abs(action).max() > 0.1
    scale = np.array([CONFIG.turn_rad / replay.turn_rad, CONFIG.speed_change_mps / replay.change_mps])
    np.testing.assert_allclose(rows[:2, 4:] / 127, action * scale, atol=1 / 250)


def test_who_hovers_is_avoided_and_does_not_prolong_the_flight() -> None:
    flight = gone(head_on(), 2, 0)
    standing = flight._replace(
        north_m=np.where(np.isnan(flight.east_m), np.nan, [-50.0, 50.0]),
        speed_mps=np.where(np.isnan(flight.east_m), np.nan, [10.0, 0.0]),
        waypoint_east_m=np.full((4, 2), np.nan),
        waypoint_north_m=np.full((4, 2), np.nan),
    )
    replay = replay_of({"a": standing}, CONFIG, hovers=[1])
    flown = replay.contenders[0].flights[0]
    assert flown.steps == 2
    assert flown.conflicts == [1, 5]
    assert replay.scenarios[0].hovers == [1]
    assert replay.scenarios[0].waypoints_m == [[0.0, -50.0], [0.0, 50.0]]  # where they are, without a waypoint


def test_nothing_to_show_is_an_error() -> None:
    three = Recorded(*(np.zeros((1, 3)) for _ in Recorded._fields))
    with pytest.raises(ConfigurationError, match="expected flights of the same aircraft, got none"):
        replay_of({}, CONFIG)
    with pytest.raises(ConfigurationError, match=r"the same aircraft, got .'a': 2, 'b': 3."):
        replay_of({"a": head_on(), "b": three}, CONFIG)
    with pytest.raises(ConfigurationError, match="the flight of b, got nobody"):
        replay_of({"a": head_on(), "b": gone(gone(head_on(), 0, 0), 0, 1)}, CONFIG)


def test_a_page_shows_two_of_the_flights_and_escapes_names() -> None:
    hostile = '<script>alert("1")</script>'
    replay = replay_of({"none": head_on(), "MVP": head_on(), hostile: head_on()}, CONFIG)
    page = render_flights(replay, f"Over {hostile}", [hostile], "MVP").decode()
    assert "<script>alert" not in page
    assert "<h1>Over &lt;script&gt;alert" in page
    shown = re.findall(r" selected>([^<]+)</option>", page)
    assert shown[-2:] == ["MVP", "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;"]
