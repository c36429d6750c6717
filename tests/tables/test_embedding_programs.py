"""Embedding in what torch does with programs: compiled, exported, vectorised, in ONNX, in several processes."""

import gc
import importlib.util
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from contract import EMBEDDING_DIM, EXAMPLES, make
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from recsys.tables import Embedding, FullTable, HashTable, QRTable

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
    program = torch.export.export(embedding, (IDS,), dynamic_shapes=({0: batch},), strict=strict).module()
    assert_close(program(IDS), embedding(IDS))
    more = torch.randint(0, 3_000, (9, 5))
    assert_close(program(more), embedding(more))
    with pytest.raises(RuntimeError, match="out of range"):
        program(OUT_OF_RANGE)


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
    for sparse in (True, False):
        state = state_after_two_steps(rank, sparse)
        if rank == 0:
            torch.save(state, f"{folder}/{sparse}")
    # Models know the group, in cycles: one that is left would end it while the interpreter ends, which has hung.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def state_after_two_steps(rank, sparse):
    model = DistributedDataParallel(two_tables(sparse))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        model(IDS[rank + 2 * step]).square().mean().backward()
        optimizer.step()
    return model.module.state_dict()


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
