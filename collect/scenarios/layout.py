"""How an episode starts."""

from dataclasses import dataclass

import numpy as np

from ..airspace.sector import Corners


@dataclass(frozen=True)
class Layout:
    """How an episode starts: sector, positions and waypoints of n aircraft.

    Attributes:
        corners_m: (C, 2) the sector, counter-clockwise.
        position_m: (n, 2) east and north of each aircraft.
        waypoint_m: (n, 2) east and north of each waypoint.
        track_rad: (n,) tracks; None for the directions to the waypoints.
        speed_mps: (n,) speeds; None for the world's cruise speed.
    """

    corners_m: Corners
    position_m: np.ndarray
    waypoint_m: np.ndarray
    track_rad: np.ndarray | None = None
    speed_mps: np.ndarray | None = None
