"""Datasets: the traffic record on disk and in memory, and what an aircraft observes of it.

What is named here is imported when it is first used: torch and pyarrow take seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dataset import Dataset, open_dataset
    from .errors import DatasetError, SkycloneError
    from .files.manifest import Manifest, ShardEntry
    from .files.verification import Problem
    from .loading.loader import Batch, Loader
    from .loading.snapshots import Snapshots
    from .traffic.observation import Observation
    from .traffic.view import View

__all__ = [
    "Batch",
    "Dataset",
    "DatasetError",
    "Loader",
    "Manifest",
    "Observation",
    "Problem",
    "ShardEntry",
    "SkycloneError",
    "Snapshots",
    "View",
    "open_dataset",
]

_MODULES = {
    "Batch": "loading.loader",
    "Dataset": "dataset",
    "DatasetError": "errors",
    "Loader": "loading.loader",
    "Manifest": "files.manifest",
    "Observation": "traffic.observation",
    "Problem": "files.verification",
    "ShardEntry": "files.manifest",
    "SkycloneError": "errors",
    "Snapshots": "loading.snapshots",
    "View": "traffic.view",
    "open_dataset": "dataset",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
