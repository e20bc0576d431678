"""The reward `seed` of one aircraft; formulas as in `collect.airspace.reward.seed_reward`.

In two parts: what its own flight brings, and what others near it take away, which is known only when the pairs of
the next state are.
"""

from math import inf, sqrt

import numpy as np

from ...datasets.traffic.record import WAYPOINT
from ..airspace.units import NAUTICAL_MILE_M
from ..arithmetic.compiling import inner
from ..arithmetic.elementary import clip, wrap
from .traffic import Physics

PER_INTRUDER = -10.0
"""What each intruder inside R takes away."""


@inner
def own_part(air: np.ndarray, a: int, outcome: int, to_go_m: float) -> float:
    """Return the reward of slot `a` without its intruders; `to_go_m` is its distance to go before the step."""
    reward = -0.5 * abs(wrap(air[a]["track_rad"] - air[a]["bearing_rad"])) - 0.005
    reward += (to_go_m - air[a]["to_go_m"]) * (5.0 / NAUTICAL_MILE_M)
    return reward + 10.0 if outcome == WAYPOINT else reward


@inner
def nearest_part(nearest2_m2: float, physics: Physics) -> float:
    """Return what the nearest intruder takes away."""
    if nearest2_m2 == inf:
        return 0.0
    return -0.5 * clip(2.0 - sqrt(nearest2_m2) / physics.protected_zone_m, 0.0, 1.0)
