"""Ids that repeat are found out and computed once, and nothing else changes."""

import pytest
import torch
from contract import EXAMPLES, make
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import SGD, Bag, Feature, TableCollection
from recsys.tables.distinct import counted, distinct_ids, first_of_each

MERGING = [name for name, (kind, _) in EXAMPLES.items() if kind.repeats_cost]


@given(values=st.lists(st.integers(0, 40), max_size=20), num_values=st.sampled_from([41, 10**9]))
@settings(deadline=None)
def test_where_each_value_comes_first(values, num_values):
    first, numbers = first_of_each(torch.tensor(values, dtype=torch.int64), num_values)
    assert first.tolist() == sorted(values.index(value) for value in set(values))
    assert [values[first[number]] for number in numbers] == values


@given(ids=st.lists(st.lists(st.integers(0, 8), min_size=4, max_size=4), min_size=1, max_size=5))
@settings(deadline=None)
def test_one_id_of_two_features_is_two(ids):
    flat, features = torch.tensor(ids).flatten(), torch.arange(len(ids)).repeat_interleave(4)
    found = distinct_ids(flat, features, torch.full((len(ids),), 9))
    pairs = list(zip(found.features.tolist(), found.ids.tolist(), strict=True))
    wanted = {(feature, each) for feature, column in enumerate(ids) for each in column}
    assert (len(pairs), set(pairs)) == (len(wanted), wanted)
    assert found.counts == [len(set(column)) for column in ids]
    assert found.features.tolist() == sorted(found.features.tolist())
    assert torch.equal(found.spread(found.ids.unsqueeze(1)).squeeze(1), flat)
    assert found.num_repeats().tolist() == [ids[feature].count(each) for feature, each in pairs]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_spread_vectors_give_the_sum_of_their_gradients(dtype):
    ids = torch.tensor([7, 3, 7, 7, 2**40])
    found = distinct_ids(ids, None, torch.tensor([2**41]))
    vectors = torch.randn(3, 4, dtype=dtype, requires_grad=True)
    gradient = torch.randn(5, 4, dtype=dtype).round(decimals=1)
    found.spread(vectors).backward(gradient)
    expected = torch.zeros(3, 4, dtype=torch.float64).index_add_(0, found.places, gradient.double())
    assert_close(vectors.grad.double(), expected, rtol=0, atol=0.02 if dtype == torch.bfloat16 else 1e-6)


def collection_of(example):
    torch.manual_seed(0)
    tables = {name: make(example, name, size) for name, size in {"a": 3_000, "b": 2_900}.items()}
    pooled = {"mean": "a", "sum": "b"}
    features = [Feature("a", "a"), Feature("b", "b"), *(Feature(each, of, each) for each, of in pooled.items())]
    features.append(Feature("past", "a", "sequence", max_length=2))
    return TableCollection(features, tables, optimizer=SGD(0.1))


def batch():
    ids = torch.tensor([[5, 5, 2_999, 5], [5, 7, 7, 0]], dtype=torch.int32)
    bags = {
        "mean": Bag(torch.tensor([3, 3, 3, 2_999, 5]), torch.tensor([3, 0, 1, 1])),
        "sum": Bag(torch.tensor([3, 9, 3]), torch.tensor([1, 2, 0, 0]), torch.tensor([2.0, 1.0, 0.5])),
        "past": Bag(torch.tensor([1, 1, 2, 1], dtype=torch.int32), torch.tensor([2, 1, 1, 0])),
    }
    return ids, bags


@pytest.mark.parametrize("example", MERGING)
def test_vectors_penalties_gradients_and_steps_are_those_of_ids_one_by_one(example, monkeypatch):
    results = []
    for repeats_cost in (True, False):
        monkeypatch.setattr(EXAMPLES[example][0], "repeats_cost", repeats_cost)
        collection = collection_of(example)
        seen = []
        collection.lookup.register_forward_pre_hook(lambda _, given, seen=seen: seen.extend(given[0]))
        embedded = collection(*batch())
        penalty = collection.regularizer(4)
        found = [embedded.vectors, embedded.sequences["past"][0]]
        loss = sum((each * torch.arange(each.numel()).view(each.shape)).square().sum() for each in found)
        (loss if penalty is None else loss + penalty).backward()
        gradients = [parameter.grad for parameter in collection.tables.parameters()]
        collection.step()
        rows = [collection.lookup.weight(name) for name in collection.lookup.tables]
        results.append(([*found, *gradients, *rows, *([] if penalty is None else [penalty])], seen))
    (once, reads), (each_time, other_reads) = results
    for one, other in zip(once, each_time, strict=True):
        # Sums that nearly cancel have last bits that go by the machine: apart by less than these bits of the largest.
        assert_close(one, other, rtol=1e-4, atol=1e-6 * max(1.0, float(other.abs().max())))
    num_once, num_each_time = (sum(each.rows.numel() for each in every) for every in (reads, other_reads))
    assert num_once < num_each_time or num_each_time == 0


@pytest.mark.parametrize("example", MERGING)
def test_batches_and_bags_may_be_empty(example):
    collection = collection_of(example)
    for num_samples in (0, 1):
        none = torch.zeros(0, dtype=torch.int64)
        bags = {name: Bag(none, torch.zeros(num_samples, dtype=torch.int64)) for name in ("mean", "sum", "past")}
        embedded = collection(torch.zeros(2, num_samples, dtype=torch.int64), bags)
        penalty = collection.regularizer(1)
        loss = embedded.vectors.sum() + embedded.sequences["past"][0].sum()
        (loss if penalty is None else loss + penalty).backward()
        collection.step()
        assert embedded.vectors.shape[0] == num_samples


@given(values=st.lists(st.integers(0, 40), max_size=20), num_values=st.sampled_from([41, 10**9]))
@settings(deadline=None)
def test_values_are_counted(values, num_values):
    found, occurrences = counted(torch.tensor(values, dtype=torch.int64), num_values)
    assert found.tolist() == sorted(set(values))
    assert occurrences.tolist() == [values.count(value) for value in found.tolist()]
