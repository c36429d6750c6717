"""Batches given to tasks and objectives, and states given to loaders, that cannot be meant, a line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import tensor

from recsys.data import Column, Schema, SessionBatch, SessionSplitInfo, SplitInfo
from recsys.data.batch import Batch
from recsys.data.resumable import counts_of
from recsys.data.stages import require_stage
from recsys.models import LogisticRegression, SASRec
from recsys.tables import Bag
from recsys.tasks import CTRTask, MaskedItems, NextItem, NextItemTask
from tests.tasks.made_items import DIM, MAX_LENGTH, Items, padded

SCHEMA = Schema(Path("."), "made", "label", (Column("a", "categorical", 9), Column("x", "dense")), {})
ITEMS, LENGTHS = tensor([[1, 2, 0], [3, 4, 5]]), tensor([2, 3])


def clicks(**changed):
    plain = {"ids": tensor([[1, 2]]), "bags": {}, "dense": torch.zeros(2, 1), "labels": tensor([0.0, 1.0])}
    return Batch(**{**plain, **changed})


def trained(batch, configured=True):
    task = CTRTask(LogisticRegression, SCHEMA, embedding_dim=4)
    if configured:
        task.configure_model()
    return task.training_step(batch, 0)


def evaluated(batch):
    task = CTRTask(LogisticRegression, SCHEMA, embedding_dim=4)
    task.configure_model()
    task.validation_step(batch, 0)


def loaded(state):
    CTRTask(LogisticRegression, SCHEMA, embedding_dim=4).load_state_dict(state)


def told(items, targets=None):
    task = NextItemTask(SASRec, Items(), embedding_dim=DIM, max_length=MAX_LENGTH)
    task.configure_model()
    if targets is None:
        task(padded(items))
    else:
        task.validation_step(padded(items, targets=targets) if isinstance(items, list) else items, 0)


def sessions(**changed):
    return SessionBatch(**{"items": ITEMS, "lengths": LENGTHS, **changed})


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "sessions to a task of clicks": (lambda: trained(sessions()), "must be those of a CTRDataModule, got SessionBatch"),
    "a tensor": (lambda: trained(torch.zeros(2, 1)), "batches must be those of a CTRDataModule, got Tensor"),
    "no labels": (lambda: trained(clicks(labels=None)), "no labels to train with"),
    "no labels to compare with": (lambda: evaluated(clicks(labels=None)), "no labels to evaluate with"),
    "a pair to evaluate": (lambda: evaluated((1, 2)), "must be those of a CTRDataModule, got tuple"),
    "labels of -1": (lambda: trained(clicks(labels=tensor([-1.0, 1.0]))), "labels must be 0 or 1, got -1.0"),
    "half a label": (lambda: trained(clicks(labels=tensor([0.5, 1.0]))), "labels must be 0 or 1, got 0.5"),
    "labels in a column": (lambda: trained(clicks(labels=torch.ones(2, 1))), r"floats \[B=2\], got \[2, 1\]"),
    "whole labels": (lambda: trained(clicks(labels=tensor([0, 1]))), r"got \[2\] of torch.int64"),
    "a weight for all": (lambda: trained(clicks(weights=tensor([2.0]))), r"weights must be floats \[B=2\], got \[1\]"),
    "a negative weight": (lambda: trained(clicks(weights=tensor([2.0, -1]))), "weights must be finite .* got -1.0"),
    "clicks to a task of sessions": (lambda: NextItem().training(clicks(), 5), "of a SessionDataModule, got Batch"),
    "hidden clicks": (lambda: MaskedItems().evaluation(clicks(), 5), "MaskedItems: .* got Batch"),
    "no length": (lambda: NextItem().evaluation(sessions(), 0), "max_length must be a whole number .* got 0"),
    "an item beyond": (lambda: told([[1, 31]]), r"items must be in \[1, num_items=30\], got 31"),
    "padding inside": (lambda: told([[1, 0, 2]]), r"items must be in \[1, num_items=30\], got 0"),
    "no batch to rank": (lambda: told({"items": 1}, tensor([1])), "NextItemTask: batches must be .* got dict"),
    "items in a list": (lambda: sessions(items=[[1, 2, 0]]), r"items must be a Tensor \[B, L\] .* got list"),
    "items of numpy": (lambda: sessions(items=ITEMS.numpy()), "items must be a Tensor .* got ndarray"),
    "longer than it is": (lambda: sessions(lengths=tensor([2, 4])), r"lengths must be in \[0, L=3\], got 4"),
    "shorter than nothing": (lambda: sessions(lengths=tensor([-1, 3])), r"lengths must be in \[0, L=3\], got -1"),
    "lengths of others": (lambda: sessions(lengths=tensor([2])), r"items must be .* got \[2, 3\]"),
    "other lengths there": (lambda: sessions(host_lengths=tensor([2])), r"host_lengths must be a Tensor \[B\]"),
    "lengths that disagree": (lambda: sessions(host_lengths=tensor([1, 3])), "host_lengths must be the lengths"),
    "short times": (lambda: sessions(times=ITEMS[:, :2]), "times must be"),
    "targets of others": (lambda: sessions(targets=tensor([1])), "targets must be"),
    "float targets": (lambda: sessions(targets=tensor([1.0, 2.0])), "targets must be .* torch.float32"),
    "seen in a list": (lambda: sessions(seen=[1]), "seen must be a Bag of 2 sessions, got list"),
    "seen of others": (lambda: sessions(seen=Bag(tensor([1]), tensor([1]))), "seen must be a Bag .* got one of 1"),
    "a path as state": (lambda: loaded("last.ckpt"), "CTRTask: state_dict must be a mapping .* got str"),
    "a whole checkpoint": (lambda: loaded({"state_dict": {}}), "is a whole checkpoint; give its entry 'state_dict'"),
    "no mapping": (lambda: counts_of(None, ["epoch"]), "a loader's state must be a mapping, .* got NoneType"),
    "a missing number": (lambda: counts_of({}, ["epoch"]), "must have epoch, a whole number .* got None"),
    "a negative epoch": (lambda: counts_of({"epoch": -1}, ["epoch"]), "must have epoch, .* got -1"),
    "no stage": (lambda: require_stage("training", {"fit": 1}), "stage must be one of fit, .* got 'training'"),
    "ids without number": (lambda: Column("a", "categorical"), "num_embeddings of at least 1, got None"),
    "no ids": (lambda: Column("a", "categorical", 0), "num_embeddings of at least 1, got 0"),
    "ids of numbers": (lambda: Column("a", "dense", 5), "num_embeddings None, got 5"),
    "no name": (lambda: Column("", "dense"), "it must have a name"),
    "one id pooled": (lambda: Column("a", "categorical", 5, "sum"), "pooling is of a multi_valued column"),
    "lists unpooled": (lambda: Column("a", "multi_valued", 5), "pooling is of a multi_valued column"),
    "negative rows": (lambda: SplitInfo(-1, 0.5), "num_rows must be at least 0 .* got -1"),
    "a rate of NaN": (lambda: SplitInfo(1, float("nan")), r"label_rate in \[0, 1\], got 1 and nan"),
    "negative events": (lambda: SessionSplitInfo(1, -1, 0), "SessionSplitInfo: numbers must be at least 0"),
    "a label that is a feature": (lambda: replace(SCHEMA, label="x"), r"must differ, got \['x'\] more than once"),
    "columns in text": (lambda: replace(SCHEMA, columns="abc"), "Schema: columns must be"),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_cannot_be_meant_is_refused(case):
    call, message = CALLS[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_tables_that_are_not_made_yet_say_what_makes_them():
    with pytest.raises(AttributeError, match=r"CTRTask: its tables are not made yet; call configure_model"):
        trained(clicks(), configured=False)
    assert not hasattr(CTRTask(LogisticRegression, SCHEMA), "collection")


def test_what_can_be_meant_is_trained():
    assert trained(clicks(weights=tensor([2.0, 0.0]))).isfinite()
    assert np.array_equal(sessions().host_lengths, LENGTHS)
