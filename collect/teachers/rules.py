"""Teachers as numbers. One that has them is flown by the compiled kernels, any other in torch."""

from typing import NamedTuple

HEAD_ON_M = 10.0
"""Where the distance at the CPA is below this, MVP takes a sideways vector of this length (as BlueSky does)."""
LEAST_TCPA_S = 1e-6
"""|tcpa| is not taken below this: the push keeps its direction, its length is capped by the speed limit."""
LEAST_DISTANCE_M = 1e-6
"""Nor is a distance that MVP divides by."""
TURNS = 25
"""Directions that RVO samples, from 90 degrees to the left of the wanted one to 90 to the right."""
SPEED_FACTORS = (1.0, 0.75, 0.5, 0.25, 1.25, 1.5)
"""Speeds that RVO samples, as parts of the wanted speed."""
LEAST_TIME_S = 0.1
"""A collision is not taken to be sooner than this."""
TIE_MPS = 1e-4
"""What each sample is worse than the one before: left and right are often equally good, and both aircraft of a pair
must choose the same side, whatever the rounding."""

STRAIGHT, MVP, RVO = 0, 1, 2
"""Kinds of teachers that the kernels know."""


class Rules(NamedTuple):
    """A teacher as numbers.

    Attributes:
        kind: `STRAIGHT`, `MVP` or `RVO`.
        zone_m: Protected zone in which it sees conflicts, margin included.
        lookahead_s: Its look-ahead time.
        urgency_m: Of `RVO`.
    """

    kind: int
    zone_m: float
    lookahead_s: float
    urgency_m: float = 0.0
