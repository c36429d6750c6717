"""Binary metrics of whole splits: against scikit-learn and definitions, in any batches and processes, with weights."""

from __future__ import annotations

import doctest
import math
import random
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

import recsys.metrics.binary
from recsys.evaluation import gauc
from recsys.metrics.binary import BinaryMetrics


def random_rows(num_rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_rows, generator=generator)
    labels = (torch.rand(num_rows, generator=generator) < (logits - 1).sigmoid()).float()
    return logits, labels


def computed(logits, labels, **others):
    metrics = BinaryMetrics()
    metrics.update(logits, labels, **others)
    return metrics.compute()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_values_of_sklearn(dtype):
    logits, labels = random_rows(20_000)
    logits = logits.to(dtype)
    exact = logits.double()
    expected = sklearn_log_loss(labels.numpy(), exact.sigmoid().numpy())
    base = sklearn_log_loss(labels.numpy(), labels.double().mean().expand(20_000).numpy())
    found = computed(logits, labels)
    assert found["auc"] == pytest.approx(roc_auc_score(labels.numpy(), exact.numpy()), abs=1e-12)
    assert found["log_loss"] == pytest.approx(expected, rel=1e-12)
    assert found["normalised_entropy"] == pytest.approx(expected / base, rel=1e-12)
    ratio = exact.sigmoid().mean() / labels.double().mean()
    assert found["calibration"] == pytest.approx(float(ratio), rel=1e-12)


def test_hand_computed_values():
    logits = torch.tensor([math.log(3), 0.0, 0.0, -math.log(3)], dtype=torch.float64)
    # Predictions 3/4, 1/2, 1/2, 1/4; of the four pairs three are won and one is tied.
    loss = -(2 * math.log(3 / 4) + 2 * math.log(1 / 2)) / 4
    found = computed(logits, torch.tensor([1, 1, 0, 0]))
    assert found["auc"] == (3 + 0.5) / 4
    assert found["log_loss"] == pytest.approx(loss)
    assert found["normalised_entropy"] == pytest.approx(loss / math.log(2))
    assert found["calibration"] == pytest.approx(1.0)


def test_predicting_the_mean_label_has_normalised_entropy_and_calibration_one():
    _, labels = random_rows(1000)
    found = computed(torch.logit(labels.double().mean()).expand(1000), labels)
    assert found["normalised_entropy"] == pytest.approx(1.0)
    assert found["calibration"] == pytest.approx(1.0)
    assert found["auc"] == 0.5


def test_infinite_logits():
    logits, labels = torch.tensor([math.inf, -math.inf]), torch.tensor([1, 0])
    assert computed(logits, labels)["auc"] == 1.0
    assert computed(logits, labels)["log_loss"] == 0.0
    assert computed(logits, 1 - labels)["log_loss"] == math.inf


def test_auc_tells_apart_scores_that_saturate_as_float32_probabilities():
    assert computed(torch.tensor([40.0, 41.0]), torch.tensor([0, 1]))["auc"] == 1.0


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_only_what_it_defines(label):
    values = computed(torch.tensor([0.0, 1.0]), torch.full((2,), label))
    assert math.isnan(values["auc"])
    assert math.isnan(values["normalised_entropy"])
    assert math.isnan(values["calibration"]) == (label == 0)
    assert math.isfinite(values["log_loss"])


def test_no_rows_are_nan_and_counted_as_none():
    for values in (
        BinaryMetrics().compute(),
        computed(torch.empty(0), torch.empty(0), weights=torch.empty(0), groups=torch.empty(0, dtype=torch.int64)),
    ):
        assert values.pop("num_samples") == 0
        assert all(math.isnan(value) for value in values.values())


@pytest.mark.parametrize(
    ("scores", "labels", "others", "message"),
    [
        ([0.0, math.nan, math.nan], [0.0, 1.0, 0.0], {}, "2 of 3 scores are NaN"),
        ([0.0, 1.0], [0.0, 2.0], {}, "labels must be 0 or 1, got 2.0 and 0 more"),
        ([0.0, 1.0], [0.5, math.nan], {}, "labels must be 0 or 1, got 0.5 and 1 more"),
        ([0.0, 1.0], [0.0], {}, r"scores and labels must have the same shape \[N\], got \[2\] and \[1\]"),
        ([[0.0], [1.0]], [[0.0], [1.0]], {}, r"the same shape \[N\], got \[2, 1\] and \[2, 1\]"),
        ([0.0, 1.0], [0.0, 1.0], {"weights": [1.0]}, r"scores and weights must have the same shape"),
        ([0.0, 1.0], [0.0, 1.0], {"weights": [1.0, -1.0]}, "at least 0, got -1.0 and 0 more"),
        (
            [0.0, 1.0],
            [0.0, 1.0],
            {"weights": [math.nan, math.inf]},
            "must be finite and at least 0, got nan and 1 more",
        ),
        ([0.0, 1.0], [0.0, 1.0], {"groups": [1]}, r"scores and groups must have the same shape"),
    ],
)
def test_bad_input_is_named(scores, labels, others, message):
    with pytest.raises(ValueError, match=message):
        computed(torch.tensor(scores), torch.tensor(labels), **{k: torch.tensor(v) for k, v in others.items()})


@pytest.mark.parametrize("name", ["weights", "groups"])
def test_some_batches_with_and_some_without_are_refused(name):
    metrics = BinaryMetrics()
    metrics.update(*random_rows(5), **{name: torch.ones(5, dtype=torch.float32 if name == "weights" else torch.int64)})
    metrics.update(*random_rows(5))
    with pytest.raises(ValueError, match=f"{name}: some batches have them and some do not"):
        metrics.compute()


@given(st.integers(0, 300), st.integers(0, 2**32), st.sampled_from([torch.bfloat16, torch.float32, torch.float64]))
@settings(max_examples=30, deadline=None)
def test_batches_do_not_matter(num_rows, seed, dtype):
    logits, labels = random_rows(num_rows, seed=seed)
    logits = logits.to(dtype)
    parts = BinaryMetrics()
    cut = random.Random(seed).randint(0, num_rows)
    parts.update(logits[cut:], labels[cut:].bool())
    parts.update(logits[:cut], labels[:cut].to(torch.uint8))
    assert parts.compute() == pytest.approx(computed(logits, labels), rel=1e-12, nan_ok=True)


@given(st.integers(1, 200), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_weight_two_is_the_row_twice_and_weight_nought_is_none(num_rows, seed):
    logits, labels = random_rows(num_rows, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    weights, groups = (torch.randint(0, 4, (num_rows,), generator=generator) for _ in range(2))
    repeated = [values.repeat_interleave(weights) for values in (logits, labels, groups)]
    found = computed(logits, labels, weights=weights, groups=groups)
    expected = computed(*repeated[:2], groups=repeated[2])
    assert found.pop("num_samples") == num_rows
    assert expected.pop("num_samples") == weights.sum()
    assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_groups_add_gauc():
    logits, labels = random_rows(400)
    groups = torch.arange(400) % 17 + 2**40
    assert computed(logits, labels, groups=groups)["gauc"] == gauc(labels, logits, groups).value


def test_rows_are_copied_and_reset_forgets_them():
    logits, labels = random_rows(50)
    metrics = BinaryMetrics()
    metrics.update(logits, labels)
    expected = metrics.compute()
    logits.zero_()
    labels.zero_()
    assert metrics.compute() == expected
    metrics.reset()
    assert metrics.compute()["num_samples"] == 0


SPLITS = ((311, 100), (0, 57))


def _others(num_rows):
    return {"weights": torch.arange(num_rows) % 3 + 0.5, "groups": torch.arange(num_rows) % 11}


def _evaluate_parts(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    values = []
    for split in SPLITS:
        part = slice(sum(split[:rank]), sum(split[: rank + 1]))
        metrics = BinaryMetrics()
        for rows in zip(*(column[part].split(64) for column in random_rows(sum(split))), strict=True):
            metrics.update(*rows)
        values.append(metrics.compute())
        # A process without a batch does not know that the others' rows have weights and groups.
        metrics = BinaryMetrics()
        if split[rank]:
            others = {name: column[part] for name, column in _others(sum(split)).items()}
            metrics.update(*(column[part] for column in random_rows(sum(split))), **others)
        values.append(metrics.compute())
    torch.save(values, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_with_uneven_rows_agree_with_one(tmp_path):
    mp.spawn(_evaluate_parts, (str(tmp_path),), nprocs=2)
    expected = []
    for split in SPLITS:
        expected += [computed(*random_rows(sum(split))), computed(*random_rows(sum(split)), **_others(sum(split)))]
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == expected


def test_examples_in_docstrings():
    assert doctest.testmod(recsys.metrics.binary).attempted > 0
    assert doctest.testmod(recsys.metrics.binary).failed == 0
