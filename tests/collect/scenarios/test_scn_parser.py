"""Single scenario files by hand: positions, sectors, what is left out, and each error with its line."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.collect.scenarios import scn_parser as scenario_parser
from skyclone.datasets.errors import ConfigurationError

EARTH_M = 6_371_000.0


def write(folder: Path, text: str, name: str = "own.scn") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_geodesy_is_good_to_a_metre(tmp_path: Path) -> None:
    """1 km east and 1 km north of 52 N, against the distances on a sphere."""
    north, east = math.degrees(1000 / EARTH_M), math.degrees(1000 / EARTH_M / math.cos(math.radians(52)))
    lines = [f"00:00:00>CRE D{n},M600,{52 + dn},{4 + de},0,0,17" for n, (dn, de) in
             enumerate([(0, 0), (north, east), (-north, -east)])]  # fmt: skip
    layout = scenario_parser.read(write(tmp_path, "\n".join(lines))).layout
    first, second = (52 + north, 4 + east), (52.0, 4.0)
    angle = 2 * math.asin(math.sqrt(
        math.sin(math.radians(first[0] - second[0]) / 2) ** 2 + math.cos(math.radians(first[0]))
        * math.cos(math.radians(second[0])) * math.sin(math.radians(first[1] - second[1]) / 2) ** 2))  # fmt: skip
    assert np.hypot(*(layout.position_m[1] - layout.position_m[0])) == pytest.approx(EARTH_M * angle, abs=0.5)


@settings(max_examples=25, deadline=None)
@given(latitude=st.floats(-60, 60), longitude=st.floats(-179.99, 179.99))
def test_the_place_on_earth_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, latitude: float, longitude: float
) -> None:
    """Also across the date line."""
    east = math.degrees(400 / EARTH_M / math.cos(math.radians(latitude)))
    other = (longitude + east + 180) % 360 - 180
    text = (
        f"0:0:0>CRE A,M600,{latitude:.9f},{longitude:.9f},90,0,10\n"
        f"0:0:0>CRE B,M600,{latitude:.9f},{other:.9f},0,0,10\n"
        f"0:0:0>DEST A,{latitude:.9f},{other:.9f}\n0:0:0>DEST B,{latitude:.9f},{longitude:.9f}"
    )
    layout = scenario_parser.read(write(tmp_path_factory.mktemp("scn"), text)).layout
    np.testing.assert_allclose(layout.position_m, [[-200, 0], [200, 0]], atol=1e-2)


@pytest.mark.parametrize(
    ("shape", "corners", "warning"),
    [
        ("BOX S,51.99,4.36,52.01,4.38", 4, ""),
        ("POLY S 51.99 4.36 51.99 4.38 52.01 4.37", 3, ""),
        ("POLY S 52.01 4.37 51.99 4.38 51.99 4.36", 3, ""),  # clockwise
        ("POLY S 51.99 4.36 51.99 4.38 52.0 4.371 52.01 4.38 52.01 4.36", 4, "the sector is not convex"),
        ("AREA 51.99,4.36,52.01,4.38", 4, ""),
        ("CIRCLE S 52 4.37 0.5", 36, ""),
    ],
)
def test_a_sector_is_taken_from_the_file(tmp_path: Path, shape: str, corners: int, warning: str) -> None:
    one = "0:0:0>CRE D1,M600,52.0,4.37,0,0,17\n0:0:0>DEST D1 52.0 4.372\n"
    read = scenario_parser.read(write(tmp_path, f"{one}0:0:0>{shape}"))
    assert len(read.layout.corners_m) == corners
    following = np.roll(read.layout.corners_m, -1, axis=0)
    assert np.sum(read.layout.corners_m[:, 0] * following[:, 1] - read.layout.corners_m[:, 1] * following[:, 0]) > 0
    assert [each for each in read.warnings if warning not in each or not warning] == []
    assert bool(read.warnings) == bool(warning)
    height = np.ptp(read.layout.corners_m[:, 1])
    assert height == pytest.approx(1852 if "CIRCLE" in shape else EARTH_M * math.radians(0.02), rel=1e-3)


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    text = (
        "00:00:00.00>CRE D1,M600,52.000,4.370,0,100,17.5\n00:00:00.00>DEST D1 52.009 4.370\n"
        "00:00:00.00>PAN 52 4\n00:00:09.00>ZOOM 2\n00:00:00>ZOOM 3\n00:00:00>RESO MVP\n"
        "00:00:00.00>DEFWPT HOME 52.003 4.37\n00:00:00.00>ADDWPT D1 HOME\n"
        "00:00:00.00>CRE K3,B744,52.001,4.372,90,FL10,15\n"
        "00:00:00.00>BOX S 51.9 4.3 52.1 4.5 \\\n  3000\n00:00:00>BOX T 51 4 53 5\n"
        "00:00:00>CRE K4,M600,52.2,4.4,0,100,15"
    )
    said = "\n".join(scenario_parser.read(write(tmp_path, text)).warnings)
    for part in (
        "own.scn: left out: PAN, ZOOM (2x), RESO, waypoints before the last",
        "no DEST or ADDWPT for K3, K4: straight on for 120 s of flight instead",
        "aircraft of type B744 are flown as M600",
        "altitudes from 100 to 1000 ft are flown on one level",
        "the sector is S; left out: T",
        "K4 start outside the sector",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected aircraft, found none. Create each with CRE"),
        ("CRE D1,M600,52,4,0,0,17", "line 1: expected 00:00:00.00>COMMAND, got 'CRE D1"),
        ("0:0:0>CRE D1,M600,52,4", "line 1: expected CRE callsign,type,lat,lon,hdg,alt,spd, got 4 values"),
        ("0:0:0>CRE D1,M600,N52'1,4,0,0,17", "expected the latitude of D1 as a number from -89 to 89, got 'N52'1'"),
        ("0:0:0>CRE D1,M600,52,400,0,0,17", "longitude of D1 as a number from -180 to 180, got '400'"),
        (
            "0:0:0>CRE D1,M600,52,4,nan,0,17",
            "expected the heading in degrees as a number from -360 to 360, got 'nan'",
        ),
        ("0:0:0>CRE D1,M600,52,4,0,0,M.8", "expected the speed in knots (Mach numbers are for airliners)"),
        ("0:0:0>CRE D1,M600,52,4,0,0,.8", "which BlueSky takes for a Mach number"),
        ("0:0:0>CRE D1,M600,52,4,0,0,9\n0:0:0>CRE d1,M600,52,4,0,0,9", "line 2: callsign D1 is created twice"),
        ("0:0:0>CRE D1,M600,52,4,0,0,9\n0:1:0>CRE D2,M600,52,4,0,0,9", "CRE comes 60 s after the start"),
        ("0:0:0>DEST D1 52 4", "expected DEST callsign,lat,lon of an aircraft created before, got D1"),
        (
            "0:0:0>CRE D1,M600,52,4,0,0,9\n0:0:0>DEST D1 EHAM",
            "waypoint 'EHAM' is a name; expected lat,lon, or a DEFWPT",
        ),
        ("0:0:0>CRE D1,M600,52,4,0,0,9\n0:0:0>DEST D1 54 4", "expected all traffic within 50 km of its centre"),
        ("0:0:0>MCRE 20", "MCRE brings in traffic or commands that are not in this file"),
        ("0:0:0>CRE D1,M600,52,4,0,0,9\n0:0:0>AREA S", "AREA S: expected a POLY, BOX or CIRCLE of that name"),
        ("0:0:0>POLY S 52 4 52 5", "expected POLY name,lat,lon,... with three or more corners"),
        ("9" * 400 + ":0:0>CRE D1,M600,52,4,0,0,9", "line 1: expected 00:00:00.00>COMMAND, got '999"),
        ("0:0:0>CRE D1,M600,52,4,0,0,9\n0:0:0>BOX S 52,4,52,4", "line 2: expected a sector with an area, but S is"),
        ("0:0:0>CRE D1,M600,52,4,0,0,9\n0:0:0>POLY S 52 4 52 5 52 6", "line 2: expected a sector with an area"),
        ("0:0:0>CIRCLE S 52 4", "expected the radius in NM as a number from 0.001 to 100, got ''"),
    ],
)
def test_what_cannot_be_flown_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        scenario_parser.read(write(tmp_path, text))
    assert "own.scn" in str(caught.value)


NUMBERS = st.sampled_from(
    ["52", "52.001", "4.37", "4.371", "0", "17", "-90", "1e308", "nan", "inf", "9" * 400, "'", ""]
)
WORDS = st.one_of(NUMBERS, st.sampled_from(["D1", "D2", "S", "M600", "FL10", "\x1b[31m", "\0", "\\", "#", ">"]))
COMMANDS = st.sampled_from(
    [
        "CRE D1,M600,52,4.37,0,100,17",
        "CRE D2,M600",
        "DEST D1",
        "ADDWPT",
        "DEFWPT",
        "AREA",
        "POLY S",
        "BOX S",
        "CIRCLE S",
        "D1",
    ]
)
STAMPS = st.sampled_from(
    ["0:0:0>", "00:00:00.5>", "9:9:9>", f"{'9' * 400}:0:0>", "nan:0:0>", "0:0:inf>", "0:0:-1e308>", ">"]
)


@settings(max_examples=300, deadline=None)
@given(
    lines=st.lists(
        st.tuples(st.one_of(st.just("0:0:0>"), STAMPS), COMMANDS, st.lists(st.one_of(WORDS, NUMBERS), max_size=7)),
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
        layout = scenario_parser.read(path).layout
    except ConfigurationError:
        return
    assert len(layout.corners_m) >= 3
    assert all(np.isfinite(part).all() for part in (layout.corners_m, layout.position_m, layout.waypoint_m))
