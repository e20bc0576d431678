"""Where an export comes from: the dataset, and how its aircraft observe."""

from typing import Any

from ...datasets.dataset import Dataset
from ...datasets.traffic.view import View


def origin_of_export(dataset: Dataset, view: View) -> dict[str, Any]:
    """Return what decides every value in an export, as JSON."""
    manifest = dataset.manifest
    return {
        "content_hash": dataset.content_hash,
        "observation": str(view),
        "episodes": manifest.episodes,
        "code": manifest.code,
        "recipe": manifest.recipe,
        "parts": [part.identity for part in manifest.parts],
    }
