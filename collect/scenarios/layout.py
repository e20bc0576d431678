"""How an episode's traffic is laid out."""

from dataclasses import dataclass

import numpy as np

from ..airspace.sector import Corners


@dataclass(frozen=True)
class Layout:
    """The traffic of an episode: sector, and n aircraft with where they begin and where they want to go.

    Attributes:
        corners_m: (C, 2) the sector, counter-clockwise.
        position_m: (n, 2) east and north of each aircraft where it begins.
        waypoint_m: (n, 2) east and north of each aircraft's first waypoint; of a hovering one, where it hovers.
        track_rad: (n,) tracks; None for the directions to the waypoints.
        speed_mps: (n,) speeds; None for the world's cruise speed.
        entry_s: (n,) when each aircraft enters, in s from the start; None for all at the start.
        waits: Whether those that enter later wait until nobody is within the start separation of where they begin.
        routes_m: For each aircraft the (L, 2) waypoints after the first, in order; None if nobody has any.
        hovers: (n,) bool, who stays where it is, flown by nobody, and is to be avoided; None for nobody.
        kinds: (n,) the aircraft's types as a fleet names them, such as `M600`; None for the world's own.
        no_fly_m: Convex polygons (C, 2), counter-clockwise, that nobody should enter.
        wind_mps: Wind towards east and towards north.
    """

    corners_m: Corners
    position_m: np.ndarray
    waypoint_m: np.ndarray
    track_rad: np.ndarray | None = None
    speed_mps: np.ndarray | None = None
    entry_s: np.ndarray | None = None
    waits: bool = False
    routes_m: tuple[np.ndarray, ...] | None = None
    hovers: np.ndarray | None = None
    kinds: tuple[str, ...] | None = None
    no_fly_m: tuple[Corners, ...] = ()
    wind_mps: tuple[float, float] = (0.0, 0.0)
