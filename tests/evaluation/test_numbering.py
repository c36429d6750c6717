"""Every value has one number and every number one value, whatever it is stored as."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.numbering import MISSING, label_of, numbered, numbered_together
from recsys.evaluation.slices import by_frequency, by_time, by_value

ODD = ["007", "7", "None", "nan", "", " ", MISSING, f'"{MISSING}"', "2 other values"]
KINDS = {
    "text": st.text("a0 \n\u200b", max_size=3) | st.sampled_from(ODD),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(-(2**52), 2**52, allow_nan=False),
    "truth": st.booleans(),
    "time": st.datetimes(),
    "date": st.dates(),
}


@given(st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.lists(st.none() | KINDS[kind], max_size=20)))
def test_numbers_and_values_are_one_to_one(values):
    found = numbered(pa.array(values))
    distinct = {value for value in values if value is not None}
    assert len(found.values) == len(distinct)
    for code, value in zip(found.codes, values, strict=True):
        assert code == -1 if value is None else found.values[int(code)].as_py() == value
    assert len({MISSING, *found.labels}) == len(distinct) + 1


@given(st.lists(st.text('a0" \n\u200b(', max_size=4) | st.sampled_from(ODD), unique=True))
def test_words_of_values_are_all_unlike_and_can_be_seen(values):
    labels = [label_of(value) for value in (None, *values)]
    assert len(set(labels)) == len(labels)
    assert all(label.strip() == label and label.isprintable() and label for label in labels)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([7, 8, None, 7], pa.int8()),
        pa.array([7, 8, None, 7], pa.uint64()),
        pa.array([7.0, 8.0, float("nan"), 7.0]),
        pa.array([7.0, 8.0, None, 7.0], pa.float32()),
        pa.array([7, 8, None, 7]).dictionary_encode(),
        pa.chunked_array([pa.array([7, 8]).dictionary_encode(), pa.array([None, 7], pa.int64()).dictionary_encode()]),
        pa.array([7, 8, None, 7], pa.decimal128(5, 0)),
        pa.array([7, 8, None, 7], pa.decimal128(5, 2)),
        pa.array(["7", "8", None, "7"]),
        pa.array([b"7", b"8", None, b"7"]),
        pa.array(["7", "8", None, "7"], pa.string_view()),
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3, 4], pa.int32()), pa.array([7, 8, None, 7])),
    ],
    ids=lambda column: str(column.type),
)
def test_a_name_is_one_however_it_is_stored(column):
    mine, theirs = numbered_together([column, pa.array(["8", "07", "7"])])
    assert mine.codes.tolist() == [0, 1, -1, 0]
    assert theirs.codes.tolist() == [1, 2, 0]


def test_large_ids_are_told_apart_or_refused():
    assert len(set(numbered(pa.array([2**53, 2**53 + 1, 2**63 - 1])).codes)) == 3
    assert len(set(numbered(pa.array([2**63, 2**63 + 1], pa.uint64())).codes)) == 2
    for value in (2.0**53, -(2.0**60), float("inf")):
        with pytest.raises(ValueError, match=r"column 'item': .* is a float of 2\*\*53 or more"):
            numbered(pa.array([value, 1.0]), "item")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([pa.array([[1]])], "column 'item': holds list<item: int64>; a name must be text"),
        ([pa.array([{"a": 1}])], "column 'item': holds struct"),
        ([pa.array([b"\xff"])], "holds bytes that are no UTF-8 text"),
        ([pa.array([1]), pa.array([True])], "different types, bool, int64"),
        ([pa.array([datetime.date(2020, 1, 1)]), pa.array(["2020-01-01"])], "different types, date32"),
    ],
)
def test_what_is_no_name_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        numbered_together(columns, "item")


@pytest.mark.parametrize(("kind", "digits"), [(pa.float16(), 11), (pa.float32(), 24), (pa.float64(), 53)])
def test_floats_are_names_as_far_as_they_tell_neighbours_apart(kind, digits):
    assert numbered(pa.array([2.0**digits - 1]).cast(kind)).values.to_pylist() == [2**digits - 1]
    with pytest.raises(ValueError, match=rf"is a float of 2\*\*{digits} or more"):
        numbered(pa.array([2.0**digits]).cast(kind))


def test_decimals_are_names_without_zeros_that_say_nothing():
    prices = pa.array([decimal.Decimal("7.10"), decimal.Decimal("7.00"), decimal.Decimal("0.50")])
    assert numbered(prices).values.to_pylist() == ["7.1", "7", "0.5"]
    mine, theirs = numbered_together([prices, pa.array([7, 8])])
    assert theirs.codes[0] == mine.codes[1]


def test_missing_values_and_the_text_none_are_two_slices():
    column = pa.array(["None", None, "x", MISSING, ""] * 2)
    slices = by_value(column, "device")
    assert {name: rows.sum() for name, rows in slices.items()} == dict.fromkeys(
        ["None", "x", f'"{MISSING}"', '""', MISSING], 2
    )


def test_the_slices_with_most_weight_are_shown():
    column = pa.array([f"{value:02}" for value in range(30)] + ["29"])
    weights = np.where(np.arange(31) == 5, 10.0, 1.0)
    slices = by_value(column, "device", weights, max_values=3)
    assert list(slices) == ["05", "29", "00", "27 other values", MISSING]
    assert sum(rows.sum() for rows in slices.values()) == 31


def test_a_row_belongs_to_all_values_of_its_list():
    column = pa.array([[1, 2], [2], [], None, [None]], pa.list_(pa.int64()))
    slices = by_value(column, "tags")
    assert {name: np.flatnonzero(rows).tolist() for name, rows in slices.items()} == {
        "2": [0, 1], "1": [0], MISSING: [2, 3, 4]
    }  # fmt: skip


@pytest.fixture
def counts(tmp_path):
    def write(ids, counts):
        pq.write_table(pa.table({"id": ids, "count": counts}), tmp_path / "counts.parquet")
        return tmp_path / "counts.parquet"

    return write


def kinds(ids, path):
    found = by_frequency(ids, "item", path)
    names = np.array(list(found))
    (places,) = np.nonzero(np.stack(list(found.values())).T.reshape(-1))
    assert len(places) == len(ids), "every row is in one slice"
    return names[places % len(names)].tolist()


def test_ids_are_sliced_by_their_own_counts(counts):
    path = counts([0, 1, 2, 3, 10**12], [50, 40, 5, 0, 5])
    ids = pa.array([0, 1, 2, 10**12, 3, -1, 2**45, None])
    assert kinds(ids, path) == ["head", "torso", "tail", "tail", "unseen", "unseen", "unseen", MISSING]
    assert kinds(pa.array(["0", "00", "2"]), path) == ["head", "unseen", "tail"]
    # Equal counts are in one slice, in whatever order they stand.
    assert kinds(pa.array([3, 1, 2]), counts([1, 2, 3], [4, 4, 4])) == ["head"] * 3


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        ([1, 1], [2, 3], "every id must occur once"),
        ([1, None], [2, 3], "every id must occur once, and none be missing"),
        ([1, 2], [2, -3], "column 'count', row 1: must be a whole number, got -3"),
        ([1, 2], [2, 1.5], "must be a whole number, got 1.5"),
        ([1, 2], [2, None], "the value is missing"),
    ],
)
def test_counts_that_count_nothing_are_refused(counts, ids, values, message):
    with pytest.raises(ValueError, match=message):
        by_frequency(pa.array([1]), "item", counts(ids, values))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(range(100)),
        pa.array([f"{value}" for value in range(100)]),
        pa.array([value / 4 for value in range(100)]),
        pa.array([datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=value) for value in range(100)]),
        pa.array([str(datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=value)) for value in range(100)]),
        pa.array([f"2020-01-01T{value // 60:02}:{value % 60:02}:00Z" for value in range(100)]),
        pa.array([datetime.date(2020, 1, 1) + datetime.timedelta(value) for value in range(100)]),
        pa.array(range(100)).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_times_of_any_kind_are_cut_into_equal_spans(column):
    slices = by_time(column, "time", num_slices=4)
    assert [rows.sum() for rows in slices.values()] == [25] * 4
    assert np.array_equal(np.concatenate([np.flatnonzero(rows) for rows in slices.values()]), np.arange(100))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, None]), "1 rows have no time"),
        (pa.array([1.0, float("nan")]), "1 times are not finite"),
        (pa.array(["2020-01-01", "09/05/2020"]), "times must all be numbers or all be written as 2024-01-31"),
        (pa.array([True]), "must be timestamps, dates or numbers, got bool"),
        (pa.array([datetime.time(1)]), "must be timestamps, dates or numbers, got time64"),
    ],
)
def test_what_is_no_time_is_refused(column, message):
    with pytest.raises(ValueError, match=message):
        by_time(column, "at")
