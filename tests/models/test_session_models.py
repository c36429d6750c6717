"""What every session model must satisfy."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field

import pytest
import torch
from torch.testing import assert_close

from recsys import models
from tests.models import session_loops

EMBEDDING_DIM, MAX_LENGTH = 4, 7
LENGTHS = [5, 1, 3, 6]


@dataclass
class Example:
    model: type[torch.nn.Module]
    loop: object
    options: dict = field(default_factory=dict)

    def build(self, **options):
        """The model in float64, with no parameter left at zero."""
        torch.manual_seed(0)
        options = {"dropout": 0.0, **self.options, **options}
        model = self.model(EMBEDDING_DIM, MAX_LENGTH, **options).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
        return model

    def inputs(self, lengths=LENGTHS, seed=1):
        """Vectors, lengths, times and, for a model that is not causal, masked events."""
        generator = torch.Generator().manual_seed(seed)
        num_positions = max(lengths, default=1)
        vectors = torch.randn(len(lengths), num_positions, EMBEDDING_DIM, generator=generator, dtype=torch.float64)
        gaps = torch.randint(0, 10**6, (len(lengths), num_positions), generator=generator)
        inputs = [vectors.requires_grad_(), torch.tensor(lengths, dtype=torch.int64), gaps.cumsum(1)]
        if not self.model.causal:
            masked = torch.rand(len(lengths), num_positions, generator=generator) < 0.3
            inputs.append(masked & (torch.arange(num_positions) < inputs[1].unsqueeze(1)))
        return inputs

    def __str__(self):
        return " ".join([self.model.__name__, *(f"{key}={value}" for key, value in self.options.items())])


EXAMPLES = [
    Example(models.SASRec, session_loops.sasrec, {"num_blocks": 2, "num_heads": 2}),
    Example(models.SASRec, session_loops.sasrec, {"num_blocks": 1}),
    Example(models.GRU4Rec, session_loops.gru4rec),
    Example(models.GRU4Rec, session_loops.gru4rec, {"hidden_dim": 5, "num_blocks": 2}),
    Example(models.HSTU, session_loops.hstu),
    Example(models.HSTU, session_loops.hstu, {"num_heads": 2, "attention_dim": 3, "value_dim": 5, "use_times": True}),
    Example(models.BERT4Rec, session_loops.bert4rec),
    Example(models.M2TRec, session_loops.m2trec),
]
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=str)


def test_every_session_model_has_an_example():
    assert {example.model for example in EXAMPLES} == set(models.SESSION_MODELS)


@every_example
def test_equals_the_slow_loop(example):
    model, inputs = example.build(), example.inputs()
    actual = model(*inputs)
    for session, length in enumerate(LENGTHS):
        vectors, _, times, *masked = (value[session].tolist() for value in inputs)
        masked = masked[0][:length] if masked else None
        expected = example.loop(model, vectors[:length], times[:length], masked)
        assert_close(actual[session, :length], torch.tensor(expected, dtype=torch.float64))


@every_example
def test_padding_is_never_read(example):
    model, inputs = example.build(), example.inputs()
    is_event = torch.arange(max(LENGTHS)) < inputs[1].unsqueeze(1)
    noise = torch.where(is_event.unsqueeze(2), inputs[0], torch.full_like(inputs[0], 9.0))
    assert_close(model(noise, *inputs[1:])[is_event], model(*inputs)[is_event], rtol=0, atol=0)


@every_example
def test_a_state_depends_on_earlier_events_only_if_causal(example):
    model, inputs = example.build(), example.inputs([6])
    changed = inputs[0].detach().clone()
    changed[:, 4:] *= -1
    if not example.model.causal:
        inputs[3] = torch.zeros_like(inputs[3])
    same = torch.isclose(model(changed, *inputs[1:]), model(*inputs)).all(2)[0]
    assert same.tolist() == ([True] * 4 + [False] * 2 if example.model.causal else [False] * 6)


@every_example
def test_gradients_are_those_of_finite_differences_and_reach_every_parameter(example):
    model, inputs = example.build(), example.inputs()
    parameters = dict(model.named_parameters())
    is_event = torch.arange(max(LENGTHS)) < inputs[1].unsqueeze(1)

    def forward(vectors, *values):
        return torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), (vectors, *inputs[1:]))[
            is_event
        ]

    assert torch.autograd.gradcheck(forward, (inputs[0], *parameters.values()), fast_mode=True)
    forward(inputs[0], *parameters.values()).square().sum().backward()
    for name, parameter in parameters.items():
        assert parameter.grad.any(), name


@every_example
def test_sessions_do_not_see_each_other(example):
    model, inputs = example.build(), example.inputs()
    order = torch.tensor([2, 0, 3, 1])
    assert_close(model(*(value[order] for value in inputs)), model(*inputs)[order])


@every_example
@pytest.mark.parametrize("lengths", [[], [0], [1], [MAX_LENGTH]])
def test_batches_of_none_and_one_and_the_longest(example, lengths):
    model, inputs = example.build(), example.inputs(lengths)
    if lengths == [0]:
        inputs = [value[:, :1] if value.dim() > 1 else value for value in example.inputs([1])]
        inputs[1] = torch.tensor([0])
    hidden = model(*inputs)
    assert hidden.shape == inputs[0].shape
    assert hidden.isfinite().all()
    hidden.sum().backward()


@every_example
def test_dropout_acts_in_training_alone(example):
    model, inputs = example.build(dropout=0.5), example.inputs()
    assert not torch.equal(model(*inputs), model(*inputs))
    model.eval()
    assert_close(model(*inputs), model(*inputs), rtol=0, atol=0)


@every_example
def test_bf16_autocast_stays_close(example):
    model, inputs = example.build().float(), example.inputs()
    inputs[0] = inputs[0].detach().float()
    expected = model(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = model(*inputs).float()
    assert (actual - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("model", models.SESSION_MODELS)
def test_sizes_come_first_and_options_are_keywords(model):
    parameters = list(inspect.signature(model).parameters.values())
    assert [parameter.name for parameter in parameters[:2]] == ["embedding_dim", "max_length"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters[2:])


@pytest.mark.parametrize("model", models.SESSION_MODELS)
@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((0, 5), {}, "embedding_dim must be at least 1, got 0"),
        ((4, 0), {}, "max_length must be at least 1, got 0"),
        ((4, 5), {"num_blocks": 0}, "num_blocks must be at least 1, got 0"),
        ((4, 5), {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_arguments_are_checked(model, sizes, options, message):
    with pytest.raises(ValueError, match=f"{model.__name__}: {message}"):
        model(*sizes, **options)


@pytest.mark.parametrize("model", [models.SASRec, models.BERT4Rec, models.M2TRec])
def test_heads_must_divide_the_width(model):
    with pytest.raises(ValueError, match="num_heads must divide embedding_dim=4, got 3"):
        model(4, 5, num_heads=3)


def test_sessions_beyond_max_length_are_refused():
    with pytest.raises(ValueError, match="sessions of 6 events exceed the model's max_length=5"):
        models.SASRec(4, 5)(torch.zeros(1, 6, 4), torch.tensor([6]))


def test_hstu_says_that_times_are_missing():
    with pytest.raises(ValueError, match="use_times needs sessions with times"):
        models.HSTU(4, 5, use_times=True)(torch.zeros(1, 2, 4), torch.tensor([2]))


def test_fusions_are_the_sum_and_the_linear_map_of_all_values():
    vectors = torch.randn(5, 3, 4)
    assert_close(models.SumFusion(3, 4)(vectors), vectors[:, 0] + vectors[:, 1] + vectors[:, 2])
    fusion = models.ConcatFusion(3, 4)
    expected = sum(vectors[:, f] @ fusion.output.weight[:, 4 * f : 4 * f + 4].t() for f in range(3))
    assert_close(fusion(vectors), expected)
    wide = models.ConcatFusion(8, 64)(0.1 * torch.randn(4000, 8, 64))
    assert wide.std().item() == pytest.approx(0.1, rel=0.05)
