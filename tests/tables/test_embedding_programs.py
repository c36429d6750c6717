"""Embedding in what torch does with programs: compiled, exported, vectorised, in ONNX, in several processes."""

import gc
import importlib.util
import io
import tempfile
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from contract import EMBEDDING_DIM, EXAMPLES, make
from torch import nn
from torch.func import functional_call, grad, jvp, vjp, vmap
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from recsys.tables import (
    Embedding,
    EmbeddingBag,
    Feature,
    FullTable,
    HashTable,
    ManagedCollisionTable,
    QRTable,
    TableCollection,
    TiedHead,
)

every_example = pytest.mark.parametrize("example", EXAMPLES)
KINDS = list({table_type: example for example, (table_type, _) in reversed(EXAMPLES.items())}.values())
"""One example of every table: what compiles and exports is the program of the class."""

every_kind = pytest.mark.parametrize("example", KINDS)
IDS = torch.randint(0, 3_000, (6, 5), generator=torch.Generator().manual_seed(0))
OUT_OF_RANGE = torch.full((6, 5), 3_000)


def embedding_of(example):
    return Embedding(make(example), padding_idx=0)


@every_kind
def test_compiled_without_a_break(example):
    embedding = embedding_of(example)
    torch._dynamo.reset()
    compiled = torch.compile(embedding, fullgraph=True, backend="aot_eager")
    expected = embedding(IDS)
    assert_close(compiled(IDS), expected)
    trained = [parameter for parameter in embedding.parameters() if parameter.requires_grad]
    if trained:
        expected.square().sum().backward()
        grads = [parameter.grad.clone() for parameter in trained]
        embedding.zero_grad()
        compiled(IDS).square().sum().backward()
        for parameter, wanted in zip(trained, grads, strict=True):
            assert_close(parameter.grad, wanted)
    with pytest.raises(RuntimeError, match="out of range"):
        compiled(OUT_OF_RANGE)


def test_compiled_to_machine_code():
    embedding = embedding_of("qr")
    torch._dynamo.reset()
    compiled = torch.compile(embedding, fullgraph=True)
    assert_close(compiled(IDS), embedding(IDS))
    with pytest.raises(RuntimeError, match="out of range"):
        compiled(OUT_OF_RANGE)


@pytest.mark.parametrize(("example", "strict"), [*((each, False) for each in KINDS), ("qr", True), ("pruned", True)])
def test_exported(example, strict):
    embedding = embedding_of(example)
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(embedding, (IDS,), dynamic_shapes=({0: batch},), strict=strict)
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    program = torch.export.load(file).module()
    assert_close(program(IDS), embedding(IDS))
    more = torch.randint(0, 3_000, (9, 5))
    assert_close(program(more), embedding(more))
    with pytest.raises(RuntimeError, match="out of range"):
        program(OUT_OF_RANGE)


@every_kind
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:`torch.jit:DeprecationWarning")
def test_traced_by_torchscript(example):
    embedding = embedding_of(example).eval()
    program = torch.jit.trace(embedding, (IDS,))
    more = torch.randint(0, 3_000, (9, 5))
    assert_close(program(more), embedding(more))


@every_example
def test_vectorised(example):
    embedding = embedding_of(example)
    assert_close(vmap(embedding)(IDS), embedding(IDS))
    assert_close(vmap(vmap(embedding))(IDS), embedding(IDS))
    with pytest.raises(ValueError, match=r"ids must be in \[0, num_embeddings=3000\), got 3000"):
        vmap(embedding)(OUT_OF_RANGE)


@every_example
def test_gradients_of_each_sample(example):
    embedding = embedding_of(example)
    parameters = {name: value.detach() for name, value in embedding.named_parameters() if value.requires_grad}
    if not parameters:
        return

    def loss(values, ids):
        return functional_call(embedding, values, (ids,)).square().sum()

    per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, IDS)
    for sample, ids in enumerate(IDS):
        embedding.zero_grad()
        embedding(ids).square().sum().backward()
        for name in parameters:
            assert_close(per_sample[name][sample], embedding.get_parameter(name).grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("example", ["full", "qr", "pruned"])
def test_sparse_gradients_with_padding_in_programs(example):
    """The rows read, those of padding and of no row too, with the gradients that they have outside."""
    embedding = Embedding(make(example), padding_idx=int(IDS[0, 0]), sparse=True)
    embedding(IDS).square().sum().backward()
    expected = {name: value.grad.to_dense() for name, value in embedding.named_parameters()}
    embedding.zero_grad()
    torch._dynamo.reset()
    compiled = torch.compile(embedding, fullgraph=True, backend="aot_eager")
    assert_close(compiled(IDS), embedding(IDS))
    compiled(IDS).square().sum().backward()
    for name, value in embedding.named_parameters():
        assert value.grad.is_sparse
        assert_close(value.grad.to_dense(), expected[name])
    assert_close(torch.export.export(embedding, (IDS,)).module()(IDS), embedding(IDS))


@every_kind
@pytest.mark.parametrize("kind", [Embedding, partial(EmbeddingBag, mode="sum")], ids=["embedding", "bag"])
def test_sparse_gradients_of_each_sample(example, kind):
    embedding = kind(make(example), padding_idx=int(IDS[0, 0]), sparse=True)
    assert_close(vmap(embedding)(IDS.unsqueeze(1)).squeeze(1), embedding(IDS))
    parameters = {name: value.detach() for name, value in embedding.named_parameters() if value.requires_grad}
    if not parameters:
        return

    def loss(values, ids):
        return functional_call(embedding, values, (ids.unsqueeze(0),)).square().sum()

    per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, IDS)
    embedding(IDS[:1]).square().sum().backward()
    for name in parameters:
        expected = embedding.get_parameter(name).grad.to_dense()
        assert_close(per_sample[name][0], expected, rtol=1e-4, atol=1e-6)


@every_kind
def test_in_forward_mode(example):
    """The directional derivative, multiplied by a gradient, is the gradient that flows back along the direction."""
    embedding = Embedding(make(example))
    parameters = {name: value.detach() for name, value in embedding.named_parameters() if value.requires_grad}
    if not parameters:
        return

    def vectors(values):
        return functional_call(embedding, values, (IDS,))

    direction = {name: torch.randn_like(value) for name, value in parameters.items()}
    found, change = jvp(vectors, (parameters,), (direction,))
    assert_close(found, embedding(IDS))
    gradient = torch.randn_like(found)
    (back,) = vjp(vectors, parameters)[1](gradient)
    expected = sum((back[name] * direction[name]).sum() for name in parameters)
    assert_close((change * gradient).sum(), expected, rtol=1e-3, atol=1e-3)


class Pooled(nn.Module):
    """A model with embeddings, bags and a head that is tied to one."""

    def __init__(self, example):
        super().__init__()
        self.embedding = embedding_of(example)
        self.bags = EmbeddingBag(HashTable("b", 3_000, EMBEDDING_DIM, num_rows=99), mode="sum")
        self.head = TiedHead(self.embedding)

    def forward(self, ids, weights):
        return self.head(self.embedding(ids).mean(1) + self.bags(ids, per_sample_weights=weights))


@every_kind
def test_traced_by_fx(example):
    model, weights = Pooled(example).eval(), torch.rand(6, 5)
    traced = torch.fx.symbolic_trace(model)
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    assert called == ["embedding", "bags", "head"]
    assert_close(traced(IDS, weights), model(IDS, weights))
    assert {id(each) for each in traced.parameters()} == {id(each) for each in model.parameters()}
    with pytest.raises(ValueError, match="must be in"):
        traced(OUT_OF_RANGE, weights)


def test_traced_by_itself_it_says_that_it_is_one_call():
    with pytest.raises(ValueError, match="trace the model that it is a part of"):
        torch.fx.symbolic_trace(Embedding(FullTable("a", 9, 2)))


def test_a_collection_is_traced_as_one_call():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = TableCollection([Feature("a", "a")], {"a": QRTable("a", 3_000, EMBEDDING_DIM)})
            self.head = nn.Linear(EMBEDDING_DIM, 1)

        def forward(self, ids):
            return self.head(self.tables(ids))

    model = Model()
    traced = torch.fx.symbolic_trace(model)
    assert_close(traced(IDS[:1]), model(IDS[:1]))


@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="onnxscript is not installed")
@pytest.mark.parametrize("example", ["full", "unified", "qr", "pruned", "robe", "managed-lru"])
def test_in_onnx(example):
    from onnx.reference import ReferenceEvaluator

    embedding = embedding_of(example).eval()
    program = torch.onnx.export(embedding, (IDS,), dynamo=True, verbose=False)
    (found,) = ReferenceEvaluator(program.model_proto).run(None, {program.model_proto.graph.input[0].name: IDS.numpy()})
    assert_close(torch.from_numpy(found), embedding(IDS).detach(), rtol=1e-4, atol=1e-6)


def step_in_a_process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    steps_in_a_process(rank, folder)
    # Models know the group, in cycles: one that is left would end it while the interpreter ends, which has hung.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def steps_in_a_process(rank, folder):
    for sparse in (True, False):
        model = DistributedDataParallel(two_tables(sparse))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(2):
            optimizer.zero_grad()
            model(IDS[rank + 2 * step]).square().mean().backward()
            optimizer.step()
        if rank == 0:
            torch.save(model.module.state_dict(), f"{folder}/{sparse}")
    moving = DistributedDataParallel(Embedding(ManagedCollisionTable("d", 3_000, EMBEDDING_DIM, num_rows=9)))
    moving.eval()(IDS[rank])
    with pytest.raises(ValueError, match="its own process alone, one of 2; train it in one process, or in a Table"):
        moving.train()(IDS[rank])


class TwoTables(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        tables = [
            FullTable("a", 3_000, EMBEDDING_DIM),
            QRTable("b", 3_000, EMBEDDING_DIM),
            HashTable("c", 3_000, EMBEDDING_DIM, num_rows=99),
        ]
        self.embeddings = nn.ModuleList(Embedding(table, sparse=sparse, padding_idx=-1) for table in tables)
        self.head = nn.Linear(EMBEDDING_DIM, 1)

    def forward(self, ids):
        return self.head(sum(embedding(ids) for embedding in self.embeddings))


def two_tables(sparse):
    torch.manual_seed(0)
    return TwoTables(sparse)


def test_two_processes_equal_one():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(step_in_a_process, (folder,), nprocs=2)
        states = {sparse: torch.load(f"{folder}/{sparse}") for sparse in (True, False)}
    for sparse, state in states.items():
        model = two_tables(sparse)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(2):
            optimizer.zero_grad()
            model(IDS[2 * step : 2 * step + 2]).square().mean().backward()
            optimizer.step()
        for name, value in model.state_dict().items():
            assert_close(state[name], value, rtol=1e-5, atol=1e-7)
