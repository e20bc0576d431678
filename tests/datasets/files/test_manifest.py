import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyclone.datasets.dataset import Dataset, open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files.manifest import Manifest, load_manifest, save_manifest
from skyclone.datasets.files.writer import DatasetWriter


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit a manifest by hand."""
    path = folder / "dataset.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_what_is_saved_is_loaded(dataset: Dataset) -> None:
    manifest = dataset.manifest
    assert load_manifest(dataset.path) == manifest
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    assert manifest.complete
    assert [entry.name[:5] for entry in manifest.shards] == ["00000", "00001", "00002"]
    assert manifest.rows == sum(entry.rows for entry in manifest.shards) == len(dataset.table()["episode"])


def test_a_manifest_of_before_there_were_arithmetics_is_read(dataset: Dataset) -> None:
    _edit(dataset.path, lambda data: (data.pop("arithmetic"), data.pop("sha256")))
    old = load_manifest(dataset.path)
    assert old.arithmetics == {"unknown": 3}
    assert old == dataset.manifest
    assert open_dataset(dataset.path).verify() == []


@pytest.mark.parametrize(("episodes", "ranges"), [(8, [4, 4]), (10, [4, 4, 2]), (1, [1])])
def test_a_shard_is_a_fixed_range_of_episodes(
    make_manifest: Callable[..., Manifest], episodes: int, ranges: list[int]
) -> None:
    manifest = make_manifest(episodes=episodes)
    assert [len(manifest.shard_episodes(i)) for i in range(manifest.shard_count)] == ranges
    assert [e for i in range(manifest.shard_count) for e in manifest.shard_episodes(i)] == list(range(episodes))


def test_more_episodes_keep_the_shards_that_stay_the_same(dataset: Dataset) -> None:
    grown = dataset.manifest.with_episodes(20)
    assert grown.shards == dataset.manifest.shards[:2]
    assert not grown.complete
    assert dataset.manifest.with_episodes(10) == dataset.manifest


def test_figures_add_up(dataset: Dataset) -> None:
    assert dataset.manifest.figures == {"conflicts": 9.0, "episodes": 10.0}


def test_the_recipe_hash_tells_what_decides_the_rows(make_manifest: Callable[..., Manifest]) -> None:
    base = make_manifest()
    assert base.recipe_hash == make_manifest(format="hdf5", episodes=99, code="other").recipe_hash
    for change in ({"seed": 1}, {"teacher": "none"}, {"noise": 0.1}, {"world": {"aircraft": 5}}):
        assert make_manifest(**change).recipe_hash != base.recipe_hash


_EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "version": (lambda d: d.update(format_version=2), "expected format version 1, got 2"),
    "another version's keys": (
        lambda d: (d.clear(), d.update(format_version=9)),
        "expected format version 1, got 9",
    ),
    "unknown key": (lambda d: d.update(extra=1), r"unknown keys \['extra'\]"),
    "missing key": (lambda d: d.pop("seed"), r"missing keys \['seed'\]"),
    "climbing name": (lambda d: d["shards"][0].update(name="../../etc/passwd"), "unknown shard '../../etc/passwd'"),
    "absolute name": (lambda d: d["shards"][0].update(name="/etc/passwd"), "unknown shard '/etc/passwd'"),
    "unknown key of a shard": (lambda d: d["shards"][0].update(path="x"), r"unknown keys \['path'\]"),
    "swapped": (lambda d: d["shards"].reverse(), "expected each name once, in order"),
    "twice": (lambda d: d["shards"].append(d["shards"][-1]), "expected each name once"),
    "episodes": (lambda d: d["shards"][0].update(last_episode=3), "expected the episodes 0 to 4, got 0 to 3"),
    "rows": (lambda d: d.update(rows=7), r"rows: expected \d+ from the shards listed, got 7"),
    "complete": (lambda d: d["shards"].pop(), "expected .* from the shards listed"),
    "hash": (lambda d: d.update(content_hash="0" * 64), "content_hash: expected"),
    "sha": (lambda d: d["shards"][0].update(sha256="xyz"), "expected 64 hexadecimal digits, got 'xyz'"),
    "type": (lambda d: d.update(episodes="10"), "expected a whole number from 1"),
    "bool": (lambda d: d.update(seed=True), "seed: expected a whole number"),
    "huge": (lambda d: d.update(episodes=10**400), "beyond 64 bits"),
    "huge figure": (lambda d: d["shards"][0].update(figures={"a": 10**400}), "beyond 64 bits"),
    "infinite": (lambda d: d["world"].update(step_s=float("inf")), "expected JSON, got: Infinity"),
    "half a pair": (lambda d: d.update(teacher="\udcff"), "expected text in UTF-8"),
    "format": (lambda d: d.update(format="csv"), "unknown format 'csv'. There are: parquet, hdf5"),
    "format type": (lambda d: d.update(format=["parquet"]), "unknown format"),
    "columns": (lambda d: d["columns"].pop(), "expected those of the traffic record"),
    "noise": (lambda d: d.update(noise=-1), "noise: expected a number from 0 on, got -1"),
    "world": (lambda d: d.update(world=[]), "world: expected an object"),
    "shards": (lambda d: d.update(shards=None), "shards: expected a list, got None"),
    "entry": (lambda d: d.update(shards=[3]), "a shard's entry: expected an object, got int"),
}


@pytest.mark.parametrize("edit", list(_EDITS))
@pytest.mark.parametrize("format", ["parquet"], indirect=True)
def test_an_edited_manifest_is_refused(dataset: Dataset, edit: str) -> None:
    change, message = _EDITS[edit]
    _edit(dataset.path, change)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(dataset.path)
    assert "dataset.json" in str(caught.value)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b"null", b"3", b"9" * 5000]
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(text)
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        load_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is no dataset: it holds no dataset\.json. Make one with"):
        load_manifest(tmp_path)
    with pytest.raises(DatasetError, match="is no dataset: there is no such folder"):
        load_manifest(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is no dataset"):
        load_manifest(tmp_path / "file")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_done_to_a_manifest_it_is_either_refused_or_says_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    fill: Callable[..., DatasetWriter],
    make_manifest: Callable[..., Manifest],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    if not folder.exists():
        fill(folder, make_manifest())
        (folder / "original").write_bytes((folder / "dataset.json").read_bytes())
    text = bytearray((folder / "original").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    (folder / "dataset.json").write_bytes(text)
    try:
        manifest = load_manifest(folder)
    except DatasetError:
        return
    save_manifest(folder, manifest)
    assert load_manifest(folder) == manifest
    assert all(entry.name == manifest.shard_name(i) for i, entry in enumerate(manifest.shards))


def test_a_manifest_is_checked_when_it_is_made(make_manifest: Callable[..., Manifest], dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="episodes: expected a whole number from 1"):
        make_manifest(episodes=0)
    with pytest.raises(DatasetError, match="teacher: expected text, got 3"):
        make_manifest(teacher=3)
    with pytest.raises(DatasetError, match="rows of shard '00000"):
        replace(dataset.manifest.shards[0], rows=-1)
