"""Each method against a slow float64 reference, its bytes, and budgets that are met or refused."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from recsys.compression.allocation import Choice, allocate
from recsys.compression.codebooks import nearest, product_quantized, weighted_means
from recsys.compression.histograms import counts_above, lowest_place, threshold_of
from recsys.compression.method import bytes_of
from recsys.compression.methods import METHODS
from recsys.compression.thresholds import lowest_threshold
from recsys.compression.trained import TrainedTable
from recsys.compression.trials import Trial
from recsys.description.vectors import vectors_of
from recsys.tables import Feature, TableCollection
from recsys.tables.budget import BudgetError

D = 8
SIZES = {"small": 6, "middle": 300, "large": 2_000}


def trained(seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for name, size in SIZES.items():
        frequency = torch.arange(1, size + 1).double() ** -1.0
        vectors = torch.randn(size, D, generator=generator) * torch.rand(size, 1, generator=generator)
        vectors = vectors @ torch.randn(D, D, generator=generator) + 0.3
        counts = (frequency * 1_000).long()[torch.randperm(size, generator=generator)]
        sensitivity, values = (torch.rand(D, generator=generator) for _ in range(2))
        found.append(TrainedTable(name, vectors, counts, sensitivity, values))
    return found


FULL_BYTES = sum(4 * D * size for size in SIZES.values())


FIXED = {"fp16": 0.5, "int8": (D + 4) / (4 * D), "int4": (D / 2 + 4) / (4 * D)}
"""Methods that take the same bytes whatever they are given, as a fraction of the full tables'."""


def reconstructed(tables, compressed):
    """The vectors [V, D] that compressed tables give, by name."""
    collection = TableCollection(
        [Feature(table.name, table.name) for table in tables], {name: made for name, (made, _) in compressed.items()}
    )
    for _, matrices in compressed.values():
        for name, rows in matrices.items():
            collection.lookup.load_weight(name, rows)
    return {table.name: vectors_of(collection, table.name, torch.arange(table.num_embeddings)) for table in tables}


def loss(tables, vectors):
    """Frequency x sensitivity x squared error, in float64."""
    total = 0.0
    for table in tables:
        weights = (table.counts + 0.5).double() / (table.counts + 0.5).double().sum()
        errors = (vectors[table.name] - table.vectors).double().square()
        total += float((weights.unsqueeze(1) * errors * table.sensitivity.double()).sum())
    return total


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fraction", [1.0, 0.6, 0.3, 0.1])
def test_budgets_are_met_and_used(method, fraction):
    tables = trained()
    budget = int(fraction * FULL_BYTES)
    if fraction < FIXED.get(method, 0.0):
        with pytest.raises(BudgetError, match="cannot be met") as refused:
            METHODS[method]().compress(tables, budget)
        assert bytes_of(METHODS[method]().compress(tables, refused.value.smallest_bytes)) > budget
        return
    compressed = METHODS[method]().compress(tables, budget)
    assert list(compressed) == list(SIZES)
    assert bytes_of(compressed) <= budget
    if method in ("magnitude", "saliency", "rows"):
        assert bytes_of(compressed) >= 0.95 * budget
    for name, (table, matrices) in compressed.items():
        assert {physical.name for physical in table.physical_tables()} == set(matrices), name


@pytest.mark.parametrize("method", [name for name in METHODS if name not in FIXED])
def test_tables_without_rows_are_those_whose_ids_are_all_alike(method):
    tables, found = trained(), []
    for fraction in (0.3, 0.1, 0.02, 0.005):
        compressed = METHODS[method]().compress(tables, int(fraction * FULL_BYTES))
        trial = Trial(method, 0, 0, 0.0, {}, {}, compressed)
        vectors = reconstructed(tables, compressed)
        assert trial.without_rows == [name for name, own in vectors.items() if bool((own == own[0]).all())]
        found.append(len(trial.without_rows))
    assert found[0] < found[-1]


@pytest.mark.parametrize("method", ["magnitude", "saliency", "rows", "shaver", "svd"])
def test_with_all_bytes_nothing_is_lost(method):
    tables = trained()
    vectors = reconstructed(tables, METHODS[method]().compress(tables, FULL_BYTES))
    for table in tables:
        assert_close(vectors[table.name], table.vectors, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_below_everything_names_the_smallest(method):
    with pytest.raises(BudgetError, match=f"method '{method}'.*the smallest budget that can"):
        METHODS[method]().compress(trained(), 40)


def test_magnitude_keeps_the_largest_values_as_they_are_and_zeros_elsewhere():
    tables = trained()
    vectors = reconstructed(tables, METHODS["magnitude"]().compress(tables, int(0.5 * FULL_BYTES)))
    masks = {table.name: vectors[table.name] != 0 for table in tables}
    for table in tables:
        mask = masks[table.name]
        assert_close(vectors[table.name][mask], table.vectors[mask], rtol=1e-6, atol=1e-7)
    kept = torch.cat([table.vectors[masks[table.name]].abs() for table in tables])
    pruned = torch.cat([table.vectors[~masks[table.name]].abs() for table in tables])
    assert float(kept.min()) > float(pruned.max())
    assert 0.3 < len(kept) / (len(kept) + len(pruned)) < 0.5


def test_rows_are_kept_by_frequency_sensitivity_and_distance():
    tables = trained()
    vectors = reconstructed(tables, METHODS["rows"]().compress(tables, int(0.3 * FULL_BYTES)))
    kept, pruned = [], []
    for table in tables:
        weights = (table.counts + 0.5).double() / (table.counts + 0.5).double().sum()
        mean = weights @ table.vectors.double()
        scores = weights * ((table.vectors.double() - mean).square() @ table.sensitivity.double())
        mask = (vectors[table.name] - table.vectors).abs().amax(1) < 1e-6
        kept.append(scores[mask])
        pruned.append(scores[~mask])
        if not mask.all():
            others = weights * ~mask
            expected = (others / others.sum()) @ table.vectors.double()
            assert_close(vectors[table.name][~mask], expected.float().expand(int((~mask).sum()), D))
    assert float(torch.cat(kept).min()) >= float(torch.cat(pruned).max())


def test_what_saliency_prunes_takes_the_mean_of_what_its_column_loses():
    tables = trained()
    vectors = reconstructed(tables, METHODS["saliency"]().compress(tables, int(0.5 * FULL_BYTES)))
    large = tables[2]
    weights = (large.counts + 0.5).double()
    lost = (vectors["large"] - large.vectors).abs() > 1e-5
    assert 0.2 < float(lost.float().mean()) < 0.9
    for column in range(D):
        own = weights * lost[:, column]
        mean = float((own / own.sum()) @ large.vectors[:, column].double())
        assert_close(vectors["large"][lost[:, column], column], torch.full((int(lost[:, column].sum()),), mean))


def test_saliency_loses_less_than_magnitude_where_the_loss_is_quadratic():
    tables, budget = trained(), int(0.4 * FULL_BYTES)
    lost = {
        name: loss(tables, reconstructed(tables, METHODS[name]().compress(tables, budget)))
        for name in ("saliency", "magnitude")
    }
    assert lost["saliency"] < 0.5 * lost["magnitude"]


def test_svd_is_the_best_projection_in_the_weighted_norm():
    tables = trained()
    vectors = reconstructed(tables, METHODS["svd"]().compress(tables, int(0.5 * FULL_BYTES)))
    table = tables[2]
    weights = (table.counts + 0.5).double() / (table.counts + 0.5).double().sum()
    scaled = weights.sqrt().unsqueeze(1) * table.vectors.double() * table.sensitivity.double().sqrt()
    errors = (
        weights.sqrt().unsqueeze(1)
        * (vectors["large"].double() - table.vectors.double())
        * table.sensitivity.double().sqrt()
    )
    width = int(torch.linalg.matrix_rank(vectors["large"], rtol=1e-4))
    assert 0 < width < D
    best = torch.linalg.svdvals(scaled)[width:].square().sum()
    assert float(errors.square().sum()) == pytest.approx(float(best), rel=1e-3)


def test_shaver_keeps_the_columns_that_save_most_per_byte():
    tables = trained()
    vectors = reconstructed(tables, METHODS["shaver"]().compress(tables, int(0.4 * FULL_BYTES)))
    table = tables[2]
    weights = (table.counts + 0.5).double() / (table.counts + 0.5).double().sum()
    kept = ((vectors["large"] - table.vectors).abs() < 1e-5).all(0)
    assert 0 < int(kept.sum()) < D
    assert float(table.column_values[kept].min()) > float(table.column_values[~kept].max())
    mean = (weights @ table.vectors.double()).float()
    assert_close(vectors["large"][:, ~kept], mean[~kept].expand(2_000, -1))


def test_allocation_is_near_the_best_of_all_combinations():
    generator = torch.Generator().manual_seed(1)
    for _ in range(30):
        choices = {
            f"t{table}": [
                Choice(int(size), float(loss))
                for size, loss in zip(
                    torch.randint(1, 100, (4,), generator=generator).tolist(),
                    torch.rand(4, generator=generator).tolist(),
                    strict=True,
                )
            ]
            for table in range(4)
        }
        smallest = sum(min(choice.num_bytes for choice in own) for own in choices.values())
        budget = smallest + 60
        chosen = allocate(choices, budget)
        picked = [choices[name][place] for name, place in chosen.items()]
        assert sum(choice.num_bytes for choice in picked) <= budget
        fits = [
            sum(choice.loss for choice in combination)
            for combination in itertools.product(*choices.values())
            if sum(choice.num_bytes for choice in combination) <= budget
        ]
        assert sum(choice.loss for choice in picked) <= min(fits) + 0.5
        assert allocate(choices, smallest - 1) is None


def test_the_threshold_is_the_lowest_that_fits():
    scores = [torch.tensor([0.0, 0.5, 3.0]), torch.tensor([1e-30, 2.0])]

    def count(threshold):
        return sum(int((each >= threshold).sum()) for each in scores)

    for budget in range(6):
        found = lowest_threshold(scores, count, budget)
        assert count(found) == budget
    assert lowest_threshold(scores, lambda threshold: 1 + count(threshold), 0) is None


def test_precision_loses_what_it_says_and_less_than_a_single_one():
    tables = trained()
    lost = {}
    for name in ("int8", "int4", "precision"):
        budget = int(0.4 * FULL_BYTES)
        lost[name] = loss(tables, reconstructed(tables, METHODS[name]().compress(tables, budget)))
    assert lost["precision"] <= lost["int8"] < lost["int4"]
    vectors = reconstructed(tables, METHODS["int8"]().compress(tables, FULL_BYTES))["large"]
    step = tables[2].vectors.abs().amax(1, keepdim=True) / 127.5
    assert bool(((vectors - tables[2].vectors).abs() <= 0.5001 * step).all())


def test_planted_clusters_are_found():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    places = torch.arange(400) % 4
    vectors = centres[places] + 0.1 * torch.randn(400, 2, generator=generator)
    weights = torch.rand(400, generator=generator)
    found = weighted_means(vectors, weights, 4, 10, generator)
    for place, centre in enumerate(centres):
        own = weights * (places == place)
        expected = (own / own.sum()) @ vectors
        assert float((found - expected).norm(dim=1).min()) < 1e-4, centre
    slow = [min(range(4), key=lambda c: float((vector - found[c]).square().sum())) for vector in vectors]
    assert nearest(vectors, found).tolist() == slow


def test_product_quantization_is_the_better_the_more_parts():
    tables = trained()
    table = tables[2]
    lost = [
        loss([table], reconstructed([table], {"large": product_quantized(table, parts, 64)})) for parts in (1, 2, 4, 8)
    ]
    assert lost == sorted(lost, reverse=True)
    weights = (table.counts + 0.5).double() / (table.counts + 0.5).double().sum()
    spread = (table.vectors.double() - weights @ table.vectors.double()).square() @ table.sensitivity.double()
    assert lost[-1] < 0.02 * float(weights @ spread) < lost[0] * 10


def test_scores_that_reach_a_bin_are_counted():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(1_000, generator=generator) ** 8
    scores[:3] = 0
    counts = counts_above(scores)
    places = [0, 1, 40_000, 60_000, 65_000, len(counts) - 1]
    assert [int(counts[place]) for place in places] == [int((scores >= threshold_of(place)).sum()) for place in places]
    assert threshold_of(len(counts) - 1) == float("inf")
    assert 1 < threshold_of(65_001) / threshold_of(65_000) < 1.01
    assert lowest_place(counts, 500) == next(place for place in range(len(counts)) if counts[place] <= 500)
    assert lowest_place(counts + 1, 0) is None
