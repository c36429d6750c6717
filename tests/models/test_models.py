"""What every model must satisfy."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch.testing import assert_close

from recsys import models
from tests.models.examples import EMBEDDING_DIM, EXAMPLES, NUM_FEATURES

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)
DEFAULTS = models.CLICK_MODELS


def test_every_model_has_an_example():
    assert {example.model for example in EXAMPLES} == set(DEFAULTS)


@every_example
def test_equals_the_slow_loop(example):
    model = example.build()
    embeddings, dense = example.inputs(6)
    expected = [example.loop(model, *row) for row in zip(embeddings.tolist(), dense.tolist(), strict=True)]
    assert_close(model(embeddings, dense), torch.tensor(expected, dtype=torch.float64))


@every_example
def test_gradients_are_those_of_finite_differences(example):
    model = example.build()
    embeddings, dense = example.inputs(3)
    parameters = dict(model.named_parameters())

    def forward(embeddings, dense, *values):
        return torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), (embeddings, dense))

    assert torch.autograd.gradcheck(forward, (embeddings, dense.requires_grad_(), *parameters.values()), fast_mode=True)


@every_example
@pytest.mark.parametrize("batch_size", [0, 1])
def test_batches_of_none_and_one(example, batch_size):
    model = example.build()
    embeddings, dense = example.inputs(batch_size)
    logits = model(embeddings, dense)
    assert logits.shape == (batch_size,)
    logits.sum().backward()
    assert embeddings.grad.shape == embeddings.shape
    assert all(parameter.grad is not None for parameter in model.parameters())


@every_example
def test_gradients_reach_every_parameter_and_input(example):
    model = example.build()
    embeddings, dense = example.inputs(32)
    model(embeddings, dense.requires_grad_()).square().sum().backward()
    dead = [name for name, parameter in model.named_parameters() if parameter.numel() and not parameter.grad.any()]
    assert dead == []
    assert embeddings.grad.any(dim=0).all()
    assert example.num_dense == 0 or dense.grad.any(dim=0).all()


@every_example
def test_rows_do_not_see_each_other(example):
    model = example.build()
    embeddings, dense = example.inputs(8)
    order = torch.randperm(8)
    assert_close(model(embeddings[order], dense[order]), model(embeddings, dense)[order])
    assert_close(model(embeddings[2:3], dense[2:3]), model(embeddings, dense)[2:3])


@every_example
def test_state_dict_holds_all_that_matters(example):
    model = example.build()
    other = type(model)(NUM_FEATURES, EMBEDDING_DIM, example.num_dense, **example.options).double()
    other.load_state_dict(model.state_dict())
    inputs = example.inputs(4)
    assert_close(other(*inputs), model(*inputs), rtol=0, atol=0)


@every_example
def test_inputs_are_not_changed(example):
    embeddings, dense = example.inputs(4)
    copies = embeddings.detach().clone(), dense.clone()
    example.build()(embeddings, dense).sum().backward()
    assert_close((embeddings.detach(), dense), copies, rtol=0, atol=0)


@every_example
def test_bf16_autocast_keeps_float32_logits_and_gradients(example):
    model = example.build().float()
    embeddings, dense = (tensor.detach().float() for tensor in example.inputs(64))
    embeddings.requires_grad_()
    expected = model(embeddings, dense)
    (expected_grad,) = torch.autograd.grad(expected.sum(), embeddings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(embeddings, dense)
    (grad,) = torch.autograd.grad(logits.sum(), embeddings)
    assert logits.dtype == grad.dtype == torch.float32
    # bfloat16 keeps 8 bits, and a value next to zero may cross the kink of a ReLU.
    assert (logits - expected).norm() < 0.05 * expected.norm()
    assert (grad - expected_grad).norm() < 0.15 * expected_grad.norm()


@every_example
def test_compiles_without_graph_breaks(example):
    model = example.build()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    embeddings, dense = example.inputs(4)
    (expected_grad,) = torch.autograd.grad(model(embeddings, dense).sum(), embeddings)
    logits = compiled(embeddings, dense)
    assert_close(logits, model(embeddings, dense))
    assert_close(torch.autograd.grad(logits.sum(), embeddings)[0], expected_grad)


@pytest.mark.parametrize("model", DEFAULTS)
@pytest.mark.parametrize("num_dense", [0, 13])
def test_defaults_build_and_take_a_step(model, num_dense):
    torch.manual_seed(0)
    module = model(26, 16, num_dense)
    embeddings = torch.randn(8, 26, 16, requires_grad=True)
    module(embeddings, torch.randn(8, num_dense)).sum().backward()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("model", DEFAULTS)
def test_sizes_come_first_and_options_are_keywords(model):
    parameters = list(inspect.signature(model).parameters.values())
    assert [parameter.name for parameter in parameters[:3]] == ["num_features", "embedding_dim", "num_dense"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters[3:])


@pytest.mark.parametrize("model", DEFAULTS)
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 4, 3), "num_features must be at least 1, got 0"),
        ((5, 0, 3), "embedding_dim must be at least 1, got 0"),
        ((5, 4, -1), "num_dense must be at least 0, got -1"),
    ],
)
def test_sizes_are_checked(model, sizes, message):
    with pytest.raises(ValueError, match=f"{model.__name__}: {message}"):
        model(*sizes)
