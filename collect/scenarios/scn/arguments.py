"""The arguments of BlueSky's commands: positions, altitudes, speeds, headings and times.

How each is written was read from BlueSky itself (bluesky/tools/misc.py and position.py, 1.1.1).
"""

import math
import re
from typing import NamedTuple

from ....datasets.errors import ConfigurationError
from ...airspace.units import FOOT_M, KNOT_MPS
from .commands import MOST_S, Skipped


class Speed(NamedTuple):
    """An airspeed as it is written: a Mach number, or m/s of calibrated airspeed."""

    value: float
    is_mach: bool


def is_latitude(word: str) -> bool:
    """Return whether BlueSky takes a word for a latitude, rather than for a name."""
    left = re.sub("[\"'°.]", "", word.upper().strip("-+, "))
    if len(left) > 1 and left[0] in "NS":
        left = left[1:]
    return bool(re.fullmatch("[-+]?[0-9]+(E[-+]?[0-9]+)?", left))


def latitude(word: str) -> float:
    """Return a latitude in degrees: 52.3, N52.3, N52'18'15.0, -33.

    Raises:
        ConfigurationError: It is none, where BlueSky takes 0 or flies over the pole.
    """
    value = _degrees(word, "N", "S")
    if not abs(value) <= 90:
        raise ConfigurationError(f"expected a latitude from -90 to 90 degrees, got '{word[:60]}'")
    return value


def longitude(word: str) -> float:
    """Return a longitude in [-180, 180] degrees: 4.76, E004.76, W002'30'00; 190 is -170.

    Raises:
        ConfigurationError: It is none, where BlueSky takes 0.
    """
    value = _degrees(word, "E", "W")
    if not abs(value) <= 360:
        raise ConfigurationError(f"expected a longitude from -180 to 180 degrees, got '{word[:60]}'")
    return value - 360.0 if value > 180 else value + 360.0 if value < -180 else value


def _degrees(word: str, positive: str, negative: str) -> float:
    """Return degrees of a number, or of degrees, minutes and seconds; NaN for anything else."""
    try:
        return float(word)
    except ValueError:
        text = word.upper().replace(positive, "").replace(negative, "-")
    sign = -1.0 if "-" in text else 1.0
    parts = re.split("['\"°]", text)
    while parts and not parts[-1].strip():
        parts.pop()
    try:
        values = [abs(float(part)) if part.strip() else 0.0 for part in parts]
    except ValueError:
        return math.nan
    return sign * sum(value / 60.0**place for place, value in enumerate(values)) if values else math.nan


def altitude_m(word: str) -> float:
    """Return an altitude: 1500 (ft) or FL150.

    Raises:
        Skipped: It is none.
    """
    try:
        is_level = word.upper().startswith("FL") and len(word) >= 4
        feet = 100.0 * int(word[2:]) if is_level else float(word)
    except (ValueError, OverflowError):
        feet = math.nan
    if not abs(feet) <= 1e6:
        raise Skipped(f"expected an altitude in feet or as FL100, got '{word[:60]}'")
    return feet * FOOT_M


def speed(word: str) -> Speed:
    """Return a speed: a Mach number (.8, M.8, M80) or a calibrated airspeed (250, in kt).

    Raises:
        Skipped: It is none.
    """
    text = word.upper()
    try:
        value = float(text.replace("M0.", ".").replace("M", ".").replace("..", "."))
    except ValueError:
        value = math.nan
    if not -2000 <= value <= 2000:
        raise Skipped(f"expected a speed in knots or a Mach number, got '{word[:60]}'")
    if 0.1 < value < 1.0 or "M" in text:
        return Speed(value, True)
    return Speed(value * KNOT_MPS, False)


def heading(word: str) -> float:
    """Return a heading in degrees: 90, 090, T090.

    Raises:
        Skipped: It is none, or magnetic.
    """
    if re.fullmatch(r"0+\.", word):
        raise Skipped(f"BlueSky 1.1.1 does not read {word[:60]} as a heading; write 0")
    if re.fullmatch(r"[TM0-9.-]+", word.upper()) and "M" not in word.upper():
        try:
            value = float(word.upper().replace("T", ""))
        except ValueError:
            value = math.nan
        if abs(value) <= 1e6:
            return value
    raise Skipped(f"expected a true heading in degrees, got '{word[:60]}'")


def seconds(word: str) -> float:
    """Return a time: 90, 1:30 or 0:01:30.

    Raises:
        Skipped: It is none.
    """
    parts = word.strip().split(":")
    try:
        value = float(parts[-1])
        for place, part in enumerate(parts[-2:-4:-1], 1):
            value += 60.0**place * int(part or 0)
    except (ValueError, OverflowError):
        value = math.nan
    if not abs(value) <= MOST_S:
        raise Skipped(f"expected a time as 90, 1:30 or 0:01:30, got '{word[:60]}'")
    return value


def number(word: str, what: str) -> float:
    """Return a number of a reasonable size.

    Raises:
        Skipped: It is none.
    """
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e6:
        raise Skipped(f"expected {what} as a number, got '{word[:60]}'")
    return value
