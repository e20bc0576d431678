"""Factors on the intruders' features, applied before a network sees them.

Conflicts happen within some 200 m and 9 m/s, a small part of what observations are divided by. So a network
would see everything that matters near zero, where it is almost linear (`train/LOG.md`).
"""

import torch
from torch import Tensor

from ...datasets.traffic.view import FEATURE_NAMES, View

LENGTH_GAIN, SPEED_GAIN = 5.0, 2.0


def feature_gains(view: View, length_gain: float, speed_gain: float) -> Tensor:
    """Return one factor per feature of an intruder, (F,): times and flags stay as they are.

    Args:
        view: The observation.
        length_gain: For distance, position and dcpa.
        speed_gain: For velocities and the closing speed.
    """

    def gain(feature: str) -> float:
        if "velocity" in feature or "speed" in feature:
            return speed_gain
        return 1.0 if feature in ("tcpa", "in_conflict") else length_gain

    return torch.tensor([gain(feature) for feature in FEATURE_NAMES[view.name][1]])
