"""`none`: no resolution."""

from ...datasets.traffic.state import Traffic
from ..airspace.conflicts import Conflicts
from ..airspace.world_config import WorldConfig
from .registry import Velocity, register, to_waypoint
from .rules import STRAIGHT, Rules


@register("none")
class Straight:
    """No resolution: straight to the waypoint at cruise speed."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.protected_zone_m = config.protected_zone_m
        self.lookahead_s = config.lookahead_s

    def rules(self) -> Rules:
        """Return the teacher as numbers."""
        return Rules(STRAIGHT, self.protected_zone_m, self.lookahead_s)

    def velocity(self, state: Traffic, conflicts: Conflicts | None = None) -> Velocity:
        """Return the velocity to the waypoint, (B, N)."""
        return to_waypoint(state, self.config)
