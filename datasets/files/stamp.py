"""The stamp in a shard's file: which episodes of which dataset it holds, and what they count up to.

It lies in the metadata of the file, so it is read without the rows. The content hash covers the rows; a hash of its
own covers the rest of the stamp.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import DatasetError, RecordError
from ..traffic.counts import Counts
from .arithmetic import UNKNOWN
from .json_file import hash_of

_SELF_HASH = "sha256"  # of all else in it


@dataclass(frozen=True)
class Stamp:
    """What a shard's file says about itself.

    Attributes:
        recipe: `Manifest.recipe_hash` of the dataset it belongs to.
        first_episode: First episode in it.
        last_episode: The one after its last episode.
        content_hash: Hash of its rows.
        figures: Counts of the traffic in it.
        arithmetic: What made its rows.
        counts: Its rows of each episode that somebody flies; None in one of before 2026-11-26.
        hovering: How many rows are of hovering aircraft.
    """

    recipe: str
    first_episode: int
    last_episode: int
    content_hash: str
    figures: Mapping[str, float]
    arithmetic: str = UNKNOWN
    counts: Counts | None = None
    hovering: int = 0


def stamp_to_text(stamp: Stamp) -> str:
    """Return a stamp as text for a file's metadata."""
    data = asdict(stamp)
    if not stamp.hovering:
        del data["hovering"]  # as in one of before there were any
    return json.dumps({**data, _SELF_HASH: hash_of(data)}, sort_keys=True, allow_nan=False)


def stamp_from_text(text: str) -> Stamp:
    """Read what `stamp_to_text` made; a stamp of before 2026-11-26 has neither counts nor a hash of itself.

    Raises:
        DatasetError: It is no stamp, or was changed since it was written.
    """
    try:
        data = json.loads(text)
        expected = data.pop(_SELF_HASH, None)
        found = hash_of(data)
        stamp = _stamp({"arithmetic": UNKNOWN, "counts": None, "hovering": 0, **data})
    except (ValueError, TypeError, AttributeError, RecursionError, RecordError):
        raise DatasetError("expected the stamp of a skyclone shard in its metadata, got none") from None
    if expected != found and (expected is not None or stamp.counts is not None):
        raise DatasetError(f"its stamp was changed since it was written: expected SHA-256 {expected}, got {found}")
    return stamp


def _stamp(data: dict[str, Any]) -> Stamp:
    """Return the stamp of a JSON object."""
    if set(data) != {each.name for each in fields(Stamp)}:
        raise ValueError
    if not isinstance(data["arithmetic"], str) or not isinstance(data["figures"], dict):
        raise ValueError
    if type(data["hovering"]) is not int or data["hovering"] < 0:
        raise ValueError
    if data["counts"] is not None:
        counts: dict[str, Any] = data["counts"]
        if set(counts) != {each.name for each in fields(Counts)}:
            raise ValueError
        data["counts"] = Counts(counts["aircraft"], tuple(counts["free"]), tuple(counts["in_conflict"]))
    return Stamp(**data)
