"""Rows that are added up as they are read are equal to rows that are read, and then added up."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    Adam,
    Bag,
    DenseGradient,
    FbgemmLookup,
    Feature,
    Frozen,
    FullTable,
    HashTable,
    NumbaLookup,
    RowWiseAdagrad,
    SemanticIdTable,
    TableCollection,
    TorchLookup,
)
from recsys.tables.lookups.kernels import gather_sums

NUM_IDS, DIM = 40, 8
CODES = torch.randint(0, 5, (4, NUM_IDS), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.arange(NUM_IDS) % 5
"""A fifth of the ids have no codes, and most have less than four."""


class ApartSemantic(SemanticIdTable):
    """Reads its rows one by one."""

    sums = False


class ApartHash(HashTable):
    """Reads its rows one by one."""

    sums = False


def collection_of(semantic, hashed, **arguments):
    tables = {
        "item": semantic("item", NUM_IDS, DIM, codes=CODES, lengths=LENGTHS, num_rows=25),
        "other": hashed("other", NUM_IDS, DIM, num_rows=11, num_lookups=3),
        "plain": FullTable("plain", NUM_IDS, DIM),
    }
    features = [
        Feature("item", "item"),
        Feature("again", "item"),
        Feature("other", "other"),
        Feature("plain", "plain"),
        Feature("tags", "item", pooling="mean"),
    ]
    torch.manual_seed(0)
    return TableCollection(features, tables, **arguments)


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([2, 0, 3, 1, 0, 4])
    values = torch.randint(0, NUM_IDS, (int(lengths.sum()),), generator=generator)
    return torch.randint(0, NUM_IDS, (4, 6), generator=generator), {"tags": Bag(values, lengths)}


LOOKUPS = {
    "torch": (TorchLookup, [SGD(0.1), Adam(0.1), DenseGradient(), Frozen()]),
    "numba": (NumbaLookup, [SGD(0.1), RowWiseAdagrad(0.1), Adam(0.1), Frozen()]),
    "fbgemm": (FbgemmLookup, [SGD(0.1), RowWiseAdagrad(0.1)]),
}


@pytest.mark.parametrize("clip_rows", [False, True])
@pytest.mark.parametrize(
    ("lookup", "optimizer"), [(lookup, each) for lookup, optimizers in LOOKUPS.values() for each in optimizers], ids=str
)
def test_steps_are_those_of_rows_read_one_by_one(lookup, optimizer, clip_rows):
    made = [
        collection_of(*kinds, lookup=lookup, optimizer=optimizer, clip_rows=clip_rows)
        for kinds in ((SemanticIdTable, HashTable), (ApartSemantic, ApartHash))
    ]
    dense = [
        torch.optim.SGD([p for g in each.param_groups() for p in g["params"]] or [torch.zeros(1)], 0.1) for each in made
    ]
    for step in range(3):
        vectors = [[each(*batch(10 * step + part)) for part in range(step + 1)] for each in made]
        for own, apart in zip(*vectors, strict=True):
            assert_close(own, apart)
        for own, each, by in zip(vectors, made, dense, strict=True):
            loss = sum(vector.square().sum() for vector in own)
            if loss.requires_grad:
                loss.backward()
            if clip_rows and loss.requires_grad:
                torch.nn.utils.clip_grad_norm_(each.parameters(), 0.5)
            by.step()
            by.zero_grad()
    for name in ("item", "other", "plain"):
        for kind, values in made[0].lookup.tensors(name).items():
            assert_close(values, made[1].lookup.tensors(name)[kind])
        changed = not torch.equal(
            made[0].lookup.weight(name),
            collection_of(SemanticIdTable, HashTable, lookup=lookup, optimizer=optimizer).lookup.weight(name),
        )
        assert changed == (not isinstance(optimizer, Frozen))


def test_narrow_rows_are_added_up_in_the_dtype_of_what_is_read():
    made = collection_of(SemanticIdTable, HashTable, dtype=torch.bfloat16, lookup=TorchLookup).to(torch.float32)
    apart = collection_of(ApartSemantic, ApartHash, dtype=torch.bfloat16, lookup=TorchLookup).to(torch.float32)
    assert made(*batch(0)).dtype == torch.float32
    assert torch.equal(made(*batch(0)), apart(*batch(0)))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(0, 40), st.integers(1, 9), st.integers(0, 99))
def test_the_kernel_adds_up_what_is_there(num_summed, num_vectors, width, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(13, width, generator=generator)
    rows = torch.randint(-1, 13, (num_vectors * num_summed,), generator=generator)
    found = torch.full((num_vectors, width), 7.0)
    gather_sums(weight.numpy(), rows.numpy(), num_summed, found.numpy(), 0, num_vectors)
    padded = torch.cat([weight, torch.zeros(1, width)])
    assert_close(found, padded[rows].view(num_vectors, num_summed, width).sum(1))
