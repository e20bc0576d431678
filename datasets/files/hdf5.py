"""The traffic record as HDF5: a table in, the bytes of a file out, and back.

One dataset per column at the root, shuffled and deflated; units and meanings in its attributes.
"""

import io
import zlib
from math import ceil
from typing import BinaryIO

import h5py
import numpy as np

from ..errors import DatasetError
from ..traffic.record import COLUMNS, MORE_COLUMNS, Table, columns_in

_STAMP = "skyclone"
_ROWS_PER_CHUNK = 2**15
_UNREADABLE = (OSError, KeyError, ValueError, RuntimeError, TypeError, MemoryError, OverflowError, zlib.error)


def encode(table: Table, stamp: str) -> bytes:
    """Return an HDF5 file of a table; the same table gives the same bytes.

    Args:
        table: A checked table with at least one row.
        stamp: JSON text that goes into the attributes of the root.
    """
    rows = len(table["episode"])
    chunks = (min(rows, _ROWS_PER_CHUNK),)
    with h5py.File("shard", "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
        file.attrs[_STAMP] = np.bytes_(stamp.encode())  # of fixed length, see `_stamp`
        for column in columns_in(table):
            dataset = file.create_dataset(
                column.name,
                data=table[column.name].astype(np.dtype(column.dtype).newbyteorder("<"), copy=False),
                chunks=chunks,
                compression="gzip",
                compression_opts=1,  # level 4: 4 % smaller, a quarter slower
                shuffle=True,
                track_times=False,  # a time would make the bytes differ
            )
            dataset.attrs["unit"] = column.unit
            dataset.attrs["meaning"] = column.meaning
        file.flush()
        return bytes(file.id.get_file_image())


def decode(data: bytes, expected_rows: int | None = None) -> tuple[Table, str]:
    """Return the table and the stamp in an HDF5 file.

    Links out of the file, virtual datasets and external storage are refused, not followed. What is packed is
    unpacked here and not by the library, which knows no bound.

    Args:
        data: The file.
        expected_rows: How many rows it has, if that is known.

    Raises:
        DatasetError: It is no HDF5 file, is damaged, or has other columns than the traffic record.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            known = columns_in(file)
            if set(file) != {column.name for column in known}:
                raise DatasetError(
                    f"expected the columns of the traffic record, got {', '.join(sorted(file)) or 'none'}"
                )
            rows = _column(file, "episode", None).shape[0]
            if rows > len(data):  # no traffic takes less than a byte a row: a hostile size
                raise DatasetError(f"expected rows for {len(data)} bytes, got {rows}")
            if expected_rows is not None and rows != expected_rows:
                raise DatasetError(f"expected {expected_rows} rows, got {rows}")
            columns = {column.name: _column(file, column.name, rows) for column in known}
            table = {
                column.name: _values(columns[column.name], len(data)).astype(column.dtype, copy=False)
                for column in known
            }
            return table, _stamp(file)
    except _UNREADABLE as error:
        raise DatasetError(f"expected an HDF5 file, could not read it: {error}") from None


def stamp_in(file: BinaryIO) -> str:
    """Return the stamp in an open HDF5 file; of its rows nothing is read.

    Raises:
        DatasetError: It is no HDF5 file.
    """
    try:
        with h5py.File(file, "r") as opened:
            return _stamp(opened)
    except _UNREADABLE as error:
        raise DatasetError(f"expected an HDF5 file, could not read it: {error}") from None


def _stamp(file: h5py.File) -> str:
    """Return the stamp, "" if there is none.

    Text of variable length is not read: one flipped bit in its heap, and the HDF5 library never returns.
    """
    if _STAMP not in file.attrs or file.attrs.get_id(_STAMP).dtype.kind != "S":
        return ""
    return bytes(file.attrs[_STAMP]).decode(errors="replace")


def _column(file: h5py.File, name: str, rows: int | None) -> h5py.Dataset:
    """Return a column that is stored in the file itself, with the right type and length."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise DatasetError(f"column {name}: expected data in the file itself, got a link elsewhere")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise DatasetError(f"column {name}: expected data in the file itself, got data from elsewhere")
    dtype = np.dtype(next(column.dtype for column in (*COLUMNS, *MORE_COLUMNS) if column.name == name))
    if dataset.dtype.newbyteorder("=") != dtype or dataset.ndim != 1 or rows not in (None, dataset.shape[0]):
        raise DatasetError(
            f"column {name}: expected {'some' if rows is None else rows} values of {dtype}, "
            f"got {dataset.dtype} of shape {dataset.shape}"
        )
    return dataset


def _values(dataset: h5py.Dataset, most: int) -> np.ndarray:
    """Return the values of a column.

    Args:
        dataset: (rows,).
        most: Bytes that a packed chunk may have.
    """
    if dataset.chunks is None:  # as they are, one behind the other
        return np.asarray(dataset[:])
    rows, chunk = dataset.shape[0], dataset.chunks[0]
    if chunk > max(rows, _ROWS_PER_CHUNK):
        raise DatasetError(f"{dataset.name}: expected chunks of at most {_ROWS_PER_CHUNK} rows, got {chunk}")
    filters = _filters(dataset)
    if dataset.id.get_num_chunks() != ceil(rows / chunk):
        raise DatasetError(f"{dataset.name}: expected {ceil(rows / chunk)} chunks, got others")
    values = np.empty(rows, dataset.dtype)
    for start in range(0, rows, chunk):
        if (size := dataset.id.get_chunk_info_by_coord((start,)).size) > most:
            raise DatasetError(f"{dataset.name}: expected a chunk of at most {most} bytes, got {size}")
        mask, packed = dataset.id.read_direct_chunk((start,))
        if mask:
            raise DatasetError(f"{dataset.name}: expected chunks that are packed alike, got others")
        unpacked = _unpacked(packed, filters, chunk, dataset.dtype)
        values[start : start + chunk] = unpacked[: rows - start]
    return values


def _filters(dataset: h5py.Dataset) -> list[int]:
    """Return the codes of the filters a column went through: none, shuffling or deflating, each at most once."""
    settings = dataset.id.get_create_plist()
    codes = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    if codes not in ([], [_SHUFFLE], [_DEFLATE], [_SHUFFLE, _DEFLATE]):
        raise DatasetError(f"{dataset.name}: expected values that are shuffled and deflated, got filters {codes}")
    return codes


def _unpacked(packed: bytes, filters: list[int], rows: int, dtype: np.dtype) -> np.ndarray:
    """Return the values of a chunk, (rows,)."""
    size, data = rows * dtype.itemsize, packed
    if _DEFLATE in filters:
        data = zlib.decompressobj().decompress(packed, size + 1)
    if len(data) != size:
        raise DatasetError(f"expected a chunk of {size} bytes, got {'more' if len(data) > size else len(data)}")
    raw = np.frombuffer(data, np.uint8)
    if _SHUFFLE in filters:  # all first bytes of the values, all second ones, ...
        raw = np.ascontiguousarray(raw.reshape(dtype.itemsize, rows).T)
    return raw.view(dtype).reshape(rows)


_SHUFFLE, _DEFLATE = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE
