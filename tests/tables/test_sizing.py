"""Budgets of several tables: kept, used, and refused with the smallest that would do."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.tables import (
    CCETable,
    DoubleHashTable,
    HashEmbeddingTable,
    HashTable,
    MixedDimTable,
    MurmurTable,
    PrunedTable,
    QRSumTable,
    RobeTable,
    TTTable,
    UnifiedTable,
)
from recsys.tables.budget import BudgetError, bytes_of_fraction, parse_bytes, parse_fraction
from recsys.tables.sizing import fit_tables, stored_bytes

METHODS = {
    "hash": HashTable,
    "pruned": PrunedTable,
    "unified": partial(UnifiedTable, num_lookups=2),
    "weighted": HashEmbeddingTable,
    "qr": QRSumTable,
    "mixed": MixedDimTable,
    "clustered": CCETable,
    "double": DoubleHashTable,
    "murmur": MurmurTable,
    "robe": RobeTable,
    "train": TTTable,
}


@pytest.mark.parametrize("method", ["hash", "pruned", "unified", "weighted", "qr", "mixed", "double", "train"])
@given(
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=6),
    fraction=st.floats(0.001, 1.2),
)
@settings(deadline=None, max_examples=25)
def test_a_budget_is_never_exceeded_and_names_the_smallest(method, sizes, fraction):
    names = {f"f{i}": size for i, size in enumerate(sizes)}
    budget = int(fraction * 4 * 8 * sum(sizes))
    factories = dict.fromkeys(names, METHODS[method])
    smallest = smallest_of(lambda num_bytes: fit_tables(factories, names, 8, num_bytes))
    if budget < smallest:
        with pytest.raises(BudgetError, match=f"the smallest budget that can is {smallest} bytes"):
            fit_tables(factories, names, 8, budget)
    else:
        tables = fit_tables(factories, names, 8, budget)
        assert stored_bytes(tables) <= budget
        assert {name: table.num_embeddings for name, table in tables.items()} == names


def smallest_of(fit):
    """What the error of no bytes at all names."""
    with pytest.raises(BudgetError) as refused:
        fit(0)
    assert stored_bytes(fit(refused.value.smallest_bytes)) <= refused.value.smallest_bytes
    return refused.value.smallest_bytes


@pytest.mark.parametrize("method", ["hash", "pruned", "unified", "weighted", "clustered", "double", "murmur", "robe"])
@pytest.mark.parametrize("fraction", [0.9, 0.5, 0.1, 0.01])
def test_at_least_95_percent_are_used_where_rows_can_be_counted_out(method, fraction):
    sizes = {"a": 50_000, "b": 7_000, "c": 900, "d": 40}
    budget = int(fraction * 4 * 8 * sum(sizes.values()))
    tables = fit_tables(dict.fromkeys(sizes, METHODS[method]), sizes, 8, budget)
    assert 0.95 * budget <= stored_bytes(tables) <= budget


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8MB", 8_000_000), ("1.5GiB", 3 << 29), ("800 kb", 800_000), (12, 12), ("1e6", 1_000_000), ("2K", 2_000)],
)
def test_bytes_are_read_as_people_write_them(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["8 apples", "-1", -1, "", "nan", True, "8MBB", 1.5, None])
def test_what_is_no_number_of_bytes_is_refused(text):
    if text == 1.5:
        assert parse_bytes(text) == 1
        return
    with pytest.raises(ValueError, match="budget_bytes must be a number of bytes such as"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "expected"), [("1%", 0.01), (0.5, 0.5), ("0.25", 0.25), ("100 %", 1.0)])
def test_fractions_may_be_percentages(text, expected):
    assert parse_fraction(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fraction", "full", "found"),
    [(0.29, 400, 116), ("29%", 100, 29), (0.58, 800, 464), (0.0048, 10_000, 48), (0.1, 99, 9), (1, 7, 7)],
)
def test_a_fraction_of_bytes_is_not_one_less_by_rounding(fraction, full, found):
    assert bytes_of_fraction(fraction, full) == found


@pytest.mark.parametrize("text", ["0%", 0, 1.5, "101%", "much", float("nan"), True, None])
def test_what_is_no_fraction_is_refused(text):
    with pytest.raises(ValueError, match=r"budget_fraction must be in \(0, 1\], or a percentage"):
        parse_fraction(text)
