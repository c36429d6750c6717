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
from recsys.metrics.binary import BinaryMetrics, auc, calibration_ratio, log_loss, normalised_entropy

FUNCTIONS = (auc, log_loss, normalised_entropy, calibration_ratio)

# A grid of few values, so that most rows tie; -0.0 and 0.0 tie too.
ROWS = st.lists(
    st.tuples(st.sampled_from([-2.5, -1.0, -0.0, 0.0, 0.5, 3.0, 700.0]), st.integers(0, 1)), min_size=1, max_size=40
)


def columns(rows):
    scores, labels = zip(*rows, strict=True)
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(labels)


def auc_by_counting_pairs(scores, labels):
    positives = [s for s, y in zip(scores.tolist(), labels.tolist(), strict=True) if y]
    negatives = [s for s, y in zip(scores.tolist(), labels.tolist(), strict=True) if not y]
    if not positives or not negatives:
        return math.nan
    wins = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


def random_rows(num_rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_rows, generator=generator)
    labels = (torch.rand(num_rows, generator=generator) < (logits - 1).sigmoid()).float()
    return logits, labels


@given(ROWS)
def test_auc_counts_pairs_with_ties_as_one_half(rows):
    scores, labels = columns(rows)
    assert auc(scores, labels) == pytest.approx(auc_by_counting_pairs(scores, labels), abs=1e-15, nan_ok=True)


@given(ROWS)
def test_auc_of_negated_scores_and_of_swapped_labels(rows):
    scores, labels = columns(rows)
    expected = pytest.approx(1 - auc(scores, labels), abs=1e-15, nan_ok=True)
    assert auc(-scores, labels) == expected
    assert auc(scores, 1 - labels) == expected


@given(ROWS)
def test_log_loss_row_by_row(rows):
    losses = [math.log1p(math.exp(-s if y else s)) if abs(s) < 700 else (0.0 if y else s) for s, y in rows]
    assert log_loss(*columns(rows)) == pytest.approx(math.fsum(losses) / len(losses), rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_values_of_sklearn(dtype):
    logits, labels = random_rows(20_000)
    logits = logits.to(dtype)
    exact = logits.double()
    expected = sklearn_log_loss(labels.numpy(), exact.sigmoid().numpy())
    base = sklearn_log_loss(labels.numpy(), labels.double().mean().expand(20_000).numpy())
    assert auc(logits, labels) == pytest.approx(roc_auc_score(labels.numpy(), exact.numpy()), abs=1e-12)
    assert log_loss(logits, labels) == pytest.approx(expected, rel=1e-12)
    assert normalised_entropy(logits, labels) == pytest.approx(expected / base, rel=1e-12)
    ratio = exact.sigmoid().mean() / labels.double().mean()
    assert calibration_ratio(logits, labels) == pytest.approx(float(ratio), rel=1e-12)


def test_hand_computed_values():
    logits, labels = (
        torch.tensor([math.log(3), 0.0, 0.0, -math.log(3)], dtype=torch.float64),
        torch.tensor([1, 1, 0, 0]),
    )
    # Predictions 3/4, 1/2, 1/2, 1/4; of the four pairs three are won and one is tied.
    loss = -(2 * math.log(3 / 4) + 2 * math.log(1 / 2)) / 4
    assert auc(logits, labels) == (3 + 0.5) / 4
    assert log_loss(logits, labels) == pytest.approx(loss)
    assert normalised_entropy(logits, labels) == pytest.approx(loss / math.log(2))
    assert calibration_ratio(logits, labels) == pytest.approx(1.0)


def test_predicting_the_mean_label_has_normalised_entropy_and_calibration_one():
    _, labels = random_rows(1000)
    logits = torch.logit(labels.double().mean()).expand(1000)
    assert normalised_entropy(logits, labels) == pytest.approx(1.0)
    assert calibration_ratio(logits, labels) == pytest.approx(1.0)
    assert auc(logits, labels) == 0.5


def test_infinite_logits():
    logits, labels = torch.tensor([math.inf, -math.inf]), torch.tensor([1, 0])
    assert auc(logits, labels) == 1.0
    assert log_loss(logits, labels) == 0.0
    assert log_loss(logits, 1 - labels) == math.inf


def test_auc_tells_apart_scores_that_saturate_as_float32_probabilities():
    assert auc(torch.tensor([40.0, 41.0]), torch.tensor([0, 1])) == 1.0


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_only_what_it_defines(label):
    metrics = BinaryMetrics()
    metrics.update(torch.tensor([0.0, 1.0]), torch.full((2,), label))
    values = metrics.compute()
    assert math.isnan(values["auc"])
    assert math.isnan(values["normalised_entropy"])
    assert math.isnan(values["calibration"]) == (label == 0)
    assert math.isfinite(values["log_loss"])


def test_no_rows_are_nan_and_counted_as_none():
    values = BinaryMetrics().compute()
    assert values.pop("num_samples") == 0
    assert all(math.isnan(value) for value in values.values())


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.0, math.nan, math.nan], [0.0, 1.0, 0.0], "2 of 3 scores are NaN"),
        ([0.0, 1.0], [0.0, 2.0], "labels must be 0 or 1, got 2.0 and 0 more"),
        ([0.0, 1.0], [0.5, math.nan], "labels must be 0 or 1, got 0.5 and 1 more"),
        ([0.0, 1.0], [0.0], r"the same shape \[N\], got \[2\] and \[1\]"),
        ([[0.0], [1.0]], [[0.0], [1.0]], r"the same shape \[N\], got \[2, 1\] and \[2, 1\]"),
    ],
)
def test_bad_input_is_named(function, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        function(torch.tensor(scores), torch.tensor(labels))


def test_nan_logits_and_bad_labels_are_found_by_compute():
    for logit, label, message in ((math.nan, 1.0, "1 of 1 scores are NaN"), (0.0, 0.5, "labels must be 0 or 1")):
        metrics = BinaryMetrics()
        metrics.update(torch.tensor([logit]), torch.tensor([label]))
        with pytest.raises(ValueError, match=message):
            metrics.compute()


@given(st.integers(0, 300), st.integers(0, 2**32), st.sampled_from([torch.bfloat16, torch.float32, torch.float64]))
@settings(max_examples=30)
def test_batches_do_not_matter(num_rows, seed, dtype):
    logits, labels = random_rows(num_rows, seed=seed)
    logits = logits.to(dtype)
    whole, parts = BinaryMetrics(), BinaryMetrics()
    whole.update(logits, labels)
    cut = random.Random(seed).randint(0, num_rows)
    parts.update(logits[cut:], labels[cut:].bool())
    parts.update(logits[:cut], labels[:cut].to(torch.uint8))
    assert parts.compute() == pytest.approx(whole.compute(), rel=1e-12, nan_ok=True)


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


def _evaluate_parts(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    values = []
    for split in SPLITS:
        part = slice(sum(split[:rank]), sum(split[: rank + 1]))
        metrics = BinaryMetrics()
        for logits, labels in zip(*(column[part].split(64) for column in random_rows(sum(split))), strict=True):
            metrics.update(logits, labels)
        values.append(metrics.compute())
    torch.save(values, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_with_uneven_rows_agree_with_one(tmp_path):
    mp.spawn(_evaluate_parts, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        for split, values in zip(SPLITS, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            metrics = BinaryMetrics()
            metrics.update(*random_rows(sum(split)))
            assert values == metrics.compute()


def test_examples_in_docstrings():
    assert doctest.testmod(recsys.metrics.binary).attempted > 0
    assert doctest.testmod(recsys.metrics.binary).failed == 0
