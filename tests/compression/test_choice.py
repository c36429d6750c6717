"""Which of several compressed models is chosen by the rows of validation."""

import math

import numpy as np
import pytest

from recsys.compression.quality import ClickQuality
from recsys.compression.trials import Trial, best
from recsys.evaluation import Comparison, auc

compare = ClickQuality.compare


def trial(method, num_bytes=100, **val):
    return Trial(method, 100, num_bytes, 0.0, val, {}, {})


def difference(value, low, high):
    return Comparison(0.7, 0.7 + value, value, low, high, 0.5)


def test_the_one_that_surely_loses_least_is_chosen_not_the_highest():
    near = trial("near", auc=difference(-1e-5, -2e-5, 0.0), log_loss=difference(1e-5, 0.0, 2e-5))
    far = trial("far", auc=difference(2e-4, -1e-3, 1.4e-3), log_loss=difference(-2e-4, -1e-3, 1e-3))
    assert best([far, near], "auc") is near
    assert best([far, near], "log_loss") is near
    better = trial("better", auc=difference(2e-3, 1e-3, 3e-3))
    assert best([near, better, far], "auc") is better


def test_of_equal_ones_the_smallest():
    same = difference(0.0, 0.0, 0.0)
    assert best([trial("large", 90, auc=same), trial("small", 50, auc=same)], "auc").method == "small"


def test_without_intervals_the_highest_is_chosen():
    unknown = [trial(str(value), auc=difference(value, math.nan, math.nan)) for value in (0.1, 0.3, 0.2)]
    assert best(unknown, "auc").method == "0.3"
    losses = [trial(str(value), log_loss=difference(value, math.nan, math.nan)) for value in (0.1, -0.3, 0.2)]
    assert best(losses, "log_loss").method == "-0.3"


@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_on_other_rows_it_loses_less_than_the_one_that_validates_best(metric):
    """Twelve models that differ from the trained one by noise, the later ones by more; all lose, by its square."""
    random = np.random.default_rng(0)
    lost = {"surely": [], "highest": []}
    for _ in range(20):
        logits = random.normal(0, 1.5, 20_000).astype(np.float32)
        labels = (random.random(20_000) < 1 / (1 + np.exp(-logits))).astype(np.float32)
        noisy = [
            logits + scale * random.normal(size=20_000).astype(np.float32) for scale in np.linspace(0.02, 0.25, 12)
        ]
        val, test = slice(0, 2_000), slice(2_000, None)
        found = [
            trial(str(place), **compare(None, (labels[val], logits[val], None), (labels[val], other[val], None)))
            for place, other in enumerate(noisy)
        ]
        chosen = {"surely": best(found, metric), "highest": max(found, key=lambda each: each.quality(metric))}
        for name, each in chosen.items():
            lost[name].append(auc(labels[test], logits[test]) - auc(labels[test], noisy[int(each.method)][test]))
    assert np.mean(lost["surely"]) < 2e-4
    assert np.mean(lost["surely"]) < 0.5 * np.mean(lost["highest"])
