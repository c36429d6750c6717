"""Rows of fewer bits and wider rows: what they promise, trained and served."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_in_use import collection_of, fit, loss_of_all_ids
from torch.testing import assert_close

from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.tables import (
    SGD,
    Adagrad,
    ALPTTable,
    DPQTable,
    Embedding,
    FbgemmLookup,
    Frozen,
    FullTable,
    HashTable,
    MixedDimTable,
    MLETTable,
    QuantizedTable,
    quantized,
    served,
)
from recsys.tables.sizing import stored_bytes
from recsys.tables.vectors import vectors_of_all

V, D = 400, 8


def stored(table, values):
    """An Embedding with these matrices."""
    embedding = Embedding(table)
    with torch.no_grad():
        for matrix in embedding.matrices:
            matrix.rows.copy_(values[matrix.physical.name])
    return embedding


@given(
    precision=st.sampled_from(["int8", "int4"]),
    dim=st.integers(1, 9),
    size=st.floats(1e-20, 1e20),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=50)
def test_codes_are_the_nearest_levels_of_a_scale_that_reaches_the_largest_value(precision, dim, size, seed):
    vectors = torch.randn(30, dim, generator=torch.Generator().manual_seed(seed)) * size
    vectors[3] = 0
    table = QuantizedTable("f", 30, dim, precisions=[precision])
    with torch.no_grad():
        found = stored(table, table.values_of(vectors))(torch.arange(30))
    half = {"int8": 127.5, "int4": 7.5}[precision]
    scale = vectors.abs().amax(1, keepdim=True) / half
    assert ((found - vectors).abs() <= scale / 2 * (1 + 1e-5)).all()
    assert torch.equal(found[3], torch.zeros(dim))
    levels = found.double() / scale.double().clamp(min=1e-30)
    assert_close(levels[:3] + 0.5, (levels[:3] + 0.5).round(), atol=1e-4, rtol=0)
    assert levels.abs().amax(1)[:3].tolist() == pytest.approx([half] * 3)


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 1e-3), ("bfloat16", 8e-3), ("float32", 0)])
def test_narrow_floats_hold_vectors_to_rounding(precision, tolerance):
    vectors = torch.randn(V, D)
    table = QuantizedTable("f", V, D, precisions=[precision])
    found = stored(table, table.values_of(vectors))(torch.arange(V))
    assert_close(found.detach(), vectors, rtol=tolerance, atol=1e-7)


@pytest.mark.parametrize(
    ("precision", "dim", "expected"),
    [("float32", 6, 24), ("float16", 6, 12), ("bfloat16", 5, 10), ("int8", 6, 10), ("int4", 6, 7), ("int4", 7, 8)],
)
def test_bytes_of_an_id(precision, dim, expected):
    assert stored_bytes({"f": QuantizedTable("f", 100, dim, precisions=[precision])}) == 100 * expected


def test_frequent_ids_are_stored_more_exactly():
    vectors = torch.randn(V, D)
    table = QuantizedTable("f", V, D, precisions=["float32", "int8", "int4"], num_ids=[50, 100])
    assert stored_bytes({"f": table}) == 50 * 4 * D + 100 * (D + 4) + 250 * (D // 2 + 4)
    values = table.values_of(vectors)
    error = (stored(table, values)(torch.arange(V)).detach() - vectors).abs().amax(1) / vectors.abs().amax(1)
    assert torch.equal(error[:50], torch.zeros(50))
    assert 0 < error[50:150].max() <= 0.5 / 127.4 < error[150:].max() <= 0.5 / 7.4
    small = QuantizedTable("s", 60, D, precisions=["float32", "int8", "int4"], num_ids=[50, 100])
    assert_close(
        stored(small, small.values_of(vectors[:60]))(torch.arange(60)).detach(), vectors[:60], atol=0.02, rtol=0
    )


def test_nothing_of_it_is_trained():
    collection = collection_of(
        QuantizedTable("f", V, D, precisions=["float16", "int4"], num_ids=[9]), optimizer=SGD(0.1)
    )
    assert not list(collection.parameters())
    assert not collection(torch.zeros(1, 3, dtype=torch.long)).requires_grad
    assert all(isinstance(collection.lookup.optimizer_of(name), Frozen) for name in collection.lookup.tables)


def test_the_gradients_of_row_and_scale_by_hand():
    table = ALPTTable("f", 3, 2, init_std=32 / (2 * math.sqrt(3)))  # scales begin at 1
    rows = torch.tensor([[3.2, -200.0, 0.0], [0.9, 0.4, 0.0]]).unsqueeze(1).requires_grad_()
    vectors = table.combine(rows, {}, torch.tensor([[0], [1]]), table._own_constants(0))
    assert_close(vectors[:, 0], torch.tensor([[3.5, -127.5], [0.5, 0.5]]))
    grad = torch.tensor([[2.0, 3.0], [5.0, 7.0]])
    (vectors[:, 0] * grad).sum().backward()
    factor = 4 / math.sqrt(2 * 128)
    first, second = 2 * 0.3 - 3 * 127.5, 5 * -0.4 + 7 * 0.1
    expected = torch.tensor([[2.0, 0.0, factor * first], [5.0, 7.0, factor * second]])
    assert_close(rows.grad[:, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arguments", [{}, {"precisions": ["int4"]}, {"precisions": ["int8", "int4"], "num_ids": [50]}])
def test_trained_levels_are_served_as_codes(arguments):
    table = ALPTTable("f", V, D, **arguments)
    collection, _, _ = fit(table, steps=20)
    narrow = served(collection)
    ids = torch.arange(V).unsqueeze(0)
    assert_close(narrow(ids), collection(ids), rtol=0, atol=1e-6)
    assert isinstance(narrow.table("f"), QuantizedTable)
    assert stored_bytes({"f": narrow.table("f")}) == table.served_bytes()
    assert collection.lookup.weight("f/log_scale").abs().min() > 0


def test_a_product_of_two_is_served_as_one_matrix():
    table = MLETTable("f", V, D, inner_dim=20)
    collection, _, _ = fit(table, steps=20)
    narrow = served(collection, lookup=FbgemmLookup)
    ids = torch.arange(V).unsqueeze(0)
    assert_close(narrow(ids), collection(ids), rtol=0, atol=1e-6)
    assert_close(
        narrow.lookup.weight("f"), collection.lookup.weight("f") @ table.projection.detach(), atol=1e-6, rtol=0
    )
    assert stored_bytes({"f": narrow.table("f")}) == table.served_bytes() == 4 * V * D


def test_tables_are_quantized_where_that_takes_fewer_bytes():
    tables = [FullTable("full", V, D), HashTable("hash", V, D, num_rows=20), MLETTable("mlet", V, D)]
    tables += [DPQTable("dpq", V, D, num_choices=4, num_parts=1), MixedDimTable("mixed", V, D, row_dim=4)]
    collection = collection_of(*tables)
    narrow = quantized(collection, ["float16", "int8"], [100])
    kinds = {name: type(narrow.table(name)).__name__ for name in ("full", "hash", "mlet", "dpq", "mixed")}
    assert kinds == {
        "full": "QuantizedTable",
        "hash": "HashTable",
        "mlet": "QuantizedTable",
        "dpq": "CodebookTable",
        "mixed": "QuantizedTable",
    }
    ids = torch.arange(V).expand(5, -1)
    expected = collection.eval()(ids)
    assert_close(narrow(ids), expected, atol=expected.abs().max().item() / 254, rtol=0)
    assert not list(narrow.parameters())
    assert_close(vectors_of_all(collection.table("hash"), collection.lookup), expected[:, 1])


@pytest.mark.parametrize(
    "table",
    [
        ALPTTable("f", V, D),
        ALPTTable("f", V, D, precisions=["int4"]),
        MLETTable("f", V, D),
    ],
    ids=str,
)
def test_it_trains(table):
    _, first, last = fit(FullTable("f", V, D))
    _, first_here, last_here = fit(table)
    assert last_here < first_here - 0.7 * (first - last)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: QuantizedTable("f", 9, 4, precisions=["int3"]),
            r"precisions must be a list of some of float32, .*\['int3'\]",
        ),
        (lambda: QuantizedTable("f", 9, 4, precisions="int8"), "precisions must be a list of some of"),
        (lambda: QuantizedTable("f", 9, 4, precisions=["int8"], num_ids=[3]), "for each of 1 precisions but the last"),
        (lambda: QuantizedTable("f", 9, 4, precisions=["int8", "int8"], num_ids=[3]), "each once"),
        (lambda: QuantizedTable("f", 9, 4).values_of(torch.zeros(9, 5)), r"vectors must be \(9, 4\), got \(9, 5\)"),
        (lambda: QuantizedTable("f", 1, 1).values_of(torch.full((1, 1), math.inf)), "must be finite in int8"),
        (
            lambda: QuantizedTable("f", 1, 1, precisions=["float16"]).values_of(torch.full((1, 1), 1e6)),
            "must be finite in float16",
        ),
        (lambda: ALPTTable("f", 9, 4, precisions=["float16"]), "precisions must be a list of some of int8, int4"),
        (lambda: MLETTable("f", 9, 4, inner_dim=3), "inner_dim must be at least embedding_dim=4, got 3"),
    ],
)
def test_a_mistake_is_named_with_its_value(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_rows_step_in_float32_beside_scales():
    collection = collection_of(ALPTTable("f", V, D), optimizer=Adagrad(0.05))
    before = collection.lookup.weight("f").clone()
    loss_of_all_ids(collection, torch.ones(V, 1, D)).backward()
    collection.step()
    assert collection.lookup.dtype_of("f") == torch.float32
    assert (collection.lookup.weight("f") > before).all()


def test_what_is_served_is_described_and_built_again():
    tables = [ALPTTable("alpt", V, D, precisions=["int8", "int4"], num_ids=[50]), DPQTable("dpq", V, D)]
    narrow = quantized(collection_of(*tables, MLETTable("mlet", V, D)), ["float16", "int4"], [9])
    state = {key.removeprefix("tables."): value for key, value in narrow.state_dict().items() if "tables." in key}
    again = build_collection(json.loads(json.dumps(describe_collection(narrow))), state=state)
    again.load_state_dict(narrow.state_dict())
    ids = torch.arange(V).expand(3, -1)
    assert torch.equal(again(ids), narrow(ids))
