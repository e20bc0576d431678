"""Teachers: rule-based conflict resolution. Each is one file; importing it here registers it."""

from . import mvp, rvo, straight  # noqa: F401 (each registers itself)
from .registry import Teacher, Velocity, action_towards, make, names, parse, register, to_waypoint

__all__ = ["Teacher", "Velocity", "action_towards", "make", "names", "parse", "register", "to_waypoint"]
