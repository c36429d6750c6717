"""A file of codes says of which items and codes it was made, and is refused with others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.prepare.semantic.codes import Codes
from recsys.tables import CodeFile
from recsys.tables.item_fingerprints import codes_fingerprint

NAMES = ["b", "a", 'quo"ted', "com,ma", "", "line\nbreak", "é", "\U0001f600", "￿", "10", "9"]
ITEMS = {"texts": NAMES, "numbers": list(range(11, 0, -1))}


def written(path, items, num_codes=7):
    values = np.arange(3 * len(items)).reshape(-1, 3) % num_codes
    values[0, 1:] = values[2, :] = -1
    codes = Codes(pl.Series("item", items), values, num_codes)
    codes.write(path)
    return codes


@pytest.mark.parametrize("kind", ITEMS)
def test_it_is_the_one_that_preparation_makes(tmp_path, kind):
    codes = written(tmp_path / "codes.parquet", ITEMS[kind])
    table = pq.read_table(tmp_path / "codes.parquet")
    assert codes_fingerprint(table, ["code0", "code1", "code2"], "7") == codes.fingerprint()


def test_codes_of_other_items_are_refused_with_both_fingerprints(tmp_path):
    path = str(tmp_path / "codes.parquet")
    codes = written(path, ITEMS["numbers"])
    found = CodeFile(path).load("SemanticIdTable 'f'", 12)
    table = pq.read_table(path)
    for name, column in (("item", pa.array(range(11))), ("code1", pa.array([0] * 11))):
        place = table.column_names.index(name)
        pq.write_table(table.set_column(place, name, column), path)
        with pytest.raises(
            ValueError, match=rf"'f': '{path}' carries the fingerprint {codes.fingerprint()}, and its .*"
        ):
            CodeFile(path).load("SemanticIdTable 'f'", 12)
    # As others publish them, without a fingerprint, and rows in another order.
    pq.write_table(table.replace_schema_metadata({b"num_codes": b"7"}), path)
    assert (CodeFile(path).load("f", 12).codes == found.codes).all()
    pq.write_table(table.take(list(range(10, -1, -1))), path)
    assert (CodeFile(path).load("f", 12).codes == found.codes).all()
