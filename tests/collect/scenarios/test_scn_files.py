"""Scenarios by hand: what stands in the files is what flies, and what cannot be flown is said."""

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from skyclone.collect import scenarios, teachers
from skyclone.collect.airspace.fleet import number_of, types_of
from skyclone.collect.airspace.hull import hull
from skyclone.collect.airspace.sector import contains
from skyclone.collect.airspace.units import KNOT_MPS
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.figures import fly_scenarios
from skyclone.collect.flying.flight import TeacherPilot
from skyclone.collect.flying.world import World
from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.record import columns_of

EARTH_M = 6_371_000.0
SMALL = """
# two drones, head-on over Delft
00:00:00.00>CRE D1,M600,52.000,4.370,0,100,17.5
00:00:00.00>CRE D2, M600, 52.009, 4.370, 180, 100, 12
00:00:00.00>DEST D1 52.009 4.370
00:00:00.00>D2 ADDWPT 52.000,4.370
"""


def write(folder: Path, text: str, name: str = "own.scn") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_positions_tracks_speeds_and_waypoints(tmp_path: Path) -> None:
    config = scenarios.world_for(f"file:{write(tmp_path, SMALL)}")
    assert (config.aircraft, config.max_steps) == (2, 485)  # three times 1001 m at 6.2 m/s
    layout = scenarios.lay_out(config, 0, 0)
    half = EARTH_M * math.radians(0.0045)  # 500.4 m
    np.testing.assert_allclose(layout.position_m, [[0, -half], [0, half]], atol=1e-6)
    np.testing.assert_allclose(layout.waypoint_m, [[0, half], [0, -half]], atol=1e-6)
    assert contains(layout.corners_m, layout.position_m).all()
    assert len(hull(map(tuple, layout.corners_m.tolist()))) == len(layout.corners_m), "the sector is convex"

    traffic = World(config, 0, [0]).traffic
    np.testing.assert_allclose(traffic.speed_mps[0], np.array([17.5, 12]) * KNOT_MPS, rtol=2e-3)  # at 100 ft
    np.testing.assert_allclose(traffic.track_rad[0], [0, math.pi], rtol=1e-6)
    assert scenarios.warnings_about(config) == []


def test_airliners_fly_in_a_world_of_theirs(tmp_path: Path) -> None:
    """At 203 m/s, which 250 kt are at FL300; in 5 s steps, 5 NM apart."""
    path = write(tmp_path, "0:0:0>CRE KL204,B744,52,4,0,FL300,250\n0:0:0>DEST KL204 53 4\n")
    config = scenarios.world_for(f"file:{path}")
    assert (config.fleet, config.step_s, config.protected_zone_m) == ("airliner@202.6=1", 5.0, 9260.0)
    assert scenarios.lay_out(config, 0, 0).kinds == ("airliner@202.6",)
    (kind,) = types_of(config)
    assert (kind.cruise_mps, kind.min_speed_mps, kind.max_speed_mps) == pytest.approx(
        (202.6, 172.2, 212.7), abs=0.1
    )
    figures = fly_scenarios(TeacherPilot(teachers.make("none", config), config), config, 0, [0])
    assert figures.at_waypoint[0] == 1
    assert figures.flown_m[0] / figures.flight_s[0] == pytest.approx(202.6, abs=0.1)
    assert scenarios.warnings_about(config) == ["own.scn: aircraft of type B744 are flown as airliner"]


def test_everyone_keeps_the_speed_it_has_in_the_file(tmp_path: Path) -> None:
    """As in BlueSky: 12 kt are 6.2 m/s, not the world's cruise speed."""
    config = scenarios.world_for(f"file:{write(tmp_path, SMALL)}")
    assert config.fleet == "m600@6.2=1,m600@9=1"
    world = World(config, 0, [0])
    pilot = TeacherPilot(teachers.make("none", config), config)
    for _ in range(60):
        world.step(pilot(world.traffic, world.pairs))
    assert world.traffic.speed_mps.tolist()[0] == pytest.approx([9.0, 6.2], abs=1e-4)


def test_a_fleet_that_is_given_holds(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL)
    base = WorldConfig(fleet="m600(cruise_mps=7)=1,mavic=1")
    config = scenarios.world_for(f"file:{path}", base=base)
    assert config.fleet == base.fleet
    assert scenarios.lay_out(config, 0, 0).kinds == ("m600", "m600")
    own = WorldConfig(max_speed_mps=20.0)
    assert scenarios.world_for(f"file:{path}", base=own).fleet == ""


def test_many_speeds_make_no_more_than_64_types(tmp_path: Path) -> None:
    lines = [f"0:0:0>CRE A{n},B738,{50 + n / 40},4,90,FL300,{200 + n}" for n in range(150)]
    config = scenarios.world_for(f"file:{write(tmp_path, chr(10).join(lines))}")
    types = types_of(config)
    assert 20 < len(types) <= 64
    layout = scenarios.lay_out(config, 0, 0)
    for kind, speed in zip(layout.kinds, layout.speed_mps, strict=True):
        assert abs(types[number_of(config, kind)].cruise_mps - speed) <= 1.5


def test_what_rounds_to_the_limit_flies_at_it(tmp_path: Path) -> None:
    """35 kt are 18.006 m/s at sea level, and 18.3 m/s at 1000 ft."""
    path = write(tmp_path, "00:00:00>CRE A,M600,52,4,0,0,35\n00:00:00>CRE B,M600,52.01,4,0,1000,35")
    layout = scenarios.lay_out(scenarios.world_for(f"file:{path}"), 0, 0)
    assert layout.speed_mps is not None
    assert layout.speed_mps.tolist() == [18.0, 18.0]
    path.write_text("00:00:00>CRE A,M600,52,4,0,0,37.1")
    with pytest.raises(ConfigurationError, match=r"such as 19 m/s \(37 kt\); expected 0 to 18 m/s \(0 to 35 kt\)"):
        scenarios.world_for(f"file:{path}")


def test_each_type_of_a_fleet_has_its_own_limits(tmp_path: Path) -> None:
    path = write(tmp_path, "00:00:00>CRE A,M600,52,4,0,0,35\n00:00:00>CRE B,Wing,52.01,4,0,0,78\n")
    assert scenarios.world_for(f"file:{path}").fleet == "m600@18=1,wing@40=1"
    config = WorldConfig(aircraft=2, scenario=scenarios.typed(f"file:{path}"), fleet="m600=1,wing=1")
    layout = scenarios.lay_out(config, 0, 0)
    assert layout.speed_mps is not None
    assert layout.speed_mps.tolist() == [18.0, 40.0]
    assert layout.kinds == ("m600", "wing")
    path.write_text("00:00:00>CRE A,M600,52,4,0,0,78\n")
    config = WorldConfig(aircraft=1, scenario=scenarios.typed(f"file:{path}"), fleet="m600=1,wing=1")
    with pytest.raises(ConfigurationError, match=r"expected 0 to 18 m/s \(0 to 35 kt\)"):
        scenarios.lay_out(config, 0, 0)


def test_the_time_limit_knows_entries_and_routes(tmp_path: Path) -> None:
    text = f"{SMALL}00:10:00.00>CRE D3,M600,52.0,4.37,0,0,10;ADDWPT D3 52.009,4.37;DEST D3 52.0,4.37\n"
    path = write(tmp_path, text)
    config = scenarios.world_for(f"file:{path}")
    assert (config.aircraft, config.max_steps) == (3, 1778)  # from 600 s on, three times 2002 m at 5.1 m/s
    path.write_text(f"{SMALL}09:00:00.00>CRE D3,M600,52.0,4.37,0,0,10\n")
    with pytest.raises(ConfigurationError, match=r"expected all aircraft to enter within 32,000 s of the first"):
        scenarios.world_for(f"file:{path}")


def test_a_called_file_that_has_changed_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, f"{SMALL}00:00:00.00>PCALL parts/more\n")
    (tmp_path / "parts").mkdir()
    more = write(tmp_path / "parts", "00:00:00.00>CRE D3,M600,52.02,4.37,0,0,10", "more.scn")
    config = scenarios.world_for(f"file:{path}")
    assert config.aircraft == 3
    more.write_text("00:00:00.00>CRE D3,M600,52.03,4.37,0,0,10")
    with pytest.raises(ConfigurationError, match="has changed since this was begun with it"):
        scenarios.lay_out(config, 0, 0)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (1, r"b0\.scn.*line 1.*MCRE brings in.* 2 of its 3 files can be flown\. Mend the other, or move it out"),
        (5, r"b0\.scn.*b1\.scn.*b2\.scn.* And 2 more\. .*: 2 of its 7 files .* Mend the others, or move them out"),
    ],
)
def test_a_folder_with_files_that_cannot_be_flown_names_them(tmp_path: Path, bad: int, expected: str) -> None:
    for name in ("a", "z"):
        write(tmp_path, "00:00:00.00>CRE D,M600,52,4.37,0,100,17.5\n", f"{name}.scn")
    for number in range(bad):
        write(tmp_path, "00:00:00.00>MCRE 5\n", f"b{number}.scn")
    with pytest.raises(ConfigurationError, match=expected) as caught:
        scenarios.check(f"file:{tmp_path}")
    assert "b3.scn" not in str(caught.value)


def test_a_folder_holds_several_and_a_changed_file_is_noticed(tmp_path: Path) -> None:
    tmp_path = tmp_path / "own #1: traffic"
    tmp_path.mkdir()
    write(tmp_path, SMALL, "b.scn")
    other = write(tmp_path, SMALL + "0:0:0>CRE D3,M600,52.004,4.38,0,100,17\n0:0:0>DEST D3 52 4.37", "a.scn")
    (tmp_path / "notes.txt").write_text("no scenario")
    config = scenarios.world_for(f"file:{tmp_path}")
    assert scenarios.count_of(config.scenario) == 2
    assert config.aircraft == 3
    assert [len(scenarios.lay_out(config, 0, episode).position_m) for episode in range(3)] == [3, 2, 3]
    assert World(config, 0, [0, 1]).traffic.is_flying.sum(-1).tolist() == [3, 2]
    other.write_text(SMALL)
    with pytest.raises(ConfigurationError, match="has changed since this was begun with it"):
        scenarios.lay_out(config, 0, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: f"file:{folder}/none.scn", "there is no such file. Name a BlueSky .scn file, or a folder"),
        (lambda folder: f"file:{folder}", "expected .scn files in the folder, found none"),
    ],
)
def test_files_that_are_not_there(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        scenarios.world_for(make(tmp_path))  # type: ignore[operator]


def test_the_number_of_aircraft_is_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL)
    assert scenarios.world_for(f"file:{path}", 2).aircraft == 2
    with pytest.raises(ConfigurationError, match=r"has 2 aircraft, got --aircraft 20. Leave --aircraft out"):
        scenarios.world_for(f"file:{path}", 20)
    assert scenarios.world_for("sector", None) == WorldConfig()
    with pytest.raises(ConfigurationError, match="has 2 aircraft, more than the world's 1"):
        scenarios.lay_out(WorldConfig(aircraft=1, scenario=f"file:{path}"), 0, 0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pipe", "expected a regular file, got a folder, a pipe or a device"),
        ("device", "expected a regular file"),
        ("folder", "expected a regular file"),
        ("sparse", "expected .scn files of at most 16 MB, got 61,440 MB"),
        ("name", "expected a name in UTF-8, got another one. Rename it."),
        ("dangling", "No such file or directory"),
    ],
)
@pytest.mark.parametrize("as_folder", [True, False])
def test_only_regular_files_are_read(tmp_path: Path, kind: str, message: str, as_folder: bool) -> None:
    """A pipe would keep a reader waiting, a device has no end."""
    path = tmp_path / "a.scn"
    if kind == "name":
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.scn"))
        path.write_text(SMALL)
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(60 * 2**30)
    else:
        make = {"pipe": os.mkfifo, "folder": os.mkdir}.get(kind)
        target = "/dev/zero" if kind == "device" else "nowhere"
        make(path) if make else path.symlink_to(target)
    if kind in ("folder", "dangling") and not as_folder:
        message = "expected .scn files in the folder, found none" if kind == "folder" else "there is no such file"
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        scenarios.world_for(f"file:{tmp_path if as_folder else path}")


def test_a_recorded_world_opens_only_the_files_it_was_recorded_with(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL)
    world = scenarios.world_for(f"file:{path}")
    assert scenarios.recorded_world(world.to_json(), "data") == world
    for scenario in (f"file:{path}", "file:/etc/passwd", "file:/etc/passwd#", "file:"):
        edited = {**world.to_json(), "scenario": scenario}
        with pytest.raises(ConfigurationError, match="data: expected scenario files with the digest of their"):
            scenarios.recorded_world(edited, "data")
    path.write_text(SMALL + "# changed")
    with pytest.raises(ConfigurationError, match="has changed since"):
        scenarios.lay_out(scenarios.recorded_world(world.to_json(), "data"), 0, 0)


def test_slow_ones_that_take_off_have_time_for_their_way(tmp_path: Path) -> None:
    """A standing M600 beside an A320: its 33 km take it an hour at 9 m/s."""
    text = "0:0:0>CRE A,A320,52,4,0,FL300,280\n0:0:0>DEST A 53 4\n"
    text += "0:0:0>CRE D,M600,52,4.3,0,100,0\n0:0:0>DEST D 52.3 4.3\n"
    config = scenarios.world_for(f"file:{write(tmp_path, text)}")
    assert config.step_s * config.max_steps >= 3 * 33_000 / 9
    figures = fly_scenarios(TeacherPilot(teachers.make("none", config), config), config, 0, [0])
    assert figures.at_waypoint[0] == 2


def test_who_begins_at_the_waypoint_is_named(tmp_path: Path) -> None:
    """A drone beside an airliner, whose waypoints count as reached within 12 km; its second leg is longer."""
    text = "0:0:0>CRE A,A320,52,4,0,FL300,280\n0:0:0>DEST A 53 4\n0:0:0>CRE H,M600,52,4,0,0,0\n"
    for name in "BC":
        text += f"0:0:0>CRE {name},M600,52,4.1,0,FL300,17\n0:0:0>ADDWPT {name} 52.01 4.1\n"
    config = scenarios.world_for(f"file:{write(tmp_path, text + '0:0:0>DEST C 52.3 4.1')}")
    (said,) = (each for each in scenarios.warnings_about(config) if "arrived" in each)
    assert said == (
        "own.scn: arrived as they begin, within 12038 m of their waypoint (waypoint_radius_m of the world): B"
    )


def test_against_the_wind_there_is_time_to_arrive(tmp_path: Path) -> None:
    """At 9 m/s against 8.2 m/s, and 60 kt that nobody flies against."""
    for knots, longest in ((16, 1001 / (9.0 - 16 * KNOT_MPS)), (60, 485 / 3)):
        path = write(tmp_path, f"{SMALL.replace(',12', ',17.5')}00:00:00.00>WIND 52.0,4.37,0,{knots}\n")
        config = scenarios.world_for(f"file:{path}")
        assert longest < config.max_steps < 2 * longest + 200
        figures = fly_scenarios(TeacherPilot(teachers.make("none", config), config), config, 0, [0])
        assert figures.at_waypoint[0] == (2 if knots == 16 else 1)


def test_the_wind_of_a_file_is_in_its_dataset(tmp_path: Path) -> None:
    """10 kt from the west; a world's own wind holds instead."""
    path = write(tmp_path, f"{SMALL}00:00:00.00>WIND 52.0,4.37,270,10\n")
    config = scenarios.world_for(f"file:{path}")
    assert (config.wind_east_mps, config.wind_north_mps) == pytest.approx((5.144, 0.0), abs=1e-3)
    world = World(config, 0, [0])
    assert world.traffic.wind_east_mps is not None
    assert world.traffic.wind_east_mps[0, 0].item() == pytest.approx(5.144, abs=1e-3)
    assert [column.name for column in columns_of(config.to_json())][-2:] == ["wind_east_mps", "wind_north_mps"]
    other = scenarios.world_for(f"file:{path}", base=WorldConfig(wind_north_mps=2.0))
    still = World(other, 0, [0])
    assert (still.traffic.wind_east_mps[0, 0].item(), still.traffic.wind_north_mps[0, 0].item()) == (0.0, 2.0)
