"""Modules moved, loaded, pooled and scored with in ways that cannot be meant, a line each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn, tensor
from torch.nn.utils import prune

from recsys.tables import (
    ALPTTable,
    Bag,
    Embedding,
    EmbeddingBag,
    Feature,
    FullTable,
    GateTable,
    HashTable,
    Lookup,
    ManagedCollisionTable,
    MLETTable,
    PathQRTable,
    PhysicalTable,
    PrunedTable,
    StoredCodes,
    SwapRule,
    TableCollection,
    TiedHead,
    TorchLookup,
    quantized,
    swap_,
)
from recsys.tables.placement import FLOATS
from tests.tables.contract import EXAMPLES

NAN, HUGE = float("nan"), 10**30
SIZES = {"name": "f", "num_embeddings": 3_000, "embedding_dim": 24}


def hashed(**options):
    return Embedding(HashTable("f", 20, 4, num_rows=5), **options)


def pooled(mode="sum", **options):
    return EmbeddingBag(HashTable("f", 20, 4, num_rows=5), mode=mode, **options)


def collection(table=None, **options):
    return TableCollection([Feature("f", "f")], {"f": table or FullTable("f", 20, 4)}, **options)


def bagged(bag):
    return TableCollection([Feature("f", "f", "sum")], {"f": FullTable("f", 20, 4)})(
        torch.zeros(0, 2, dtype=torch.int64), {"f": bag}
    )


def loaded(embedding, changed):
    state = {name: changed(value) for name, value in embedding.state_dict().items()}
    return embedding.load_state_dict(state)


IDS, TWO = tensor([1, 2]), tensor([0, 1])
CODES = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
GATED = {"tables": [FullTable, FullTable]}
CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "wide words": (lambda: hashed()(IDS.to(torch.uint64)), "ids must be an ordinary tensor of .*, got uint64"),
    "sparse ids": (lambda: hashed()(IDS.to_sparse()), "ids must be an ordinary tensor of .*, got int64, sparse_coo"),
    "nested ids": (
        lambda: collection()(torch.nested.nested_tensor([IDS, IDS])),
        "ids must be an ordinary tensor of .*, got a nested tensor",
    ),
    "ids elsewhere": (lambda: hashed()(IDS.to("meta")), "ids are on 'meta' and rows on 'cpu'"),
    "rows elsewhere": (lambda: hashed().to("meta")(IDS), "ids are on 'cpu' and rows on 'meta'"),
    "a collection elsewhere": (lambda: collection(device="meta")(IDS[None]), "ids are on 'cpu' and rows on 'meta'"),
    "bags of bags": (
        lambda: pooled()(IDS[None, None]),
        r"ids must be \[N\] with offsets, or \[B, L\], got \[1, 1, 2\]",
    ),
    "no offsets": (lambda: pooled()(IDS), r"offsets go with ids \[N\] and not with \[B, L\]; got ids \[2\], none"),
    "two of places": (lambda: pooled()(IDS[None], TWO), r"offsets go with ids \[N\] and not with \[B, L\]"),
    "no bag": (lambda: pooled("max")(IDS, TWO[:0]), "offsets must begin with 0, got none for 2 ids"),
    "no end": (lambda: pooled(include_last_offset=True)(IDS[:0], TWO[:0]), "offsets must end with 0, .* got none"),
    "weights of others": (lambda: pooled()(IDS, TWO, torch.ones(3)), r"the shape of ids, \[2\], got \[3\]"),
    "weights of NaN": (lambda: pooled()(IDS, TWO, tensor([1, NAN])), "per_sample_weights must be finite, got nan"),
    "true weights": (lambda: pooled()(IDS, TWO, TWO.bool()), "per_sample_weights must be real numbers, got torch.bool"),
    "a bag's NaN": (lambda: bagged(Bag(IDS, 1 + 0 * TWO, tensor([1, NAN]))), "'f': weights must be finite, got nan"),
    "a bag's list": (lambda: Bag([1], TWO), "Bag: values must be a Tensor, got list"),
    "a bag of codes": (lambda: Bag(CODES, TWO), "Bag: values must be an ordinary tensor .* quantised"),
    "a bag elsewhere": (lambda: Bag(IDS, TWO, torch.ones(2).to_mkldnn()), "Bag: weights must be .* layout torch._mkl"),
    "a bag of a tree": (lambda: Bag(IDS, TWO.to_sparse()), "Bag: lengths must be an ordinary tensor .* sparse"),
    "narrow numbers": (lambda: hashed(dtype=torch.float8_e5m2), "dtype must be of floating-point numbers, .*float8"),
    "moved to complex": (
        lambda: hashed().to(torch.complex64),
        "dtype must be of floating-point .* got torch.complex64",
    ),
    "narrow rows": (lambda: collection(dtype=torch.float8_e5m2), "TableCollection: dtype must be of floating-point"),
    "no device": (
        lambda: hashed(device="nonsense"),
        "device must be one that torch knows, such as 'cpu', got 'nonsense'",
    ),
    "no such GPU": (lambda: collection(device="cuda:99"), "device 'cuda:99' is not there, torch sees . GPUs"),
    "no lookup": (lambda: collection(lookup=nn.Linear), "lookup must be a Lookup, such as TorchLookup, got Linear"),
    "any lookup": (lambda: collection(lookup=Lookup), "lookup must be a Lookup, such as TorchLookup, got Lookup"),
    "a lookup of nothing": (TorchLookup, r"Lookup.__init__\(\) missing 3 required .* 'tables'"),
    "rows of trees": (
        lambda: PhysicalTable("p", 2, 2, 0.1, values=torch.ones(2, 2).to_sparse()),
        "'p': values must be an ordinary tensor .* sparse",
    ),
    "no table's class": (lambda: SwapRule(int), "SwapRule: table must be a class, as QRTable"),
    "nothing started": (lambda: collection()(IDS[None], None, IDS), "started must be what start.* gave, got Tensor"),
    "no table": (lambda: collection().table("g"), "there is no table 'g'; there are 'f'"),
    "no matrices": (lambda: TorchLookup({"p": 1}, {}, {}), "a mapping of str to PhysicalTable, got 1 at 'p'"),
    "no optimizer": (
        lambda: TorchLookup({"p": PhysicalTable("p", 2, 2, 0.1)}, {}, {"p": 1}),
        r"optimizers and reads must be of each table \['p'\], got \[\] and \['p'\]",
    ),
    "a list of vectors": (lambda: TiedHead(hashed())([1.0]), r"hidden must be .* \[..., 4\], got list"),
    "wide states": (lambda: TiedHead(hashed())(torch.ones(2, 5)), r"hidden must be .* \[..., 4\], got \[2, 5\]"),
    "double states": (lambda: TiedHead(hashed())(torch.ones(2, 4).double()), "hidden is of torch.float64 and the vec"),
    "sparse vectors": (lambda: hashed().fit_(torch.ones(20, 4).to_sparse()), "weight must be an ordinary tensor"),
    "vectors too large": (
        lambda: Embedding(PathQRTable("f", 20, 4, num_rows=5)).fit_(torch.full((20, 4), 1e30)),
        r"weight must be at most 1e\+15 in magnitude",
    ),
    "scripted": (lambda: torch.jit.script(hashed()), "Embedding cannot be scripted; use torch.jit.trace"),
    "growth without end": (lambda: Embedding(FullTable("f", 20, 4)).grow(10**14), "does not fit into memory"),
    "rows without end": (lambda: Embedding(FullTable("f", 10**14, 4)), "FullEmbedding|Embedding.* fit into memory"),
    "width without end": (lambda: MLETTable("f", 20, 4, inner_dim=HUGE), r"inner_dim must be in \[4, 2\*\*62="),
    "a matrix without end": (
        lambda: PhysicalTable("p", HUGE, 2, 0.1),
        r"num_rows must be in \[1, 4.61169e\+18\], got 1",
    ),
    "scales of nothing": (lambda: ALPTTable("f", 20, 4, init_std=0.0), r"init_std must be at least 1e-30, got 0\.0"),
    "groups of halves": (lambda: GateTable("f", 9, 4, **GATED, groups=torch.zeros(9)), r"groups .* in \[0, 63\], got"),
    "group 64": (
        lambda: GateTable("f", 9, 4, **GATED, groups=64 + 0 * torch.arange(9)),
        "groups must be whole numbers",
    ),
    "counts below 0": (lambda: GateTable("f", 2, 4, **GATED, counts=-IDS), "counts must be whole numbers at least 0"),
    "kept elsewhere": (lambda: PrunedTable("f", 2, 4, num_rows=1, rows=IDS.to("meta")), "without values, on 'meta'"),
    "unsigned counts": (lambda: PrunedTable("f", 2, 4, num_rows=1, rows=IDS.to(torch.uint16)), "of unsigned numbers"),
    "a budget without end": (lambda: HashTable("f", 2, 4, budget_bytes=10**400), r"at most 2\*\*62 bytes"),
    "complex counts": (lambda: GateTable("f", 2, 4, **GATED, counts=IDS + 0j), "counts must be .* of complex numbers"),
    "no levels": (lambda: StoredCodes(0, 4), "StoredCodes: num_levels must be in"),
    "a collection of nothing": (lambda: quantized(None), "quantized: collection must be TableCollection, got None"),
    "a factory of Python": (
        lambda: swap_(nn.Sequential(nn.Embedding(9, 4)), [SwapRule(lambda *sizes: {})]),
        r"the rule of '0': <lambda> must make a Table, got \{\}",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_cannot_be_meant_is_refused(case):
    call, message = CALLS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize(("table_type", "arguments"), EXAMPLES.values(), ids=EXAMPLES)
def test_a_state_of_no_tensors_is_refused_by_torch_itself(table_type, arguments):
    for changed in (lambda _: None, lambda value: value.tolist()):
        with pytest.raises(RuntimeError, match=r"Error\(s\) in loading state_dict"):
            loaded(Embedding(table_type(**{**SIZES, **arguments})), changed)
        with pytest.raises(RuntimeError, match=r"Error\(s\) in loading state_dict"):
            loaded(collection(table_type(**{**SIZES, **arguments})), changed)


@pytest.mark.parametrize(("table_type", "arguments"), EXAMPLES.values(), ids=EXAMPLES)
def test_narrow_ids_and_lengths_are_those_of_64_bits(table_type, arguments):
    table = table_type(**{**SIZES, **arguments})
    own = TableCollection([Feature("f", "f"), Feature("g", "f", "sum")], {"f": table}).eval()
    ids, values, lengths = tensor([[0, 5, 127]]), tensor([127, 0, 9, 1]), tensor([1, 0, 3])
    expected = own(ids, {"g": Bag(values, lengths)})
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        found = own(ids.to(dtype), {"g": Bag(values.to(dtype), lengths.to(dtype))})
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("table", [FullTable("f", 300, 4), HashTable("f", 300, 4, num_rows=5)], ids=["full", "hashed"])
def test_bags_without_ids_are_zeros_and_narrow_ids_those_of_64_bits(table, mode):
    own = EmbeddingBag(table, mode=mode)
    assert torch.equal(own(torch.zeros(3, 0, dtype=torch.int64)), torch.zeros(3, 4))
    assert torch.equal(own(IDS[:0], tensor([0, 0])), torch.zeros(2, 4))
    ids, offsets = torch.arange(300) % 100, tensor([0, 290])
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        assert torch.equal(own(ids.to(dtype), offsets), own(ids, offsets))


def test_slots_in_no_order_are_refused():
    own = Embedding(ManagedCollisionTable("f", 20, 4, num_rows=5))
    for name in ("slot_ids", "slot_rows"):
        state = own.state_dict()
        state[f"table.{name}"] = torch.full((5,), 7)
        with pytest.raises(RuntimeError, match=f"{name} of the checkpoint is damaged"):
            own.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"slot_rows must be integers, got torch\.float64"):
        loaded(own, lambda value: value.double())


def test_a_computed_weight_is_not_pruned():
    with pytest.raises(AttributeError, match="weight is computed from fewer rows and cannot be replaced"):
        prune.l1_unstructured(hashed(), "weight", 0.5)


def test_every_float_of_torch_that_rows_may_be_is_made():
    assert {Embedding(FullTable("f", 5, 4), dtype=dtype)(IDS).dtype for dtype in FLOATS} == set(FLOATS)


def test_what_was_made_in_inference_mode_takes_no_note_of_ids_outside_of_it():
    with torch.inference_mode():
        own = Embedding(ManagedCollisionTable("f", 20, 4, num_rows=5))
        own(IDS)
    with pytest.raises(ValueError, match="'f' was made in inference mode, and what it notes of ids cannot be written"):
        own(IDS)
    with torch.no_grad():
        assert own.eval()(IDS).shape == (2, 4)
