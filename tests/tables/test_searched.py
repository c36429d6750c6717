"""OptEmbed and PEP against slow float64 references, and decay that equals a dense optimizer's."""

import math

import pytest
import torch
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    AutoDimTable,
    AutoSrhTable,
    DeepLightTable,
    Embedding,
    Feature,
    GradualPruningTable,
    OptEmbedTable,
    PEPTable,
    TableCollection,
)
from recsys.tables.optembed import LongTailStep

STDS = {"small": 0.01, "large": 0.2}


def test_the_step_and_its_long_tailed_gradient():
    values = [-1.5, -1.0, -0.7, -0.4, -0.1, 0.0, 0.1, 0.4, 0.41, 1.0, 1.01]
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    found = LongTailStep.apply(x)
    assert found.tolist() == [float(value > 0) for value in values]
    found.backward(torch.full_like(x, 3.0))
    expected = [3 * (2 - 4 * abs(v) if abs(v) <= 0.4 else 0.4 if abs(v) <= 1 else 0.0) for v in values]
    assert_close(x.grad, torch.tensor(expected, dtype=torch.float64))


def test_optembed_equals_a_loop_in_float64_and_so_do_its_gradients():
    torch.manual_seed(0)
    table = OptEmbedTable("f", 40, 6, samples_widths=False, init_std=0.3)
    table.threshold.data.fill_(1.5 / (6 * 0.3))
    embedding = Embedding(table)
    ids = torch.tensor([3, 39, 3, 7, 21, 0, 5])
    weights = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    found = embedding(ids)
    (found * weights).sum().backward()
    matrix = embedding.weights[0].detach().double()
    grad, of_threshold = torch.zeros_like(matrix), 0.0
    for place, row in enumerate(ids.tolist()):
        x = float(sum(abs(value) for value in matrix[row].tolist())) - 1.5
        kept = float(x > 0)
        assert_close(found[place].detach().double(), kept * matrix[row], rtol=1e-6, atol=1e-7)
        slope = 2 - 4 * abs(x) if abs(x) <= 0.4 else 0.4 if abs(x) <= 1 else 0.0
        through = slope * float((weights[place].double() * matrix[row]).sum())
        grad[row] += kept * weights[place].double() + through * matrix[row].sign()
        of_threshold -= through
    assert 0 < int((found.abs().sum(1) > 0).sum()) < len(ids), "some rows are kept, some are not"
    assert_close(embedding.weights[0].grad.double(), grad, rtol=1e-5, atol=1e-6)
    assert float(table.threshold.grad) == pytest.approx(6 * 0.3 * of_threshold, rel=1e-5)


@pytest.mark.parametrize("least", [1, 3, 8])
def test_widths_are_uniform_while_training_and_full_afterwards(least):
    embedding = Embedding(OptEmbedTable("f", 4, 8, min_width=least))
    ids = torch.ones(40_000, dtype=torch.long)
    widths = (embedding(ids) != 0).sum(1)
    expected = torch.tensor([(width >= least) / (9 - least) for width in range(1, 9)])
    assert_close(widths.bincount(minlength=9)[1:] / 40_000, expected, rtol=0, atol=0.01)
    found = embedding(ids)
    used = (found != 0).long()
    assert bool((used[:, 1:] <= used[:, :-1]).all()), "columns from the left"
    assert bool((embedding.eval()(ids) != 0).all())


def test_the_penalty_is_the_paper_s():
    table = OptEmbedTable("f", 4, 8, penalty_weight=0.5, init_std=0.25)
    table.threshold.data.fill_(1.0)
    assert table.regularizer().item() == pytest.approx(0.5 * 2.718281828**-2)
    assert OptEmbedTable("f", 4, 8, penalty_weight=0).regularizer() is None


@pytest.mark.parametrize("init_std", [0.001, 0.1])
def test_steps_of_adam_move_thresholds_by_a_part_of_what_rows_begin_with(init_std):
    table = OptEmbedTable("f", 40, 16, samples_widths=False, init_std=init_std)
    embedding = Embedding(table)
    rows = embedding.weights[0].detach()
    before = table.scores(rows)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.01)
    for _ in range(10):
        optimizer.zero_grad()
        (embedding(torch.arange(40)) * rows).sum().backward()
        optimizer.step()
    moved = (table.scores(rows) - before) / rows.abs().sum(1).mean()
    assert_close(moved, torch.full((40,), -0.11), rtol=0.1, atol=0)


def test_thresholds_of_tables_that_begin_with_rows_of_different_size_have_different_units():
    tables = {name: OptEmbedTable(name, 40, 6, init_std=std, samples_widths=False) for name, std in STDS.items()}
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    for table in tables.values():
        table.threshold.data.fill_(0.85)
    kept = (collection(torch.arange(40).expand(2, -1)) != 0).any(-1)
    for place, (name, table) in enumerate(tables.items()):
        sums = collection.lookup.weight(name).abs().sum(1)
        assert kept[:, place].tolist() == (sums > 0.85 * 6 * STDS[name]).tolist()
        assert 5 < int(kept[:, place].sum()) < 35
        assert kept[:, place].tolist() == (table.scores(collection.lookup.weight(name)) > 0).tolist()


def train(optimizer_step, collection, batches):
    for ids in batches:
        (collection(ids).square().sum() * 3).backward()
        optimizer_step()


def test_lazy_decay_equals_decay_of_all_rows_at_every_step():
    decay, rate = 0.03, 0.05
    table = OptEmbedTable("f", 12, 4, row_decay=decay, samples_widths=False, penalty_weight=0)
    collection = TableCollection([Feature("f", "f")], {"f": table}, optimizer=SGD(rate), dtype=torch.float64)
    dense = collection.lookup.weight("f").detach().clone()
    generator = torch.Generator().manual_seed(2)
    batches = [torch.randint(0, 9, (1, 5), generator=generator) for _ in range(40)]
    train(collection.step, collection, batches)
    collection.end_epoch()
    for ids in batches:
        dense *= 1 - decay
        grad = torch.zeros_like(dense)
        for row in ids[0].tolist():
            x = float(dense[row].abs().sum())
            slope = 2 - 4 * x if x <= 0.4 else 0.4 if x <= 1 else 0.0
            up = 6 * dense[row]
            grad[row] += up + slope * float((up * dense[row]).sum()) * dense[row].sign()
        dense -= rate * grad
    assert_close(collection.lookup.weight("f"), dense, rtol=1e-9, atol=1e-12)
    before = collection.lookup.weight("f").clone()
    collection.end_epoch()
    assert torch.equal(collection.lookup.weight("f"), before), "what has decayed does not decay again"


def test_rows_that_are_never_read_are_those_of_adamw():
    rate, weight_decay = 0.01, 0.5
    table = OptEmbedTable("f", 6, 4, row_decay=rate * weight_decay, samples_widths=False)
    collection = TableCollection([Feature("f", "f")], {"f": table}, optimizer=SGD(rate), dtype=torch.float64)
    weight = torch.nn.Parameter(collection.lookup.weight("f").detach().clone())
    optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=weight_decay)
    for _ in range(25):
        collection(torch.zeros(1, 3, dtype=torch.long)).sum().backward()
        collection.step()
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    collection.end_epoch()
    assert_close(collection.lookup.weight("f")[1:], weight.detach()[1:], rtol=1e-9, atol=1e-12)


def test_decay_goes_on_where_a_checkpoint_stopped():
    def new():
        table = OptEmbedTable("f", 12, 4, row_decay=0.1, samples_widths=False)
        return TableCollection([Feature("f", "f")], {"f": table}, optimizer=SGD(0.1))

    generator = torch.Generator().manual_seed(2)
    batches = [torch.randint(0, 12, (1, 3), generator=generator) for _ in range(8)]
    whole, first, second = new(), new(), new()
    train(whole.step, whole, batches)
    train(first.step, first, batches[:3])
    second.load_state_dict(first.state_dict())
    train(second.step, second, batches[3:])
    for each in (whole, second):
        each.end_epoch()
    assert_close(second.lookup.weight("f"), whole.lookup.weight("f"))


def test_optembed_with_a_threshold_of_each_id_equals_a_loop_in_float64_and_so_do_its_gradients():
    torch.manual_seed(0)
    table = OptEmbedTable("f", 40, 6, samples_widths=False, init_std=0.3, per_id=True)
    unit = 6 * 0.3
    table.threshold.data.fill_(1.0 / unit)
    embedding = Embedding(table)
    embedding.weights[1].data.copy_(torch.linspace(-0.5, 1.5, 40).unsqueeze(1) / unit)
    weights = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    found = embedding(torch.arange(40))
    (found * weights).sum().backward()
    matrix, own = (each.detach().double() for each in embedding.weights)
    of_rows, of_own = torch.zeros_like(matrix), torch.zeros_like(own)
    for row in range(40):
        x = float(sum(abs(value) for value in matrix[row].tolist())) - 1.0 - unit * float(own[row])
        assert_close(found[row].detach().double(), float(x > 0) * matrix[row], rtol=1e-6, atol=1e-7)
        slope = 2 - 4 * abs(x) if abs(x) <= 0.4 else 0.4 if abs(x) <= 1 else 0.0
        through = slope * float((weights[row].double() * matrix[row]).sum())
        of_rows[row] = float(x > 0) * weights[row].double() + through * matrix[row].sign()
        of_own[row] = -unit * through
    assert 5 < int((found.abs().sum(1) > 0).sum()) < 35
    assert_close(embedding.weights[0].grad.double(), of_rows, rtol=1e-5, atol=1e-6)
    assert_close(embedding.weights[1].grad.double(), of_own, rtol=1e-5, atol=1e-6)
    assert float(table.threshold.grad) == pytest.approx(float(of_own.sum()), rel=1e-4)
    side_by_side = torch.cat([each.detach() for each in embedding.weights], 1)
    assert torch.equal(table.scores(side_by_side) > 0, found.abs().sum(1) > 0)


def autodim_in_float64(table, matrix, weights):
    """Vectors of all rows: candidates one by one, each with its projection, weighed and summed."""
    dim, start = table.embedding_dim, 0
    projections = table.projections.detach().double()
    total = torch.zeros(len(matrix), dim, dtype=torch.float64)
    for width, weight in zip(table.widths, weights.tolist(), strict=True):
        for row in range(len(matrix)):
            candidate = matrix[row] if width == dim else matrix[row, :width] @ projections[start : start + width]
            total[row] += weight * candidate
        start += width
    return total


@pytest.mark.parametrize("num_steps", [0, 60, 1_000])
def test_autodim_equals_a_loop_over_candidates_in_float64(num_steps):
    table = AutoDimTable("f", 9, 12, samples_widths=False, anneal_steps=100)
    assert table.widths == [4, 8, 12]
    table.width_logits.data.copy_(torch.tensor([0.3, -0.2, 0.1]))
    table.get_buffer("num_steps").fill_(num_steps)
    embedding = Embedding(table).eval()
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    weights = (logits / max(0.01, 1 - num_steps / 100)).softmax(0)
    expected = autodim_in_float64(table, embedding.weights[0].detach().double(), weights)
    assert_close(embedding(torch.arange(9)).detach().double(), expected, rtol=1e-4, atol=1e-6)


def test_autodim_draws_widths_with_gumbel_noise_while_training():
    """At the lowest temperature one candidate is nearly all, each as often as the softmax says."""
    table = AutoDimTable("f", 1, 8, widths=[4, 8], anneal_steps=1)
    table.width_logits.data.copy_(torch.tensor([1.0, 0.0]))
    table.get_buffer("num_steps").fill_(5)
    embedding = Embedding(table)
    row = embedding.weights[0].detach().double()
    wide, narrow = row[0], row[0, :4] @ table.projections.detach().double()
    with torch.no_grad():
        drawn = torch.stack([embedding(torch.zeros(1, dtype=torch.long))[0] for _ in range(3_000)]).double()
    is_narrow = (drawn - narrow).norm(dim=1) < (drawn - wide).norm(dim=1)
    assert float(is_narrow.double().mean()) == pytest.approx(torch.tensor([1.0, 0.0]).softmax(0)[0].item(), abs=0.04)


def test_autodim_counts_training_steps_alone():
    table = AutoDimTable("f", 5, 8)
    collection = TableCollection([Feature("f", "f")], {"f": table}, optimizer=SGD(0.1))
    for _ in range(3):
        collection(torch.zeros(1, 2, dtype=torch.long))
    collection.eval()(torch.zeros(1, 2, dtype=torch.long))
    assert int(table.get_buffer("num_steps")) == 3


@pytest.mark.parametrize("width", [4, 8, 12])
def test_what_autodim_selects_begins_as_large_as_vectors_should_be(width):
    table = AutoDimTable("f", 4_000, 12, init_std=0.2)
    rows = torch.randn(4_000, 12, generator=torch.Generator().manual_seed(0)) * table.physical_tables()[0].init_std
    narrow, matrices = table.narrowed(rows, width)
    assert narrow.physical_tables()[0].row_dim == width == matrices["f"].shape[1]
    with torch.no_grad():
        vectors = narrow.vectors_of(matrices["f"], torch.arange(4_000))
    assert float(vectors.std()) == pytest.approx(0.2, rel=0.03)
    start = sum(each for each in table.widths if each < width)
    if width < 12:
        assert torch.equal(narrow.projection, table.projections[start : start + width])


@pytest.mark.parametrize("threshold", [0.001, 0.3, 0.9])
def test_vectors_of_pep_begin_as_large_as_asked_for_whatever_the_threshold(threshold):
    vectors = Embedding(PEPTable("f", 5000, 8, init_threshold=threshold, init_std=0.2))(torch.arange(5000))
    assert float(vectors.detach().std()) == pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize("per_column", [True, False])
def test_pep_equals_a_loop_in_float64_and_so_do_its_gradients(per_column):
    table = PEPTable("f", 30, 5, per_column=per_column, init_std=0.3)
    table.s.data.copy_(torch.linspace(-2.0, -0.5, table.s.numel()))
    embedding = Embedding(table)
    ids = torch.arange(30)
    weights = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    found = embedding(ids)
    (found * weights).sum().backward()
    matrix, s = embedding.weights[0].detach().double(), table.s.detach().double().expand(5)
    threshold = 1 / (1 + (-s).exp())
    expected, grad, of_s = torch.zeros_like(matrix), torch.zeros_like(matrix), torch.zeros(5, dtype=torch.float64)
    for row in range(30):
        for column in range(5):
            value, limit = float(matrix[row, column]), float(threshold[column])
            if abs(value) > limit:
                sign = 1 if value > 0 else -1
                expected[row, column] = sign * (abs(value) - limit)
                grad[row, column] = weights[row, column]
                of_s[column] -= sign * float(weights[row, column]) * limit * (1 - limit)
    assert 0.2 < float((expected != 0).double().mean()) < 0.9
    assert_close(found.detach().double(), expected, rtol=1e-6, atol=1e-7)
    assert_close(embedding.weights[0].grad.double(), grad, rtol=1e-5, atol=1e-6)
    assert_close(table.s.grad.double(), of_s if per_column else of_s.sum().view(1), rtol=1e-4, atol=1e-6)
    assert_close((table.scores(embedding.weights[0].detach()) > 0), expected != 0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: OptEmbedTable("f", 4, 4, row_decay=1.0), "row_decay must be in"),
        (lambda: OptEmbedTable("f", 4, 4, penalty_weight=-1), "penalty_weight must be at least 0"),
        (lambda: OptEmbedTable("f", 4, 4, min_width=5), r"min_width must be in \[1, embedding_dim=4\], got 5"),
        (lambda: AutoDimTable("f", 4, 8, widths=[4, 4, 8]), "widths must ascend"),
        (lambda: AutoDimTable("f", 4, 8, widths=[4]), "widths must ascend"),
        (lambda: AutoDimTable("f", 4, 8, anneal_steps=0), "anneal_steps must be at least 1"),
        (lambda: OptEmbedTable("f", 4, 4, penalty_weight=math.nan), "penalty_weight must be at least 0 and finite"),
        (lambda: AutoSrhTable("f", 4, 4, num_groups=0), r"num_groups must be in \[1, 1024\], got 0"),
        (lambda: AutoSrhTable("f", 4, 4, num_groups=10**12), r"num_groups must be in \[1, 1024\]"),
        (lambda: AutoSrhTable("f", 4, 4, penalty_weight=math.inf), "penalty_weight must be at least 0 and finite"),
        (lambda: AutoSrhTable("f", 4, 4, penalty_weight=-1), "penalty_weight must be at least 0"),
        (lambda: DeepLightTable("f", 4, 4, pruned_fraction=1.0), "pruned_fraction must be in"),
        (lambda: DeepLightTable("f", 4, 4, prune_every=0), "prune_every must be at least 1"),
        (lambda: DeepLightTable("f", 4, 4, damping=1.0), r"damping must be in \(0, 1\), got 1.0"),
        (lambda: GradualPruningTable("f", 4, 4, num_pruning_steps=0), "num_pruning_steps must be at least 1"),
        (lambda: GradualPruningTable("f", 4, 4, pruned_fraction=-0.1), "GradualPruningTable 'f': pruned_fraction must"),
        (lambda: PEPTable("f", 4, 4, init_threshold=1.0), "init_threshold must be in"),
        (lambda: PEPTable("f", 4, 4, penalty_weight=-1), "penalty_weight must be at least 0"),
        (lambda: PEPTable("f", 4, 4, penalty_weight=math.nan), "penalty_weight must be at least 0 and finite"),
    ],
)
def test_bad_settings_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_autosrh_weighs_columns_by_the_group_of_the_id():
    table = AutoSrhTable("f", 13, 4, num_groups=3)
    table.column_weights.data.copy_(torch.arange(12.0).view(3, 4) / 10)
    embedding = Embedding(table)
    matrix = embedding.weights[0].detach().double()
    expected = torch.empty(13, 4, dtype=torch.float64)
    for row in range(13):
        group = 0 if row < 4 else 1 if row < 8 else 2
        for column in range(4):
            expected[row, column] = matrix[row, column] * (4 * group + column) / 10
    assert_close(embedding(torch.arange(13)).detach().double(), expected, rtol=1e-6, atol=1e-8)
    assert_close(table.scores(embedding.weights[0].detach()).double(), expected.abs(), rtol=1e-6, atol=1e-8)
    assert table.regularizer().item() == pytest.approx(1e-5 * sum(range(12)) / 120)
