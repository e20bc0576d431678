"""True airspeed from a calibrated one or a Mach number, and back, in the Standard Atmosphere up to 22 km.

ISO 2533:1975; compressible pitot equations as in Hoekstra and Ellerbroek (2016), BlueSky's own.
"""

import math

_GAS = 287.05287  # J/(kg K), of air
_HEAT = 1.40  # ratio of specific heats
_SEA_PA, _SEA_KGPM3, _SEA_K = 101_325.0, 1.225, 288.15
_STRATOSPHERE_K = 216.65
_LAPSE_KPM = 0.0065
_POWER = 4.256848030018761  # g / (R lapse) - 1
_SCALE_M = 6_341.552161  # R T / g above the tropopause


def air(altitude_m: float) -> tuple[float, float, float]:
    """Return pressure (Pa), density (kg/m3) and temperature (K)."""
    temperature = max(_SEA_K - _LAPSE_KPM * altitude_m, _STRATOSPHERE_K)
    density = _SEA_KGPM3 * (temperature / _SEA_K) ** _POWER * math.exp(-max(0.0, altitude_m - 11_000.0) / _SCALE_M)
    return density * _GAS * temperature, density, temperature


def true_of_calibrated(calibrated_mps: float, altitude_m: float) -> float:
    """Return the true airspeed (m/s) of a calibrated one; negative ones stay negative."""
    pressure, density, _ = air(altitude_m)
    impact = _SEA_PA * ((1.0 + _SEA_KGPM3 * calibrated_mps**2 / (7.0 * _SEA_PA)) ** 3.5 - 1.0)
    true = math.sqrt(7.0 * pressure / density * ((1.0 + impact / pressure) ** (2.0 / 7.0) - 1.0))
    return math.copysign(true, calibrated_mps) if calibrated_mps else 0.0


def calibrated_of_true(true_mps: float, altitude_m: float) -> float:
    """Return the calibrated airspeed (m/s) of a true one."""
    pressure, density, _ = air(altitude_m)
    impact = pressure * ((1.0 + density * true_mps**2 / (7.0 * pressure)) ** 3.5 - 1.0)
    squared = 7.0 * _SEA_PA / _SEA_KGPM3 * ((1.0 + impact / _SEA_PA) ** (2.0 / 7.0) - 1.0)
    return math.copysign(math.sqrt(squared), true_mps) if true_mps else 0.0


def true_of_mach(mach: float, altitude_m: float) -> float:
    """Return the true airspeed (m/s) of a Mach number."""
    return mach * math.sqrt(_HEAT * _GAS * air(altitude_m)[2])
