"""A teacher as numbers. One that has them is flown by the compiled kernels, any other in torch."""

from typing import NamedTuple

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
