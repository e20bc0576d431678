"""Numbers as people read them: as many digits as the interval supports, percentages, signs."""

from math import ceil, floor, isfinite, log10

from ...train.runs.confidence_intervals import Estimate
from .formulas import Metric

NOTHING = "-"
"""Printed where there is no figure."""


def number(value: float, digits: int, is_signed: bool = False) -> str:
    """Return a number with that many decimals, never as minus zero."""
    if not isfinite(value):
        return NOTHING
    text = f"{value:+.{digits}f}" if is_signed else f"{value:.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 scenario" or "1,234 scenarios"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def scaled(estimate: Estimate, metric: Metric) -> Estimate:
    """Return the estimate in the unit shown: fractions in percent."""
    factor = 100.0 if metric.unit == "%" else 1.0
    return Estimate(*(part * factor for part in estimate))


def decimals(estimate: Estimate, most: int) -> int:
    """Return the decimals with which the interval is 5 to 50 units of the last digit wide, up to a limit."""
    width = estimate.high - estimate.low
    if not isfinite(width) or width < 1e-3:
        return 2
    return min(max(ceil(log10(5 / width)), 0), most)


def with_interval(estimate: Estimate, metric: Metric, is_difference: bool = False) -> tuple[str, str]:
    """Return a value and its interval, such as ("13.3", "[12.8, 13.9]"), in the metric's unit."""
    shown = scaled(estimate, metric)
    digits = decimals(shown, most=2 if metric.unit and not is_difference else 3)
    value = number(shown.value, digits, is_difference)
    if not isfinite(shown.low):
        return value, ""
    low, high = (number(bound, digits, is_difference) for bound in shown[1:])
    return value, f"[{low}, {high}]"


def unit_of(metric: Metric, is_difference: bool = False) -> str:
    """Return the unit to put behind a number, with its space; differences of percentages are in points."""
    unit = "points" if is_difference and metric.unit == "%" else metric.unit
    return f" {unit}" if unit else ""


def with_unit(estimate: Estimate, metric: Metric) -> str:
    """Return a value with its unit, such as "2.7 %"."""
    value, _ = with_interval(estimate, metric)
    return value if value == NOTHING else value + unit_of(metric)


def with_size(size: float, metric: Metric) -> str:
    """Return the size of a difference with its unit, in two digits, such as "0.27 points"."""
    value = size * (100.0 if metric.unit == "%" else 1.0)
    digits = max(1 - floor(log10(value)), 0) if value > 0 else 0
    return number(value, digits) + unit_of(metric, is_difference=True)
