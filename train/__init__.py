"""Networks and how they learn: behavioural cloning from datasets, fine-tuning in the world, checkpoints.

What is named here is imported when it is first used: torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .policy import Policy, load_pilot, load_policy

__all__ = ["Policy", "load_pilot", "load_policy"]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".policy", __name__), name)
