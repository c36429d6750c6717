"""Types of Arrow: which are read, and what is said of the others before Polars ends the program."""

from __future__ import annotations

import pyarrow as pa
import pytest

from recsys.prepare.files.arrow_table import is_readable
from recsys.prepare.files.raw_table import read_table
from recsys.prepare.files.text_table import TextFormat

UNREAD = {
    "decimal256": pa.array(["1", "2"]).cast(pa.decimal256(70, 2)),
    "list of decimal256": pa.nulls(2, pa.list_(pa.decimal256(40, 2))),
    "dictionary of decimal256": pa.nulls(2, pa.dictionary(pa.int32(), pa.decimal256(40, 2))),
    "interval": pa.array([(1, 2, 3)] * 2, pa.month_day_nano_interval()),
    "struct with an interval": pa.nulls(2, pa.struct([("a", pa.month_day_nano_interval())])),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2], "int32"), pa.array(["a"])),
    "union": pa.UnionArray.from_sparse(pa.array([0, 0], "int8"), [pa.array([1, 2])]),
    "list view": pa.nulls(2, pa.list_view(pa.int8())),
}
READ = [
    *(pa.null(), pa.bool_(), pa.uint64(), pa.float16(), pa.date64(), pa.time32("s"), pa.timestamp("ns", "UTC")),
    *(pa.duration("s"), pa.binary(4), pa.string_view(), pa.decimal128(38, 2), pa.large_list(pa.string())),
    *(pa.list_(pa.int8(), 2), pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8())),
    *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.int64()), pa.uuid()),
]


def read(folder, column, needed):
    table = pa.table({"x": column, "y": [1] * len(column)})
    with pa.OSFile(str(folder / "log.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return read_table([folder / "log.arrow"], TextFormat(), "--raw", None, dict.fromkeys(needed, "--user")).frame


@pytest.mark.parametrize("case", UNREAD)
def test_a_type_that_nothing_reads_is_named(tmp_path, case):
    with pytest.raises(ValueError, match=r"log\.arrow: column 'x' is of type .*, which is not read; write it as texts"):
        read(tmp_path, UNREAD[case], ["y", "x"])
    assert read(tmp_path, UNREAD[case], ["y"]).shape == (2, 1)


@pytest.mark.parametrize("kind", READ, ids=str)
def test_types_that_are_read(tmp_path, kind):
    assert is_readable(kind)
    assert read(tmp_path, pa.nulls(3, kind), ["x"]).shape == (3, 1)


def test_a_time_in_a_zone_that_nobody_knows(tmp_path):
    with pytest.raises(ValueError, match=r"log\.arrow: a column has no type that is read \(.*Nowhere/At_all"):
        read(tmp_path, pa.nulls(1, pa.timestamp("us", "Nowhere/At_all")), ["x"])
