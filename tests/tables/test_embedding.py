"""Embedding beside nn.Embedding: padding, state dicts, devices, shared storage."""

import copy
import gc
import pickle

import pytest
import torch
import torch.nn.functional as F
from contract import EMBEDDING_DIM, EXAMPLES, make
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from recsys.tables import (
    DeepHashTable,
    Embedding,
    FullTable,
    HashTable,
    MixedDimTable,
    MixedRadix,
    PrunedTable,
    QRSumTable,
    QRTable,
    UnifiedTable,
)
from recsys.tables.matrices import Matrix

V, D = 50, 8
every_example = pytest.mark.parametrize("example", EXAMPLES)


def test_the_weight_of_a_full_table_is_the_parameter_of_an_embedding():
    embedding, theirs = Embedding(FullTable("a", V, D), padding_idx=-1), nn.Embedding(V, D, padding_idx=-1)
    assert isinstance(embedding, nn.Embedding)
    assert isinstance(embedding.weight, nn.Parameter)
    assert list(embedding.state_dict()) == ["weight"] == [name for name, _ in embedding.named_parameters()]
    embedding.load_state_dict(theirs.state_dict())
    ids = torch.randint(0, V, (3, 4))
    assert torch.equal(embedding(ids), theirs(ids))
    theirs.load_state_dict(embedding.state_dict())
    embedding.weight = nn.Linear(D, V).weight  # tied to an output layer
    assert embedding(ids).shape == (3, 4, D)


@every_example
@pytest.mark.parametrize("sparse", [False, True])
def test_padding_gives_no_gradient(example, sparse):
    if sparse and not list(Embedding(make(example)).table.physical_tables()):
        pytest.skip("no rows")
    embedding = Embedding(make(example), padding_idx=-1, sparse=sparse)
    assert embedding.padding_idx == 2_999
    if embedding.table.keeps_vectors:
        assert embedding.weight[-1].abs().sum() == 0
        with torch.no_grad():
            embedding.weight[-1] = 1.0  # a row that was loaded is kept, as nn.Embedding keeps it
    vectors = embedding(torch.tensor([[2_999, 5], [2_999, 2_999]]))
    assert torch.equal(vectors[1], torch.full((2, EMBEDDING_DIM), float(embedding.table.keeps_vectors)))
    if not any(parameter.requires_grad for parameter in embedding.parameters()):
        return
    vectors.square().sum().backward()
    alone = Embedding(make(example), sparse=sparse)
    alone(torch.tensor([5])).square().sum().backward()
    for mine, theirs in zip(embedding.parameters(), alone.parameters(), strict=True):
        if not mine.requires_grad:
            continue
        if mine.grad.is_sparse:
            assert torch.equal(mine.grad.coalesce().indices(), theirs.grad.coalesce().indices()), (
                "rows that are touched"
            )
        assert_close(mine.grad.to_dense(), theirs.grad.to_dense())


@every_example
@pytest.mark.parametrize("sparse", [False, True])
def test_no_ids_and_padding_alone(example, sparse):
    embedding = Embedding(make(example), padding_idx=0, sparse=sparse)
    for shape in ((0,), (3, 0), (0, 4), (2, 3), *([] if sparse else [()])):
        vectors = embedding(torch.zeros(shape, dtype=torch.long))
        assert vectors.shape == (*shape, EMBEDDING_DIM)
        assert embedding.table.keeps_vectors or not vectors.any()
        if vectors.requires_grad:
            vectors.sum().backward()
    assert not any(each.grad.to_dense().any() for each in embedding.parameters() if each.grad is not None)


@every_example
@pytest.mark.parametrize("ids", [torch.tensor([1.0]), torch.tensor([True]), torch.tensor([1 + 0j])], ids=str)
def test_ids_are_integers(example, ids):
    with pytest.raises(ValueError, match="ids must be integers"):
        Embedding(make(example))(ids)


@every_example
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_asked_is_dtype_given(example, dtype):
    embedding = Embedding(make(example), dtype=dtype, padding_idx=0)
    assert embedding(torch.arange(4)).dtype == dtype == embedding.dtype
    assert embedding.weight.dtype == dtype
    own = {
        rows
        for matrix in embedding.modules()
        if isinstance(matrix, Matrix) and matrix.physical.dtype
        for rows in [matrix.rows]
    }
    assert {parameter.dtype for parameter in embedding.parameters() if parameter not in own} <= {dtype}
    assert embedding.float()(torch.arange(4)).dtype == torch.float32


def test_the_default_dtype_and_device():
    torch.set_default_dtype(torch.float64)
    try:
        assert Embedding(QRTable("a", V, D))(torch.arange(3)).dtype == torch.float64
        assert Embedding(DeepHashTable("a", V, D, hidden_dim=4)).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert Embedding(QRTable("a", V, D), device="meta").weight.is_meta


@every_example
@pytest.mark.parametrize("way", ["context", "argument"])
def test_made_without_memory_and_filled_later(example, way):
    torch.manual_seed(3)
    expected = Embedding(make(example), padding_idx=1)
    if way == "context":
        with torch.device("meta"):
            table_type, arguments = EXAMPLES[example]
            embedding = Embedding(table_type("f", 3_000, EMBEDDING_DIM, **arguments), padding_idx=1)
    else:
        embedding = Embedding(make(example), padding_idx=1, device="meta")
    assert all(tensor.is_meta for tensor in embedding.parameters())
    embedding.to_empty(device="cpu")
    embedding.reset_parameters()
    routing = {name: value for name, value in expected.state_dict().items() if name.startswith("table.")}
    for name, value in embedding.state_dict().items():
        if embedding.table.observes and name in routing:
            continue  # it starts with no id, the expected one has seen some
        assert torch.equal(value, expected.state_dict()[name]), name


@every_example
def test_emptied_it_still_routes_as_before(example):
    embedding = Embedding(make(example))
    ids = torch.arange(100)
    constants = {name: value.clone() for name, value in embedding.table.constants().items()}
    embedding.to_empty(device="cpu")
    for name, value in constants.items():
        assert torch.equal(embedding.table.constants()[name], value)
    physical = embedding.table.physical_tables()
    for matrix, rows in zip(physical, embedding.table.rows_of(ids) if physical else (), strict=True):
        assert int(rows.max()) < matrix.num_rows


@every_example
def test_reset_parameters_starts_afresh(example):
    torch.manual_seed(7)
    embedding = Embedding(make(example), padding_idx=2)
    before = {name: parameter.detach().clone() for name, parameter in embedding.named_parameters()}
    with torch.no_grad():
        for parameter in embedding.parameters():
            parameter.add_(1)
    embedding.reset_parameters()
    for name, parameter in embedding.named_parameters():
        assert torch.equal(parameter, before[name]), name
    torch.manual_seed(8)
    embedding.reset_parameters()
    drawn = [physical.init_std for physical in embedding.table.physical_tables()]
    changed = [not torch.equal(parameter, before[name]) for name, parameter in embedding.named_parameters()]
    assert any(changed) or (drawn and not any(drawn))


@pytest.mark.parametrize("table", [QRTable("a", V, D), FullTable("a", V, D)], ids=["computed", "full"])
def test_a_padding_that_is_set_later_is_an_id(table):
    embedding = Embedding(table)
    embedding.padding_idx = -1
    assert embedding.padding_idx == V - 1
    embedding(torch.tensor([V - 1])).sum().backward()
    assert not any(parameter.grad.any() for parameter in embedding.parameters())
    with pytest.raises(ValueError, match=rf"padding_idx must be in \[-{V}, {V - 1}\], got {V}"):
        embedding.padding_idx = V


@every_example
def test_copied_and_pickled(example):
    embedding = Embedding(make(example), padding_idx=2)
    ids = torch.arange(20)
    for other in (copy.deepcopy(embedding), pickle.loads(pickle.dumps(embedding))):
        assert type(other) is type(embedding)
        assert torch.equal(other(ids), embedding(ids))
        assert not {id(p) for p in other.parameters()} & {id(p) for p in embedding.parameters()}


def fields(number=26, storage="unified", first=0):
    names = [f"C{position}" for position in range(first, first + number)]
    return nn.ModuleList(Embedding(UnifiedTable(n, 1_000, D, num_rows=500, storage=storage)) for n in names)


def test_26_unified_embeddings_are_one_matrix():
    model = fields()
    assert len(list(model.parameters())) == 1
    assert sum(parameter.numel() for parameter in model.parameters()) == 500 * D // 2
    model[3](torch.arange(1_000)).sum().backward()
    assert model[7].weights[0].grad.abs().sum() > 0
    moved = copy.deepcopy(model).to(torch.float64).to_empty(device="cpu")
    assert len(list(moved.parameters())) == 1
    assert moved[0].weights[0] is not model[0].weights[0]


def test_two_models_share_nothing():
    first, second = fields(), fields()
    assert first[0].weights[0] is not second[0].weights[0]
    assert len(list(second.parameters())) == 1
    assert torch.equal(first[0].weights[0], second[0].weights[0]), "both start as seed and name say"
    with torch.no_grad():
        second[0].weights[0].add_(1)
    third = fields(3, first=30)
    assert third[0].weights[0] is not second[0].weights[0], "what was written to is another model's"
    other = fields(2, storage="other", first=40)
    assert other[0].weights[0] is not third[0].weights[0]
    twice = [Embedding(HashTable("a", V, D, num_rows=5)) for _ in range(2)]
    assert twice[0].weights[0] is not twice[1].weights[0]


def test_a_shared_matrix_dies_with_its_readers():
    from recsys.tables.matrices import _newest, _sharing

    model = fields(storage="mortal")
    number = len(_sharing)
    assert len(_newest) >= 1
    del model
    gc.collect()
    assert len(_sharing) < number


@pytest.mark.parametrize("table_type", [QRTable, QRSumTable])
@pytest.mark.parametrize("sizes", [{"num_remainders": 60}, {"partition": MixedRadix(3)}], ids=str)
def test_qr_is_combined_directly_and_equal_to_the_bit(table_type, sizes):
    table = table_type("a", 1_000, D, **sizes)
    embedding, ids = Embedding(table), torch.randint(0, 1_000, (64,))
    rows = torch.cat([F.embedding(r, w) for r, w in zip(table.rows_of(ids), embedding.weights, strict=True)], dim=1)
    first = embedding(ids)
    assert torch.equal(first, table.vectors_of(rows, ids))
    first.square().sum().backward()
    grads = [weight.grad.clone() for weight in embedding.weights]
    embedding.zero_grad()
    table.vectors_of(rows, ids).square().sum().backward()
    assert all(torch.equal(weight.grad, grad) for weight, grad in zip(embedding.weights, grads, strict=True))


class Operations(TorchDispatchMode):
    """Notes which operations run, in the backward pass too."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("table_type", [QRTable, QRSumTable])
def test_qr_copies_no_rows_forth_or_back(table_type):
    embedding, ids = Embedding(table_type("a", 1_000, D)), torch.randint(0, 1_000, (64,))
    with Operations() as operations:
        embedding(ids).square().sum().backward()
    assert "embedding" in operations.names
    assert not {"cat", "clone", "copy_", "split"} & set(operations.names)


@pytest.mark.parametrize("example", ["managed-lru", "cafe", "deeplight", "gradual"])
def test_frozen_rows_stay_with_their_ids(example):
    table_type, arguments = EXAMPLES[example]
    embedding = Embedding(table_type("f", 3_000, EMBEDDING_DIM, **arguments)).requires_grad_(False)
    before = {name: value.clone() for name, value in embedding.state_dict().items() if isinstance(value, torch.Tensor)}
    for _ in range(3):
        embedding(torch.randint(0, 3_000, (99,)))
    assert all(torch.equal(embedding.state_dict()[name], value) for name, value in before.items())
    embedding.requires_grad_(True)(torch.randint(0, 3_000, (99,)))
    assert not all(torch.equal(embedding.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "table",
    [FullTable("a", V, D), QRTable("a", V, D), MixedDimTable("a", V, D, row_dim=4), PrunedTable("a", V, D, num_rows=9)],
    ids=lambda table: type(table).__name__,
)
def test_frozen_it_stays(table, sparse):
    embedding = Embedding(table, sparse=sparse).requires_grad_(False)
    assert not embedding(torch.arange(V)).requires_grad
    assert not embedding.weight.requires_grad
