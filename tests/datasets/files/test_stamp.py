import json
from dataclasses import replace

import pytest

from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.stamp import Stamp, stamp_from_text, stamp_to_text
from skyclone.datasets.traffic.counts import Counts

STAMP = Stamp(
    "r" * 64, 4, 6, "c" * 64, {"conflicts": 3.0, "severity": 0.1}, "portable-1", Counts(20, (5, 6), (1, 0))
)


def test_a_stamp_comes_back() -> None:
    assert stamp_from_text(stamp_to_text(STAMP)) == STAMP
    assert stamp_from_text(stamp_to_text(replace(STAMP, counts=None))) == replace(STAMP, counts=None)
    assert stamp_from_text(stamp_to_text(replace(STAMP, hovering=7))) == replace(STAMP, hovering=7)
    assert "hovering" not in stamp_to_text(STAMP), "the same bytes as before there were any"


def test_a_stamp_of_before_there_were_counts_is_read() -> None:
    data = json.loads(stamp_to_text(STAMP))
    for key in ("counts", "sha256"):
        del data[key]
    assert stamp_from_text(json.dumps(data)) == replace(STAMP, counts=None)
    del data["arithmetic"]
    assert stamp_from_text(json.dumps(data)) == replace(STAMP, counts=None, arithmetic="unknown")


@pytest.mark.parametrize("key", json.loads(stamp_to_text(STAMP)))
def test_whatever_is_changed_is_noticed(key: str) -> None:
    data = json.loads(stamp_to_text(STAMP))
    changed = {"counts": {**data["counts"], "free": [6, 5]}, "figures": {**data["figures"], "conflicts": 2.0}}
    data[key] = changed.get(key, "other" if isinstance(data[key], str) else 5)
    with pytest.raises(
        DatasetError, match=r"its stamp was changed since it was written: expected SHA-256 \w+, got \w+"
    ):
        stamp_from_text(json.dumps(data))
    data["sha256"] = None
    with pytest.raises(DatasetError, match="changed since it was written"):
        stamp_from_text(json.dumps(data))


@pytest.mark.parametrize(
    "change",
    [
        {"figures": 3},
        {"arithmetic": 3},
        {"more": 1},
        {"hovering": -1},
        {"hovering": True},
        {"counts": 3},
        {"counts": {}},
        {"counts": {"aircraft": 2, "free": 1, "in_conflict": [1]}},
        {"counts": {"aircraft": 2, "free": ["1"], "in_conflict": [1]}},
    ],
)
def test_what_is_no_stamp_is_refused(change: dict) -> None:
    for text in (json.dumps({**json.loads(stamp_to_text(STAMP)), **change}), "[]", "3", "", "{"):
        with pytest.raises(DatasetError, match="expected the stamp of a skyclone shard"):
            stamp_from_text(text)
