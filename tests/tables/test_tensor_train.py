"""Products of three cores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import SGD, Bag, DeepHashTable, Embedding, Feature, TableCollection, TTTable
from recsys.tables.tensor_train import _three_factors


def dense(embedding):
    """The whole matrix, by contraction over both bonds."""
    table = embedding.table
    (n1, n2, n3), (d1, d2, d3), (left, right) = table.num_digits, table.dims, table.ranks
    first, middle, last = (weight.detach().double() for weight in embedding.weights)
    first, last = first.view(n1, d1, left), last.view(n3, right, d3)
    middle = middle.view(n2, left, d2, right)
    whole = torch.einsum("aix,bxjy,cyk->abcijk", first, middle, last)
    return whole.reshape(n1 * n2 * n3, d1 * d2 * d3).float()


@pytest.mark.parametrize(("num_embeddings", "dim", "rank"), [(1_000, 24, 5), (997, 16, 3), (7, 7, 2), (1, 1, 1)])
def test_every_vector_is_an_entry_of_the_contraction(num_embeddings, dim, rank):
    embedding = Embedding(TTTable("f", num_embeddings, dim, rank=rank))
    assert_close(embedding(torch.arange(num_embeddings)), dense(embedding)[:num_embeddings], rtol=1e-4, atol=1e-6)


@given(dim=st.integers(1, 300))
def test_three_factors_are_as_alike_as_there_are(dim):
    first, middle, last = _three_factors(dim)
    assert first * middle * last == dim
    assert middle <= first <= last
    largest = [max(a, b, dim // a // b) for a in range(1, dim + 1) for b in range(1, dim + 1) if dim % (a * b) == 0]
    assert last == min(largest)


@given(num_embeddings=st.integers(1, 200_000), dim=st.sampled_from([1, 8, 16, 24, 64]), fraction=st.floats(0.0005, 1))
@settings(deadline=None, max_examples=100)
def test_a_budget_buys_ranks_that_fit_and_nearly_fill_it(num_embeddings, dim, fraction):
    smallest = TTTable("f", num_embeddings, dim, rank=1)
    budget = int(fraction * 4 * num_embeddings * dim)
    if budget < sum(matrix.num_bytes() for matrix in smallest.physical_tables()):
        with pytest.raises(ValueError, match="the smallest budget that can is"):
            TTTable("f", num_embeddings, dim, budget_fraction=fraction)
        return
    table = TTTable("f", num_embeddings, dim, budget_fraction=fraction)
    taken = sum(matrix.num_bytes() for matrix in table.physical_tables())
    assert taken <= budget
    assert table.row_dims[1] <= 2048
    left, right = table.ranks
    assert max(left, right) <= 2 * min(left, right) or (left, right) == table._capped(max(left, right))
    if min(left, right) >= 20 and table.row_dims[1] < 1800 and max(left, right) < min(table._highest):
        assert taken > 0.95 * budget


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("num_embeddings", "dim"), [(40_000, 8), (40_000, 24), (1_000_000, 16), (10_000_000, 64)])
def test_what_ranks_leave_of_a_large_budget_buys_rows_of_the_middle_core(num_embeddings, dim, fraction):
    table = TTTable("f", num_embeddings, dim, budget_fraction=fraction)
    taken = sum(matrix.num_bytes() for matrix in table.physical_tables())
    assert 0.95 < taken / (fraction * 4 * num_embeddings * dim) <= 1
    assert table.row_dims[1] <= 2048
    ids = torch.tensor([0, 1, num_embeddings // 2, num_embeddings - 1])
    first, middle, last = (digit.tolist() for digit in table.rows_of(ids))
    _, num_middle, num_last = table.num_digits
    rebuilt = [(a * num_middle + b) * num_last + c for a, b, c in zip(first, middle, last, strict=True)]
    assert rebuilt == ids.tolist()
    assert all(max(digits) < count for digits, count in zip((first, middle, last), table.num_digits, strict=True))


def test_ranks_beyond_those_of_the_matrix_are_not_kept():
    table = TTTable("f", 1_000, 8, rank=10_000)
    assert table.ranks == (20, 20)
    embedding = Embedding(table)
    assert torch.linalg.matrix_rank(dense(embedding)) == 8


def batch():
    ids = torch.tensor([[5, 5, 9, 5], [5, 7, 7, 0]])
    bags = {
        "mean": Bag(torch.tensor([3, 3, 3, 9, 5]), torch.tensor([3, 0, 1, 1])),
        "sum": Bag(torch.tensor([3, 9]), torch.tensor([0, 2, 0, 0])),
        "past": Bag(torch.tensor([1, 1, 2, 1]), torch.tensor([2, 1, 1, 0])),
    }
    return ids, bags


def collect(kind):
    tables = {name: kind(name, 40, 8, rank=3) for name in ("a", "b")}
    features = [Feature("a", "a"), Feature("b", "b"), Feature("mean", "a", "mean"), Feature("sum", "b", "sum")]
    features.append(Feature("past", "a", "sequence", max_length=2))
    return TableCollection(features, tables, optimizer=SGD(0.1))


class EachTime(TTTable):
    """Reads and multiplies ids as often as they come."""

    repeats_cost = False


def test_ids_that_repeat_are_read_once_and_nothing_else_changes():
    once, each_time = collect(TTTable), collect(EachTime)
    reads = {}
    for collection in (once, each_time):
        read = reads.setdefault(type(collection.table("a")), [])
        collection.lookup.register_forward_pre_hook(lambda _, given, read=read: read.extend(given[0]))
    for _ in range(3):
        found = [collection(*batch()) for collection in (once, each_time)]
        assert_close(found[0].vectors, found[1].vectors)
        assert_close(found[0].sequences["past"], found[1].sequences["past"])
        for collection, embedded in zip((once, each_time), found, strict=True):
            (embedded.vectors.square().sum() + embedded.sequences["past"][0].square().sum()).backward()
            collection.step()
        for name in once.lookup.tables:
            assert_close(once.lookup.weight(name), each_time.lookup.weight(name))
    counts = {
        kind: [request.rows.shape[-1] * request.rows.shape[0] for request in read] for kind, read in reads.items()
    }
    # Digits of 5, 9, 7, 0, 3, 1 and 2 are 011, 021, 013, 000, 003, 001 and 002: those of "a" and those of "b", by core.
    assert counts[TTTable][:9] == [1 + 1, 2 + 2, 1 + 3, 1 + 1, 3 + 2, 2 + 2, 1, 1, 2]
    assert counts[EachTime][:3] == [2 * 4, 5 + 2, 4]


def test_tables_of_one_budget_and_unlike_parameters_do_not_meet_in_a_group():
    tables = {name: DeepHashTable(name, size, 8, budget_fraction=0.5) for name, size in {"a": 900, "b": 5_000}.items()}
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    assert [len(group) for group in collection.groups] == [1, 1]
    assert collection(torch.tensor([[1, 2], [3, 4]])).shape == (2, 2, 8)
