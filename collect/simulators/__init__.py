"""Simulators: what moves the aircraft."""

from .registry import check, is_embedded, packages_of, simulator_of
from .simulator import Embedded, Resolution, Simulator

__all__ = ["Embedded", "Resolution", "Simulator", "check", "is_embedded", "packages_of", "simulator_of"]
