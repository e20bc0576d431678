"""The traffic record as HDF5: a table in, the bytes of a file out, and back.

One dataset per column at the root, shuffled and deflated; units and meanings in its attributes.
"""

import io

import h5py
import numpy as np

from ..errors import DatasetError
from ..traffic.record import COLUMN_NAMES, COLUMNS, Table

_STAMP = "skyclone"
_ROWS_PER_CHUNK = 2**15


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
        for column in COLUMNS:
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


def decode(data: bytes) -> tuple[Table, str]:
    """Return the table and the stamp in an HDF5 file.

    Links out of the file, virtual datasets and external storage are refused, not followed.

    Raises:
        DatasetError: It is no HDF5 file, is damaged, or has other columns than the traffic record.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if set(file) != set(COLUMN_NAMES):
                raise DatasetError(
                    f"expected the columns of the traffic record, got {', '.join(sorted(file)) or 'none'}"
                )
            rows = _column(file, "episode", None).shape[0]
            if rows > len(data):  # no traffic takes less than a byte a row: a hostile size
                raise DatasetError(f"expected rows for {len(data)} bytes, got {rows}")
            table = {
                column.name: _column(file, column.name, rows)[:].astype(column.dtype, copy=False)
                for column in COLUMNS
            }
            return table, _stamp(file)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, MemoryError, OverflowError) as error:
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
    dtype = np.dtype(next(column.dtype for column in COLUMNS if column.name == name))
    if dataset.dtype.newbyteorder("=") != dtype or dataset.ndim != 1 or rows not in (None, dataset.shape[0]):
        raise DatasetError(
            f"column {name}: expected {'some' if rows is None else rows} values of {dtype}, "
            f"got {dataset.dtype} of shape {dataset.shape}"
        )
    return dataset
