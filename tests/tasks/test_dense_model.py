"""Models that nobody here has written: what a task reads of them is tried before anything is trained."""

import pytest
import torch
from torch import nn

from recsys.models import PISA, ConcatFusion, DeepFM, SASRec, SumFusion
from recsys.tasks.dense_model import click_model, fusion_module, pisa_model, session_model


class Own(nn.Module):
    """Somebody's model of clicks, with a state that a forward pass in training would change."""

    def __init__(self, num_features, embedding_dim, num_dense):
        super().__init__()
        width = num_features * embedding_dim + num_dense
        self.layers = nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 1))
        self.layers[1].eval()

    def forward(self, embeddings, dense):
        return self.layers(torch.cat([embeddings.flatten(1), dense], 1)).squeeze(1)


class Column(Own):
    def forward(self, embeddings, dense):
        return super().forward(embeddings, dense).unsqueeze(1)


class Squeezed(Own):
    def forward(self, embeddings, dense):
        return super().forward(embeddings, dense).squeeze()


class Pair(Own):
    def forward(self, embeddings, dense):
        return embeddings, dense


class Strict(Own):
    def __init__(self, num_features, embedding_dim, num_dense):
        raise ValueError("Strict: embedding_dim must be even, got 3.")


def test_a_trial_leaves_no_trace():
    torch.manual_seed(3)
    alone = Own(3, 4, 2)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    tried = click_model(Own, 3, 4, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in tried.modules()] == [module.training for module in alone.modules()]
    for name, value in alone.state_dict().items():
        assert torch.equal(tried.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            Column,
            r"logits \[B\] of embeddings \[B, 3, 4\] and .*; of a batch of 2, Column gives \[2, 1\]",
        ),
        (Squeezed, r"of a batch of 1, Squeezed gives \[\]"),
        (lambda *_: SASRec(4, 3), r"model must give logits \[B\] of .*; SASRec says ValueError: "),
        (Pair, "of a batch of 2, Pair gives tuple"),
        (nn.Linear, r"Linear says TypeError: .* takes 2 positional arguments but 3 were given \("),
        (nn.Bilinear, r"Bilinear says RuntimeError: .* \("),
        (nn.Transformer, r"CTRTask: model must be made of \(num_features, .*, got one that says AssertionError"),
        (SASRec, "CTRTask: model must be made of .*, got one that says TypeError"),
        (lambda *_: 3, "CTRTask: model must be made of .*, got int, which is no nn.Module"),
        (Strict, "Strict: embedding_dim must be even, got 3"),
    ],
)
def test_what_is_no_model_of_clicks_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        click_model(make, 3, 4, 2)


class OwnSession(nn.Module):
    causal = True

    def __init__(self, embedding_dim, max_length):
        super().__init__()
        self.linear = nn.Linear(embedding_dim, embedding_dim)

    def forward(self, vectors, lengths, times):
        return self.linear(vectors)


class Pooled(OwnSession):
    def forward(self, vectors, lengths, times):
        return super().forward(vectors, lengths, times).mean(1)


class Untold(OwnSession):
    causal = None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Pooled, r"hidden states \[B, L, 8\] of vectors \[B, L, 8\], .*; of a batch of 2, Pooled gives \[2, 8\]"),
        (Untold, "model must say by an attribute causal, true or false, .*; Untold has none"),
        (nn.Linear, "model must say by an attribute causal, .*; Linear has none"),
        (PISA, "NextItemTask: PISA reads histories of sessions; give model: PISATask"),
        (DeepFM, r"NextItemTask: model must be made of \(embedding_dim, max_length\), as SASRec"),
    ],
)
def test_what_is_no_model_of_sessions_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        session_model("NextItemTask", make, 8, 10)


def test_models_of_sessions_of_ones_own_and_of_other_tasks():
    assert isinstance(session_model("NextItemTask", OwnSession, 8, 10), OwnSession)
    with pytest.raises(ValueError, match="PISATask: model must be PISA, or a class made from it, got SASRec"):
        pisa_model(SASRec, 8, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (ConcatFusion(3, 8), r"fusion must be made of \(num_features, embedding_dim\), .* says TypeError"),
        (lambda *_: None, "fusion must be made of .*, got NoneType, which is no nn.Module"),
        (lambda number, dim: nn.Linear(dim, dim), r"fusion must give vectors \[N, 8\] .*, Linear gives \[2, 3, 8\]"),
    ],
)
def test_what_is_no_fusion_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        fusion_module("NextItemTask", make, 3, 8)


def test_fusions_of_ones_own():
    class Largest(nn.Module):
        def forward(self, vectors):
            return vectors.amax(1)

    for make in (SumFusion, ConcatFusion, lambda *_: Largest()):
        assert isinstance(fusion_module("NextItemTask", make, 3, 8), nn.Module)
