"""What `verify` says of manifests that were edited; damaged shards are in test_dataset.py and test_fuzz.py."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skyclone.datasets import open_dataset
from skyclone.datasets.dataset import Dataset
from skyclone.datasets.errors import Damage, DatasetError
from skyclone.datasets.files.json_file import hash_of

EDITS: dict[str, Any] = {
    "teacher": "none",
    "pilot": "runs/clone",
    "scenario": "circle",
    "seed": 7,
    "noise": 0.5,
    "world": {"aircraft": 4, "step_s": 2.0},
    "figures": {"conflicts": 2.0, "episodes": 4.0},
    "code": "0.0.1",
    "packages": {"python": "2.7"},
    "arithmetic": "portable-1",
    "arithmetic of a shard": "portable-1",
}


def _edit(folder: Path, key: str, keep_hash: bool) -> None:
    path = folder / "dataset.json"
    data = json.loads(path.read_text())
    if key == "figures":
        data["shards"][1]["figures"] = EDITS[key]
    elif key == "arithmetic of a shard":
        data["shards"][1]["arithmetic"] = EDITS[key]
    else:
        data[key] = EDITS[key]
    if not keep_hash:
        del data["sha256"]
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("key", EDITS)
def test_an_edited_manifest_is_refused(dataset: Dataset, key: str) -> None:
    _edit(dataset.path, key, keep_hash=True)
    with pytest.raises(
        DatasetError, match=r"changed since it was written: expected SHA-256 .* put the original back"
    ):
        open_dataset(dataset.path)


@pytest.mark.parametrize("key", [key for key in EDITS if key not in ("code", "packages")])
def test_the_shards_know_better_than_an_edited_manifest(dataset: Dataset, key: str) -> None:
    _edit(dataset.path, key, keep_hash=False)
    problems = open_dataset(dataset.path).verify()
    assert {(problem.shard, problem.what) for problem in problems} == {("dataset.json", Damage.ALTERED)}
    assert len(problems) == (3 if key == "arithmetic" else 1)
    words = {
        "figures": "figures of 00001",
        "arithmetic": ": expected rows made by the older arithmetic, ",
        "arithmetic of a shard": "as it says itself, got 'portable-1'",
    }.get(key, "world, scenario, teacher, pilot, noise or seed is not the one")
    assert words in problems[0].message
    assert problems[0].message.endswith("; put the original back")


def test_a_manifest_without_a_hash_of_itself_is_sound(dataset: Dataset) -> None:
    """One that was written before 2026-11-26."""
    path, before = dataset.path / "dataset.json", dataset.content_hash
    data = json.loads(path.read_text())
    del data["sha256"]
    path.write_text(json.dumps(data))
    assert open_dataset(dataset.path).verify() == []
    assert open_dataset(dataset.path).content_hash == before


def test_a_figure_changed_in_shard_and_manifest_alike_is_found(
    dataset: Dataset, restamp: Callable[..., Dataset]
) -> None:
    """All hashes of file and manifest match: only the stamp's own does not."""
    changed = restamp(dataset, 1, lambda stamp: stamp["figures"].update(conflicts=2.0))
    assert changed.manifest.figures["conflicts"] == 8.0
    assert changed.content_hash == dataset.content_hash
    (problem,) = changed.verify()
    assert (problem.shard, problem.what) == (dataset.manifest.shards[1].name, Damage.INVALID)
    assert "its stamp was changed since it was written: expected SHA-256" in problem.message
    with pytest.raises(DatasetError, match=rf"{problem.shard}: its stamp was changed since it was written"):
        changed.table(1)
    with pytest.raises(DatasetError, match=rf"{problem.shard}: its stamp was changed since it was written"):
        changed.batches(stream=True)


def test_a_figure_that_the_rows_decide_is_found_whatever_the_hashes_say(
    dataset: Dataset, restamp: Callable[..., Dataset]
) -> None:
    def with_its_hash(stamp: dict[str, Any]) -> None:
        stamp["figures"]["episodes"] = 5.0
        del stamp["sha256"]
        stamp["sha256"] = hash_of(stamp)

    def as_before(stamp: dict[str, Any]) -> None:  # there was a hash in it
        stamp["figures"]["episodes"] = 5.0
        stamp.pop("counts")
        stamp.pop("sha256")

    for change in (with_its_hash, as_before):
        (problem,) = restamp(dataset, 1, change).verify()
        assert (problem.shard, problem.what) == (dataset.manifest.shards[1].name, Damage.INVALID)
        assert problem.message == "figure episodes: expected 4, as its rows say, got 5.0"


def test_counts_of_other_rows_are_found_when_the_rows_are_read(
    dataset: Dataset, restamp: Callable[..., Dataset]
) -> None:
    def change(stamp: dict[str, Any]) -> None:
        free = stamp["counts"]["free"]
        free[0], free[1] = free[0] - 1, free[1] + 1
        del stamp["sha256"]
        stamp["sha256"] = hash_of(stamp)

    changed = restamp(dataset, 1, change)
    assert changed.verify()[0].message == "its stamp counts other rows than there are"
    with pytest.raises(DatasetError, match="its stamp counts other rows than there are"):
        list(changed.batches(stream=True))


def test_shards_without_counts_are_sound(dataset: Dataset, restamp: Callable[..., Dataset]) -> None:
    """Ones that were written before 2026-11-26."""
    before = dataset.content_hash, dataset.counts(1)
    for index in range(3):
        dataset = restamp(dataset, index, lambda stamp: (stamp.pop("counts"), stamp.pop("sha256")))
    assert dataset.verify() == []
    assert (dataset.content_hash, dataset.counts(1)) == before


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(60 * 2**30)


REPLACEMENTS: dict[str, Callable[[Path], None]] = {
    "device": _device,
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "sparse": _sparse,
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_only_regular_files_of_the_right_size_are_read(dataset: Dataset, kind: str) -> None:
    path = dataset.path / "shards" / dataset.manifest.shards[1].name
    path.unlink()
    REPLACEMENTS[kind](path)
    REPLACEMENTS[kind](path.with_name("stray"))
    problems = {problem.shard: problem for problem in open_dataset(dataset.path, allow_incomplete=True).verify()}
    assert problems["stray"].what == Damage.FOREIGN
    expected = (
        "bytes, got 64424509440" if kind == "sparse" else "expected a regular file, got a folder, a pipe or a"
    )
    assert expected in problems[path.name].message
    with pytest.raises(DatasetError, match=expected):
        dataset.table(1)


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_only_a_regular_file_is_a_manifest(dataset: Dataset, kind: str) -> None:
    path = dataset.path / "dataset.json"
    path.unlink()
    REPLACEMENTS[kind](path)
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged: expected a regular file, got a"):
        open_dataset(dataset.path)
