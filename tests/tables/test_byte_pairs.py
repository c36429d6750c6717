"""Codes of 16 bits are kept as bytes, which process groups send: as many, and old checkpoints have the codes."""

import hashlib
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.tables import (
    CCETable,
    CodebookTable,
    Embedding,
    Feature,
    RandomCodes,
    SemanticIdTable,
    SumTable,
    TableCollection,
)
from recsys.tables.byte_pairs import from_pairs, to_pairs

V, D = 40, 4
IDS = torch.arange(V)
CODES = 7 * torch.arange(2 * V).view(2, V) % 301
HASHED = partial(SemanticIdTable, codes=RandomCodes(2, 400), num_rows=99)

TABLES = {
    "pointers": partial(CCETable, num_clusters=300, num_chunks=2),
    "codes": partial(CodebookTable, num_parts=2, num_choices=301, codes=CODES),
    "codes-semantic": HASHED,
    "part1_codes": partial(SumTable, tables=[partial(HASHED, num_rows=50), HASHED]),
}
every_table = pytest.mark.parametrize("kind", TABLES)


def as_saved_before(table, state, prefix=""):
    """A state dict in which all that is kept in two bytes is int16, as it was before."""
    return {
        key: table.listed(key.removeprefix(prefix)) if key.removeprefix(prefix) in table._paired else value
        for key, value in state.items()
    }


@given(st.lists(st.integers(-(1 << 15), (1 << 15) - 1)))
def test_there_and_back(values):
    pairs = to_pairs(torch.tensor(values, dtype=torch.int16))
    assert pairs.dtype == torch.uint8
    assert pairs.tolist() == [byte for value in values for byte in value.to_bytes(2, "little", signed=True)]
    assert from_pairs(pairs.view(-1, 2)).tolist() == values


@every_table
def test_nothing_is_kept_that_process_groups_do_not_send(kind):
    table = TABLES[kind]("f", V, D)
    name = kind.split("-")[0]
    kept, columns = table.get_buffer(name), table.listed(name)
    assert kept.dtype == torch.uint8
    assert columns.dtype == torch.int16
    assert kept.numel() * kept.element_size() == columns.numel() * columns.element_size()
    assert columns.max() > 255


@every_table
@pytest.mark.parametrize("assign", [False, True])
def test_a_checkpoint_with_codes_of_16_bits_is_loaded(kind, assign):
    saved = Embedding(TABLES[kind]("f", V, D))
    state = as_saved_before(saved.table, saved.state_dict(), "table.")
    assert torch.int16 in {value.dtype for value in state.values()}
    loaded = Embedding(TABLES[kind]("f", V, D))
    if kind == "pointers":  # what training changes
        loaded.table.write_listed("pointers", IDS, torch.zeros(2, V, dtype=torch.int64))
    loaded.load_state_dict(state, assign=assign)
    assert_close(loaded(IDS), saved(IDS), rtol=0, atol=0)
    assert loaded.state_dict().keys() == saved.state_dict().keys()


@pytest.mark.parametrize("kind", ["codes", "codes-semantic", "part1_codes"])
def test_a_described_collection_is_built_again_from_either(kind):
    collection = TableCollection([Feature("f", "f")], {"f": TABLES[kind]("f", V, D)})
    table, description = collection.table("f"), describe_collection(collection)
    for prepare in (lambda _, state: state, as_saved_before):
        state = {f"f.{key}": value for key, value in prepare(table, table.state_dict()).items()}
        again = build_collection(description, state=state)
        again.tables.load_state_dict(state)
        assert torch.equal(again.table("f").rows_of(IDS), table.rows_of(IDS))
        assert describe_collection(again)["tables"] == description["tables"]


def test_codes_are_described_as_before():
    collection = TableCollection([Feature("f", "f")], {"f": TABLES["codes"]("f", V, D)})
    said = describe_collection(collection)["tables"]["f"]["arguments"]["codes"]
    saved = CODES.to(torch.int16).numpy().astype("<i2").tobytes()
    assert said == {"buffer": "codes", "shape": [2, V], "sha256": hashlib.sha256(saved).hexdigest()}


@every_table
def test_grown_it_keeps_the_codes_of_old_ids(kind):
    embedding = Embedding(TABLES[kind]("f", V, D))
    before = embedding(IDS)
    assert_close(embedding.grow(V + 9)(IDS), before, rtol=0, atol=0)
