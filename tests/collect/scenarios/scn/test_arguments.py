"""Arguments as BlueSky writes them, and airspeeds against the standard atmosphere's tables."""

import pytest

from skyclone.collect.scenarios.scn.arguments import (
    Speed,
    altitude_m,
    heading,
    is_latitude,
    latitude,
    longitude,
    number,
    seconds,
    speed,
)
from skyclone.collect.scenarios.scn.commands import Skipped
from skyclone.datasets.errors import ConfigurationError

KNOT = 1852 / 3600


@pytest.mark.parametrize(
    ("north", "east", "expected"),
    [
        ("52.5", "4.25", (52.5, 4.25)),
        ("N52.5", "E004.25", (52.5, 4.25)),
        ("S52'30'00", "W004'15'00", (-52.5, -4.25)),
        ("N52'30", "E004'15'", (52.5, 4.25)),
        ("-52'30'36\"", "4°15'36", (-52.51, 4.26)),
        ("N51'59'24.0", "W0'0'36", (51.99, -0.01)),
        ("0", "190", (0.0, -170.0)),
        ("-0.5", "-355.5", (-0.5, 4.5)),
    ],
)
def test_positions(north: str, east: str, expected: tuple[float, float]) -> None:
    assert is_latitude(north)
    assert (latitude(north), longitude(east)) == pytest.approx(expected)


@pytest.mark.parametrize("word", ["SPY", "N", "EHAM", "NOLAT52", "", "D1", "SIN", "NAN", "S4X"])
def test_names_are_no_latitudes(word: str) -> None:
    assert not is_latitude(word)


@pytest.mark.parametrize("word", ["91", "N90'30", "1e308", "nan"])
def test_no_latitudes(word: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a latitude from -90 to 90 degrees, got "):
        latitude(word)


@pytest.mark.parametrize("word", ["east", "400", "", "4'x", "inf"])
def test_no_longitudes(word: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a longitude from -180 to 180 degrees, got "):
        longitude(word)


def test_altitudes_speeds_headings_times() -> None:
    assert [altitude_m(word) for word in ("1000", "FL100", "fl10", "-12.5")] == pytest.approx(
        [304.8, 3048.0, 304.8, -3.81]
    )
    assert [speed(word) for word in (".8", "M.8", "M80", "m0.80", "0.8")] == [Speed(0.8, True)] * 5
    assert speed("250") == Speed(250 * KNOT, False)
    assert speed("0.05") == Speed(0.05 * KNOT, False)
    assert [heading(word) for word in ("90", "090", "T090", "-45", "359.5", "0.0")] == [90, 90, 90, -45, 359.5, 0]
    assert [seconds(word) for word in ("90", "1:30", "0:01:30.5", ":30")] == [90, 90, 90.5, 30]
    assert number("1e3", "it") == 1000


@pytest.mark.parametrize("read", [altitude_m, speed, heading, seconds, lambda word: number(word, "it")])
@pytest.mark.parametrize("word", ["x", "1e308", "nan", "--1", "9" * 400])
def test_what_bluesky_cannot_read_either(read: object, word: str) -> None:
    with pytest.raises(Skipped, match=r"expected .*, got '"):
        read(word)  # type: ignore[operator]


def test_a_heading_that_bluesky_cannot_read() -> None:
    with pytest.raises(Skipped, match=r"BlueSky 1\.1\.1 does not read 0\. as a heading; write 0"):
        heading("0.")
