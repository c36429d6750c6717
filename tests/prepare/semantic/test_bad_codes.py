"""Items, vectors and codes that cannot be meant, a line each, and what the sentence that answers must name."""

import datetime
import json
import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.prepare.programs.semantic_ids import main
from recsys.prepare.semantic.content import read_items
from recsys.prepare.semantic.published import read_published

MATRIX = np.arange(36, dtype=np.float64).reshape(12, 3)


def frame(**columns):
    return pl.DataFrame({"item": [f"i{n}" for n in range(12)], **columns})


def refused(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    assert end.value.code == 2
    return capsys.readouterr().err


def categories(folder, items, *names):
    """What the codes of each level stand for."""
    words = ["--items", items, "--method", "category-prefix", "--categories", *names, "--out", folder / "out"]
    main(list(map(str, words)))
    return [
        level["values"] for level in json.loads(str(read_published(folder / "out").arrays["category_prefix"]))["levels"]
    ]


MATRICES = [
    (MATRIX + 1j, "must hold real numbers, got complex128"),
    (MATRIX.astype(str), "must hold real numbers, got <U"),
    (MATRIX.astype(bytes), "must hold real numbers, got |S"),
    (MATRIX.astype("datetime64[D]"), "must hold real numbers, got datetime64[D]"),
    (MATRIX * 0, "holds no vector other than zeros"),
    (MATRIX[:, :0], "holds no vector other than zeros"),
    (MATRIX * 1e300, "row 0 of '"),
    (MATRIX * 1e-300, "v.npy' is too short for float32; scale the vectors up"),
    (MATRIX[1:], "must be [12, T], a row for each item, got [11, 3]"),
]


@pytest.mark.parametrize(("matrix", "named"), MATRICES)
def test_a_bad_matrix(tmp_path, capsys, matrix, named):
    frame().write_parquet(tmp_path / "items.parquet")
    np.save(tmp_path / "v.npy", matrix)
    words = ["--items", tmp_path / "items.parquet", "--vectors", tmp_path / "v.npy", "--out", tmp_path / "out"]
    error = refused(capsys, *words)
    assert named in error
    assert "v.npy" in error


def test_a_column_of_vectors_that_float32_does_not_hold(tmp_path, capsys):
    frame(v=(MATRIX * 1e-60).tolist()).write_parquet(tmp_path / "items.parquet")
    words = ["--items", tmp_path / "items.parquet", "--vectors", "v", "--out", tmp_path / "out"]
    assert "--vectors: row 0 of 'v' is too short for float32" in refused(capsys, *words)


def test_bins_without_numbers(tmp_path, capsys):
    frame(kind=["a", "b"] * 6, number=list(range(12))).write_parquet(tmp_path / "items.parquet")
    words = ["--items", tmp_path / "items.parquet", "--method", "category-prefix", "--out", tmp_path / "out"]
    error = refused(capsys, *words, "--categories", "kind", "number", "--bins", 3)
    assert "--bins 3 does nothing: none of kind, number holds numbers with a point; leave it out" in error


def test_several_arrays_are_no_matrix(tmp_path, capsys):
    frame().write_parquet(tmp_path / "items.parquet")
    with (tmp_path / "v.npy").open("wb") as file:
        np.savez(file, a=MATRIX)
    words = ["--items", tmp_path / "items.parquet", "--vectors", tmp_path / "v.npy", "--out", tmp_path / "out"]
    assert "v.npy' must hold real numbers, got several arrays" in refused(capsys, *words)


@pytest.mark.parametrize("vectors", [["1", "2"], [[1.0], [2.0]], [datetime.date(2020, 1, 1)]])
def test_a_column_of_other_things_than_vectors(tmp_path, capsys, vectors):
    frame(v=[vectors] * 12).write_parquet(tmp_path / "items.parquet")
    words = ["--items", tmp_path / "items.parquet", "--vectors", "v", "--out", tmp_path / "out"]
    assert "--vectors: column 'v' must hold lists of numbers, got List(" in refused(capsys, *words)


def test_categories_are_what_the_file_says(tmp_path):
    rows = [("007", "a", "1.5"), ("7", " a", "2.5"), ("07", "a ", "3.5"), ("7", "a", "")]
    text = "item,number,word,price\n" + "".join(f"i{n},{','.join(row)}\n" for n, row in enumerate(rows))
    (tmp_path / "items.csv").write_text(text)
    numbers, words, prices = categories(tmp_path, tmp_path / "items.csv", "number", "word", "price")
    assert set(numbers) == {"7", "007", "07"}
    assert set(words) == {"a", " a", "a "}
    assert prices[0] == "from -inf"


def test_a_list_is_not_a_text_with_bars(tmp_path):
    lists = [["a", "b"], ["b", "a"], ["a|b"], ["a\\", "b"], ["a\\|b"], ["", None], [], None, ["c"], ["c"], ["c"], ["c"]]
    frame(tags=lists).write_parquet(tmp_path / "items.parquet")
    assert len(categories(tmp_path, tmp_path / "items.parquet", "tags")[0]) == 5
    codes = read_published(tmp_path / "out").codes.values[:, 0]
    assert codes[0] == codes[1]
    assert len(set(codes[[0, 2, 3, 4, 8]])) == 5
    assert (codes[5:8] == -1).all()


def test_a_column_of_digits_that_ends_in_words(tmp_path):
    """The first rows do not decide what the others are."""
    values = [str(n % 3) for n in range(300)] + ["x"]
    text = "item,kind\n" + "".join(f"i{n},{value}\n" for n, value in enumerate(values))
    (tmp_path / "items.csv").write_text(text)
    assert set(categories(tmp_path, tmp_path / "items.csv", "kind")[0]) == {"0", "1", "2", "x"}


TEXTS = [
    ("item,kind,kind\ni0,a,b\n", "items.csv, line 1: column 'kind' is there twice"),
    ("item,kind\n", "items.csv' has no rows"),
    ("item,kind\ni0\n", "line 2: expected 2 columns separated by ',', found 1. Mend the line."),
    ('item,kind\ni0,"a\ni1,b\n', "line 2: a quote that is not closed. Mend the line."),
    ("item,kind\ni0,a\0b\n", "line 2: byte 0x00 in a value"),
]


@pytest.mark.parametrize(("text", "named"), TEXTS)
def test_a_bad_text_file(tmp_path, capsys, text, named):
    (tmp_path / "items.csv").write_text(text)
    words = ["--method", "category-prefix", "--categories", "kind", "--out", tmp_path / "out"]
    assert named in refused(capsys, "--items", tmp_path / "items.csv", *words)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        (
            "items.csv",
            "item,title\na,\xfc\n".encode("latin-1"),
            "items.csv, line 2: byte 0xfc at byte 3 is not valid utf-8. Mend the line.",
        ),
        ("items.parquet", b"PAR1", "items.parquet' is not a readable Parquet file"),
    ],
)
def test_content_that_cannot_be_read(tmp_path, capsys, name, content, named):
    (tmp_path / name).write_bytes(content)
    words = ["--items", tmp_path / name, "--item", "item", "--text", "title", "--out", tmp_path / "out"]
    assert named in refused(capsys, *words)


def test_items_of_csv_are_texts_where_they_are_no_whole_numbers(tmp_path):
    (tmp_path / "texts.csv").write_text("item,price\n007,1\n7,2\n7,3\n")
    assert read_items(tmp_path / "texts.csv", "item", ["price"]).rows() == [("007", 1), ("7", 2)]
    (tmp_path / "ids.csv").write_text("item,price\n7,1\n8,2\n")
    assert read_items(tmp_path / "ids.csv", "item", ["price"]).rows() == [(7, 1), (8, 2)]


COLUMNS = [
    ({"kind": [{"a": 1}] * 12}, "--categories: column 'kind' is of type Struct"),
    ({"kind": [[{"a": 1}]] * 12}, "--categories: column 'kind' is of type Struct"),
    ({"kind": [float("inf")] * 12}, "--categories: column 'kind' holds an infinite number"),
    ({"kind": [[0.5, 1.0]] * 12}, "--categories: column 'kind' holds lists of numbers with a point"),
    ({"kind": [None] * 12}, "--categories: column 'kind' has no value in any row; leave it out"),
    ({"kind": [float("nan")] * 12}, "--categories: column 'kind' has no value in any row; leave it out"),
    ({"kind": ["", None] * 6}, "--categories: column 'kind' has no value in any row; leave it out"),
    ({"kind": ["a"] * 12, "item": [2.0**53] * 12}, "a float of 2**53 or more"),
    ({"kind": ["a"] * 12, "item": [[1]] * 12}, "column 'item' of "),
]


@pytest.mark.parametrize(("columns", "named"), COLUMNS)
def test_a_bad_column(tmp_path, capsys, columns, named):
    pl.DataFrame({"item": list(range(12))} | columns).write_parquet(tmp_path / "items.parquet")
    words = ["--method", "category-prefix", "--categories", "kind", "--out", tmp_path / "out"]
    assert named in refused(capsys, "--items", tmp_path / "items.parquet", *words)


NO_NUMBERS = [(["x"], "String"), ([[1.5]], "List(Float64)"), ([True], "Boolean"), ([float("inf")], "an infinite one")]


@pytest.mark.parametrize(("values", "got"), NO_NUMBERS)
def test_new_items_without_the_numbers_that_were_cut_into_bins(tmp_path, capsys, values, got):
    frame(price=[n + 0.5 for n in range(12)]).write_parquet(tmp_path / "items.parquet")
    categories(tmp_path, tmp_path / "items.parquet", "price")
    pl.DataFrame({"item": ["new"], "price": values}).write_parquet(tmp_path / "new.parquet")
    words = ["--extend", tmp_path / "out", "--items", tmp_path / "new.parquet", "--out", tmp_path / "more"]
    must = "--extend: column 'price' was cut into bins and must hold finite numbers, got "
    assert must + got in refused(capsys, *words)


CODES = {"item": ["a", "b", "c"], "code0": [0, 1, 2], "code1": [1, None, 0]}
FILES = [
    ({"code0": pa.array([2**63 + 1, 0, 0], pa.uint64())}, None, "codes.parquet': "),
    ({"code0": [2**40, 0, 0]}, None, "codes.parquet': num_codes must be in [1, 2147483648], got 1099511627777"),
    ({"code0": [-2, 0, 0]}, None, "codes.parquet': must be in [0, 2), or missing, got -2..1"),
    ({"item": ["a", "a", "b"]}, None, "codes.parquet': item 'a' is there twice"),
    ({"item": ["a", None, "b"]}, None, "codes.parquet': 1 items have no name"),
    ({"item": [[1], [2], [3]]}, None, "codes.parquet' must have rows, and items that are numbers or texts"),
    ({}, {b"num_codes": b"x"}, "codes.parquet': num_codes of its metadata must be a whole number, got b'x'"),
    ({}, {b"num_codes": b"2"}, "codes.parquet': must be in [0, 2), or missing, got -1..2"),
    ({}, {b"num_codes": b"-1"}, "codes.parquet': num_codes of its metadata must be a whole number, got b'-1'"),
    ({}, {b"fingerprint": b"0123"}, "codes.parquet' is not as it was written: its fingerprint differs"),
]


@pytest.mark.parametrize(("columns", "metadata", "named"), FILES)
def test_codes_of_others(tmp_path, capsys, columns, metadata, named):
    pq.write_table(pa.table(CODES | columns).replace_schema_metadata(metadata), tmp_path / "codes.parquet")
    words = ["--method", "shuffled", "--from", tmp_path / "codes.parquet", "--out", tmp_path / "out"]
    assert named in refused(capsys, *words)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    frame(v=MATRIX.tolist()).write_parquet(folder / "items.parquet")
    words = [
        "--items",
        folder / "items.parquet",
        "--vectors",
        "v",
        "--levels",
        2,
        "--codes",
        3,
        "--out",
        folder / "codes",
    ]
    main(list(map(str, words)))
    return folder


def entry(name, value):
    def change(folder):
        manifest = json.loads((folder / "schema.json").read_text())
        manifest.pop(name) if value is None else manifest.update({name: value})
        (folder / "schema.json").write_text(json.dumps(manifest))

    return change


def content(name, value):
    def change(folder):
        manifest = json.loads((folder / "schema.json").read_text())
        columns = manifest["settings"]["content"]
        columns.pop(name) if value is DROPPED else columns.update({name: value})
        (folder / "schema.json").write_text(json.dumps(manifest))

    return change


DROPPED = object()
CHANGES = {
    "fingerprint": (entry("fingerprint", None), "schema.json': fingerprint is not as it was written, got None"),
    "method": (entry("method", None), "schema.json': method is not as it was written, got None"),
    "another method": (entry("method", "category-prefix"), "encoder.npz of the codes has no 'category_prefix'"),
    "settings": (entry("settings", [1]), "schema.json': settings is not as it was written, got [1]"),
    "content": (entry("settings", {}), "schema.json': settings do not say what the codes were made of"),
    "columns": (entry("settings", {"content": {"x": 1}}), "the settings of the codes must have content of vectors, "),
    "vectors": (content("vectors", True), "content: vectors must be str or None, got True"),
    "texts": (content("text", None), "content: text must be "),
    "categories": (content("categories", 1e400), "content: categories must be "),
    "a column of no name": (content("categories", [3]), "content: categories must be "),
    "bins": (content("num_bins", {}), "content: num_bins must be int or None, got {}"),
    "no bins": (content("num_bins", DROPPED), "the settings of the codes must have content of vectors, "),
    "use": (entry("use", 3), "schema.json': use is not as it was written, got 3"),
    "no object": (lambda folder: (folder / "schema.json").write_text("[1]"), "is no folder of semantic ids"),
    "no JSON": (lambda folder: (folder / "schema.json").write_text("{"), "schema.json' is not valid JSON ("),
    "no encoder": (lambda folder: (folder / "encoder.npz").unlink(), "encoder.npz' is not the file that schema.json"),
    "a cut encoder": (
        lambda folder: (folder / "encoder.npz").write_bytes((folder / "encoder.npz").read_bytes()[:99]),
        "encoder.npz' is not the file that schema.json lists",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_folder_that_was_changed(tmp_path, made, capsys, case):
    change, named = CHANGES[case]
    shutil.copytree(made / "codes", tmp_path / "codes")
    change(tmp_path / "codes")
    words = ["--extend", tmp_path / "codes", "--items", made / "items.parquet", "--out", tmp_path / "out"]
    assert named in refused(capsys, *words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--method", "random", "--codes", 10**12], "--codes must be in [2, 2,147,483,648], got 1000000000000"),
        (["--method", "random", "--levels", 256], "--levels must be in [1, 255], got 256"),
        (["--method", "random", "--seed", 2**32], "--seed must be in [0, 4,294,967,295], got 4294967296"),
        (["--text", "v", "--text-dim", 10**9], "--text-dim must be in [1, 32,768], got 1000000000"),
        (["--method", "category-prefix", "--categories", "v", "--bins", 10**9], "--bins must be in [2, 100,000], got"),
    ],
)
def test_a_number_out_of_range(tmp_path, made, capsys, words, named):
    assert named in refused(capsys, "--items", made / "items.parquet", *words, "--out", tmp_path / "out")
