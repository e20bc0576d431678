"""The rewards of one aircraft; formulas as in `collect.airspace.reward`.

In two parts: what its own flight brings, and what others near it take away, which is known only when the pairs of
the next state are.
"""

from math import inf, sqrt

import numpy as np

from ...datasets.traffic.record import LEFT_SECTOR, WAYPOINT
from ..airspace.units import NAUTICAL_MILE_M
from ..arithmetic.compiling import inner
from ..arithmetic.elementary import clip, wrap
from .motion import flown_m
from .traffic import SEED, Physics


@inner
def own_part(
    air: np.ndarray, a: int, physics: Physics, outcome: int, to_go_m: float, track_rad: float, speed_mps: float
) -> float:
    """Return the reward of slot `a` without its intruders; the last three arguments are those before the step."""
    gained = to_go_m - air[a]["to_go_m"]
    if physics.reward == SEED:
        reward = (
            -0.5 * abs(wrap(air[a]["track_rad"] - air[a]["bearing_rad"])) - 0.005 + gained * (5.0 / NAUTICAL_MILE_M)
        )
        return reward + 10.0 if outcome == WAYPOINT else reward
    flown = flown_m(speed_mps, air[a]["speed_mps"], physics)
    uneven = air[a]["speed_mps"] / physics.cruise_mps - 1.0
    turn = wrap(air[a]["track_rad"] - track_rad) / physics.turn_rad
    reward = 2.0 * (gained - flown) / 100.0 - 0.2 * (uneven * uneven) - 0.02 * (turn * turn)
    return reward - 20.0 if outcome == LEFT_SECTOR else reward


@inner
def nearest_part(nearest2_m2: float, physics: Physics) -> float:
    """Return what the nearest intruder takes away."""
    if nearest2_m2 == inf:
        return 0.0
    nearness = sqrt(nearest2_m2) / physics.protected_zone_m
    if physics.reward == SEED:
        return -0.5 * clip(2.0 - nearness, 0.0, 1.0)
    return -0.1 * clip((1.1 - nearness) / 0.1, 0.0, 1.0)


@inner
def intruder_part(distance_m: float, physics: Physics) -> float:
    """Return what one intruder inside R takes away."""
    if physics.reward == SEED:
        return -10.0
    return -2.0 * (1.0 + (1.0 - distance_m / physics.protected_zone_m))
