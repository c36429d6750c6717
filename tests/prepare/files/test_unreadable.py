"""A Parquet file whose columns have names that are no UTF-8: every reader names the file; what the system refuses."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.check import problems_of
from recsys.data.counts import read_counts
from recsys.evaluation.tables import TableFiles
from recsys.prepare.files.fingerprints import prepared_marks, read_vocabulary
from recsys.prepare.files.raw_table import read_table
from recsys.prepare.files.text_table import TextFormat
from recsys.prepare.files.unreadable import why_unreadable
from recsys.prepare.semantic.codes import read_codes
from recsys.tables.item_files import read_parquet
from tests.data.folders import write_folder


def damage(path, name):
    """Make a file of a column, whose name's last letter is then no UTF-8."""
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table({name: [1, 2]}), path)
    path.write_bytes(path.read_bytes().replace(name.encode(), name[:-1].encode() + b"\xe9"))
    return path


READERS = {
    "rows": lambda folder: read_table([damage(folder / "x.parquet", "item")], TextFormat(), "--raw", None, {}),
    "codes": lambda folder: read_codes(damage(folder / "x.parquet", "item")),
    "counts": lambda folder: read_counts(damage(folder / "x.parquet", "count").parent, "x", 2),
    "vocabulary": lambda folder: read_vocabulary(damage(folder / "vocabulary" / "x.parquet", "value").parents[1], "x"),
    "items": lambda folder: prepared_marks(damage(folder / "items.parquet", "item").parent),
    "predictions": lambda folder: TableFiles([damage(folder / "x.parquet", "score")]),
    "table": lambda folder: read_parquet("GateTable", str(damage(folder / "x.parquet", "count")), "make it"),
}


@pytest.mark.parametrize("reader", READERS)
def test_names_of_columns_that_are_no_utf_8(tmp_path, reader):
    with pytest.raises(ValueError, match=r"\.parquet.*(cannot be read|not a readable|no readable|must be there once)"):
        READERS[reader](tmp_path)


def test_a_split_with_such_names(tmp_path):
    folder = write_folder(tmp_path / "numbers")
    (part, *_) = sorted((folder / "train").glob("*.parquet"))
    damage(part, "label")
    assert any(f"{part}: not a readable Parquet file" in problem for problem in problems_of(folder))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            PermissionError(13, "Failed to open local file 'x'. Detail: [errno 13] Permission denied"),
            "permission denied",
        ),
        (
            OSError("Couldn't deserialize thrift:\nDeserializing page header failed.\n"),
            "truncated or damaged (Couldn't",
        ),
        (pa.ArrowInvalid("Parquet magic bytes not found"), "truncated or damaged (Parquet magic bytes not found)"),
    ],
)
def test_what_may_not_be_read_is_not_called_damaged(error, why):
    assert why_unreadable(error).startswith(why)
    assert "\n" not in why_unreadable(error)
