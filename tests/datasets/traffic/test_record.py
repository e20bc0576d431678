import numpy as np
import pytest

from skyclone.datasets.errors import RecordError, SkycloneError
from skyclone.datasets.traffic.record import (
    COLUMN_NAMES,
    COLUMNS,
    FLYING,
    LEFT_SECTOR,
    OUTCOMES,
    TIME_LIMIT,
    WAYPOINT,
    check_table,
    content_hash,
)


def test_the_record_is_the_designs():
    keys = ("int32", "int16", "int16")
    assert tuple(column.dtype for column in COLUMNS[:3]) == keys
    assert COLUMN_NAMES[:3] == ("episode", "step", "aircraft")
    assert len(set(COLUMN_NAMES)) == len(COLUMNS) == 19
    assert {column.name for column in COLUMNS if column.nullable} == {
        "nearest_m",
        "tcpa_s",
        "dcpa_m",
        "waypoint_east_m",
        "waypoint_north_m",
    }
    assert all(column.meaning for column in COLUMNS)
    assert [OUTCOMES[code] for code in (FLYING, WAYPOINT, LEFT_SECTOR, TIME_LIMIT)] == list(OUTCOMES)
    assert sum(np.dtype(column.dtype).itemsize for column in COLUMNS) == 66  # bytes a row, uncompressed
    units = {column.name.rsplit("_", 1)[-1]: column.unit for column in COLUMNS if "_" in column.name}
    assert (units["m"], units["s"], units["rad"], units["mps"]) == ("m", "s", "rad", "m/s")


def test_a_good_table_passes(make_table):
    check_table(make_table(range(3)))
    check_table({name: values[:0] for name, values in make_table(range(1)).items()})


def broken(make_table, change):
    table = {name: values.copy() for name, values in make_table(range(2)).items()}
    change(table)
    return table


def set_value(name, row, value):
    return lambda table: table[name].__setitem__(row, value)


def swap(table):
    for values in table.values():
        values[[3, 4]] = values[[4, 3]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.pop("reward"), r"expected the 19 columns .*missing: \['reward'\], unknown: none"),
        (lambda table: table.update(wind=table["reward"]), r"missing: none, unknown: \['wind'\]. Was this table"),
        (lambda table: table.update(east_m=table["east_m"][:-1]), r"column east_m: expected \d+ values of float32"),
        (
            lambda table: table.update(step=table["step"].astype("int64")),
            r"column step: expected .*int16, got int64",
        ),
        (
            set_value("east_m", 2, np.nan),
            r"column east_m: expected finite numbers, got nan in row 2 \(1 such rows\)",
        ),
        (set_value("reward", 1, np.inf), r"column reward: expected finite numbers, got inf in row 1"),
        (set_value("tcpa_s", 1, -np.inf), r"column tcpa_s: expected finite numbers, got -inf in row 1"),
        (set_value("pilot_turn", 1, 1.5), r"column pilot_turn: expected actions in \[-1, 1\], got 1\.5"),
        (set_value("teacher_speed", 1, -2), r"column teacher_speed: expected actions in \[-1, 1\], got 2"),
        (set_value("outcome", 0, 4), r"column outcome: expected codes 0 to 3, got others"),
        (set_value("outcome", 0, -1), r"column outcome: expected codes 0 to 3, got others"),
        (set_value("aircraft", 0, -1), r"expected episode, step and aircraft from 0 on, got negative ones"),
        (swap, r"expected rows sorted by episode, step, aircraft without repetition; row 4 breaks the order"),
        (set_value("aircraft", 1, 0), r"without repetition; row 1 breaks the order"),
    ],
)
def test_broken_tables(make_table, change, message):
    with pytest.raises(RecordError, match=message):
        check_table(broken(make_table, change))


def test_missing_neighbours_and_conflicts_may_be_nan(make_table):
    table = make_table(range(2))
    for name in ("nearest_m", "tcpa_s", "dcpa_m"):
        table[name][:] = np.nan
    check_table(table)


def test_errors_are_those_the_command_line_prints():
    assert issubclass(RecordError, SkycloneError)


# --- the content hash ---


def test_the_hash_knows_values_not_bytes(make_table):
    table = make_table(range(3))
    assert content_hash(table) == content_hash(dict(reversed(table.items())))  # not the order of columns
    other_end = {name: values.astype(values.dtype.newbyteorder(">")) for name, values in table.items()}
    assert content_hash(other_end) == content_hash(table)
    strided = {name: np.repeat(values, 2)[::2] for name, values in table.items()}
    assert content_hash(strided) == content_hash(table)
    assert len(content_hash(table)) == 64


def test_every_nan_is_the_same(make_table):
    table = make_table(range(3))
    row = int(np.flatnonzero(np.isnan(table["tcpa_s"]))[0])
    before = content_hash(table)
    table["tcpa_s"].view(np.uint32)[row] = 0xFFC0_0001  # another NaN, its sign and payload set
    assert np.isnan(table["tcpa_s"][row])
    assert content_hash(table) == before


@pytest.mark.parametrize("name", COLUMN_NAMES)
def test_every_value_counts(make_table, name):
    table = make_table(range(2))
    before = content_hash(table)
    table[name][1] = 7
    assert content_hash(table) != before


def test_rows_count(make_table):
    table = make_table(range(2))
    assert content_hash({name: values[:-1] for name, values in table.items()}) != content_hash(table)
