"""The traffic record: one row per aircraft per step. States are stored, observations are views of them."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..errors import RecordError

FLYING, WAYPOINT, LEFT_SECTOR, TIME_LIMIT = 0, 1, 2, 3
OUTCOMES = ("flying", "waypoint", "left_sector", "time_limit")
TRUTH: Final = "truth"
PERCEIVED: Final = "perceived"
"""What a teacher's labels are made of: the stored state, which is the truth, or what its aircraft knew of that."""

Table = dict[str, np.ndarray]
"""One 1-D array per column, all of one length, sorted by episode, step, aircraft."""


@dataclass(frozen=True)
class Column:
    """A column of the traffic record.

    Attributes:
        name: Name in Parquet, HDF5 and tables.
        dtype: NumPy type name, little endian on disk.
        unit: SI unit, or "" for counts and codes.
        meaning: One sentence for people.
        nullable: Whether NaN is a legal value ("there is none").
    """

    name: str
    dtype: str
    unit: str
    meaning: str
    nullable: bool = False


COLUMNS = (
    Column("episode", "int32", "", "number of the episode; with the seed it fixes the scenario"),
    Column("step", "int16", "", "decision step within the episode, from 0"),
    Column("aircraft", "int16", "", "number of the aircraft within the episode"),
    Column("east_m", "float32", "m", "position east of the sector's centre, before the action"),
    Column("north_m", "float32", "m", "position north of the sector's centre, before the action"),
    Column("track_rad", "float32", "rad", "direction of travel over ground, clockwise from north, [-pi, pi]"),
    Column("speed_mps", "float32", "m/s", "ground speed"),
    Column(
        "waypoint_east_m", "float32", "m", "waypoint, east of the sector's centre; NaN of one that hovers", True
    ),
    Column(
        "waypoint_north_m", "float32", "m", "waypoint, north of the sector's centre; NaN of one that hovers", True
    ),
    Column("teacher_turn", "float32", "1", "the label: turn in action units [-1, 1], + is to the right"),
    Column("teacher_speed", "float32", "1", "the label: speed change in action units [-1, 1]"),
    Column("pilot_turn", "float32", "1", "the turn that was flown, in action units [-1, 1]"),
    Column("pilot_speed", "float32", "1", "the speed change that was flown, in action units [-1, 1]"),
    Column("reward", "float32", "1", "reward for the flown action"),
    Column("conflicts", "int8", "", "number of conflicts the teacher acts on (its zone, its look-ahead time)"),
    Column("nearest_m", "float32", "m", "distance to the nearest intruder; NaN if there is none", True),
    Column("tcpa_s", "float32", "s", "time to CPA of the most urgent conflict (smallest tcpa); NaN if none", True),
    Column("dcpa_m", "float32", "m", "distance at CPA of the most urgent conflict; NaN if none", True),
    Column("outcome", "int8", "", "after this step: 0 flying, 1 waypoint, 2 left_sector, 3 time_limit"),
)
MORE_COLUMNS = (
    Column("kind", "int8", "", "type of the aircraft: its place in the world's fleet, from 0"),
    Column("wind_east_mps", "float32", "m/s", "wind towards east, before the action"),
    Column("wind_north_mps", "float32", "m/s", "wind towards north, before the action"),
)
"""Columns of worlds that have a fleet, or wind; they come last."""
COLUMN_NAMES = tuple(column.name for column in COLUMNS)
KEYS = ("episode", "step", "aircraft")


def columns_of(world: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the columns of the datasets of a world, given as JSON."""
    has_wind = any(world.get(name) for name in ("wind_east_mps", "wind_north_mps", "gust_mps"))
    more = (*(("kind",) if world.get("fleet") else ()), *(("wind_east_mps", "wind_north_mps") if has_wind else ()))
    return columns_in(more)


def columns_in(names: Iterable[str]) -> tuple[Column, ...]:
    """Return the columns of a table that has these: those that all have, and more where they are among them."""
    names = set(names)
    return (*COLUMNS, *(column for column in MORE_COLUMNS if column.name in names))


def check_table(table: Table) -> None:
    """Raise unless the table follows the traffic record.

    Raises:
        RecordError: Columns are missing, unknown or of another type or length; a value is NaN or
            infinite where that has no meaning; an action or outcome is out of range; rows are not
            sorted by episode, step, aircraft or appear twice.
    """
    columns = columns_in(table)
    known = {column.name for column in columns}
    if set(table) != known:
        missing, unknown = sorted(known - set(table)), sorted(set(table) - known)
        raise RecordError(
            f"expected the {len(COLUMNS)} columns of the traffic record; missing: {missing or 'none'}, "
            f"unknown: {unknown or 'none'}. Was this table written by another version of skyclone?"
        )
    rows = len(table["episode"])
    for column in columns:
        values = table[column.name]
        if values.dtype != np.dtype(column.dtype) or values.shape != (rows,):
            raise RecordError(
                f"column {column.name}: expected {rows} values of {column.dtype}, "
                f"got {values.dtype} of shape {values.shape}"
            )
        if values.dtype.kind == "f":
            bad = np.isinf(values) if column.nullable else ~np.isfinite(values)
            if bad.any():
                row = int(np.argmax(bad))
                raise RecordError(
                    f"column {column.name}: expected finite numbers, got {values[row]} in row {row} "
                    f"({int(bad.sum())} such rows). Collect this shard again."
                )
    for name in ("teacher_turn", "teacher_speed", "pilot_turn", "pilot_speed"):
        if rows and float(np.abs(table[name]).max()) > 1.0:
            raise RecordError(f"column {name}: expected actions in [-1, 1], got {np.abs(table[name]).max()}")
    if np.any(np.isnan(table["waypoint_east_m"]) != np.isnan(table["waypoint_north_m"])):
        raise RecordError("columns waypoint_east_m and waypoint_north_m: expected both to be NaN, or neither")
    if rows and not (table["outcome"].min() >= 0 and table["outcome"].max() < len(OUTCOMES)):
        raise RecordError(f"column outcome: expected codes 0 to {len(OUTCOMES) - 1}, got others")
    _check_order(table)


def _check_order(table: Table) -> None:
    """Raise unless keys are strictly increasing and not negative."""
    episode, step, aircraft = (table[name].astype(np.int64) for name in KEYS)
    if len(episode) and min(episode.min(), step.min(), aircraft.min()) < 0:
        raise RecordError("expected episode, step and aircraft from 0 on, got negative ones")
    key = (episode << 32) | (step << 16) | aircraft
    if np.any(np.diff(key) <= 0):
        row = int(np.argmax(np.diff(key) <= 0)) + 1
        raise RecordError(
            f"expected rows sorted by episode, step, aircraft without repetition; row {row} breaks the order"
        )


def content_hash(table: Table) -> str:
    """Return the SHA-256 of a table's values: the same for Parquet and HDF5, whatever the file's bytes.

    Columns enter in the order of `columns_in`, little endian, every NaN as the same NaN.
    """
    digest = hashlib.sha256()
    for column in columns_in(table):
        values = np.ascontiguousarray(table[column.name])
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
        digest.update(f"{column.name}:{column.dtype}:{len(values)};".encode())
        digest.update(values.astype(np.dtype(column.dtype).newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
