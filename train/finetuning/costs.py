"""What a step of a flight costs: the objective of the analytic gradient, in metres of detour."""

from dataclasses import replace

from pydantic import Field

from ...datasets import spec
from ...datasets.config import Config, config

TERMS = ("path", "proximity", "predicted", "speed", "pace", "effort", "outside")
"""The costs, as they are logged; the other fields say when they are charged."""


@config
class Costs(Config):
    """What a step costs, in metres of detour per aircraft and step; a pair's cost counts once.

    Changing speed avoids conflicts without a detour, so it must not be expensive. Leaving the sector is: an
    aircraft that has left costs nothing any more, and waypoints lie on the edge. Were it cheaper, an aircraft that
    avoids another would overshoot and be gone.
    """

    path: float = Field(default=1.0, ge=0, description="Each metre flown that does not bring the waypoint nearer.")
    proximity: float = Field(
        default=150.0,
        ge=0,
        description="A pair at the edge of the protected zone (distance R); quadratic, from 0 at margin R on.",
    )
    predicted: float = Field(
        default=30.0,
        ge=0,
        description="A pair on collision course whose closest point is now; linear in the distance there, from 0 "
        "at margin R on, and fading with the time until then.",
    )
    speed: float = Field(default=10.0, ge=0, description="(speed / cruise - 1)^2 of each aircraft.")
    pace: float = Field(
        default=500.0,
        ge=0,
        description="The square of what |mean speed of all / cruise - 1| is above `tolerance`, for each aircraft: "
        "on the whole, traffic is neither late nor early.",
    )
    effort: float = Field(default=1.0, ge=0, description="The square of the action, both numbers.")
    outside: float = Field(
        default=8000.0,
        ge=0,
        description="An aircraft so far outside the sector that it has left it; quadratic, from 0 at a tenth of "
        "that on.",
    )
    margin: float = Field(
        default=1.1,
        gt=1,
        description="In units of R, where proximity and predicted conflicts begin to cost.",
        json_schema_extra={"hint": "It is times the protected zone."},
    )
    lookahead_s: float = Field(default=30.0, gt=0, description="Conflicts later than that are not charged.")
    fade_s: float = Field(default=12.0, gt=0, description="A conflict so far ahead costs 1/e of one that is now.")
    tolerance: float = Field(
        default=0.04,
        ge=0,
        description="Fraction of cruise speed by which the mean speed may differ at no cost.",
    )

    @classmethod
    def parse(cls, text: str) -> "Costs":
        """Read costs as written on the command line, such as `path=2:margin=1.2`; "" for the default.

        Raises:
            ConfigurationError: Unknown name, or not a number.
        """
        return replace(cls(), **spec.parameters(text, f"costs '{text}'", cls)) if text else cls()
