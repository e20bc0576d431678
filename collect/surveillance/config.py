"""The quality of surveillance, in numbers and by name: `perfect`, `ads-b`, `remote-id`, `noise:position_m=5`.

Accuracies are published as the radius that holds 95 % of horizontal errors. Of a normal error of standard deviation
sigma along each axis that is sigma sqrt(-2 ln 0.05) = 2.4477 sigma.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import ceil, log, sqrt
from typing import Any, Literal

from pydantic import Field

from ...datasets import spec
from ...datasets.config import Config, config
from ...datasets.errors import ConfigurationError

PERFECT = "perfect"
"""Everyone knows exactly, at once and always, where all others are."""
RADII_95 = sqrt(-2.0 * log(0.05))
"""The radius that holds 95 % of horizontal errors, in standard deviations along an axis."""
MOST_STEPS = 600
"""So many steps at the most a track lives: that long states are kept."""


@config
class Surveillance(Config):
    """How an aircraft gets to know of itself and of the others. The default adds no error and no delay."""

    title = "surveillance"

    position_m: float = Field(
        default=0.0, ge=0, description="Navigation error of the position: standard deviation along each axis."
    )
    velocity_mps: float = Field(
        default=0.0, ge=0, description="Navigation error of the velocity: standard deviation along each axis."
    )
    error_s: float = Field(
        default=0.0, ge=0, description="Time over which navigation errors are correlated; 0: anew at each step."
    )
    outages_per_h: float = Field(
        default=0.0, ge=0, description="How often an aircraft loses GNSS, per hour with it."
    )
    outage_s: float = Field(default=30.0, gt=0, description="Mean time until it is found again, a step at least.")
    drift_mps: float = Field(
        default=0.1,
        ge=0,
        description="Error of the velocity that one second without GNSS adds: standard deviation along each axis. "
        "It grows with the square root of time.",
    )
    interval_s: float = Field(default=0.0, ge=0, description="Time between broadcasts; 0: one at each step.")
    latency_s: float = Field(default=0.0, ge=0, description="Mean time from a state to its reception.")
    latency_spread_s: float = Field(
        default=0.0, ge=0, description="The latency is uniform within this much of its mean."
    )
    reception: float = Field(default=1.0, gt=0, le=1, description="Probability that a message is received.")
    range_m: float = Field(
        default=0.0, ge=0, description="Distance at which that has fallen to 1/e of it; 0: it does not fall."
    )
    between: Literal["hold", "extrapolate", "filter"] = Field(
        default="hold",
        description="Where an intruder is between messages: where it was, straight on, or where a Kalman filter of "
        "its messages has it. With a filter aircraft know themselves by one, too.",
    )
    manoeuvre_mps: float = Field(
        default=1.0,
        ge=0,
        description="How much such a filter expects others to change their velocity in a second: standard "
        "deviation along each axis.",
    )
    drop_s: float = Field(default=10.0, gt=0, description="Age at which a track is dropped.")
    silent: float = Field(default=0.0, ge=0, le=1, description="Share of the aircraft that broadcast nothing.")

    def __post_init__(self) -> None:
        if self.latency_spread_s > self.latency_s:
            raise ConfigurationError(
                f"expected latency_spread_s of at most latency_s ({self.latency_s:g}), got "
                f"{self.latency_spread_s:g}: no message arrives before it is sent."
            )
        if self.drop_s < self.latency_s + self.latency_spread_s:
            raise ConfigurationError(
                f"expected drop_s of at least the latency ({self.latency_s + self.latency_spread_s:g} s), got "
                f"{self.drop_s:g}: every track would be dropped before it is there. Use a larger drop_s."
            )

    def track_steps(self, step_s: float) -> int:
        """Return how many steps old a track's newest message may be.

        Raises:
            ConfigurationError: Too many to be kept.
        """
        steps = int(self.drop_s / step_s + 1e-9)
        if ceil(self.latency_s / step_s) > steps or steps > MOST_STEPS:
            raise ConfigurationError(
                f"surveillance: expected drop_s of {self.latency_s:g} to {MOST_STEPS * step_s:g} s, at least a "
                f"step above the latency, with steps of {step_s:g} s, got {self.drop_s:g}."
            )
        return steps


def _nothing() -> None:
    """Take the parameters of perfect surveillance: none."""


PRESETS = {
    "noise": Surveillance(),
    "ads-b": Surveillance(
        position_m=30.0 / RADII_95,  # NACp 9: EPU < 30 m (RTCA DO-260B; DO-242A, table 3.2.11a)
        velocity_mps=3.0 / RADII_95,  # NACv 2: < 3 m/s (the same)
        error_s=60.0,
        interval_s=0.5,  # airborne position and velocity, each twice a second (DO-260B)
        latency_s=0.3,
        latency_spread_s=0.3,  # uncompensated latency of up to 0.6 s (14 CFR 91.227)
        reception=0.95,
        range_m=100_000.0,
        between="extrapolate",
        drop_s=25.0,
    ),
    "remote-id": Surveillance(
        position_m=10.0 / RADII_95,  # accuracy class < 10 m (ASTM F3411-22a); the FAA asks for 30.5 m (14 CFR 89)
        velocity_mps=1.0 / RADII_95,  # accuracy class < 1 m/s (ASTM F3411-22a)
        error_s=60.0,
        interval_s=1.0,  # ASTM F3411-22a, dynamic data
        latency_s=0.5,
        latency_spread_s=0.5,  # up to a second from measuring to sending (ASTM F3411-22a, 14 CFR 89)
        reception=0.9,
        range_m=800.0,
        between="hold",
        drop_s=10.0,
    ),
}
"""What people know by name. Correlation times, reception, ranges and drop times are no standard's, see the docs."""


@cache
def parse(text: str) -> Surveillance | None:
    """Return the surveillance of `NAME[:key=value...]`; None where it is perfect.

    Raises:
        ConfigurationError: There is no such name or parameter, or a value cannot be.
    """
    makers: dict[str, Callable[..., Any]] = {PERFECT: _nothing, **dict.fromkeys(PRESETS, Surveillance)}
    name, changes = spec.parse(text, "surveillance", makers)
    return None if name == PERFECT else replace(PRESETS[name], **changes)
