"""Embeddings of every method in what torch wraps models in: two processes that average gradients or shard, averages."""

import copy
import gc
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from contract import EMBEDDING_DIM, EXAMPLES, collect, make
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.testing import assert_close

from recsys.tables import Bag, CodebookTable, DenseGradient, Embedding, TiedHead

IDS = torch.randint(0, 3_000, (4, 8), generator=torch.Generator().manual_seed(1))
CODES = 7 * torch.arange(6 * 3_000).view(6, -1) % 301
KINDS = {kind: example for example, (kind, _) in EXAMPLES.items()}
SHARDED = ("full", "hash-3", "cce", "mixed-dim", "semantic-pieces", "quantized")


def model_of(example):
    """One table and a layer; a table that takes note of ids keeps them, as one of several processes must."""
    torch.manual_seed(0)
    table = make(example) if example != "codes" else _with_codes()
    model = nn.Sequential(Embedding(table), nn.Linear(EMBEDDING_DIM, 1))
    return model.eval() if table.observes else model


def _with_codes():
    return CodebookTable("f", 3_000, EMBEDDING_DIM, num_parts=6, num_choices=301, codes=CODES)


def trained(model, batches):
    """After a step for each batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for ids in batches:
        optimizer.zero_grad()
        model(ids).square().mean().backward()
        optimizer.step()
    return model


def process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    states = {}
    for example in ("codes", *KINDS.values()):
        model = model_of(example)
        if rank and example in ("codes", "cce-pointers"):  # it is the first process' codes that count
            next(each for name, each in model.named_buffers() if name.endswith(("codes", "pointers"))).zero_()
        trained(DistributedDataParallel(model), IDS.split(1)[rank::2])
        states["equal", example] = model.state_dict()
    for example in SHARDED:
        model = trained(fully_shard(model_of(example)), IDS.split(1)[rank::2])
        state = model.state_dict().items()
        states["sharded", example] = {key: each.full_tensor() if is_sharded(each) else each for key, each in state}
    refuse_what_is_in_parts()
    if rank == 1:
        torch.save(states, f"{folder}/states")
    # Models know the group, in cycles: one that is left would end it while the interpreter ends, which has hung.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def is_sharded(tensor):
    return hasattr(tensor, "full_tensor")


def refuse_what_is_in_parts():
    for example in ("full", "hash"):
        embedding = model_of(example)[0]
        head = TiedHead(embedding)
        fully_shard(embedding)
        for read, given in ((head, torch.zeros(1, EMBEDDING_DIM)), (embedding.vectors, IDS[0])):
            with pytest.raises(ValueError, match="'f': its rows are sharded, and put together only while the module"):
                read(given)


@pytest.mark.slow
def test_two_processes_train_what_one_trains():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(process, (folder,), nprocs=2)
        states = torch.load(f"{folder}/states")
    assert len(states) == len(KINDS) + 1 + len(SHARDED)
    for (_, example), state in states.items():
        alone = trained(model_of(example), IDS.split(2)).state_dict()
        assert state.keys() == alone.keys()
        for name, value in alone.items():
            assert_close(state[name], value, rtol=1e-4, atol=1e-6, msg=lambda said, of=(example, name): f"{of}: {said}")


AVERAGES = {
    "mean": {},
    "moving mean": {"multi_avg_fn": get_ema_multi_avg_fn(0.999)},
    "floats alone": {"avg_fn": lambda mine, new, n: mine + (new - mine) / (n + 1) if mine.is_floating_point() else new},
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_averages_of_buffers_are_right_or_refused(example):
    model = model_of(example)
    whole = {name: AveragedModel(model, use_buffers=True, **how) for name, how in AVERAGES.items()}
    parameters = {name: AveragedModel(model, **how) for name, how in AVERAGES.items()}
    for ids in IDS:
        trained(model, [ids])
        for average in (*whole.values(), *parameters.values()):
            average.update_parameters(model)
    for name, average in whole.items():
        if name != "floats alone" and said_of(average):
            assert "was overwritten, as AveragedModel(use_buffers=True) does; average parameters alone" in said_of(
                average
            )
        else:
            assert_close(average(IDS), parameters[name](IDS), rtol=1e-4, atol=1e-6)


def said_of(average):
    """Why it is refused, or nothing."""
    try:
        average(IDS)
    except RuntimeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("average", AVERAGES)
def test_averages_of_the_buffers_of_a_collection_are_refused_unless_integers_are_left(average):
    model = collect("full", ["a", "b", "c"], {"b": "mean", "c": "sum"}, optimizer=DenseGradient())
    bags = {name: Bag(torch.arange(9), torch.tensor([3, 0, 2, 4])) for name in "bc"}
    averaged = AveragedModel(model, use_buffers=True, **AVERAGES[average])
    for _ in range(2):
        averaged.update_parameters(model)
    ids = torch.tensor([[1, 2, 3, 2_999]])
    copy.deepcopy(model)(ids, bags)
    if average == "floats alone":
        assert_close(averaged(ids, bags), model(ids, bags))
    else:
        with pytest.raises(RuntimeError, match="TableCollection: one of its buffers, by which ids are routed, was"):
            averaged(ids, bags)
