"""Counts that a user names belong to the data that a model reads."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data import CTRDataModule
from recsys.data.counts import check_counts, read_counts
from tests.checkpoints.words import WORDS, write_words


def counted(folder, words=WORDS):
    counts = write_words(folder, words) / "counts"
    counts.mkdir()
    pq.write_table(pa.table({"id": range(13), "count": [1] * 13}), counts / "word.parquet")
    return counts


def test_counts_of_other_data_are_refused(tmp_path):
    """The same words and sizes, numbered the other way round."""
    own, other = counted(tmp_path / "own"), counted(tmp_path / "other", WORDS[::-1])
    here, tables = CTRDataModule(str(tmp_path / "own"), 10).schema.identity, ["word", "hour"]
    assert check_counts(own, tables, here) == own
    assert check_counts(other, tables, None) == other, "nobody knows"
    with pytest.raises(ValueError, match="is of other data: the ids of 'word' stand for other values there"):
        check_counts(other, tables, here)
    with pytest.raises(ValueError, match=r"counts none of the tables \(item\)"):
        check_counts(own, ["item"], here)
    with pytest.raises(ValueError, match="is no folder of counts"):
        check_counts(tmp_path / "none", tables, here)


def test_counts_of_nothing_are_refused(tmp_path):
    pq.write_table(
        pa.table({"id": pa.array([], pa.int64()), "count": pa.array([], pa.int64())}), tmp_path / "word.parquet"
    )
    with pytest.raises(ValueError, match=r"word\.parquet: counts no id"):
        read_counts(tmp_path, "word", 13)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "word.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"word\.parquet: is no readable Parquet file, truncated or damaged"):
        read_counts(tmp_path, "word", 13)
