"""What cannot be a batch of a task, in a sentence that names it: kinds and shapes everywhere, values on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.data import SessionBatch
from recsys.data.batch import Batch


def check_clicks(owner: str, batch: object) -> None:
    """Refuse what is no batch of clicks.

    Raises:
        ValueError: naming what was given.
    """
    if not isinstance(batch, Batch):
        raise ValueError(f"{owner}: batches must be those of a CTRDataModule, got {type(batch).__name__}.")


def check_events(owner: str, batch: object, max_length: int) -> None:
    """Refuse what is no batch of sessions, and a model's length that is none.

    Raises:
        ValueError: naming what was given.
    """
    check_session_batch(owner, batch)
    if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1:
        raise ValueError(f"{owner}: max_length must be a whole number of at least 1, got {max_length!r}.")


def check_session_batch(owner: str, batch: object) -> None:
    """Refuse what is no batch of sessions.

    Raises:
        ValueError: naming what was given.
    """
    if not isinstance(batch, SessionBatch):
        raise ValueError(f"{owner}: batches must be those of a SessionDataModule, got {type(batch).__name__}.")


def check_labels(owner: str, labels: Tensor | None, weights: Tensor | None, num_samples: int) -> None:
    """Refuse labels that are missing, not one for each sample or neither 0 nor 1, and weights likewise.

    Raises:
        ValueError: naming what was given.
    """
    check_labelled(owner, labels, "train")
    for name, values in (("labels", labels), ("weights", weights)):
        if values is None:
            continue
        if not isinstance(values, Tensor) or not values.is_floating_point() or values.shape != (num_samples,):
            got = f"{list(values.shape)} of {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"{owner}: {name} must be floats [B={num_samples}], got {got}.")
        if values.device.type != "cpu" or torch.compiler.is_compiling():
            continue
        wrong = values[(values != 0) & (values != 1) if name == "labels" else ~(values.isfinite() & (values >= 0))]
        if len(wrong):
            wanted = "0 or 1" if name == "labels" else "finite and at least 0"
            raise ValueError(f"{owner}: {name} must be {wanted}, got {float(wrong[0])} and {len(wrong) - 1} more.")


def check_labelled(owner: str, labels: Tensor | None, purpose: str) -> None:
    """Refuse a batch without labels, for whatever they are needed.

    Raises:
        ValueError: naming the purpose.
    """
    if labels is None:
        raise ValueError(f"{owner}: the batch has no labels to {purpose} with; prepare the data with a label.")
