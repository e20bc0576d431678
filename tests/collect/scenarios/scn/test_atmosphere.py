"""The standard atmosphere against its tables (ISO 2533), and airspeeds against those of every flight computer."""

import pytest

from skyclone.collect.scenarios.scn.atmosphere import air, true_of_calibrated, true_of_mach

KNOT, FOOT = 1852 / 3600, 0.3048


@pytest.mark.parametrize(
    ("altitude_m", "expected"),
    [(0, (101_325, 1.225, 288.15)), (5000, (54_020, 0.7361, 255.65)), (11_000, (22_632, 0.3639, 216.65)),
     (15_000, (12_045, 0.1937, 216.65))],
)  # fmt: skip
def test_air(altitude_m: float, expected: tuple[float, float, float]) -> None:
    assert air(altitude_m) == pytest.approx(expected, rel=1e-3)


def test_airspeeds() -> None:
    assert true_of_calibrated(100.0, 0.0) == pytest.approx(100.0, rel=1e-6)
    assert true_of_calibrated(300 * KNOT, 30_000 * FOOT) / KNOT == pytest.approx(466, abs=2)
    assert true_of_calibrated(-9.0, 1000.0) == -true_of_calibrated(9.0, 1000.0) != 0
    assert true_of_calibrated(0.0, 3000.0) == 0.0
    assert true_of_mach(1.0, 0.0) == pytest.approx(340.29, abs=0.01)
    assert true_of_mach(0.8, 12_000.0) == pytest.approx(0.8 * 295.07, abs=0.01)
