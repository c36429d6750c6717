"""Layers, interactions and options of single models."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from torch.testing import assert_close

from recsys.models import DLRM, DCNv2, DeepFM, FinalMLP, LogisticRegression
from recsys.models.cross import CrossNetwork
from recsys.models.interactions import PairwiseDots, factorization_machine
from recsys.models.linear import COLUMN_ALIGNMENT, LogitLinear, PaddedLinear, concat_padded
from recsys.models.mlp import MLP


def doubles(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("widths", [(1,), (16,), (13, 20), (0, 5), (5, 0), (8, 8)])
def test_concat_padded_appends_zero_columns_only(widths):
    blocks = [doubles(3, width, seed=width) for width in widths]
    joined = concat_padded(*blocks)
    assert joined.shape[1] % COLUMN_ALIGNMENT == 0
    assert joined.shape[1] - sum(widths) in range(COLUMN_ALIGNMENT)
    assert_close(joined[:, : sum(widths)], torch.cat(blocks, 1))
    assert not joined[:, sum(widths) :].any()
    assert concat_padded(joined) is joined


@pytest.mark.parametrize("bias", [True, False])
def test_padded_linear_equals_linear(bias):
    layer = PaddedLinear(5, 3, bias=bias, pad_output=True).double()
    inputs = doubles(4, 5)
    expected = torch.nn.functional.linear(inputs, layer.weight, layer.bias)
    for given in (inputs, concat_padded(inputs)):
        outputs = layer(given)
        assert_close(outputs[:, :3], expected)
        assert not outputs[:, 3:].any()


def test_padded_linear_refuses_inputs_that_are_too_narrow():
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        PaddedLinear(5, 3)(torch.zeros(2, 4))


def test_weights_start_xavier_normal_and_biases_at_zero():
    torch.manual_seed(0)
    layer = PaddedLinear(300, 500)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 800), rel=0.02)
    assert abs(layer.weight.mean().item()) < 1e-3
    assert not layer.bias.any()


def test_logits_are_not_rounded_under_autocast():
    layer = LogitLinear(8)
    inputs = torch.randn(100, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(inputs)
    assert_close(logits, (inputs @ layer.weight.T)[:, 0] + layer.bias)


@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_pairs_and_sums_are_not_rounded_under_autocast(narrow):
    """Nor where a table's projection has made the embeddings narrow."""
    torch.manual_seed(0)
    embeddings, dense = torch.randn(200, 5, 8).to(narrow), torch.randn(200, 3)
    vectors, model = torch.randn(3, 8), LogisticRegression(5, 8, 3)
    torch.nn.init.normal_(model.dense_weight)
    expected = factorization_machine(embeddings.double(), dense.double(), vectors.double())
    expected_sums = embeddings.double().flatten(1).sum(1) + dense.double() @ model.dense_weight.double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, sums = factorization_machine(embeddings, dense, vectors), model(embeddings, dense)
    assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)
    assert_close(sums, expected_sums.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_vectors", [2, 3, 8, 27])
def test_pairwise_dots_of_orthogonal_vectors_name_their_pair(num_vectors):
    dots = PairwiseDots(num_vectors)
    pairs = [(i, j) for i in range(num_vectors) for j in range(i)]
    assert dots.output_dim == len(pairs)
    for column, pair in enumerate(pairs):
        vectors = torch.eye(num_vectors)[None].clone()
        vectors[0, pair] = 1.0
        vectors[0, pair[0]] *= 0.5
        assert dots(vectors)[0].argmax().item() == column


def test_pairwise_dots_first_and_second_derivatives():
    dots = PairwiseDots(4).double()
    vectors = doubles(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(dots, vectors)
    assert torch.autograd.gradgradcheck(dots, vectors)


def test_pairwise_dots_equal_autograd_through_indexing():
    dots = PairwiseDots(9).double()
    vectors, weights = doubles(5, 9, 4).requires_grad_(), doubles(5, 36, seed=1)
    lower, upper = torch.tril_indices(9, 9, offset=-1)
    expected = (vectors @ vectors.mT)[:, lower, upper]
    assert_close(dots(vectors), expected)
    actual_grad, expected_grad = (torch.autograd.grad((y * weights).sum(), vectors) for y in (dots(vectors), expected))
    assert_close(actual_grad, expected_grad)


def test_pairs_are_kept_out_of_checkpoints():
    assert PairwiseDots(5).state_dict() == {}


def pairs_of(vectors):
    """The factorisation machine of vectors alone."""
    return factorization_machine(vectors, vectors.new_zeros(len(vectors), 0), vectors.new_zeros(0, vectors.shape[2]))


def test_factorization_machine_ignores_the_order_of_features_and_scales_quadratically():
    embeddings = doubles(6, 5, 4)
    expected = pairs_of(embeddings)
    assert_close(pairs_of(embeddings[:, torch.randperm(5)]), expected)
    assert_close(pairs_of(3 * embeddings), 9 * expected)
    assert_close(pairs_of(embeddings[:, :1]), torch.zeros(6, dtype=torch.float64))


def test_factorization_machine_is_the_sum_of_all_pairs():
    embeddings = doubles(6, 5, 4)
    assert_close(pairs_of(embeddings), PairwiseDots(5)(embeddings).sum(1))


def test_a_dense_feature_is_in_the_pairs_as_its_value_times_its_vector():
    embeddings, dense, vectors = doubles(6, 5, 4), doubles(6, 3, seed=1), doubles(3, 4, seed=2)
    expected = pairs_of(torch.cat([embeddings, dense[:, :, None] * vectors], 1))
    assert_close(factorization_machine(embeddings, dense, vectors), expected)


def test_cross_network_is_a_polynomial_of_its_degree():
    network = CrossNetwork(6, 3).double()
    x0, scales = doubles(1, 6), torch.arange(9, dtype=torch.float64)[:, None]
    values = network(scales * x0)[:, 0]
    # Without biases the output is a polynomial of degree 4 in the scale: its fifth differences vanish.
    assert_close(values.diff(n=5), torch.zeros(4, dtype=torch.float64), atol=1e-8, rtol=0)
    assert values.diff(n=4).abs().min() > 1e-3


def test_full_rank_factors_equal_the_full_matrix():
    full, factorised = CrossNetwork(6, 1).double(), CrossNetwork(6, 1, low_rank=6).double()
    narrow, wide = factorised.layers[0]
    with torch.no_grad():
        full.layers[0].weight.copy_(wide.weight @ narrow.weight)
        full.layers[0].bias.copy_(wide.bias.normal_())
    x0 = doubles(4, 6)
    assert_close(factorised(x0), full(x0))


def test_a_gate_that_knows_nothing_changes_nothing():
    torch.manual_seed(0)
    model = FinalMLP(5, 4, 3, stream1_dims=(6,), stream2_dims=(6,), num_heads=2, gate_dims=(4,)).double()
    inputs = doubles(7, 5, 4), doubles(7, 3)
    # Biases and learned contexts start at zero, so that every gate is 2 * sigmoid(0) = 1.
    gated = model(*inputs)
    model.gates = None
    assert_close(model(*inputs), gated)


def test_one_head_per_value_is_an_elementwise_product():
    model = FinalMLP(5, 4, 0, stream1_dims=(6,), stream2_dims=(6,), num_heads=6).double()
    o1, o2 = doubles(3, 6), doubles(3, 6, seed=1)
    fusion = model.fusion
    expected = fusion.linear1(o1) + fusion.linear2(o2) + (o1 * o2 * fusion.head_weight.flatten()).sum(1)
    assert_close(fusion(o1, o2), expected)


def test_dropout_and_batch_norm_are_off_in_eval_and_on_in_train():
    torch.manual_seed(0)
    model = DeepFM(5, 4, 3, hidden_dims=(32,), dropout=0.5, batch_norm=True).double()
    inputs = doubles(16, 5, 4), doubles(16, 3)
    assert not torch.equal(model(*inputs), model(*inputs))
    model.eval()
    assert_close(model(*inputs), model(*inputs), rtol=0, atol=0)
    assert_close(model(inputs[0][:1], inputs[1][:1]), model(*inputs)[:1])


@pytest.mark.parametrize("num_rows", [0, 1])
def test_a_training_batch_of_one_row_is_normalised_by_the_running_statistics(num_rows):
    torch.manual_seed(0)
    model = MLP(3, (4, 2), batch_norm=True)
    model(torch.randn(16, 3))
    before = [buffer.clone() for buffer in model.buffers()]
    row = torch.randn(num_rows, 3)
    output = model(row)
    output.sum().backward()
    assert_close(list(model.buffers()), before, rtol=0, atol=0)
    assert_close(output, model.eval()(row))


def test_mlp_order_and_activation():
    mlp = MLP(3, (4, 2), activation=torch.nn.Tanh, dropout=0.1, batch_norm=True)
    names = [type(layer).__name__ for layer in mlp.layers]
    assert names == ["PaddedLinear", "BatchNorm1d", "Tanh", "Dropout"] * 2
    assert mlp.layers[0].bias is None
    assert mlp.output_dim == 2


def streams(**options):
    return FinalMLP(5, 4, 3, **{"stream1_dims": (6,), "stream2_dims": (6,), "num_heads": 2, **options})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DLRM(1, 4, 0), "needs two features to form a pair"),
        (lambda: DeepFM(5, 4, 3, hidden_dims=(4, 0)), r"hidden_dims must be at least 1, got \[4, 0\]"),
        (lambda: DeepFM(5, 4, 3, dropout=1.0), r"dropout must be in \[0, 1\), got 1.0"),
        (lambda: DCNv2(5, 4, 3, num_cross_layers=0), "num_cross_layers must be at least 1, got 0"),
        (lambda: DCNv2(5, 4, 3, low_rank=0), "low_rank must be at least 1, got 0"),
        (lambda: streams(num_heads=4), "num_heads must divide the last width of both streams, 6 and 6, got 4"),
        (lambda: streams(num_heads=0), "num_heads must be at least 1, got 0"),
        (lambda: streams(stream2_dims=()), "need at least one width each"),
        (lambda: streams(gate1_context=(1,)), "need gates; set gate_dims"),
        (lambda: streams(gate_dims=(4,), gate2_context=(8,)), r"positions in \[0, num_features \+ num_dense=8\)"),
        (lambda: streams(gate_dims=(4,), gate2_context=(1, 1)), r"different positions .* got \[1, 1\]"),
        (lambda: PairwiseDots(1), "num_vectors must be at least 2, got 1"),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_inductor_equals_eager():
    torch.manual_seed(0)
    model = DLRM(4, 4, 2, bottom_dims=(4,), top_dims=(4,))
    embeddings, dense = torch.randn(6, 4, 4, requires_grad=True), torch.randn(6, 2)
    logits = torch.compile(model, fullgraph=True)(embeddings, dense)
    assert_close(logits, model(embeddings, dense))
    actual, expected = (torch.autograd.grad(y.sum(), embeddings)[0] for y in (logits, model(embeddings, dense)))
    assert_close(actual, expected)
