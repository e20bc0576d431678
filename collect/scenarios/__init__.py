"""Scenarios: how the traffic of an episode is laid out. Generated ones register themselves when imported here."""

from . import generated, varied  # noqa: F401 (their scenarios register themselves)
from .layout import Layout
from .registry import (
    LAYOUT_STREAM,
    NOISE_STREAM,
    check,
    count_of,
    generator_of,
    is_file,
    lay_out,
    names,
    recorded_world,
    register,
    typed,
    warnings_about,
    world_for,
)
from .start import stack

__all__ = [
    "LAYOUT_STREAM",
    "NOISE_STREAM",
    "Layout",
    "check",
    "count_of",
    "generator_of",
    "is_file",
    "lay_out",
    "names",
    "recorded_world",
    "register",
    "stack",
    "typed",
    "warnings_about",
    "world_for",
]
