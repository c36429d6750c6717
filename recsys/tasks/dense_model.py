"""The model of a task: made by what the user names, and tried once where it is none of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, nn

from recsys.models import CLICK_MODELS, PISA, ConcatFusion, SumFusion
from recsys.models.session import SessionModel

_ROWS = (2, 1)
"""Of the batches that a model is tried with: the last batch of a split may be of one row, which `squeeze()` drops."""


def click_model(make: Callable[..., Any], num_features: int, embedding_dim: int, num_dense: int) -> nn.Module:
    """A model of clicks.

    Raises:
        ValueError: if it is made of other things, as models of sessions are, or gives no logits [B] of embeddings
            [B, F, D] and dense [B, num_dense].
    """
    wanted = "model must be made of (num_features, embedding_dim, num_dense), as DeepFM and DLRM are"
    model = _made("CTRTask", make, (num_features, embedding_dim, num_dense), wanted)
    if type(model) in CLICK_MODELS:
        return model
    shapes = f"embeddings [B, {num_features}, {embedding_dim}] and dense [B, {num_dense}]"
    for num_rows in _ROWS:
        inputs = torch.zeros(num_rows, num_features, embedding_dim), torch.zeros(num_rows, num_dense)
        _try("CTRTask", model, inputs, (num_rows,), f"logits [B] of {shapes}, as DeepFM does")
    return model


def session_model(owner: str, make: Callable[..., Any], embedding_dim: int, max_length: int) -> nn.Module:
    """A model of sessions.

    Raises:
        ValueError: if it is made of other things, as models of clicks are, does not say whether it is causal, or gives
            no hidden states [B, L, D] of vectors [B, L, D], lengths [B] and times.
    """
    wanted = "model must be made of (embedding_dim, max_length), as SASRec and GRU4Rec are"
    model = _made(owner, make, (embedding_dim, max_length), wanted)
    if isinstance(model, PISA):
        raise ValueError(f"{owner}: PISA reads histories of sessions; give model: PISATask, or SASRec as its model.")
    if not isinstance(getattr(model, "causal", None), bool):
        raise ValueError(
            f"{owner}: model must say by an attribute causal, true or false, whether no state depends on later events, "
            f"as SASRec does; {type(model).__name__} has none."
        )
    if not isinstance(model, SessionModel):
        shapes = f"vectors [B, L, {embedding_dim}], lengths [B] and times [B, L] or None"
        for num_rows in _ROWS:
            inputs = torch.zeros(num_rows, 1, embedding_dim), torch.ones(num_rows, dtype=torch.int64), None
            gives = f"hidden states [B, L, {embedding_dim}] of {shapes}"
            _try(owner, model, inputs, (num_rows, 1, embedding_dim), gives)
    return model


def fusion_module(owner: str, make: Callable[..., Any], num_features: int, embedding_dim: int) -> nn.Module:
    """What makes the vectors of several features one.

    Raises:
        ValueError: if it is made of other things, or gives no vectors [N, D] of vectors [N, F, D].
    """
    wanted = "fusion must be made of (num_features, embedding_dim), as SumFusion and ConcatFusion are"
    module = _made(owner, make, (num_features, embedding_dim), wanted)
    if type(module) not in (SumFusion, ConcatFusion):
        gives = f"vectors [N, {embedding_dim}] of those of features [N, {num_features}, {embedding_dim}]"
        for num_rows in _ROWS:
            inputs = (torch.zeros(num_rows, num_features, embedding_dim),)
            _try(owner, module, inputs, (num_rows, embedding_dim), gives, "fusion")
    return module


def pisa_model(make: Callable[..., Any], embedding_dim: int, max_length: int) -> PISA:
    """A model of histories of sessions.

    Raises:
        ValueError: if it is no PISA.
    """
    wanted = "model must be PISA, or a class made from it"
    model = _made("PISATask", make, (embedding_dim, max_length), wanted)
    if not isinstance(model, PISA):
        raise ValueError(f"PISATask: {wanted}, got {type(model).__name__}.")
    return model


def _made(owner: str, make: Callable[..., Any], sizes: Sequence[int], wanted: str) -> nn.Module:
    try:
        model = make(*sizes)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{owner}: {wanted}, got one that says {_said(error)}.") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{owner}: {wanted}, got {type(model).__name__}, which is no nn.Module.")
    return model


@torch.no_grad()
def _try(
    owner: str,
    model: nn.Module,
    inputs: Sequence[Tensor | None],
    shape: tuple[int, ...],
    gives: str,
    argument: str = "model",
) -> None:
    """Run a model on zeros, which leaves it and the random numbers as they were."""
    if any(parameter.is_meta for parameter in model.parameters()):
        return
    name, training = type(model).__name__, {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(devices=[]):
            found = model.eval()(*inputs)
    except Exception as error:
        raise ValueError(f"{owner}: {argument} must give {gives}; {name} says {_said(error)}.") from error
    finally:
        for module, mode in training.items():
            module.training = mode
    if not isinstance(found, Tensor) or found.shape != shape:
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"{owner}: {argument} must give {gives}; of a batch of {shape[0]}, {name} gives {got}.")


def _said(error: Exception) -> str:
    """An error in a line, and where it came from, since no traceback is shown."""
    place = extract_tb(error.__traceback__)[-1]
    # A parser would take "has no attribute 'x'" for a class that it has not found.
    text = " ".join(str(error).split()).rstrip(".").replace("has no attribute", "lacks the attribute")
    return f"{type(error).__name__}: {text} ({Path(place.filename).name}, line {place.lineno})"
