"""Fits that are the least error there is, against float64 oracles that know nothing of how they are found."""

import math
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from recsys.tables import (
    ALPTTable,
    AutoSrhTable,
    CCETable,
    CompactTable,
    ConcatTable,
    ContentTable,
    DeepHashTable,
    DeepLightTable,
    DPQTable,
    Embedding,
    FullTable,
    GateTable,
    GradualPruningTable,
    HashTable,
    HeadTailTable,
    MGQETable,
    MixedDimTable,
    MLETTable,
    OptEmbedTable,
    PathQRTable,
    PEPTable,
    QuantizedTable,
    SparseTable,
    SumTable,
    TTTable,
)
from recsys.tables.routing.ranks import pack_bits

V, D = 60, 8


def fitted(table, weight, **options):
    """The vectors of a table that starts from a weight, as it is in evaluation mode, and the error it reports."""
    embedding, error = Embedding.from_pretrained(weight, table, **options)
    vectors = torch.cat(list(embedding.eval().all_vectors()))
    return vectors, error


def relative(wanted, found):
    return ((wanted.double() - found.double()).norm() / wanted.double().norm()).item()


def tail(matrix, rank):
    """What the best matrix of a rank leaves."""
    return torch.linalg.svdvals(matrix.double())[rank:].square().sum().sqrt().item()


@pytest.mark.parametrize("num_ids", [64, 60])
def test_a_tensor_train_is_nearly_the_best(num_ids):
    """Between what either bond alone leaves and the root of the sum of both (Oseledets 2011, corollary 2.4)."""
    weight = torch.randn(num_ids, D)
    _, error = fitted(TTTable("a", num_ids, D, rank=5), weight)
    array = torch.zeros(64, D)
    array[:num_ids] = weight
    array = array.view(4, 4, 4, 2, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(8, 8, 8)
    tails = [tail(array.reshape(8, -1), 5), tail(array.reshape(-1, 8), 5)]
    size = weight.norm().item()
    if num_ids == 64:
        assert error >= max(tails) / size - 1e-5
    assert error <= math.hypot(*tails) / size + 1e-5


@pytest.mark.parametrize("padding_idx", [None, 17])
def test_a_tensor_train_of_enough_rank_is_exact(padding_idx):
    weight = torch.cat(list(Embedding(TTTable("a", 500, 12, rank=4)).all_vectors()))
    if padding_idx is not None:
        weight[padding_idx] = 0
    _, error = fitted(TTTable("b", 500, 12, rank=4), weight, padding_idx=padding_idx)
    assert error < 2e-3
    _, error = fitted(TTTable("b", 512, 8, rank=64), torch.randn(512, 8))
    assert error < 1e-5


def test_paths_are_least_squares_among_affine_networks():
    weight = torch.randn(500, D)
    _, error = fitted(PathQRTable("a", 500, D, num_rows=50, hidden_dim=D), weight)
    paths = weight.view(10, 50, D).double()
    left = tail((paths - paths.mean(1, keepdim=True)).transpose(0, 1).reshape(50, -1), D)
    assert error == pytest.approx(left / weight.double().norm().item(), rel=1e-4)


@pytest.mark.parametrize("hidden_dim", [2, 5])
def test_paths_whose_vectors_are_affine_in_rows_are_found(hidden_dim):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(50, 2, generator=generator)
    maps = torch.randn(9, 2, D, generator=generator)
    weight = (rows @ maps + torch.randn(9, 1, D, generator=generator)).flatten(0, 1)[:440]
    weight[3] = 0
    _, error = fitted(PathQRTable("a", 440, D, num_rows=50, hidden_dim=hidden_dim), weight, padding_idx=3)
    assert error < 1e-5


def test_codes_of_two_choices_are_the_best_split():
    """Each value alone is a part: the best two centroids come from a split of the sorted values."""
    weight = torch.where(torch.rand(40, 2) < 0.4, -1.0, 1.0) + 0.3 * torch.randn(40, 2)
    found, _ = fitted(DPQTable("a", 40, 2, num_parts=2, num_choices=2), weight)
    for column in range(2):
        values = weight[:, column].double().sort().values
        best = min(sum((part - part.mean()).square().sum() for part in (values[:k], values[k:])) for k in range(1, 40))
        assert (weight - found)[:, column].double().square().sum().item() == pytest.approx(best.item(), rel=1e-5)


def test_vectors_of_as_many_kinds_as_there_are_centroids_are_exact():
    kinds = torch.randn(6, D)
    weight = kinds[torch.randint(0, 6, (300,))]
    assert fitted(DPQTable("a", 300, D, num_parts=2, num_choices=6), weight)[1] < 1e-6
    assert fitted(CCETable("a", 300, D, num_clusters=6, num_chunks=2), weight)[1] < 1e-5
    assert fitted(HashTable("a", 300, D, num_rows=12), weight)[1] > 0.3


def test_rare_ids_choose_among_the_first_centroids():
    kinds = torch.randn(8, D)
    weight = kinds[torch.cat([torch.randint(0, 8, (40,)), torch.randint(0, 3, (260,))])]
    table = MGQETable("a", 300, D, num_frequent=40, num_parts=2, num_choices=8, num_rare_choices=3)
    assert fitted(table, weight)[1] < 1e-6
    weight[40:] = torch.randn(260, D)
    found, _ = fitted(MGQETable("a", 300, D, num_frequent=40, num_parts=1, num_choices=8, num_rare_choices=3), weight)
    assert len(found[40:].unique(dim=0)) <= 3


def test_scales_of_rounded_rows_are_the_best():
    weight = torch.randn(30, 32) * torch.logspace(-3, 1, 30).unsqueeze(1)
    found, _ = fitted(ALPTTable("a", 30, 32, precisions=("int4",)), weight)
    fine = torch.linspace(0.02, 1.2, 20_000, dtype=torch.float64).view(-1, 1)
    ratios = []
    for row, mine in zip(weight.double(), found.double(), strict=True):
        scale = fine * row.abs().max() / 7.5
        levels = (row / scale).clamp(-7.5, 7.5).floor() + 0.5
        best = (levels * scale - row).square().sum(1).min()
        ratios.append((mine - row).square().sum() / best)
    assert torch.stack(ratios).mean() <= 1.1


def test_a_row_of_zeros_has_a_scale_and_is_nearly_zeros():
    weight = torch.randn(30, D)
    weight[4] = 0
    found, error = fitted(ALPTTable("a", 30, D), weight)
    assert found[4].abs().max() < 1e-6
    assert error < 0.01


@pytest.mark.parametrize(("precision", "num_levels"), [("int8", 256), ("int4", 16)])
def test_quantized_rows_are_the_nearest_levels(precision, num_levels):
    weight = torch.randn(V, D)
    found, _ = fitted(QuantizedTable("a", V, D, precisions=(precision,)), weight)
    scale = weight.double().abs().amax(1, keepdim=True) / ((num_levels - 1) / 2)
    levels = torch.arange(num_levels, dtype=torch.float64) - (num_levels - 1) / 2
    nearest = (weight.double().unsqueeze(2) - levels * scale.unsqueeze(2)).abs().amin(2)
    assert_close((weight - found).abs().double(), nearest, atol=1e-6, rtol=1e-4)


EQUAL = {
    "deeplight": DeepLightTable,
    "gradual": GradualPruningTable,
    "optembed": partial(OptEmbedTable, row_decay=0.1),
    "autosrh": AutoSrhTable,
    "pep": PEPTable,
    "pep-table": partial(PEPTable, per_column=False, init_threshold=0.5),
    "mlet": MLETTable,
    "mlet-narrow": partial(MLETTable, inner_dim=D),
    "compact": partial(CompactTable, num_rows=V),
    "sparse": partial(SparseTable, num_values=V * D),
    "sum": partial(SumTable, tables=[FullTable, partial(MixedDimTable, row_dim=3)]),
    "sum-bias": partial(SumTable, tables=[FullTable, partial(MixedDimTable, row_dim=3)], bias=True),
    "concat": partial(ConcatTable, tables=[FullTable, MLETTable], dims=[3, 5]),
    "gate": partial(GateTable, tables=[FullTable, partial(HashTable, num_rows=20)]),
}


@pytest.mark.parametrize("method", EQUAL)
def test_methods_that_can_hold_any_vectors_hold_them(method):
    weight = torch.randn(V, D)
    weight[5] = 0
    table = EQUAL[method]("a", V, D)
    with torch.no_grad():
        for parameter in table.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    embedding, error = Embedding.from_pretrained(weight, table)
    assert error < 1e-5
    assert table.training
    assert_close(embedding.eval()(torch.arange(V)).detach(), weight, atol=1e-4, rtol=1e-4)


def least_squares(design, weight):
    """What the best combination of the columns of a design makes of weight, in float64."""
    return design @ torch.linalg.lstsq(design, weight.double(), driver="gelsd").solution


def test_a_compact_table_is_the_least_squares_solution():
    weight, kept = torch.randn(V, D), torch.rand(V) < 0.4
    table = CompactTable("a", V, D, kept=pack_bits(kept), columns=[0, 3, 4])
    found, error = fitted(table, weight)
    design = torch.eye(V, dtype=torch.float64)[:, kept]
    for column in range(D):
        common = torch.ones(V, 1, dtype=torch.float64)
        own = torch.cat([common, design], 1) if column in (0, 3, 4) else common
        assert_close(found[:, column].double(), least_squares(own, weight[:, column : column + 1])[:, 0])
    assert error == pytest.approx(relative(weight, found))


def test_a_sparse_table_is_the_least_squares_solution():
    weight, kept = torch.randn(V, D), torch.rand(V) < 0.5
    entries = torch.rand(int(kept.sum()), D) < 0.6
    table = SparseTable("a", V, D, kept=pack_bits(kept), entries=pack_bits(entries.flatten()))
    found, _ = fitted(table, weight)
    for column in range(D):
        have = kept.nonzero()[entries[:, column], 0]
        design = torch.cat([torch.ones(V, 1), torch.eye(V)[:, have]], 1).double()
        assert_close(found[:, column].double(), least_squares(design, weight[:, column : column + 1])[:, 0])


def content_rows(table):
    return torch.cat([block for _, block in table.physical_tables()[0].initial_blocks(0, V, torch.float32)])


def test_a_content_table_is_the_least_squares_solution():
    weight, given = torch.randn(V, D), torch.randn(V, 5)
    given[7:9] = 0
    table = ContentTable("a", V, D, vectors=given)
    found, _ = fitted(table, weight)
    assert_close(found.double(), least_squares(content_rows(table).double(), weight))


@pytest.mark.parametrize("other", ["content", "mixed"])
def test_sums_are_the_least_squares_solution_of_their_parts_together(other):
    weight, given = torch.randn(V, D), torch.randn(V, 5)
    hashed = partial(HashTable, num_rows=20)
    if other == "content":
        table = SumTable("a", V, D, tables=[hashed, partial(ContentTable, vectors=given)])
        rows = content_rows(table._parts[1])
    else:
        table = SumTable("a", V, D, tables=[hashed, partial(HashTable, num_rows=7, num_lookups=2)])
        rows = incidence(table._parts[1], 7)
    found, _ = fitted(table, weight)
    design = torch.cat([incidence(table._parts[0], 20), rows], 1).double()
    best = relative(weight, least_squares(design, weight))
    assert relative(weight, found) == pytest.approx(best, rel=1e-4)


def test_a_sum_with_a_bias_is_the_least_squares_solution_with_a_constant():
    weight = torch.randn(V, D) + 3
    vectors = [partial(ContentTable, vectors=torch.randn(V, width)) for width in (3, 4)]
    table = SumTable("a", V, D, tables=vectors, bias=True)
    found, _ = fitted(table, weight)
    design = torch.cat([torch.ones(V, 1), *map(content_rows, table._parts)], 1).double()
    assert relative(weight, found) == pytest.approx(relative(weight, least_squares(design, weight)), rel=1e-4)
    assert_close(table.bias, weight.mean(0))


def incidence(table, num_rows):
    matrix = torch.zeros(V, num_rows)
    for rows in table.rows_of(torch.arange(V)):
        matrix[torch.arange(V), rows] += 1
    return matrix


def test_an_unseen_id_counts_with_its_one_part():
    weight, counts = torch.randn(V, D), torch.arange(V) % 3
    parts = [FullTable, partial(HashTable, num_rows=V // 3)]
    table = GateTable("a", V, D, tables=parts, counts=counts, unseen=1)
    found, error = fitted(table, weight)
    assert_close(found[counts > 0], weight[counts > 0], atol=1e-5, rtol=1e-5)
    assert 0 < error < 1


def test_parts_that_share_rows_or_cannot_start_say_so():
    weight, shared = torch.randn(V, D), partial(HeadTailTable, num_head=5, num_rows=30)
    content = partial(ContentTable, vectors=torch.randn(V, 5))
    with pytest.raises(ValueError, match="HeadTailTable 'a/1' shares the rows of 'tail' with 'a/0'"):
        fitted(SumTable("a", V, D, tables=[shared, shared, content]), weight)
    with pytest.raises(ValueError, match="DeepHashTable 'a/1': there is no way to start it"):
        fitted(SumTable("a", V, D, tables=[FullTable, partial(DeepHashTable, hidden_dim=4)]), weight)


def test_clusters_are_never_worse_than_hashes():
    vectors = torch.cat(list(Embedding(CCETable("a", 900, D, num_clusters=40, num_chunks=2)).all_vectors()))
    _, error = fitted(CCETable("a", 900, D, num_clusters=40, num_chunks=2), vectors)
    assert error < 0.02
    noise = torch.randn(900, D)
    _, error = fitted(CCETable("a", 900, D, num_clusters=40, num_chunks=2), noise)
    _, hashed = fitted(HashTable("a", 900, D, num_rows=80), noise)
    assert error < hashed
