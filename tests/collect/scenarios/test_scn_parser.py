"""Single scenario files: what BlueSky makes of them, sectors, what is left out, and each error with its line."""

import json
import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect.airspace.geodesy import EARTH_RADIUS_M
from skyclone.collect.scenarios import scn_parser
from skyclone.collect.scenarios.layout import Layout
from skyclone.collect.scenarios.scn_parser import ScenarioFile
from skyclone.datasets.errors import ConfigurationError

PROGRAM = Path(__file__).with_name("read_in_bluesky.py")
ONE = "0:0:0>CRE D1,M600,52.0,4.37,0,0,17\n0:0:0>DEST D1 52.0 4.372\n"
needs_navigation = pytest.mark.skipif(find_spec("bluesky") is None, reason="needs BlueSky's navigation data")


def write(folder: Path, text: str, name: str = "own.scn") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def degrees(read: ScenarioFile, point_m: np.ndarray) -> tuple[float, float]:
    """Return latitude and longitude of a point on the plane (Snyder 1987, equations 20-14 and 20-15)."""
    distance = float(np.hypot(*point_m))
    if distance == 0:
        return read.centre_deg
    latitude, longitude = map(math.radians, read.centre_deg)
    angle = distance / EARTH_RADIUS_M
    east, north = point_m / distance
    up = math.asin(math.cos(angle) * math.sin(latitude) + north * math.sin(angle) * math.cos(latitude))
    across = math.atan2(
        east * math.sin(angle),
        math.cos(latitude) * math.cos(angle) - north * math.sin(latitude) * math.sin(angle),
    )
    return math.degrees(up), (math.degrees(longitude + across) + 180) % 360 - 180


def metres_apart(first: tuple[float, float], second: tuple[float, float]) -> float:
    north, south = math.radians(first[0]), math.radians(second[0])
    east = math.radians(second[1] - first[1])
    half = math.sin((south - north) / 2) ** 2 + math.cos(north) * math.cos(south) * math.sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(half))


def ways(layout: Layout) -> list[np.ndarray]:
    routes = layout.routes_m or (np.zeros((0, 2)),) * len(layout.position_m)
    return [np.concatenate((first[None], route)) for first, route in zip(layout.waypoint_m, routes, strict=True)]


def test_geodesy_is_good_to_a_millimetre(tmp_path: Path) -> None:
    """1 km east and 1 km north of 52 N, against the distances on a sphere."""
    north, east = (
        math.degrees(1000 / EARTH_RADIUS_M),
        math.degrees(1000 / EARTH_RADIUS_M / math.cos(math.radians(52))),
    )
    places = [(52.0, 4.0), (52 + north, 4 + east), (52 - north, 4 - east)]
    lines = [f"00:00:00>CRE D{n},M600,{place[0]},{place[1]},0,0,17" for n, place in enumerate(places)]
    layout = scn_parser.read(write(tmp_path, "\n".join(lines))).layout
    for first, second in ((0, 1), (0, 2), (1, 2)):
        found = float(np.hypot(*(layout.position_m[first] - layout.position_m[second])))
        assert found == pytest.approx(metres_apart(places[first], places[second]), abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(latitude=st.floats(-60, 60), longitude=st.floats(-179.99, 179.99))
def test_the_place_on_earth_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, latitude: float, longitude: float
) -> None:
    """Also across the date line."""
    east = math.degrees(400 / EARTH_RADIUS_M / math.cos(math.radians(latitude)))
    other = (longitude + east + 180) % 360 - 180
    text = (
        f"0:0:0>CRE A,M600,{latitude:.9f},{longitude:.9f},90,0,10\n"
        f"0:0:0>CRE B,M600,{latitude:.9f},{other:.9f},0,0,10\n"
        f"0:0:0>DEST A,{latitude:.9f},{other:.9f}\n0:0:0>DEST B,{latitude:.9f},{longitude:.9f}"
    )
    layout = scn_parser.read(write(tmp_path_factory.mktemp("scn"), text)).layout
    np.testing.assert_allclose(layout.position_m, [[-200, 0], [200, 0]], atol=1.2e-2)


@pytest.mark.parametrize(
    ("shape", "corners", "warning"),
    [
        ("BOX S,51.99,4.36,52.01,4.38;AREA S", 4, ""),
        ("AREA S;BOX S,51.99,4.36,52.01,4.38;AREA S", 4, "there is no shape 'S'"),
        ("POLY S 51.99 4.36 51.99 4.38 52.01 4.37;AREA S", 3, ""),
        ("POLY S 52.01 4.37 51.99 4.38 51.99 4.36;AREA S", 3, ""),  # clockwise
        ("POLY S 51.99 4.36 51.99 4.38 52.0 4.371 52.01 4.38 52.01 4.36;AREA S", 4, "the sector is not convex"),
        ("POLYALT S FL50 0 51.99 4.36 51.99 4.38 52.01 4.37;AREA S", 3, ""),
        ("AREA 51.99,4.36,52.01,4.38", 4, ""),
        ("AREA 51.99,4.36,52.01,4.38,500,0", 4, ""),
        ("CIRCLE S 52 4.37 0.5;AREA S", 36, ""),
        ("CIRCLE S 52 4.37 0.5;AREA S;AREA ON", 36, ""),
    ],
)
def test_a_sector_is_what_area_says(tmp_path: Path, shape: str, corners: int, warning: str) -> None:
    read = scn_parser.read(write(tmp_path, f"{ONE}0:0:0>{shape}"))
    assert len(read.layout.corners_m) == corners
    following = np.roll(read.layout.corners_m, -1, axis=0)
    assert np.sum(read.layout.corners_m[:, 0] * following[:, 1] - read.layout.corners_m[:, 1] * following[:, 0]) > 0
    assert [each for each in read.warnings if warning not in each or not warning] == []
    assert bool(read.warnings) == bool(warning)
    height = np.ptp(read.layout.corners_m[:, 1])
    assert height == pytest.approx(1852 if "CIRCLE" in shape else EARTH_RADIUS_M * math.radians(0.02), rel=1e-3)


@pytest.mark.parametrize(
    ("shape", "zones", "warning"),
    [
        ("BOX S,51.99,4.36,52.01,4.38", 0, "there is no AREA; left out: S"),
        ("BOX S,51.99,4.36,52.01,4.38;AREA S;AREA OFF", 0, "there is no AREA; left out: S"),
        ("POLY NOFLY1 51.99 4.36 51.99 4.38 52.01 4.37", 1, "no-fly zones: NOFLY1"),
        ("BOX Restricted_A,51.99,4.36,52.01,4.38;CIRCLE NFZ2 52 4.37 1", 2, "no-fly zones: RESTRICTED_A, NFZ2"),
        ("GEOFENCE TOWER 1000 0 51.99 4.36 51.99 4.38 52.01 4.37", 1, "no-fly zones: TOWER"),
        ("BOX NOFLY,51.99,4.36,52.01,4.38;DEL NOFLY", 0, ""),
        (
            "POLY NFZ 51.99 4.36 52.01 4.38 52.01 4.36 51.99 4.38",
            1,
            "so that their hulls are used: NFZ",
        ),
    ],
)
def test_what_no_area_names_is_no_sector(tmp_path: Path, shape: str, zones: int, warning: str) -> None:
    plain = scn_parser.read(write(tmp_path, ONE)).layout
    read = scn_parser.read(write(tmp_path, f"{ONE}0:0:0>{shape}"))
    np.testing.assert_array_equal(read.layout.corners_m, plain.corners_m)
    assert len(read.layout.no_fly_m) == zones
    assert "".join(read.warnings).endswith(warning)


def test_aircraft_come_at_their_times_in_whatever_order_the_lines_stand(tmp_path: Path) -> None:
    lines = [
        "00:01:00.00>CRE B,M600,51.999881,4.350000,180,100,17.5",
        "00:01:00.00>DEST B 51.990000 4.350000",
        "00:00:30.00>CRE A,M600,51.990000,4.350000,0,100,17.5",
        "00:00:30.00>DEST A 51.999881 4.350000",
    ]
    read = scn_parser.read(write(tmp_path, "\n".join(lines)))
    assert (read.callsigns, read.layout.entry_s.tolist()) == (("A", "B"), [0.0, 30.0])
    assert read.warnings == ("own.scn: it begins with the first aircraft, at 30 s of the file",)


COMMANDS = [
    (0.0, "CRE A,M600,51.99,4.35,0,100,17.5"),
    (0.0, "DEST A 51.999 4.35"),
    (10.5, "CRE B,AMZN,N51'59'24,E004'21'00,90,FL10,12"),
    (10.5, "B ADDWPT 51.995,4.36"),
    (10.5, "ADDWPT B 51.996,4.37"),
    (20.0, "CRE C,M600,51.98,4.36,45,100,0"),
    (20.0, "POLY NOFLY 51.993,4.348 51.993,4.352 51.996,4.351"),
    (30.0, "CRE D,M600,51.98,4.37,45,100,9"),
]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_neither_the_order_of_times_nor_the_lines_they_share_matter(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    plain = scn_parser.read(write(folder, "".join(f"0:0:{time}>{text}\n" for time, text in COMMANDS), "plain.scn"))
    by_time: dict[float, list[str]] = {}
    for time, text in COMMANDS:
        by_time.setdefault(time, []).append(text)
    lines = []
    for time, texts in by_time.items():
        cuts = sorted(data.draw(st.sets(st.integers(1, len(texts) - 1)))) if len(texts) > 1 else []
        pieces = [texts[start:end] for start, end in zip([0, *cuts], [*cuts, len(texts)])]
        lines.append([f"0:0:{time}>{' ; '.join(piece)}" for piece in pieces])
    order = data.draw(st.permutations(range(len(lines))))
    text = "\n".join(line for index in order for line in lines[index])
    other = scn_parser.read(write(folder, text, "other.scn"))
    assert other.callsigns == plain.callsigns
    for name, value in vars(plain.layout).items():
        np.testing.assert_equal(getattr(other.layout, name), value)


def test_who_is_told_0_kt_hovers(tmp_path: Path) -> None:
    """With a destination and without; not an airliner, nor who is sent on later; a minute of flight earlier too."""
    text = """
00:00:00.00>CRE D,M600,52.000,4.37,0,100,17.5;DEST D 52.006,4.37;SPD D 0
00:00:00.00>CRE A,M600,52.000,4.38,0,100,17.5;SPD A 0
00:00:00.00>CRE L,M600,52.000,4.39,0,100,17.5;SPD L 0;DEST L 52.006,4.39
00:00:00.00>CRE B,B744,52.000,4.40,0,FL300,250;SPD B 0
00:00:00.00>CRE F,M600,52.000,4.41,0,100,17.5;DEST F 52.006,4.41
00:01:00.00>SPD L 10;SPD F 0
"""
    read = scn_parser.read(write(tmp_path, text))
    layout = read.layout
    assert layout.hovers is not None
    assert layout.hovers.tolist() == [True, True, False, False, False]
    is_there = (layout.waypoint_m == layout.position_m).all(1)
    assert is_there.tolist() == [True, True, False, False, False]
    assert degrees(read, layout.waypoint_m[2])[0] == pytest.approx(52.006)
    said = "\n".join(read.warnings)
    assert "own.scn: hovering where they begin, told to by SPD 0: D, A" in said
    assert "without speed and DEST" not in said


def test_routes_hovering_types_and_speeds(tmp_path: Path) -> None:
    text = """
00:00:00.00>CRE R,M600,52.000,4.37,0,100,17.5;R ADDWPT FLYOVER;ADDWPT R TURNSPD 10;R ADDWPT 52.002,4.37,500,12
00:00:00.00>DEST R 52.006,4.37;ADDWPT R 52.004,4.37,,,R001
00:00:00.00>DEFWPT P 52.003 4.37;BEFORE R R002 ADDWPT P;ORIG R 51 4
00:00:00.00>CRE H,Amzn,52.000,4.38,90,100,0
00:00:00.00>CRE T,M600,52.000,4.39,0,0,0;DEST T 52.001 4.39
00:00:00.00>CRE S,M600,52.000,4.40,90,FL300,M.8;CRE U,M600,52,4.41
00:00:00.00>CRE P,M600,52.000,4.42,0,0,0;SPD P 10
00:00:00.00>CRE W,M600,52,4.43,0,0,9;ADDWAYPOINTS W 52.001,4.43,,,FLYBY,52.002,4.43,,,FLYTURN
"""
    read = scn_parser.read(write(tmp_path, text))
    layout = read.layout
    assert read.callsigns == tuple("RHTSUPW")
    assert layout.kinds == ("M600", "AMZN", *("M600",) * 5)
    assert layout.hovers is not None
    assert layout.hovers.tolist() == [False, True, False, False, True, False, False]
    lengths = [[degrees(read, point)[0] for point in way] for way in ways(layout)]
    np.testing.assert_allclose(lengths[0], [52.002, 52.003, 52.004, 52.006], atol=1e-9)
    np.testing.assert_allclose(lengths[6], [52.001, 52.002], atol=1e-9)
    np.testing.assert_array_equal(layout.waypoint_m[1], layout.position_m[1])
    north = layout.waypoint_m[5] - layout.position_m[5]
    np.testing.assert_allclose(north, [0, 120 * 10 * 1852 / 3600], atol=1)  # the plane's north turns with longitude
    assert layout.speed_mps is not None
    assert layout.speed_mps[3] == pytest.approx(242.54, abs=0.01)  # Mach 0.8 at 228.7 K
    assert layout.speed_mps[0] == pytest.approx(17.5 * 1852 / 3600 * 1.00147, rel=1e-4)  # 100 ft
    assert layout.speed_mps[2] == 0


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    text = (
        "00:00:00.00>CRE D1,M600,52.000,4.370,0,100,17.5\n00:00:00.00>DEST D1 52.009 4.370\n"
        "00:00:00.00>PAN 52 4\n00:00:09.00>ZOOM 2\n00:00:00>ZOOM 3\n00:00:00>RESO MVP\n"
        "00:00:00.00>DEFWPT HOME 52.003 4.37\n00:00:00.00>ADDWPT D1 HOME\n"
        "00:00:00.00>CRE K3,B744,52.001,4.372,90,FL10,15\n"
        "00:00:00.00>BOX S 51.9 4.3 52.1 4.5 \\\n  3000\n00:00:00>BOX T 51 4 53 5\n00:00:00>AREA S\n"
        "00:00:00>CRE K4,M600,52.2,4.4,0,100,15\n00:00:30>HDG D1 90;DEL K4;DEST D1 52 4\n00:01:00>ADDWPT K3 52 4\n"
        "00:00:00>CRE K3,M600,52,4,0,0,0\n00:00:00>LNAV D1 ON\n00:00:00.00>NOSUCHCOMMAND A 3\n"
        "00:00:00.00>CRE X,M600,52,4,north\x1b[31m,0,0\n"
        "00:00:00.00>WIND 52.03,4.38,270,15;WIND 60,4,270,15"
    )
    said = "\n".join(scn_parser.read(write(tmp_path, text)).warnings)
    for part in (
        "own.scn: left out: PAN, ZOOM (2x), RESO, NOSUCHCOMMAND",
        "left out, so they fly on without it: HDG, DEL, DEST",
        "no DEST or ADDWPT for K4: straight on for 120 s of flight instead",
        "routes that come later than their aircraft are flown from the entry on: K3",
        "aircraft of type B744 are flown as m600",
        "altitudes from 100 to 1000 ft are flown on one level",
        "the sector is S; left out: T",
        "K4 start outside the sector",
        "skipped, as BlueSky does: line 17: 'CRE K3,M600,52,4,0,0,0' (K3 exists already); line 20: 'CRE X,M600",
        "the wind is everywhere that in the middle of the traffic, 15 kt",
    ):
        assert part in said, said
    assert "\x1b" not in said


def test_slow_is_not_supersonic(tmp_path: Path) -> None:
    """BlueSky takes 3 kt, 1.5 m/s, for Mach 1.5, unless CASMACHTHR says otherwise."""
    for before, warnings in (("", 1), ("CASMACHTHR 0;", 0)):
        read = scn_parser.read(write(tmp_path, f"00:00:00.00>{before}CRE A,M600,52,4,0,0,3;DEST A 52.01 4"))
        assert read.layout.speed_mps == pytest.approx([3 * 1852 / 3600])
        assert len(read.warnings) == warnings


def test_wind_blows_towards(tmp_path: Path) -> None:
    for wind, expected in (
        ("WIND 52 4 270 10", (5.144, 0)),
        ("WIND 52 4,,0,10", (0, -5.144)),
        ("WIND 52 4 0 90 10 1000 90 20", (-5.144 * 1.5, 0)),  # 500 ft, between two levels
        ("WIND 52 4 90 10;WIND 52 4.01 90 20", (-5.144 * 1.5, 0)),  # as near to one as to the other
        ("WIND 52 4 FL000 90 10 FL010 90 20", (-5.144 * 1.5, 0)),
        ("WIND 52 4 90 10;DEL WIND", (0, 0)),
    ):
        text = f"0:0:0.0>CRE A,M600,52,4.005,0,500,10;{wind}"
        layout = scn_parser.read(write(tmp_path, text)).layout
        np.testing.assert_allclose(layout.wind_mps, expected, atol=1e-3)


def test_wide_areas_are_flown_with_their_error_stated(tmp_path: Path) -> None:
    text = "0:0:0.0>CRE A,M600,52,4,0,0,9;DEST A,61,4\n0:0:0.0>CRE B,M600,52,5,90,0,9;DEST B,52,4"
    read = scn_parser.read(write(tmp_path, text))
    assert (
        "on the plane, distances are wrong by up to 0.00% where aircraft begin, 0.41% at its edge"
        in read.warnings[0]
    )
    far = metres_apart((52, 4), (61, 4))
    found = float(np.hypot(*(read.layout.waypoint_m[0] - read.layout.position_m[0])))
    assert found == pytest.approx(far, rel=1e-4)
    with pytest.raises(ConfigurationError, match=r"expected all traffic within 12,\d+ km of its centre"):
        scn_parser.read(write(tmp_path, "0:0:0.0>CRE A,M600,52,4,0,0,9;DEST A,-52,-170"))
    with pytest.raises(ConfigurationError, match=r"expected all traffic within 7,\d+ km of its centre"):
        scn_parser.read(write(tmp_path, "0:0:0.0>CRE A,M600,52,4,0,0,9;CRE B,M600,-52,104,0,0,9"))


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "own.scn"
    for data in (
        b"\xef\xbb\xbf" + ONE.encode(),
        b"# \xe9\x85 is no end of a line\n" + ONE.encode("latin-1"),
        ONE.replace("\n", "\r\n").encode(),
    ):
        path.write_bytes(data)
        assert scn_parser.read(path).callsigns == ("D1",)
        assert scn_parser.read(path).warnings == ()


def test_files_call_others_beside_them(tmp_path: Path) -> None:
    text = "00:00:00.00>CRE A,M600,52,4,0,0,9\n00:00:00>CALL none\n"
    path = write(tmp_path, f"{text}00:00:10.00>ZOOM 2;PCALL parts/second 4.01;CALL parts/fourth")
    write(tmp_path, "00:00:00.00>CRE B,M600,52,%0,0,0,9\n00:00:05.00>call third", "parts/second.scn")
    write(tmp_path, "00:00:01.00>CRE C,M600,52,4.02,0,0,9", "parts/third.scn")
    write(tmp_path, "00:00:00.00>CRE D,M600,52,4.03,0,0,9", "parts/fourth.scn")
    read = scn_parser.read(path)
    assert read.layout.entry_s is not None
    assert (read.callsigns, read.layout.entry_s.tolist()) == (("A", "B", "D", "C"), [0.0, 10.0, 10.0, 16.0])
    assert "'CALL none' (there is no such file)" in "".join(read.warnings)


def test_commands_that_bring_in_commands(tmp_path: Path) -> None:
    write(tmp_path, "00:00:00.00>CRE A,M600,52,4,0,0,9;SCHEDULE 0:00:05 CRE B,M600,52,4.1,0,0,9", "start.scn")
    text = "00:00:00.00>CRE GONE,M600,52,4,0,0,9\n00:00:00.00>IC start\n00:09:00.00>CRE LATE,M600,52,4,0,0,9"
    assert scn_parser.read(write(tmp_path, text)).callsigns == ("A", "B")
    text = "00:00:00.00>CRECMD DEST 52.01 4\n00:00:00.00>CRE A,M600,52,4,0,0,9"
    text += "\n00:00:00.00>DELAY 7 CRE B,M600,52,4,0,0,9"
    read = scn_parser.read(write(tmp_path, text))
    assert read.layout.entry_s is not None
    assert read.layout.entry_s.tolist() == [0, 7]
    assert [degrees(read, point)[0] for point in read.layout.waypoint_m] == pytest.approx([52.01, 52.01])
    text = "00:00:00.00>CRE A,M600,52,4,0,0,9\n00:10:00.00>QUIT\n00:20:00.00>CRE B,M600,52,4,0,0,9"
    assert scn_parser.read(write(tmp_path, text)).callsigns == ("A",)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("PCALL ../other", "expected the name of a file in the scenario's folder or below, got '../other'"),
        ("PCALL /etc/passwd", "expected the name of a file in the scenario's folder or below"),
        ("CALL own", "expected files that call each other at most 16 deep"),
        ("PCALL pipe", "expected a regular file, got a folder, a pipe or a device"),
    ],
)
def test_calls_that_lead_nowhere(tmp_path: Path, call: str, message: str) -> None:
    write(tmp_path, ONE, "other.scn")
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe.scn")
    path = write(tmp_path / "in", f"{ONE}00:00:00.00>{call}")
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        scn_parser.read(path)
    (tmp_path / "in" / "link.scn").symlink_to(tmp_path / "other.scn")
    path.write_text(f"{ONE}00:00:00.00>PCALL link")
    assert "(there is no such file)" in "".join(scn_parser.read(path).warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected aircraft, found none. Create each with CRE"),
        ("CRE D1,M600,52,4,0,0,17", "line 1: expected 00:00:00.00>COMMAND, got 'CRE D1"),
        ("0:0:0>CRE D1,M600,52", "line 1: expected latitude and longitude, got 52 alone"),
        ("0:0:0>CRE D1,M600,52,400,0,0,17", "expected a longitude from -180 to 180 degrees, got '400'"),
        ("0:0:0>CRE D1,M600,52,4,0,0,fast", "expected a speed in knots or a Mach number, got 'fast'"),
        ("0:0:0>CRE D1,M600,52,4,0,high,9", "expected an altitude in feet or as FL100, got 'high'"),
        ("0:0:0>CRE D1,M600,52,4,M90,0,9", "line 1: expected a true heading, got the magnetic one M90"),
        ("0:0:0>DEST D1 52 4", "there is no aircraft 'D1' at this time"),
        ("0:0:0>MCRE 20", "line 1: MCRE brings in traffic or commands that are not in this file"),
        ("0:0:0>SYN SUPER 8", "line 1: SYN brings in traffic or commands that are not in this file"),
        ("0:0:0>POLY S 52 4 52 5", "expected three or more corners, got 2"),
        ("9" * 400 + ":0:0>CRE D1,M600,52,4,0,0,9", "line 1: expected 00:00:00.00>COMMAND, got '999"),
        ("0:0:0>CRE D1,M600,52,4,0,0,9\n0:0:0>BOX S 52,4,52,4", "line 2: expected a shape with an area, but S is"),
        ("0:0:0>CRE D1,M600,52,4,0,0,9\n0:0:0>POLY S 52 4 52 5 52 6", "line 2: expected a shape with an area"),
        ("0:0:0>CIRCLE S 52 4 9999", "line 1: expected a circle of at most 2000 NM"),
        (
            "0:0:0>CRE A,M600,52,4,0,0,9\n0:1:0>CRE B,M600,A,0,0,9",
            "line 2: expected a place, got A, which is in flight",
        ),
        ("0:0:0>CRE A,M600,52,4,0,0,9\n0:1:0>CRECONFS B,M600,A,90,0,60", "line 2: CRECONFS depends on where A is"),
    ],
)
def test_what_cannot_be_flown_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        scn_parser.read(write(tmp_path, text))
    assert "own.scn" in str(caught.value)


def test_creconfs_meets_as_it_says(tmp_path: Path) -> None:
    """On a crossing course, 2 NM apart at the closest point, and 5 NM apart 300 s from the start."""
    read = scn_parser.read(write(tmp_path, "0:0:0>CRE A,B744,0,4,0,0,250\n0:0:0>CRECONFS B,B744,A,90,2,300"))
    layout = read.layout
    assert layout.speed_mps is not None
    assert layout.track_rad is not None
    velocity = layout.speed_mps[:, None] * np.stack((np.sin(layout.track_rad), np.cos(layout.track_rad)), -1)
    apart, along = layout.position_m[1] - layout.position_m[0], velocity[1] - velocity[0]
    assert np.hypot(*(apart + 300 * along)) == pytest.approx(5 * 1852, rel=5e-3)  # its degree has 60 NM
    closest = -(apart @ along) / (along @ along)
    assert np.hypot(*(apart + closest * along)) == pytest.approx(2 * 1852, rel=1e-3)


@needs_navigation
def test_places_are_known_by_name(tmp_path: Path) -> None:
    text = """
00:00:00.00>CRE A,M600,EHAM,0,100,17.5
00:00:00.00>ADDWPT A SPY
00:00:00.00>DEST A EHRD
00:00:00.00>CRE B,M600,EHAM/RW18L,,0,17;CRE C,M600,EHAM,RWY18L,SPY,0,17
00:00:00.00>CRE D,M600,NOSUCHPLACE,0,0,17
"""
    read = scn_parser.read(write(tmp_path, text))
    assert degrees(read, read.layout.position_m[0]) == pytest.approx((52.309, 4.764))
    assert degrees(read, ways(read.layout)[0][0]) == pytest.approx((52.5417, 4.8414), abs=1e-3)
    assert degrees(read, ways(read.layout)[0][1]) == pytest.approx((51.9569, 4.4372), abs=1e-2)
    assert read.layout.track_rad is not None
    assert math.degrees(read.layout.track_rad[1]) == pytest.approx(183.3, abs=0.5)
    np.testing.assert_array_equal(read.layout.position_m[1], read.layout.position_m[2])
    assert "there is no place 'NOSUCHPLACE'" in "".join(read.warnings)


def test_without_navigation_data_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skyclone.collect.scenarios.scn.places._folder", lambda: None)
    text = "0:0:0>DEFWPT HOME 52 4\n0:0:0>CRE A,M600,HOME,0,0,17\n"
    assert scn_parser.read(write(tmp_path, text)).callsigns == ("A",)
    with pytest.raises(ConfigurationError, match=r"line 3: the place 'EHAM' is known by its name only. Install"):
        scn_parser.read(write(tmp_path, f"{text}0:0:0>DEST A EHAM"))


ORACLE = {
    "plain": """# comments, continued lines, several commands on a line, times in any order
00:00:30.00>CRE LATE,M600,52.01,4.37,270,100,15
00:00:00.00>CRE A,M600,N52'00'00,E004'22'12.0,45,100,17.5;A DEST 52.01 4.39
00:00:00.00>CRE B,M600,52.02, \\
4.37,180,100,12
00:00:00.00>NOSUCHCOMMAND 3;CRE A,M600,50,4,0,0,0
00:00:00.00>CRE C,M600,NOSUCHPLACE,0,0,9
00:00:00.00>CRE D,M600,52.03,4.37
00:00:00.00>CRE E,M600,52.04,-355.62,T090,100,10;CRE F,M600,52.05,4.37,0.,100,10
00:00:00.00>CRE G,M600,E,180,0,17
""",
    "routes": """
00:00:00.00>CRE A,M600,52.00,4.37,0,100,17.5;DEST A 52.03 4.37;A ADDWPT 52.01,4.37,500,12;ADDWPT A FLYTURN
00:00:00.00>ADDWPT A TURNSPD 10;ADDWPT A 52.02 4.38;ORIG A 51.9 4.3;DEFWPT P 52.015 4.375;DEFWPT Q 52.018,4.376
00:00:00.00>A AFTER A001 ADDWPT P;A BEFORE A002 ADDWPT Q,,10;A AFTER A001 ADDWPT 52.015 4.375;ADDWPT A P,,,A002
00:00:00.00>ADDWPT A 52.03,4.38;DEST A 52.04,4.37;DELWPT A A003
00:00:00.00>CRE B,M600,52.00,4.40,0,100,10;ADDWPT B 52.01 4.40;ADDWPT B 52.02 4.40;ADDWPT B 52.03 4.40;DIRECT B B002
00:00:00.00>CRE C,M600,52.00,4.41,0,100,10;ADDWPT C 52.01 4.41;DELRTE C;DEST C 52.02,4.41
""",
    "airliners": """
00:00:00.00>HOLD
00:00:00.00>CRE KL1,B744,EHAM,090,FL250,.8;DEST KL1 EDDF;ADDWPT KL1 SPY FL200 250;ADDWPT KL1 RKN,,M.7
00:00:00.00>CRE KL2,A320,EHAM/RW18L,,3000,220;ORIG KL2 EHAM RWY18L;KL2 DEST LEMD;KL2 ADDWPT LEKKO
00:00:00.00>CRE KL3,A320,SUGOL,270,FL350,M0.78
00:00:00.00>CRE KL4,A320,49,2,270,FL390,280;KL4 DEST EHAM
00:00:00.00>DEFWPT HOME 48 2;ADDWPT KL4 HOME;KL4 ADDWPT PAM
""",
}


def in_bluesky(folder: Path, seconds: float, *names: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), str(seconds), *names],
        capture_output=True, text=True, check=False, env=environment, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@needs_navigation
def test_aircraft_by_aircraft_as_bluesky_makes_them(tmp_path: Path) -> None:
    """Positions to a millimetre, tracks, speeds, types and routes when created; straight flights for 1 and 60 s."""
    for name, text in ORACLE.items():
        write(tmp_path / "scenario", text, f"{name}.scn")
    flown = {seconds: in_bluesky(tmp_path, seconds, *ORACLE) for seconds in (1.0, 60.0)}
    for name in ORACLE:
        read = scn_parser.read(tmp_path / "scenario" / f"{name}.scn")
        layout, theirs = read.layout, flown[60.0][name]
        assert set(read.callsigns) == set(theirs["created"]), name
        assert layout.track_rad is not None
        assert layout.speed_mps is not None
        for index, callsign in enumerate(read.callsigns):
            created = theirs["created"][callsign]
            entry_s = 0.0 if layout.entry_s is None else layout.entry_s[index]
            assert created["time"] == pytest.approx(entry_s, abs=0.06)
            place = degrees(read, layout.position_m[index])
            moved_m = created["gs"] * created["time"] if entry_s == 0 else created["gs"] * 0.06
            assert metres_apart(place, (created["lat"], created["lon"])) < 1e-3 + moved_m, callsign
            assert layout.kinds is not None
            assert layout.kinds[index] == created["type"]
            assert layout.speed_mps[index] == pytest.approx(created["tas"], rel=2e-6)  # its knot is 0.514444 m/s
            ahead = np.array([math.sin(layout.track_rad[index]), math.cos(layout.track_rad[index])])
            there = degrees(read, layout.position_m[index] + ahead)
            east = math.radians(there[1] - place[1]) * math.cos(math.radians(place[0]))
            track = math.degrees(math.atan2(east, math.radians(there[0] - place[0])))
            assert (track - created["hdg"] + 180) % 360 - 180 == pytest.approx(0, abs=1e-3), callsign
            route = created["route"]
            if route:
                way = [degrees(read, point) for point in ways(layout)[index]]
                assert len(way) == len(route), (callsign, way, route)
                assert max(map(metres_apart, way, map(tuple, route))) < 1e-3
                continue
            for seconds in (1.0, 60.0):
                if seconds > entry_s:
                    end = flown[seconds][name]["end"][callsign]
                    flown_m = layout.speed_mps[index] * (end["time"] - entry_s)
                    gone = degrees(read, layout.position_m[index] + ahead * flown_m)
                    bent_m = (
                        flown_m**2 * math.tan(math.radians(place[0])) / (2 * EARTH_RADIUS_M)
                    )  # a rhumb line there
                    late_m = 0.06 * end["gs"] if entry_s else 0.0
                    away_m = metres_apart(gone, (end["lat"], end["lon"]))
                    assert away_m < 0.01 + 1e-4 * flown_m + 1.01 * bent_m + late_m, callsign


NUMBERS = st.sampled_from(
    [
        "52",
        "52.001",
        "4.37",
        "4.371",
        "0",
        "17",
        "-90",
        "1e308",
        "nan",
        "inf",
        "9" * 400,
        "'",
        "",
        "N52'1",
        "M.8",
        "-0",
    ]
)
WORDS = st.one_of(
    NUMBERS,
    st.sampled_from(
        ["D1", "D2", "S", "M600", "FL10", "\x1b[31m", "\0", "\\", "#", ">", ";", "*", "D1001", "own", "OFF"]
    ),
)
STARTS = st.sampled_from(
    [
        *(
            "CRE D1,M600,52,4.37,0,100,17",
            "CRE D2,M600",
            "CRE D2,M600,52,4.38,0,0,0",
            "DEST D1",
            "ADDWPT",
            "DEFWPT",
        ),
        *(
            "AREA",
            "POLY S",
            "BOX S",
            "CIRCLE S",
            "D1",
            "ADDWPT D1",
            "ADDWAYPOINTS D1",
            "AFTER D1",
            "DELWPT D1",
            "WIND",
        ),
        *(
            "CRECONFS D2,M600,D1",
            "SCHEDULE 9",
            "DELAY",
            "PCALL own",
            "CRECMD",
            "DEL",
            "IC",
            "RESET",
            "DIRECT D1",
            "SPD D1",
        ),
        *("POLYALT S", "GEOFENCE NFZ", "WIND 52 4", "CASMACHTHR", "ORIG D1", "QUIT", "AREA S"),
    ]
)
STAMPS = st.sampled_from(
    [
        "0:0:0>",
        "00:00:00.5>",
        "9:9:9>",
        f"{'9' * 400}:0:0>",
        "nan:0:0>",
        "0:0:inf>",
        "0:0:-1e308>",
        ">",
        "0:0:1e308>",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    lines=st.lists(
        st.tuples(st.one_of(st.just("0:0:00.0>"), STAMPS), STARTS, st.lists(st.one_of(WORDS, NUMBERS), max_size=7)),
        max_size=6,
    )
)
def test_any_file_is_a_scenario_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, list[str]]]
) -> None:
    text = "".join(f"{stamp}{command} {','.join(words)}\n" for stamp, command, words in lines)
    path = tmp_path_factory.getbasetemp() / "hostile.scn"
    path.write_text(text)
    try:
        layout = scn_parser.read(path).layout
    except ConfigurationError:
        return
    assert len(layout.corners_m) >= 3
    parts = (
        layout.corners_m,
        layout.position_m,
        *ways(layout),
        layout.track_rad,
        layout.speed_mps,
        layout.wind_mps,
    )
    assert all(np.isfinite(part).all() for part in parts)
    assert layout.entry_s is None or (np.isfinite(layout.entry_s).all() and (layout.entry_s >= 0).all())
