import hashlib
import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.datasets.dataset import Dataset
from skyclone.datasets.errors import DatasetError, RecordError
from skyclone.datasets.files import hdf5, parquet
from skyclone.datasets.files.manifest import Manifest
from skyclone.datasets.files.shards import ForeignShardError, adopt_shard, check_shard, read_shard, write_shard
from skyclone.datasets.files.stamp import stamp_to_text
from skyclone.datasets.traffic.record import COLUMN_NAMES, COLUMNS, Table, content_hash

CODECS = {"parquet": parquet, "hdf5": hdf5}


def _same(one: Table, other: Table) -> bool:
    return all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in COLUMN_NAMES
    )


def test_a_table_comes_back_from_each_format(format: str, make_table: Callable[..., Table]) -> None:
    table = make_table(range(20))
    found, stamp = CODECS[format].decode(CODECS[format].encode(table, '{"a": 1}'))
    assert _same(table, found)
    assert stamp == '{"a": 1}'
    assert [found[column.name].dtype for column in COLUMNS] == [np.dtype(column.dtype) for column in COLUMNS]
    assert all(values.flags.writeable for values in found.values())  # torch warns of others
    assert content_hash(found) == content_hash(table)


def test_the_same_table_gives_the_same_bytes(format: str, make_table: Callable[..., Table]) -> None:
    encode = CODECS[format].encode
    assert encode(make_table(range(3)), "s") == encode(make_table(range(3)), "s")


def test_units_and_meanings_are_in_the_files(make_table: Callable[..., Table]) -> None:
    table = make_table(range(2))
    schema = pq.read_schema(io.BytesIO(parquet.encode(table, "")))
    with h5py.File(io.BytesIO(hdf5.encode(table, ""))) as file:
        for column in COLUMNS:
            metadata = schema.field(column.name).metadata
            assert metadata[b"unit"].decode() == column.unit == file[column.name].attrs["unit"]
            assert not file[column.name].id.get_create_plist().get_obj_track_times()  # else the bytes would differ
            assert metadata[b"meaning"].decode() == column.meaning == file[column.name].attrs["meaning"]


def test_parquet_is_encoded_as_designed(make_table: Callable[..., Table]) -> None:
    group = pq.ParquetFile(io.BytesIO(parquet.encode(make_table(range(50)), ""))).metadata.row_group(0)
    for number, column in enumerate(COLUMNS):
        found = group.column(number)
        assert found.compression == "ZSTD"
        wanted = "PLAIN" if column.dtype == "float32" else "RLE_DICTIONARY"
        assert wanted in found.encodings, column.name


@settings(max_examples=150, deadline=None)
@given(
    place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), format=st.sampled_from(["parquet", "hdf5"])
)
def test_damaged_bytes_are_an_error_or_a_table_but_nothing_else(place: float, change: int, format: str) -> None:
    # For rows the hash is checked first in real life; here the decoders themselves meet hostile bytes.
    table = {column.name: np.arange(200).astype(column.dtype) for column in COLUMNS}
    data = bytearray(CODECS[format].encode(table, "stamp"))
    data[int(place * len(data))] ^= change
    for damaged in (bytes(data), bytes(data[: int(place * len(data))])):
        with suppress(DatasetError):
            found, _ = CODECS[format].decode(damaged)
            assert set(found) == set(COLUMN_NAMES)
        with suppress(DatasetError):
            assert isinstance(CODECS[format].stamp_in(io.BytesIO(damaged)), str)


def test_a_shard_is_read_as_it_was_written(
    dataset: Dataset, make_table: Callable[..., Table], make_manifest: Callable[..., Manifest]
) -> None:
    for index, episodes in enumerate((range(0, 4), range(4, 8), range(8, 10))):
        assert _same(dataset.table(index), make_table(episodes))
    entry = dataset.manifest.shards[1]
    data = (dataset.path / "shards" / entry.name).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.bytes, entry.sha256)
    assert content_hash(make_table(range(4, 8))) == entry.content_hash


def test_a_cut_a_flipped_and_a_missing_shard_are_not_read(dataset: Dataset) -> None:
    path = dataset.path / "shards" / dataset.manifest.shards[1].name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DatasetError, match=rf"{path.name}: cut: expected {len(whole)} bytes, got {len(whole) - 1}"):
        dataset.table(1)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DatasetError, match=rf"{path.name}: altered: expected SHA-256 .* makes missing and damaged"):
        dataset.table()
    path.unlink()
    with pytest.raises(DatasetError, match=rf"{path.name}: missing"):
        dataset.table(1)
    dataset.table(0)
    with pytest.raises(DatasetError, match="is not there yet"):
        read_shard(dataset.path, dataset.manifest.with_episodes(40), 5)


def test_a_shard_with_the_right_hash_and_wrong_rows_is_not_read(
    dataset: Dataset, make_table: Callable[..., Table]
) -> None:
    # A manifest edited to match: hashes agree, rows do not follow the record.
    stamp = stamp_to_text(replace(check_shard(dataset.path, dataset.manifest, 0), counts=None))

    def read(table: Table, more_rows: int = 0) -> None:
        data = CODECS[dataset.manifest.format].encode(table, stamp)
        entry = dataset.manifest.shards[0]
        (dataset.path / "shards" / entry.name).write_bytes(data)
        rows = len(table["episode"]) + more_rows
        entry = replace(entry, rows=rows, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        read_shard(dataset.path, dataset.manifest.with_shards([entry]), 0)

    read(make_table(range(4)))
    with pytest.raises(DatasetError, match="expected rows of the episodes 0 to 4, got 4 to 8"):
        read(make_table(range(4, 8)))
    with pytest.raises(DatasetError, match=r"expected \d+ rows, got"):
        read(make_table(range(4)), more_rows=1)
    table = make_table(range(4))
    table["east_m"][3] = np.nan
    with pytest.raises(DatasetError, match="column east_m: expected finite numbers, got nan in row 3"):
        read(table)
    with pytest.raises(DatasetError, match="expected rows sorted by episode, step, aircraft"):
        read({name: column[::-1].copy() for name, column in make_table(range(4)).items()})


def test_a_bad_table_is_not_written(
    tmp_path: Path, format: str, make_table: Callable[..., Table], make_manifest: Callable[..., Manifest]
) -> None:
    (tmp_path / "shards").mkdir()
    manifest = make_manifest(format)
    with pytest.raises(DatasetError, match="expected rows of the episodes 0 to 4, got 0 to 3"):
        write_shard(tmp_path, manifest, 0, make_table(range(3)))
    table = make_table(range(4))
    table["teacher_turn"][0] = np.nan
    with pytest.raises(RecordError, match="teacher_turn"):
        write_shard(tmp_path, manifest, 0, table)
    assert not list((tmp_path / "shards").iterdir())


def test_a_shard_without_an_entry_knows_where_it_belongs(
    dataset: Dataset, make_manifest: Callable[..., Manifest], format: str
) -> None:
    assert adopt_shard(dataset.path, dataset.manifest, 1) == dataset.manifest.shards[1]
    with pytest.raises(ForeignShardError, match="belongs to another dataset"):
        adopt_shard(dataset.path, make_manifest(format, seed=1), 1)
    names = [dataset.path / "shards" / entry.name for entry in dataset.manifest.shards]
    names[0].rename(names[1])
    with pytest.raises(DatasetError, match="expected the episodes 4 to 8, got 0 to 4"):
        adopt_shard(dataset.path, dataset.manifest, 1)


def test_a_sound_file_that_is_no_shard_is_not_taken_in(
    dataset: Dataset, format: str, make_table: Callable[..., Table]
) -> None:
    path = dataset.path / "shards" / dataset.manifest.shards[0].name
    path.write_bytes(CODECS[format].encode(make_table(range(4)), ""))
    with pytest.raises(DatasetError, match="expected the stamp of a skyclone shard"):
        adopt_shard(dataset.path, dataset.manifest, 0)
    stamp = {
        "recipe": dataset.manifest.recipe_hash,
        "first_episode": 0,
        "last_episode": 4,
        "content_hash": content_hash(make_table(range(4))),
        "figures": {},
    }
    path.write_bytes(CODECS[format].encode(make_table(range(4), seed=1), json.dumps(stamp)))
    with pytest.raises(DatasetError, match="do not have the content hash"):
        adopt_shard(dataset.path, dataset.manifest, 0)


def _hostile(kind: str, secret: Path) -> bytes:
    """Make an HDF5 file whose column `reward` lies in another file."""
    rows = 4
    with h5py.File(secret, "w") as file:
        file["reward"] = np.zeros(rows, np.float32)
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        for column in COLUMNS:
            if column.name != "reward":
                file[column.name] = np.zeros(rows, column.dtype)
        if kind == "external link":
            file["reward"] = h5py.ExternalLink(str(secret), "/reward")
        elif kind == "soft link":
            file["reward"] = h5py.SoftLink("/speed_mps")
        elif kind == "virtual dataset":
            layout = h5py.VirtualLayout((rows,), np.float32)
            layout[:] = h5py.VirtualSource(str(secret), "reward", (rows,))
            file.create_virtual_dataset("reward", layout)
        elif kind == "external storage":
            file.create_dataset("reward", (rows,), np.float32, external=[(str(secret), 0, rows * 4)])
        elif kind == "group":
            file.create_group("reward")
        elif kind == "length":
            file["reward"] = np.zeros(rows + 1, np.float32)
        elif kind == "type":
            file["reward"] = np.zeros(rows, np.float64)
        file.flush()
        return bytes(file.id.get_file_image())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("external link", "column reward: expected data in the file itself, got a link elsewhere"),
        ("soft link", "column reward: expected data in the file itself, got a link elsewhere"),
        ("virtual dataset", "column reward: expected data in the file itself, got data from elsewhere"),
        ("external storage", "column reward: expected data in the file itself, got data from elsewhere"),
        ("group", "column reward: expected data in the file itself"),
        ("length", r"column reward: expected 4 values of float32, got float32 of shape \(5,\)"),
        ("type", "column reward: expected 4 values of float32, got float64"),
    ],
)
def test_hdf5_does_not_reach_out_of_the_file(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        hdf5.decode(_hostile(kind, tmp_path / "secret.h5"))


def test_hdf5_of_a_giant_declared_size_is_refused() -> None:
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        for column in COLUMNS:
            file.create_dataset(column.name, (2**40,), column.dtype, chunks=(1024,))
        file.flush()
        data = bytes(file.id.get_file_image())
    with pytest.raises(DatasetError, match=rf"expected rows for {len(data)} bytes, got {2**40}"):
        hdf5.decode(data)


@pytest.mark.parametrize("change", [{"noise": 0.4}, {"seed": 99}, {"teacher": "none"}])
def test_a_shard_of_another_dataset_is_not_read_under_an_edited_manifest(dataset: Dataset, change: dict) -> None:
    assert len(read_shard(dataset.path, dataset.manifest, 0)["episode"])
    with pytest.raises(DatasetError, match=r"dataset\.json: its world, .* or seed is not the one that made 00000"):
        read_shard(dataset.path, replace(dataset.manifest, **change), 0)


def test_a_shard_of_before_there_were_arithmetics_is_taken_in(
    dataset: Dataset, make_table: Callable[..., Table]
) -> None:
    stamp = asdict(check_shard(dataset.path, dataset.manifest, 1))
    assert stamp.pop("arithmetic") == "unknown"
    assert stamp.pop("counts")
    table = make_table(range(4, 8))
    data = CODECS[dataset.manifest.format].encode(table, json.dumps(stamp, sort_keys=True))
    (dataset.path / "shards" / dataset.manifest.shards[1].name).write_bytes(data)
    entry = adopt_shard(dataset.path, dataset.manifest, 1)
    assert (entry.content_hash, entry.arithmetic) == (dataset.manifest.shards[1].content_hash, "")
    other = replace(dataset.manifest, arithmetic="portable-1")
    assert adopt_shard(dataset.path, other, 1).arithmetic == "unknown"
