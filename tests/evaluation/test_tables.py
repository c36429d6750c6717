"""The reader of tables: the same values from every kind of file, and one sentence for what cannot be read."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.evaluation import Names, PredictionFiles
from recsys.evaluation.tables import TableFiles

ROWS = {"label": [0, 1, 1], "score": [0.25, 0.5, 1.0], "user": ["007", None, "None"]}


def write_csv(path):
    path.with_suffix(".csv").write_text("label,score,user\n0,0.25,007\n1,0.5,\n1,1,None\n")
    return path.with_suffix(".csv")


def write_tsv(path):
    path.with_suffix(".tsv").write_text(
        "\ufeffuser\tscore\tlabel\r\n007\t.25\tFalse\r\n\t5e-1\tTrue\r\nNone\t1.0\tTRUE\r\n"
    )
    return path.with_suffix(".tsv")


def write_pandas(path):
    frame = pd.DataFrame({**ROWS, "label": pd.Categorical(ROWS["label"]), "user": pd.Categorical(ROWS["user"])})
    frame.to_parquet(path)
    return path


def write_polars(path):
    frame = pl.DataFrame({**ROWS, "label": [False, True, True]}).with_columns(pl.col("user").cast(pl.Categorical))
    frame.write_parquet(path)
    return path


def write_decimals(path):
    columns = {"label": pa.array([0, 1, 1], pa.decimal128(3, 0)), "score": pa.array(ROWS["score"], pa.float16())}
    pq.write_table(pa.table({**columns, "user": pa.array(ROWS["user"], pa.string_view())}), path)
    return path


def write_parts(path):
    folder = path.with_suffix("")
    folder.mkdir()
    for row in range(3):
        part = pa.table({name: values[row : row + 1] for name, values in ROWS.items()})
        pq.write_table(part, folder / f"part-{row}.parquet")
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-0.parquet.crc").write_text("")
    return folder


WRITERS = [write_csv, write_tsv, write_pandas, write_polars, write_decimals, write_parts]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, write):
    rows = PredictionFiles([write(tmp_path / "a.parquet")], Names(others=("user",))).all()
    assert rows.is_positive.tolist() == [False, True, True]
    assert rows.scores.tolist() == ROWS["score"]
    assert rows.others["user"].to_pylist() == ROWS["user"]


def test_a_column_is_not_what_its_first_rows_look_like(tmp_path):
    lines = ["label,score,device", *["0,0,"] * 240_000, "1,0.5,phone"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    rows = PredictionFiles([tmp_path / "a.csv"], Names(others=("device",))).all()
    assert rows.scores[-1] == 0.5
    assert rows.others["device"].null_count == 240_000
    assert rows.others["device"][-1].as_py() == "phone"


def test_a_quoted_empty_text_is_no_missing_value(tmp_path):
    (tmp_path / "a.csv").write_text('label,score,user\n0,0,""\n0,0,\n0,0,"a,b"\n0,0," a"\n')
    assert TableFiles([tmp_path / "a.csv"]).column("user").to_pylist() == ["", None, "a,b", " a"]


def test_float32_scores_stay_so(tmp_path):
    pq.write_table(pa.table({"label": [0, 1], "score": pa.array([0.1, 0.2], pa.float32())}), tmp_path / "a.parquet")
    assert PredictionFiles([tmp_path / "a.parquet"], Names()).all().scores.dtype == np.float32


def test_a_name_with_a_dot_is_no_path(tmp_path):
    pq.write_table(pa.table({"a": [1], "a.b": [2], "c.d": [3]}), tmp_path / "a.parquet")
    table = TableFiles([tmp_path / "a.parquet"])
    assert [table.column(name).to_pylist() for name in ("a", "a.b", "c.d")] == [[1], [2], [3]]


def test_parts_of_other_types_are_one_column(tmp_path):
    for name, users in (("a", [7, 8]), ("b", [7.0, None]), ("c", pa.array(["7", "x"]).dictionary_encode())):
        pq.write_table(pa.table({"user": users}), tmp_path / f"{name}.parquet")
    assert TableFiles([tmp_path]).column("user").to_pylist() == ["7", "8", "7", None, "7", "x"]
    pq.write_table(pa.table({"user": [True]}), tmp_path / "d.parquet")
    with pytest.raises(ValueError, match="column 'user': the files hold different types, bool, int64"):
        TableFiles([tmp_path / "a.parquet", tmp_path / "d.parquet"]).column("user")


BAD = {
    "no rows": (b"label,score\n", "the file has no rows"),
    "nothing": (b"", "the file is empty"),
    "a header twice": (b"label,score,score\n0,1,1\n", "has 2 columns named 'score'; give each its own name"),
    "UTF-16": ("label,score\n0,1\n".encode("utf-16"), "is not UTF-8 text (UTF-16, as some programs save it?)"),
    "UTF-16 without a mark": ("label,score\n0,1\n".encode("utf-16-le"), "is not UTF-8 text"),
    "latin-1": (b"label,score,user\n0,1,Ren\xe9\n", "cannot be read to its end: "),
    "a short row": (b"label,score,user\n0,1,a\n0\n", "cannot be read"),
    "words": (b"label,score,user\n0,1,a\n0,high,a\n", "column 'score', row 1: must be a number, got 'high'"),
    "grouped digits": (b"label,score,user\n0,1_0,a\n", "column 'score', row 0: must be a number, got '1_0'"),
    "no score": (b"label,score,user\n0,,a\n", "column 'score', row 0: the value is missing"),
    "NaN": (b"label,score,user\n0,nan,a\n", "column 'score', row 0: values must be numbers, got nan"),
    "an open quote": (b'label,score,user\n0,1,"a\n0,1,b\n0,1,c\n', "row 0: the value has a line break; is a quote"),
    "semicolons": (b"label;score;user\n0;1;a\n", "no column 'label'"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_csv_is_one_sentence(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.csv") as error:
        PredictionFiles([tmp_path / "a.csv"], Names(others=("user",) if b"user" in content else ())).all()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_quote_that_is_open_in_a_column_that_nobody_reads(tmp_path):
    """It swallowed 58 of 60 rows, and the numbers were of the two that were left."""
    rows = [f"{i % 2},0.5,\xfc,u{i % 5}" for i in range(60)]
    (tmp_path / "a.csv").write_bytes("\n".join(["label,score,,user", *rows, ""]).encode("latin-1"))
    assert len(PredictionFiles([tmp_path / "a.csv"], Names()).all()) == 60
    quoted = [row.replace("u1", '"u""1"') for row in rows]
    (tmp_path / "a.csv").write_bytes("\n".join(["label,score,,user", *quoted, ""]).encode("latin-1"))
    assert len(PredictionFiles([tmp_path / "a.csv"], Names()).all()) == 60
    rows[1] = rows[1].replace("u1", '"u1')
    (tmp_path / "a.csv").write_bytes("\n".join(["label,score,,user", *rows, ""]).encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.csv, column 'user', row 1: the value has a line break; is a quote not"):
        PredictionFiles([tmp_path / "a.csv"], Names()).all()


def test_bad_parquet_is_one_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {"label": [0, 1], "score": [0.1, 0.2]}
    for table, message in (
        (pa.table([[0, 1], [0.1, 0.2], [0.3, 0.4]], names=["label", "score", "score"]), "has 2 columns named 'score'"),
        (pa.table({**columns, "score": [1, 2**53]}), "column 'score', row 1: whole numbers must be below 2\\*\\*53"),
        (pa.table({**columns, "score": [[0.1], [0.2]]}), "column 'score': must be numbers, got list"),
        (pa.table({**columns, "score": ["0.1", "0.2"]}), "column 'score': must be numbers, got string"),
    ):
        pq.write_table(table, path)
        with pytest.raises(ValueError, match=message):
            PredictionFiles([path], Names(logits=True)).all()
    pq.write_table(
        pa.table({**columns, "text": ["x" * 10_000, "y"]}), path, write_page_checksum=True, compression="none"
    )
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"x" * 5_000)] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="cannot be read to its end"):
        TableFiles([path]).column("text")


def test_folders_hold_parts_of_one_kind(tmp_path):
    with pytest.raises(ValueError, match=r"must hold parts of one kind .* found no file"):
        TableFiles([tmp_path])
    write_csv(tmp_path / "a")
    write_pandas(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"found \.csv, \.parquet"):
        TableFiles([tmp_path])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"must be \.parquet, \.csv or \.tsv"):
        TableFiles([tmp_path / "a.txt"])
    with pytest.raises(ValueError, match=r"b\.parquet: is given twice, and its rows would count twice"):
        TableFiles([tmp_path / "b.parquet", tmp_path / ".." / tmp_path.name / "b.parquet"])
    with pytest.raises(ValueError, match="give at least one file"):
        TableFiles([])
