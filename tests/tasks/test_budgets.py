"""One budget for the tables of a task: it is never exceeded, whatever has a size to choose."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from recsys.data import Column, Schema
from recsys.models import LogisticRegression
from recsys.tables import AutoSrhTable, FullTable, HashTable, OptEmbedTable, PEPTable, SumTable
from recsys.tables.budget import BudgetError
from recsys.tables.sizing import stored_bytes
from recsys.tasks import CTRTask

COLUMNS = Column("a", "categorical", 300), Column("b", "categorical", 12)
SCHEMA = Schema(Path("."), "made", "label", COLUMNS, {})
DIM = 4
FULL = 4 * DIM * 312


def tables(default, **more):
    task = CTRTask(LogisticRegression, SCHEMA, DIM, {"default": default, **more.pop("tables", {})}, **more)
    return task.table_settings.make_tables()


def hashed(name, num_embeddings, embedding_dim):
    return HashTable(name, num_embeddings, embedding_dim, num_rows=5)


@pytest.mark.parametrize("method", [PEPTable, OptEmbedTable, AutoSrhTable, partial(SumTable, tables=[FullTable] * 2)])
def test_what_a_table_keeps_beside_its_rows_counts(method):
    whole = stored_bytes(tables(method))
    assert whole > FULL
    with pytest.raises(ValueError, match=f"budget of {FULL} bytes, and the tables without a size .* take {whole};"):
        tables(method, budget_bytes=FULL)
    assert stored_bytes(tables(method, budget_bytes=whole)) == whole


@pytest.mark.parametrize("budget", [{"budget_fraction": 1.0}, {"budget_bytes": FULL}])
def test_a_budget_that_is_just_met_is_met(budget):
    assert stored_bytes(tables(FullTable, **budget)) == FULL


def test_tables_of_a_given_size_leave_the_rest():
    found = tables(hashed, tables={"sized": HashTable}, assign={"sized": ["a"]}, budget_bytes=1000)
    assert found["b"].physical_tables()[0].num_rows == 5
    assert 1000 - 4 * DIM < stored_bytes(found) <= 1000
    given = stored_bytes({"b": found["b"]})
    with pytest.raises(
        ValueError, match=f"budget of {given} bytes, and the tables without a size to choose take {given}"
    ):
        tables(hashed, tables={"sized": HashTable}, assign={"sized": ["a"]}, budget_bytes=given)


def test_no_bytes_are_too_few():
    with pytest.raises(ValueError, match="budget_bytes=0 cannot be met by 2 tables"):
        tables(HashTable, budget_bytes=0)


def test_the_smallest_budget_that_is_named_is_that_of_all_tables():
    words = r"budget_bytes=200 cannot be met by .* beside 192 bytes of tables without .* that can is 208 bytes"
    with pytest.raises(BudgetError, match=words):
        tables(HashTable, budget_bytes=200, exact_up_to=12)
    assert stored_bytes(tables(HashTable, budget_bytes=208, exact_up_to=12)) == 208


def test_a_fraction_is_refused_by_the_fraction_that_is_met():
    with pytest.raises(ValueError, match=r"budget_fraction=0\.1%: budget_bytes=4 cannot") as found:
        tables(HashTable, budget_fraction="0.1%")
    fraction = float(str(found.value).rpartition("=")[2].rstrip("."))
    assert stored_bytes(tables(HashTable, budget_fraction=fraction)) == 2 * 4 * DIM


def test_a_table_is_not_what_makes_tables():
    with pytest.raises(
        ValueError, match=r"tables\['default'\] must make tables, as the class FullTable does, got Full"
    ):
        tables(FullTable("a", 300, DIM))
