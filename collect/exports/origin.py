"""Where an export comes from: the dataset, and how its aircraft observe; written beside it."""

import json
from pathlib import Path
from typing import Any

from ...datasets.dataset import Dataset
from ...datasets.errors import DatasetError
from ...datasets.files.json_file import read_json
from ...datasets.traffic.view import View

NAME = "skyclone.json"


def origin_of(dataset: Dataset, view: View, form: str) -> dict[str, Any]:
    """Return what decides every value in an export, as JSON.

    Args:
        dataset: What is exported.
        view: What the aircraft observe.
        form: What the export is written as.
    """
    manifest = dataset.manifest
    return {
        "format": form,
        "content_hash": dataset.content_hash,
        "observation": str(view),
        "episodes": manifest.episodes,
        "code": manifest.code,
        "recipe": manifest.recipe,
        "parts": [part.identity for part in manifest.parts],
    }


def write_origin(folder: Path, origin: dict[str, Any], count: int) -> None:
    """Write where an export comes from, and how many pieces it has."""
    data = json.dumps({**origin, "count": count}, indent=1, allow_nan=False)
    (folder / NAME).write_bytes(data.encode() + b"\n")


def count_of(folder: Path, origin: dict[str, Any]) -> int | None:
    """Return how many pieces there are if a folder is this export already (the command was killed late)."""
    try:
        found = read_json(folder / NAME, DatasetError)
    except (OSError, DatasetError):
        return None
    count = found.pop("count", None) if isinstance(found, dict) else None
    return count if found == origin and isinstance(count, int) else None
