"""Flights as scenario files: BlueSky plays them back where they were flown."""

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skyclone.collect import teachers
from skyclone.collect.airspace.geodesy import EARTH_RADIUS_M
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.collector.labelling import record
from skyclone.collect.exports import scn
from skyclone.collect.exports.flight import Flight, Place, flight_of
from skyclone.collect.scenarios.scn.atmosphere import calibrated_of_true, true_of_calibrated
from skyclone.collect.scenarios.scn.commands import commands_of
from skyclone.collect.simulators.bluesky_process import quietly, start_bluesky

CONFIG = WorldConfig(aircraft=8)


def flown(config: WorldConfig = CONFIG) -> Flight:
    """Return an episode with noise, so that everyone turns and changes speed all the time."""
    rows = record(config, 3, [0], teachers.make("mvp", config), noise=0.3)[0]
    return flight_of(rows, config, Place(52.31, 4.76, 60.0), "a test")


def play(
    bluesky: Any, flight: Flight, path: Any, seconds: list[float]
) -> dict[float, dict[str, tuple[float, ...]]]:
    """Have BlueSky read and play a flight; return latitude, longitude, altitude and speed of each aircraft then."""
    from bluesky.stack import simstack

    path.write_bytes(scn.encode(flight))
    found = {}
    with quietly():
        bluesky.sim.reset()
        bluesky.core.simtime.setdt(0.05)
        for time_s, command in simstack.readscn(path):
            simstack.Stack.scentime.append(time_s)
            simstack.Stack.scencmd.append(command)
        for second in seconds:
            while bluesky.sim.simt < second - 1e-6:
                bluesky.sim.op()
                bluesky.sim.step()
            traf = bluesky.traf
            rows = zip(traf.id, traf.lat, traf.lon, traf.alt, traf.gs, strict=True)
            found[second] = {name: tuple(map(float, values)) for name, *values in rows}
        bluesky.sim.reset()
    return found


def play_alone(flight: Flight, path: Any, seconds: list[float]) -> dict[float, dict[str, tuple[float, ...]]]:
    """Play it in a BlueSky of its own: to reset one forgets what other tests of the process have set there."""
    return play(start_bluesky(), flight, path, seconds)


def apart_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance of two near places."""
    north, east = (math.radians(a - b) for a, b in zip(one, other))
    return EARTH_RADIUS_M * math.hypot(north, east * math.cos(math.radians(one[0])))


@pytest.mark.slow
def test_bluesky_plays_it_back(tmp_path: Any) -> None:
    pytest.importorskip("bluesky")
    flight, worst = flown(), 0.0
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        found = process.submit(play_alone, flight, tmp_path / "flight.scn", [30.5, 119.9]).result(timeout=120)
    for second, aircraft in found.items():
        flying = [track for track in flight.tracks if track.time_s[-1] > second]
        assert set(aircraft) == {track.callsign for track in flying}
        for track in flying:
            latitude, longitude, altitude_m, speed = aircraft[track.callsign]
            expected = [np.interp(second, track.time_s, track.place_deg[:, axis]) for axis in (0, 1)]
            worst = max(worst, apart_m((latitude, longitude), (expected[0], expected[1])))
            assert altitude_m == pytest.approx(60.0, abs=0.02)
            assert speed == pytest.approx(np.interp(second, track.time_s, track.speed_mps), abs=1.0)
    print(f"{worst:.2f} m apart at most after 120 s")
    assert len(found[119.9]) >= 3
    assert worst < 5.0


def test_every_line_is_a_command_of_bluesky() -> None:
    from pathlib import Path

    commands, skipped = commands_of(Path("flight.scn"), scn.encode(flown()).decode())
    assert skipped == []
    assert {each.text.split()[0] for each in commands} == {
        *("CASMACHTHR", "RESO", "ZONER", "CRE", "MOVE", "HDG", "SPD", "DEL"),
    }
    times = [each.time_s for each in commands]
    assert times == sorted(times)
    assert sum(each.text.startswith("CRE ") for each in commands) == 8


def test_a_title_is_no_command() -> None:
    flight = replace(flown(), title="mine\n00:00:00.00>PCALL yours.scn\r\x1b[2J")
    lines = scn.encode(flight).decode().splitlines()
    assert lines[0].startswith("# skyclone flight: mine 00:00:00.00>PCALL")
    assert not any(line.startswith("00:00:00.00>PCALL") for line in lines)


def test_speeds_are_calibrated_at_the_altitude() -> None:
    for true_mps, altitude_m in ((9.0, 0.0), (9.0, 3000.0), (230.0, 10_000.0), (230.0, 12_000.0)):
        calibrated = calibrated_of_true(true_mps, altitude_m)
        assert true_of_calibrated(calibrated, altitude_m) == pytest.approx(true_mps, rel=1e-9)
    assert calibrated_of_true(9.0, 0.0) == pytest.approx(9.0, rel=1e-6)
    assert calibrated_of_true(0.0, 5000.0) == 0.0
    assert scn._knots(0.3, 0.0) == "1.0000"
    assert scn._knots(0.1, 0.0) == "0.1000"
