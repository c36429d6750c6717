"""Files of codes, vectors and counts of items, a line each: what is wrong, and what the sentence must name."""

import pickle
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recsys.tables import CodeFile, FullTable, GateTable, VectorFile

NAMES = ["a", "b", "c"]
CODES = {"item": NAMES, "code0": [0, 1, 2], "code1": [1, None, 0]}
WORDS = {"id": [1, 2, 3], "value": NAMES}
MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


def written(folder, name, columns, metadata=None):
    path = folder / name
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return str(path)


def codes_of(folder, columns=CODES, words=WORDS, metadata=None, num_codes=None):
    file = CodeFile(
        written(folder, "codes.parquet", columns, metadata), written(folder, "words.parquet", words), num_codes
    )
    return file.load("Table 'x'", 4)


def test_codes_go_by_names(tmp_path):
    found = codes_of(tmp_path)
    assert found.codes.tolist() == [[0, 0, 1, 2], [0, 1, 0, 0]]
    assert found.lengths.tolist() == [0, 2, 1, 2]
    whole = codes_of(tmp_path, CODES | {"item": [7.0, 8.0, 9.0]}, WORDS | {"value": ["9", "7", "8"]})
    assert whole.codes[0].tolist() == [0, 2, 0, 1]


BAD_CODES = [
    ({"code0": pa.array([2**63 + 1, 0, 0], pa.uint64())}, "'code0' of '.*codes.parquet' holds 9223372036854775809; "),
    ({"code0": [2**31, 0, 0]}, "'code0' of '.*codes.parquet' holds 2147483648; codes are at least 0 and below"),
    ({"code0": [-1, 0, 0]}, "'code0' of '.*codes.parquet' holds -1; "),
    ({"code0": [0.5, 0, 0]}, "'code0' of '.*codes.parquet' must hold whole numbers, got double"),
    ({"code0": [None, 0, 0]}, "codes.parquet': a code follows a missing one"),
    ({"code0": [None] * 3, "code1": [None] * 3}, "codes.parquet' has no code of any id"),
    ({"item": [[1], [2], [3]]}, "items of '.*codes.parquet' must be whole numbers or texts, got list"),
    ({"item": [1.5, 2.0, 3.0]}, "items of '.*codes.parquet' must be whole numbers or texts .*1.5"),
    ({"item": [2.0**53, 1.0, 2.0]}, r"items of '.*codes.parquet' are floats of 2\*\*53 or more"),
    ({"item": ["a", "a", "b"]}, "in '.*codes.parquet' item 'a' is there twice"),
    ({"item": ["a", None, "b"]}, "in '.*codes.parquet' an item is missing"),
]


@pytest.mark.parametrize(("columns", "named"), BAD_CODES)
def test_bad_codes(tmp_path, columns, named):
    with pytest.raises(ValueError, match=named):
        codes_of(tmp_path, CODES | columns)


@pytest.mark.parametrize("said", [b"x", b"1e3", b"-1", b"0", b"4294967296", b"\xff"])
def test_a_number_of_codes_that_is_none(tmp_path, said):
    with pytest.raises(ValueError, match=r"codes.parquet': num_codes must be a whole number in \[1, 2147483648\], got"):
        codes_of(tmp_path, metadata={b"num_codes": said})


def test_a_number_of_codes_that_is_given(tmp_path):
    assert codes_of(tmp_path, metadata={b"num_codes": b"9"}).num_codes == 9
    assert codes_of(tmp_path, metadata={b"num_codes": b"9"}, num_codes=5).num_codes == 5
    with pytest.raises(ValueError, match=r"num_codes must be a whole number in \[1, 2147483648\], got 0"):
        codes_of(tmp_path, num_codes=0)
    with pytest.raises(ValueError, match=r"codes.parquet': codes must be in \[0, num_codes=2\), got 2"):
        codes_of(tmp_path, num_codes=2)


BAD_WORDS = [
    ({"value": ["a", "a", "b"]}, "words.parquet' has an id or a value twice"),
    ({"id": [1, 1, 2]}, "words.parquet' has an id or a value twice"),
    ({"id": [-1, 1, 2]}, r"words.parquet' has ids -1..2, the table has 4; it is of other data"),
    ({"id": [1, 2, 9]}, r"words.parquet' has ids 1..9, the table has 4; it is of other data"),
    ({"id": pa.array([1, 2, 2**64 - 1], pa.uint64())}, "words.parquet' has ids 1..18446744073709551615"),
    ({"id": [1, None, 2]}, "words.parquet' must hold whole numbers in id, got int64, and nothing missing"),
    ({"id": [1.0, 2.0, 3.5]}, "words.parquet' must hold whole numbers in id, got double"),
    ({"id": ["x", "y", "z"]}, "words.parquet' must hold whole numbers in id, got string"),
    ({"value": [["a"], ["b"], ["c"]]}, "column 'value' of '.*words.parquet' is list.*, no texts or numbers"),
    ({"id": pa.array([], pa.int64()), "value": pa.array([], pa.string())}, "words.parquet' must have columns id and"),
]


@pytest.mark.parametrize(("columns", "named"), BAD_WORDS)
def test_a_bad_vocabulary(tmp_path, columns, named):
    with pytest.raises(ValueError, match=named):
        codes_of(tmp_path, words=WORDS | columns)


BAD_MATRICES = [
    (MATRIX + 1j, "v.npy' must hold real numbers, got complex"),
    (MATRIX.astype(str), "v.npy' must hold real numbers, got <U"),
    (MATRIX.astype("datetime64[D]"), "v.npy' must hold real numbers, got datetime64"),
    (np.zeros((4, 3), [("a", float)]), "v.npy' must hold real numbers, got "),
    (MATRIX.astype(object), "v.npy' cannot be read as a matrix .Object arrays"),
    (MATRIX[:, :0], r"v.npy' must have a row for each of num_embeddings=4 ids, got \[4, 0\]"),
    (MATRIX[:3], r"v.npy' must have a row for each of num_embeddings=4 ids, got \[3, 3\]"),
    (MATRIX[0], r"v.npy' must have a row for each of num_embeddings=4 ids, got \[3\]"),
    (np.full((4, 3), 1e300), "v.npy' has a value for id 0 that is no finite float32"),
    (b"", "v.npy' cannot be read as a matrix .No data left"),
    (pickle.dumps(MATRIX), "v.npy' cannot be read as a matrix .This file contains pickled"),
]


@pytest.mark.parametrize(("matrix", "named"), BAD_MATRICES)
def test_a_bad_matrix(tmp_path, matrix, named):
    path = tmp_path / "v.npy"
    if isinstance(matrix, bytes):
        path.write_bytes(matrix)
    else:
        np.save(path, matrix, allow_pickle=True)
    with pytest.raises(ValueError, match=f"Table 'x': '.*{named}"):
        VectorFile(str(path)).load("Table 'x'", 4)


def test_several_arrays_are_no_matrix(tmp_path):
    with (tmp_path / "v.npy").open("wb") as file:
        np.savez(file, a=MATRIX)
    with pytest.raises(ValueError, match=r"v\.npy' must hold real numbers, got several arrays"):
        VectorFile(str(tmp_path / "v.npy")).load("Table 'x'", 4)


BAD_LISTS = [
    ["12", "34", "56"],
    [["1", "2"]] * 3,
    [1.0, 2.0, 3.0],
    [[[1.0], [2.0]]] * 3,
    [{"a": 1.0, "b": 2.0}] * 3,
    [b"ab", b"cd", b"ef"],
    [[date(2020, 1, 1)]] * 3,
]


@pytest.mark.parametrize("vectors", BAD_LISTS)
def test_a_column_of_other_things_than_vectors(tmp_path, vectors):
    path = written(tmp_path, "v.parquet", {"item": [1, 2, 3], "v": vectors})
    with pytest.raises(ValueError, match=r"column 'v' of '.*v\.parquet' must hold lists of numbers, got"):
        VectorFile(path, "v").load("Table 'x'", 4)


@pytest.mark.parametrize(
    ("vectors", "named"),
    [
        ([[1.0], [1.0, 2.0], [1.0]], r"v\.parquet' must hold vectors of one width, got \[1, 2\]"),
        ([[1.0, None]] * 3, "no finite float32"),
        ([[1e300, 1.0]] * 3, "no finite float32"),
    ],
)
def test_bad_vectors(tmp_path, vectors, named):
    path = written(tmp_path, "v.parquet", {"item": [1, 2, 3], "v": vectors})
    with pytest.raises(ValueError, match=named):
        VectorFile(path, "v").load("Table 'x'", 4)


def test_vectors_of_every_kind_of_number(tmp_path):
    for kind in (np.float16, np.float64, np.int8, np.uint64, np.bool_):
        np.save(tmp_path / "v.npy", MATRIX.astype(kind))
        assert VectorFile(str(tmp_path / "v.npy")).load("x", 4).equal(torch.from_numpy(MATRIX.astype(kind)).float())
    path = written(tmp_path, "v.parquet", {"item": [3, 1, 9], "v": [[1, 2], [3, 4], [5, 6]]})
    assert VectorFile(path, "v").load("x", 4).tolist() == [[0, 0], [3, 4], [0, 0], [1, 2]]


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ([0, 1, -2, 3], "holds -2; counts are at least 0"),
        ([0, 1, 2.5, 3], "must hold whole numbers, got double, 0 missing"),
        ([0, 1, None, 3], "must hold whole numbers, got int64, 1 missing"),
    ],
)
def test_counts_of_a_gate(tmp_path, counts, named):
    path = written(tmp_path, "counts.parquet", {"id": [0, 1, 2, 3], "count": counts})
    with pytest.raises(ValueError, match=rf"column 'count' of '.*counts\.parquet' {named}"):
        GateTable("x", 4, 2, tables=[FullTable, FullTable], counts=path)
