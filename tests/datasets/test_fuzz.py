"""Damaged and hostile datasets: never a wrong row in silence, never a traceback at the command line."""

import io
import json
import os
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyclone.cli import main
from skyclone.datasets.dataset import open_dataset
from skyclone.datasets.errors import DatasetError
from skyclone.datasets.files import hdf5, parquet
from skyclone.datasets.files.manifest import Manifest, save_manifest
from skyclone.datasets.files.parquet_pages import pages
from skyclone.datasets.files.writer import DatasetWriter
from skyclone.datasets.traffic.record import COLUMNS, Table

Fill = Callable[..., DatasetWriter]
MakeManifest = Callable[..., Manifest]
FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder per format, to be filled by the first who comes."""
    return {format: tmp_path_factory.mktemp(format) / "data" for format in ("parquet", "hdf5")}


class Victim:
    """A sound dataset that is damaged again and again, and put right in between."""

    def __init__(self, folder: Path, format: str, fill: Fill, make_manifest: MakeManifest) -> None:
        self.folder, self.manifest, self.fill = folder, make_manifest(format), fill
        if not folder.exists():
            fill(folder, self.manifest)
        self.files = everything(folder)
        self.content_hash = open_dataset(folder).content_hash

    def heal(self) -> None:
        """Write every file as it was."""
        for name, data in self.files.items():
            (self.folder / name).write_bytes(data)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def victim(folders: dict[str, Path], format: str, fill: Fill, make_manifest: MakeManifest) -> Any:
    """Yield a sound dataset of each format."""
    dataset = Victim(folders[format], format, fill, make_manifest)
    yield dataset
    dataset.heal()


def call(*arguments: object) -> tuple[int, str]:
    """Run the command line in this process; return its exit code and all that it printed."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    assert "Traceback" not in said.getvalue()
    return code, said.getvalue()


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """Flip, insert, drop or overwrite some bytes, or cut the end off."""
    result = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4), "how many")):
        near_end = data.draw(st.booleans(), "near the end")  # where Parquet keeps its metadata
        place = data.draw(st.integers(0, min(len(result), 4000) - 1 if len(result) else 0), "place")
        place = max(len(result) - 1 - place, 0) if near_end else place
        match data.draw(st.sampled_from(["flip", "flip", "flip", "overwrite", "drop", "cut"]), "kind"):
            case "flip" if result:
                result[place] ^= 1 << data.draw(st.integers(0, 7), "bit")
            case "overwrite":
                new = data.draw(st.binary(max_size=8), "bytes")
                result[place : place + len(new)] = new
            case "drop":
                del result[place : place + data.draw(st.integers(1, 8), "bytes")]
            case "cut":
                del result[place:]
    return bytes(result)


# --- fuzzing ---


def attack_listed(victim: Victim, data: st.DataObject) -> None:
    """Damage a listed shard: it is named, its rows are not read, and it is made again bit for bit."""
    name = data.draw(st.sampled_from([name for name in victim.files if name.startswith("shards/")]), "shard")
    bad = damaged(data, victim.files[name])
    (victim.folder / name).write_bytes(bad)
    code, said = call("datasets", "verify", victim.folder)
    if bad == victim.files[name]:
        assert code == 0
        return
    assert code == 1
    assert f"{Path(name).name}: " in said
    with pytest.raises(DatasetError, match=Path(name).name):
        open_dataset(victim.folder).table()
    assert victim.fill(victim.folder, victim.manifest).made == [int(Path(name).stem)]  # type: ignore[attr-defined]
    assert everything(victim.folder) == victim.files


def attack_unlisted(victim: Victim, data: st.DataObject) -> None:
    """Damage a shard that no manifest vouches for: taken in with the right rows, made again, or refused."""
    manifest = open_dataset(victim.folder).manifest
    first = manifest.shards[0].name
    save_manifest(victim.folder, replace(manifest, shards=manifest.shards[1:]))
    (victim.folder / "shards" / first).write_bytes(damaged(data, victim.files[f"shards/{first}"]))
    refused = ""
    try:
        victim.fill(victim.folder, victim.manifest)
    except DatasetError as error:
        refused = str(error)
    if refused:
        assert "is not of this dataset: it belongs to another" in refused  # the damage hit the mark of its dataset
    else:
        assert open_dataset(victim.folder).content_hash == victim.content_hash
        assert open_dataset(victim.folder).verify() == []


def attack_manifest(victim: Victim, data: st.DataObject) -> None:
    """Damage the manifest: it is refused, or what it says of the rows is still true."""
    (victim.folder / "dataset.json").write_bytes(damaged(data, victim.files["dataset.json"]))
    assert call("datasets", "info", victim.folder)[0] in (0, 1)
    assert call("datasets", "info", victim.folder, "--json")[0] in (0, 1)
    code, said = call("datasets", "verify", victim.folder)
    if code == 0:
        assert open_dataset(victim.folder).content_hash == victim.content_hash
    else:
        assert len(said) > 20


ATTACKS = [attack_listed, attack_unlisted, attack_manifest]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@FEW
@given(data=st.data())
def test_damage_is_found(victim: Victim, attack: Callable[..., None], data: st.DataObject) -> None:
    try:
        attack(victim, data)
    finally:
        victim.heal()


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@MANY
@given(data=st.data())
def test_damage_is_found_again_and_again(victim: Victim, attack: Callable[..., None], data: st.DataObject) -> None:
    try:
        attack(victim, data)
    finally:
        victim.heal()


# --- one of each, by name ---


def test_each_kind_of_damage_is_named_and_healed(
    tmp_path: Path, format: str, fill: Fill, make_manifest: MakeManifest
) -> None:
    manifest = make_manifest(format, episodes=32)  # 8 shards
    fill(tmp_path / "data", manifest)
    fill(tmp_path / "other", make_manifest(format, episodes=32, seed=9))
    before = everything(tmp_path / "data")
    shards = sorted((tmp_path / "data" / "shards").iterdir())
    shards[0].write_bytes(shards[0].read_bytes()[:-9])
    flipped = bytearray(shards[1].read_bytes())
    flipped[len(flipped) // 2] ^= 4
    shards[1].write_bytes(flipped)
    shards[2].unlink()
    third = shards[3].read_bytes()
    shards[3].write_bytes(shards[4].read_bytes())
    shards[4].write_bytes(third)
    renamed = shards[5].rename(shards[5].with_name(f"copy{shards[5].suffix}"))
    os.replace(tmp_path / "other" / "shards" / shards[6].name, shards[6])
    found = {p.shard: (p.what, p.message) for p in open_dataset(tmp_path / "data", allow_incomplete=True).verify()}
    kinds = ["cut", "altered", "missing", "swapped", "swapped", "missing", "foreign"]
    assert {name: what for name, (what, _) in found.items()} == {
        **{path.name: kind for path, kind in zip(shards, kinds, strict=False)},
        renamed.name: "foreign",
    }
    assert found[shards[3].name][1] == f"it holds what {shards[4].name} should hold"
    assert "another world, teacher, pilot or seed" in found[shards[6].name][1]
    assert found[renamed.name][1] == f"renamed: it holds what {shards[5].name} should hold; move it away"
    assert fill(tmp_path / "data", manifest).made == list(range(7))  # type: ignore[attr-defined]
    assert everything(tmp_path / "data") == {**before, f"shards/{renamed.name}": before[f"shards/{shards[5].name}"]}


# --- hostile input ---


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "", "00000.parquet\x00", "a" * 5000])
def test_shard_names_do_not_climb_out(victim: Victim, name: str, tmp_path: Path) -> None:
    data = json.loads(victim.files["dataset.json"])
    data["shards"][0]["name"] = name
    (victim.folder / "dataset.json").write_text(json.dumps(data))
    for command in ("info", "verify"):
        code, said = call("datasets", command, victim.folder)
        assert code == 1
        assert "unknown shard" in said
    assert call("datasets", "convert", victim.folder, tmp_path / "out", "--format", "parquet")[0] == 1
    assert not (tmp_path / "out").exists()


def test_a_link_in_place_of_a_shard_gives_no_row(victim: Victim) -> None:
    name = next(name for name in victim.files if name.startswith("shards/"))
    (victim.folder / name).unlink()
    (victim.folder / name).symlink_to("/etc/passwd")
    code, said = call("datasets", "verify", victim.folder)
    assert code == 1
    assert Path(name).name in said
    assert "root:" not in said
    (victim.folder / name).unlink()


@pytest.mark.parametrize("version", [0, 2, 1.5, "1", None, 10**18])
def test_another_format_version_is_refused(victim: Victim, version: Any) -> None:
    data = json.loads(victim.files["dataset.json"])
    (victim.folder / "dataset.json").write_text(json.dumps({**data, "format_version": version}))
    code, said = call("datasets", "verify", victim.folder)
    assert code == 1
    assert "Use the version of skyclone that made the dataset" in said


def test_a_manifest_of_giant_numbers_is_answered_soon(victim: Victim) -> None:
    data = json.loads(victim.files["dataset.json"])
    data |= {"episodes": 2**31 - 1, "complete": False}
    (victim.folder / "dataset.json").write_text(json.dumps(data))
    begun = time.perf_counter()
    code, said = call("datasets", "verify", victim.folder)
    assert code == 1
    assert "not made yet" in said or "expected" in said
    assert time.perf_counter() - begun < 20


def varint(number: int) -> bytes:
    """Return an integer as Thrift's compact protocol writes it."""
    number, result = 2 * number, b""
    while number > 127:
        number, result = number >> 7, result + bytes([number & 127 | 128])
    return result + bytes([number])


@pytest.mark.parametrize("rows", [2**20, 2**33, 2**40, 2**62])
def test_parquet_of_a_giant_declared_size_is_refused(make_table: Callable[..., Table], rows: int) -> None:
    table = make_table(range(20))
    whole = parquet.encode(table, "")
    size = int.from_bytes(whole[-8:-4], "little")
    footer, true = whole[-8 - size : -8], len(table["episode"])
    footer = footer.replace(b"\x16" + varint(true), b"\x16" + varint(rows))  # field 3 of the file and its groups
    bad = whole[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    assert pq.read_metadata(io.BytesIO(bad)).num_rows == rows
    with pytest.raises(DatasetError, match=rf"expected rows for {len(bad)} bytes, got {rows}"):
        parquet.decode(bad)


def test_a_file_of_more_rows_than_bytes_is_refused() -> None:
    bomb = parquet.encode({column.name: np.zeros(500_000, column.dtype) for column in COLUMNS}, "")
    assert len(bomb) < 100_000
    with pytest.raises(DatasetError, match="expected rows for"):
        parquet.decode(bomb)


def test_a_parquet_page_that_would_blow_up_in_memory_is_refused() -> None:
    """The page is put behind the others, and the metadata of its column led there; pyarrow reads such a file."""
    random, rows, unpacked = np.random.default_rng(0), 20_000, 100_000_000
    table = {column.name: random.integers(0, 100, rows).astype(column.dtype) for column in COLUMNS}
    table["reward"] = random.random(rows, np.float32)
    whole = parquet.encode(table, "")
    size = int.from_bytes(whole[-8:-4], "little")
    body, footer = whole[: -8 - size], whole[-8 - size : -8]
    page = pa.compress(random.bytes(20_000) + bytes(unpacked - 20_000), "zstd", asbytes=True)
    header = b"\x15\x00\x15" + varint(unpacked) + b"\x15" + varint(len(page))  # a data page, and its sizes
    header += b"\x2c\x15" + varint(rows) + b"\x15\x00\x15\x06\x15\x06\x00\x00"  # plain values
    chunk = pq.read_metadata(io.BytesIO(whole)).row_group(0).column(list(table).index("reward"))
    old = b"\x16" + varint(chunk.total_compressed_size) + b"\x26" + varint(chunk.data_page_offset)
    new = b"\x16" + varint(len(header + page)) + b"\x26" + varint(len(body))
    assert (len(old), footer.count(old)) == (len(new), 1)
    footer = footer.replace(old, new)
    bomb = body + header + page + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    assert len(pq.read_table(io.BytesIO(bomb))) == rows
    with pytest.raises(DatasetError, match=rf"column reward: expected at most \d+ bytes unpacked, got {unpacked}"):
        parquet.decode(bomb)


def _hdf5_bomb(kind: str, rows: int = 1000) -> bytes:
    """Return an HDF5 file whose column `reward` would take much memory."""
    giant = 64 * 2**20
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        for column in COLUMNS:
            if column.name != "reward":
                file[column.name] = np.zeros(rows, column.dtype)
        options: dict[str, Any] = {"chunks": (giant // 4 if kind == "chunk" else rows,), "maxshape": (None,)}
        if kind == "twice":
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((rows,))
            plist.set_deflate(9)
            plist.set_deflate(9)
            space = h5py.h5s.create_simple((rows,))
            dataset = h5py.h5d.create(file.id, b"reward", h5py.h5t.IEEE_F32LE, space, plist)
            dataset.write_direct_chunk((0,), zlib.compress(zlib.compress(bytes(giant))))
        else:
            made = file.create_dataset("reward", (rows,), np.float32, compression="gzip", **options)
            made.id.write_direct_chunk((0,), zlib.compress(bytes(giant)))
        file.flush()
        return bytes(file.id.get_file_image())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("chunk", "expected chunks of at most 32768 rows, got 16777216"),
        ("twice", r"expected values that are shuffled and deflated, got filters \[1, 1\]"),
        ("stream", "expected a chunk of 4000 bytes, got more"),
    ],
)
def test_an_hdf5_file_that_would_blow_up_in_memory_is_refused(kind: str, message: str) -> None:
    bomb = _hdf5_bomb(kind)
    tracemalloc.start()
    with pytest.raises(DatasetError, match=message):
        hdf5.decode(bomb)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**21


@MANY
@given(data=st.data())
def test_damaged_headers_of_pages_are_an_error_or_sizes(data: st.DataObject) -> None:
    whole = parquet.encode({column.name: np.arange(99).astype(column.dtype) for column in COLUMNS}, "")
    metadata = pq.read_metadata(io.BytesIO(whole)).row_group(0)
    bad = damaged(data, whole)
    for number in range(len(COLUMNS)):
        with suppress(ValueError):
            assert all(page.packed <= len(bad) for page in pages(bad, metadata.column(number)))
