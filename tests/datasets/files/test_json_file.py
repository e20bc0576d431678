import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyclone.datasets.errors import CheckpointError, DatasetError
from skyclone.datasets.files.json_file import parse_json, read_json


def test_reads_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"a": [1, 2.5, None, True, "ü ✈ \\u"], "low": -(2**63), "high": 2**63 - 1}
    path.write_text(json.dumps(value))
    assert read_json(path, CheckpointError) == value
    assert parse_json(json.dumps(value, ensure_ascii=False), "text", CheckpointError) == value
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "b.json", CheckpointError)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", r"x is damaged: expected JSON, got: Expecting property name"),
        (b"", "expected JSON, got: Expecting value"),
        (b"[" * 200_000, "x is damaged: its JSON is nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[NaN]", "NaN, which is no number"),
        (b"[-Infinity]", "-Infinity, which is no number"),
        (b"[1e999]", "the number 1e999, which is too large"),
        (b"9" * 400, r"the whole number 9{20}\.\.\., beyond 64 bits"),
        (b"9" * 5000, r"the whole number 9{20}\.\.\., beyond 64 bits"),
        (b"9223372036854775808", "beyond 64 bits"),
        (b'["\\ud800"]', "expected text in UTF-8"),
        (b'{"\\udfff": 1}', "expected text in UTF-8"),
        (b'"\xff"', "expected text in UTF-8"),
    ],
)
def test_hostile_json(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        parse_json(data, "x", DatasetError)


def test_hostile_files(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    large.touch()
    os.truncate(large, 60 * 2**30)  # sparse: takes no room
    with pytest.raises(CheckpointError, match=r"large\.json is damaged: expected at most 67,108,864 bytes, got 64"):
        read_json(large, CheckpointError)
    for path in (Path("/dev/zero"), tmp_path):
        with pytest.raises(CheckpointError, match="is no regular file"):
            read_json(path, CheckpointError)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CheckpointError, match="is no regular file"):
            read_json(tmp_path / "pipe", CheckpointError)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value: Any = parse_json(data, "x", DatasetError)
    except DatasetError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
