"""Tables of a user's own, states, rows and factories that cannot be meant, a line each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn, tensor

from recsys.tables import (
    SGD,
    ALPTTable,
    Bag,
    CodebookTable,
    ConcatTable,
    DedupTable,
    Embedding,
    EmbeddingBag,
    Feature,
    Frozen,
    FullTable,
    GateTable,
    HashTable,
    MGQETable,
    OptEmbedTable,
    PEPTable,
    PhysicalTable,
    QRSumTable,
    QRTable,
    RobeTable,
    SumTable,
    SwapRule,
    Table,
    TableCollection,
    TorchLookup,
    UnifiedTable,
    swap_,
)

NAN = float("nan")


class Twice(Table):
    """The vector of an id is twice its row."""

    def physical_tables(self):
        return (PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, init_std=0.01),)

    def route(self, ids, constants):
        return ids

    def combine(self, rows, parameters, ids, constants):
        return 2 * rows


def collection(table=None, **options):
    table = FullTable("a", 10, 4) if table is None else table
    return TableCollection([Feature("a", "a"), Feature("b", "a", "sum")], {"a": table}, **options)


BAGS = {"b": Bag(tensor([1, 2]), tensor([1, 1]))}
OWN: dict[str, tuple[dict[str, Callable[..., object]], str]] = {
    "no matrix": ({"physical_tables": lambda self: None}, r"physical_tables\(\) must give .* got None"),
    "a matrix alone": ({"physical_tables": lambda self: Twice.physical_tables(self)[0]}, r"physical_tables\(\) must"),
    "no rows": ({"route": lambda self, ids, constants: None}, r"route\(\) must give .* got NoneType"),
    "float rows": ({"route": lambda self, ids, constants: ids * 1.0}, r"route\(\) must give .* torch.float32"),
    "a row for all": ({"route": lambda self, ids, constants: ids[..., :1]}, r"route\(\) must give .* N=\d"),
    "rows in a list": ({"route": lambda self, ids, constants: ids.tolist()}, r"route\(\) must give .* got list"),
    "no vector": ({"combine": lambda self, rows, *_: None}, r"combine\(\) must give .* got NoneType"),
    "narrow vectors": ({"combine": lambda self, rows, *_: rows[..., :2]}, r"combine\(\) must give floats .* 4\]"),
    "vectors of numpy": ({"combine": lambda self, rows, *_: rows.detach().numpy()}, r"combine\(\) .* got ndarray"),
    "a vector for all": ({"combine": lambda self, rows, *_: rows[:1]}, r"combine\(\) must give floats"),
}


@pytest.mark.parametrize("case", OWN)
@pytest.mark.parametrize(
    "read",
    [lambda table: Embedding(table)(tensor([1, 2, 3])), lambda table: collection(table)(tensor([[1, 2]]), BAGS)],
    ids=["embedding", "collection"],
)
def test_what_a_table_of_ones_own_must_not_give_is_said(case, read):
    methods, message = OWN[case]
    assert read(Twice("a", 10, 4)).isfinite().all()
    with pytest.raises(TypeError, match=f"Mine 'a': {message}"):
        read(type("Mine", (Twice,), methods)("a", 10, 4))


@pytest.mark.parametrize("kind", [Embedding, collection], ids=["embedding", "collection"])
@pytest.mark.parametrize(
    ("route", "message"),
    [
        (lambda self, ids, constants: ids + 1, r"rows of matrix 'a' in \[0, 10\), got 10\."),
        (lambda self, ids, constants: ids - 1, r"rows of matrix 'a' in \[0, 10\), got -1; .* leaves_out = True"),
    ],
    ids=["beyond", "no row"],
)
def test_rows_that_are_none_of_its_own_are_not_read(kind, route, message):
    with pytest.raises(ValueError, match=rf"Mine 'a': route\(\) must give {message}"):
        kind(type("Mine", (Twice,), {"route": route})("a", 10, 4))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ("a", 9, 4),
            {"num_row": 3},
            r"^HashTable: got an unexpected keyword argument 'num_row'; did you mean 'num_rows'\?$",
        ),
        (("a", 9, 4), {"zzz": 3}, r"^HashTable: .* 'zzz'; it takes name, num_embeddings, embedding_dim, num_rows,"),
        (tuple("abcdefghij"), {}, "^HashTable: too many positional arguments; it takes name,"),
    ],
)
def test_an_argument_that_there_is_not_is_named_with_its_class(arguments, options, message):
    with pytest.raises(TypeError, match=message):
        HashTable(*arguments, **options)


READS: dict[str, tuple[Table, Table]] = {
    "rare ids": (
        MGQETable("t", 24, 8, num_parts=2, num_choices=16, num_rare_choices=4),
        MGQETable("t", 24, 8, num_parts=2, num_choices=16, num_rare_choices=8),
    ),
    "levels": (ALPTTable("t", 24, 8), ALPTTable("t", 24, 8, precisions=["int4"])),
    "scales": (ALPTTable("t", 24, 8), ALPTTable("t", 24, 8, init_std=0.1)),
    "thresholds": (OptEmbedTable("t", 24, 8), OptEmbedTable("t", 24, 8, init_std=0.1)),
    "products and sums": (QRTable("t", 24, 8), QRSumTable("t", 24, 8)),
    "signs and none": (RobeTable("t", 24, 8, num_rows=9, signed=True), RobeTable("t", 24, 8, num_rows=9)),
    "parts": (
        SumTable("t", 24, 8, tables=[FullTable, QRTable]),
        SumTable("t", 24, 8, tables=[FullTable, QRSumTable]),
    ),
    "unseen ids": (
        GateTable("t", 24, 8, tables=[FullTable, FullTable], counts=torch.arange(24), unseen=1),
        GateTable("t", 24, 8, tables=[FullTable, FullTable], counts=torch.arange(24)),
    ),
}


@pytest.mark.parametrize("case", READS)
def test_a_state_whose_rows_are_read_otherwise_is_refused(case, tmp_path):
    for saved, loaded in (READS[case], READS[case][::-1]):
        for kind in (Embedding, lambda table: TableCollection([Feature("t", "t")], {"t": table})):
            torch.save(kind(saved).state_dict(), tmp_path / "state.pt")
            state = torch.load(tmp_path / "state.pt")
            kind(saved).load_state_dict(state)
            with pytest.raises(RuntimeError, match=r"the state is of .*, and this table of .*; build the one"):
                kind(loaded).load_state_dict(state)


def test_states_that_do_not_say_how_they_are_read_are_loaded():
    made = Embedding(QRTable("t", 24, 8)).state_dict()
    state = {name: value + 1 if value.is_floating_point() else value for name, value in made.items()}
    other = Embedding(QRTable("t", 24, 8))
    other.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


def lookup(**changed):
    physical = PhysicalTable(**{"name": "a", "num_rows": 3, "row_dim": 2, "init_std": 0.1, **changed})
    return TorchLookup({"a": physical}, {"a": SGD()}, {"a": 1})


def loaded(change):
    made = collection()
    made.load_state_dict({name: change(v) if v.is_floating_point() else v for name, v in made.state_dict().items()})


def swapped(factory):
    swap_(nn.Sequential(nn.Embedding(30, 4)), [SwapRule(factory)])


def other_weight():
    made = Embedding(FullTable("f", 10, 4))
    made.weight = nn.Parameter(torch.zeros(5, 4))
    made(tensor([7]))


def other_mode():
    made = EmbeddingBag(FullTable("f", 10, 4))
    made.mode = "avg"
    made(tensor([[1]]))


def started_of_another():
    one, other = (collection(HashTable("a", 10, 4, num_rows=rows)) for rows in (3, 5))
    ids = tensor([[1, 2]])
    one(ids, BAGS, other.start(ids, BAGS))


def penalty(num_samples):
    return collection(PEPTable("a", 10, 4)).regularizer(num_samples)


def weighed(weight, **options):
    EmbeddingBag(HashTable("f", 10, 4, num_rows=5), mode="sum", **options)(tensor([[1]]), None, tensor([[weight]]))


ROW = torch.zeros(1, 2)
CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "a table called": (lambda: FullTable("f", 10, 4)(tensor([1])), r"owns no rows; call Embedding\(table\)"),
    "no such matrix": (lambda: lookup().weight("z"), r"TorchLookup has no physical table 'z'; it has \['a'\]"),
    "a row beyond": (lambda: lookup().read_rows("a", tensor([3])), r"rows must be in \[0, 3\), got 3"),
    "a row before": (lambda: lookup().write_rows("a", tensor([-1]), ROW), r"rows must be in \[0, 3\), got -1"),
    "half a row": (lambda: lookup().read_rows("a", tensor([1.5])), "rows must be a Tensor .* torch.float32"),
    "rows in a list": (lambda: lookup().read_rows("a", [1]), "rows must be a Tensor .* got list"),
    "a wide row": (lambda: lookup().write_rows("a", tensor([1]), torch.zeros(1, 3)), r"values must be .* \[1, 2\]"),
    "rows to fewer": (lambda: lookup().copy_rows("a", tensor([1, 2]), tensor([0])), "2 rows cannot be copied to 1"),
    "fresh rows of others": (lambda: lookup().reset_rows("a", tensor([1]), torch.zeros(2, 2)), "values must be"),
    "a matrix of numpy": (lambda: lookup().load_weight("a", np.zeros((3, 2))), "rows must be a Tensor, got ndarray"),
    "a sparse matrix": (lambda: lookup().load_weight("a", torch.zeros(3, 2).to_sparse()), "sparse"),
    "no name": (lambda: lookup(name=""), "name must not be empty"),
    "NaN to start from": (lambda: lookup(values=torch.full((3, 2), NAN)), "values must be finite"),
    "sparse to start from": (lambda: lookup(values=torch.zeros(3, 2).to_sparse()), "sparse"),
    "another name": (
        lambda: TorchLookup({"b": PhysicalTable("a", 3, 2, 0.1)}, {"b": SGD()}, {"b": 1}),
        "tables must be by their names .* got 'b' for 'a'",
    ),
    "rows of numpy": (lambda: DedupTable.of_vectors("d", np.zeros((8, 4))), r"vectors must be .* got ndarray"),
    "a vector": (lambda: DedupTable.of_vectors("d", torch.zeros(8)), r"vectors must be .* \[V, D\], got \[8\]"),
    "NaN vectors": (lambda: DedupTable.of_vectors("d", torch.full((8, 4), NAN)), "vectors must be finite"),
    "whole vectors": (lambda: DedupTable.of_vectors("d", torch.ones(8, 4).long()), "vectors must be floating-point"),
    "true codes": (
        lambda: CodebookTable("c", 10, 4, num_parts=2, num_choices=3, codes=torch.zeros(2, 10) > 0),
        "codes must be integers, got torch.bool",
    ),
    "a part that takes no deviation": (
        lambda: SumTable("s", 10, 4, tables=[FullTable, lambda name, v, d: FullTable(name, v, d)]),
        r"SumTable 's': tables, part 1: <lambda> cannot be called with \(name, .*, init_std\)",
    ),
    "a part of other sizes": (
        lambda: ConcatTable("s", 10, 4, tables=[FullTable, lambda n, v, d, init_std: FullTable(n, v + 1, d)]),
        "part 1: <lambda> must make a table of 10 x 2, .* got 11 x 2",
    ),
    "a part that is no table": (lambda: SumTable("s", 10, 4, tables=[FullTable, nn.Linear]), "part 1: Linear"),
    "a rule that lacks": (lambda: swapped(CodebookTable), r"CodebookTable cannot be called .* 'num_parts'"),
    "a rule's misspelling": (lambda: swapped(partial(HashTable, rows=3)), "HashTable cannot be called .* 'rows'"),
    "Python's own": (lambda: SumTable("s", 10, 4, tables=[FullTable, int]), "int makes no table; give a class such as"),
    "a setting of frozen rows": (lambda: Frozen(learning_rate=0.1), "Frozen: rows never change; leave out"),
    "no storage": (lambda: UnifiedTable("u", 10, 4, num_rows=5, storage=""), "storage must be the name of a matrix"),
    "a feature without table": (lambda: Feature("a", ""), "name and table must not be empty, got 'a' and ''"),
    "a feature of arrays": (lambda: Feature(np.arange(3), "a"), r"Feature: name must be str, got array\(\[0, 1, 2\]"),
    "no lookup": (lambda: collection(lookup=lambda *_, **__: None), "lookup must make a Lookup, .* got None"),
    "another mode": (other_mode, "mode must be one of sum, mean, max, got .avg."),
    "another weight": (other_weight, r"weight must be \[10, 4\], got \[5, 4\]; set num_embeddings as well"),
    "another collection's start": (started_of_another, "started must be what start.. of this collection gave"),
    "no samples": (lambda: penalty(0), "num_samples must be at least"),
    "NaN samples": (lambda: penalty(NAN), "num_samples must be at least .* got nan"),
    "text as samples": (lambda: penalty("1"), "num_samples must be at least .* got '1'"),
    "several numbers of samples": (lambda: penalty(torch.ones(2)), "num_samples must be one number"),
    "a weight beyond half": (lambda: weighed(7e4, dtype=torch.float16), "finite in torch.float16, got 70000.0"),
    "a bag on two devices": (
        lambda: collection()(tensor([[1, 2]]), {"b": Bag(tensor([1, 2]), torch.ones(2, device="meta").long())}),
        r"must be on one device, got \['cpu', 'meta'\]",
    ),
    "a device of no kind": (lambda: BAGS["b"].to("gpu"), "Bag: device must be one that torch knows"),
    "a device that is not there": (
        lambda: Embedding(FullTable("f", 10, 4), device="mps"),
        "device 'mps' is not there; take one",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_cannot_be_meant_is_refused(case):
    call, message = CALLS[case]
    with pytest.raises((ValueError, NotImplementedError), match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values * 1j, "must be numbers such as torch.float32, got torch.complex64"),
        (torch.Tensor.long, "must be numbers such as torch.float32, got torch.int64"),
        (lambda values: values.to("meta"), "must be values, got a tensor on 'meta'"),
    ],
)
def test_rows_of_other_numbers_are_not_loaded(change, message):
    with pytest.raises(RuntimeError, match=message):
        loaded(change)


class Unmade(FullTable):
    def __init__(self, name, num_embeddings, embedding_dim):
        """Without super().__init__."""


@pytest.mark.parametrize(
    "use",
    [
        lambda: Embedding(Unmade("f", 10, 4)),
        lambda: EmbeddingBag(Unmade("f", 10, 4)),
        lambda: TableCollection([Feature("f", "f")], {"f": Unmade("f", 10, 4)}),
    ],
)
def test_a_table_that_is_not_made_is_named(use):
    with pytest.raises(TypeError, match=r"Unmade: its __init__ must begin with super\(\).__init__\(name"):
        use()


def test_a_lookup_that_is_made_is_no_factory():
    made = TableCollection([Feature("f", "f")], {"f": FullTable("f", 10, 4)}).lookup
    with pytest.raises(ValueError, match="lookup must be the class TorchLookup, or what makes one"):
        TableCollection([Feature("f", "f")], {"f": FullTable("f", 10, 4)}, lookup=made)
