"""What somebody who has never read this code tries, and what they are told."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from contract import EMBEDDING_DIM, EXAMPLES, make
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from recsys.tables import (
    Bag,
    DeepLightTable,
    Embedding,
    EmbeddingBag,
    Feature,
    FullTable,
    HashTable,
    QRTable,
    SemanticIdTable,
    SparseTable,
    SwapRule,
    TableCollection,
    UnifiedTable,
    swap_,
)

V, D = 50, 4
every_example = pytest.mark.parametrize("example", EXAMPLES)


@every_example
def test_a_model_without_memory_takes_the_tensors_of_a_checkpoint(example):
    """As libraries load large models: made on "meta", and a state dict assigned to it."""
    torch.manual_seed(3)
    table_type, arguments = EXAMPLES[example]
    saved = Embedding(table_type("f", 3_000, EMBEDDING_DIM, **arguments), padding_idx=1).eval()
    with torch.device("meta"):
        loaded = Embedding(table_type("f", 3_000, EMBEDDING_DIM, **arguments), padding_idx=1).eval()
    loaded.load_state_dict(saved.state_dict(), assign=True)
    ids = torch.randint(0, 3_000, (40,))
    assert torch.equal(loaded(ids), saved(ids))


@every_example
def test_buffers_that_no_checkpoint_has_keep_their_values(example):
    """As transformers' from_pretrained fills them: with uninitialised memory, for modules to write over."""
    embedding = Embedding(make(example)).eval()
    ids = torch.randint(0, 3_000, (40,))
    expected = embedding(ids)
    for name in dict(embedding.named_buffers()).keys() - embedding.state_dict().keys():
        owner, _, buffer = name.rpartition(".")
        module = embedding.get_submodule(owner)
        setattr(module, buffer, torch.full_like(module.get_buffer(buffer), 9))
    assert torch.equal(embedding(ids), expected)


def test_a_model_without_memory_refuses_what_routes_otherwise():
    with torch.device("meta"):
        loaded = Embedding(HashTable("b", V, D, num_rows=9))
    with pytest.raises(RuntimeError, match="HashTable 'b': seed is"):
        loaded.load_state_dict(Embedding(HashTable("a", V, D, num_rows=9)).state_dict(), assign=True)


def test_made_with_codes_and_loaded_without_memory_are_those_of_the_checkpoint():
    codes = torch.arange(2 * V).view(2, V) % 7
    saved = Embedding(SemanticIdTable("a", V, D, codes=codes, num_rows=30))
    with torch.device("meta"):
        loaded = Embedding(SemanticIdTable("a", V, D, codes=codes.cpu() * 0, num_codes=7, num_rows=30))
    loaded.load_state_dict(saved.state_dict(), assign=True)
    assert torch.equal(loaded(torch.arange(V)), saved(torch.arange(V)))


@every_example
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_narrow_ids_are_the_same_ids(example, dtype):
    embedding = Embedding(make(example)).eval()
    ids = torch.randint(0, 250, (3, 7))
    assert torch.equal(embedding(ids.to(dtype)), embedding(ids))
    assert torch.equal(embedding(ids.to(dtype).t()), embedding(ids.t()))


def test_narrow_ids_do_not_overflow_in_a_large_table():
    table = SparseTable("a", 200_000_000, 32, num_values=64)
    collection = TableCollection([Feature("a", "a")], {"a": table})
    ids = torch.tensor([[0, 1, 134_217_728, 134_217_729, 199_999_999]])
    assert torch.equal(collection(ids.int()), collection(ids))
    assert torch.equal(Embedding(table)(ids.int()), Embedding(table)(ids))


@pytest.mark.parametrize("kind", [Embedding, EmbeddingBag])
@pytest.mark.parametrize("ids", [[1, 2], None, np.array([1, 2])], ids=["list", "None", "array"])
def test_ids_that_are_no_tensor_are_refused(kind, ids):
    with pytest.raises(
        ValueError, match=r"ids must be a Tensor of integers, got (list|NoneType|ndarray); torch\.as_tensor"
    ):
        kind(QRTable("f", V, D))(ids)


@pytest.mark.parametrize("table_type", [QRTable, partial(HashTable, num_rows=9), DeepLightTable])
def test_integers_stay_integers(table_type):
    """nn.Module.type converts buffers too."""
    embedding = Embedding(table_type("f", V, D)).eval()
    twin = copy.deepcopy(embedding).double()
    assert torch.equal(embedding.type(torch.float64)(torch.arange(V)), twin(torch.arange(V)))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("example", ["managed-lru", "cafe", "autodim", "deeplight", "alpt", "pep", "full"])
def test_what_is_computed_again_is_not_seen_again(example, reentrant):
    """Gradient checkpointing runs a forward pass once more within the backward pass."""
    torch.manual_seed(0)
    plain = Embedding(fresh(example))
    checkpointed = copy.deepcopy(plain)
    for _ in range(3):
        ids, scale = torch.randint(0, 3_000, (40,)), torch.ones((), requires_grad=True)
        state = torch.get_rng_state()
        plain(ids).square().sum().backward()
        torch.set_rng_state(state)
        again = checkpoint(lambda of, given: checkpointed(given) * of, scale, ids, use_reentrant=reentrant)
        again.square().sum().backward()
    for mine, theirs in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert_close(mine.grad, theirs.grad)
    assert_close(dict(plain.named_buffers()), dict(checkpointed.named_buffers()))


def fresh(example):
    """A table that has seen nothing yet, and is in training mode."""
    table_type, arguments = EXAMPLES[example]
    return table_type("f", 3_000, EMBEDDING_DIM, **arguments)


@pytest.mark.parametrize("kind", [Embedding, EmbeddingBag])
@pytest.mark.parametrize("given", [V, QRTable, partial(QRTable, num_remainders=3)])
def test_what_is_no_table_is_refused(kind, given):
    with pytest.raises(TypeError, match=rf"{kind.__name__} takes a table, as {kind.__name__}\(QRTable\('item'"):
        kind(given)
    with pytest.raises(TypeError, match="takes a table"):
        kind.from_pretrained(torch.zeros(V, D), given)


def test_a_rule_takes_a_class_and_not_a_table():
    with pytest.raises(TypeError, match="SwapRule: table must be a class"):
        SwapRule(QRTable("item", V, D))


def test_an_object_that_holds_the_old_parameter_is_found():
    class Monitor:
        pass

    model = nn.ModuleDict({"item": nn.Embedding(V, D)})
    monitor = Monitor()
    monitor.watched = model["item"].weight
    with pytest.raises(ValueError, match="a Monitor that is no part of the model holds the parameter of 'item'"):
        swap_(model, [SwapRule(QRTable)])
    del monitor
    swap_(model, [SwapRule(QRTable)])


def test_the_weight_can_be_copied_and_says_so():
    weight = Embedding(QRTable("a", V, D)).weight
    with pytest.raises(RuntimeError, match=r"go on with a copy, weight.detach\(\).clone\(\)"):
        nn.Embedding.from_pretrained(weight)
    assert torch.equal(nn.Embedding.from_pretrained(weight.detach().clone()).weight, weight)


def test_it_has_what_an_embedding_has():
    theirs = nn.Embedding(V, D)
    for table in (QRTable("a", V, D), FullTable("a", V, D)):
        ours = Embedding(table)
        for name in ("max_norm", "norm_type", "scale_grad_by_freq", "sparse", "padding_idx", "num_embeddings"):
            assert getattr(ours, name) == getattr(theirs, name)


def test_made_to_be_served_alone_with_shared_rows():
    with torch.inference_mode():
        fields = [Embedding(UnifiedTable(f"C{i}", V, D, num_rows=9)) for i in range(2)]
        assert fields[0].weights[0] is fields[1].weights[0]
        assert fields[0](torch.arange(3)).shape == (3, D)


class Clicks(nn.Module):
    def __init__(self):
        super().__init__()
        features = [Feature("a", "a"), Feature("b", "b"), Feature("c", "c", "sum")]
        tables = {
            "a": QRTable("a", 300, D),
            "b": HashTable("b", 200, D, num_rows=30),
            "c": SparseTable("c", 99, D, num_values=90),
        }
        self.tables = TableCollection(features, tables)
        self.head = nn.Linear(D, 1)

    def forward(self, ids, bags):
        return self.head(self.tables(ids, bags)).tanh()


def test_a_model_with_a_collection_is_compiled_around_it():
    ids = torch.stack([torch.randint(0, 300, (6,)), torch.randint(0, 200, (6,))])
    bags = {"c": Bag(torch.randint(0, 99, (9,)), torch.tensor([2, 0, 3, 1, 1, 2]))}
    found = []
    for compiles in (False, True):
        torch.manual_seed(1)
        torch._dynamo.reset()
        model = Clicks()
        before = model.tables(ids, bags).detach()
        called = torch.compile(model, backend="aot_eager") if compiles else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            called(ids, bags).square().sum().backward()
            optimizer.step()
        found.append(model.tables(ids, bags).detach())
        assert not torch.equal(found[-1], before)
    assert_close(found[0], found[1])


def test_a_collection_needs_tables_with_values():
    with torch.device("meta"):
        table = HashTable("a", V, D, num_rows=9)
    with pytest.raises(ValueError, match="table 'a' has no values, as it was made on the device 'meta'"):
        TableCollection([Feature("a", "a")], {"a": table})
