"""Session metrics against slow loops, over processes, and where scores tie or are not numbers."""

import doctest
from math import log2
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys.metrics.next_item
from recsys.metrics.next_item import FREQUENCIES, RankingMetrics, exclude, in_history, ranks_of_targets
from recsys.tables import Bag

NUM_ITEMS = 9
COUNTS = torch.tensor([0, 0, 0, 1, 5, 6, 20, 21, 40, 3])


def make_bag(rows):
    values = torch.tensor([item for row in rows for item in row], dtype=torch.int64)
    return Bag(values, torch.tensor([len(row) for row in rows], dtype=torch.int64))


def random_sessions(number, seed=0):
    """Scores with ties, targets and histories."""
    generator = np.random.default_rng(seed)
    scores = torch.from_numpy(generator.integers(0, 4, (number, NUM_ITEMS)).astype(np.float32))
    targets = torch.from_numpy(generator.integers(1, NUM_ITEMS + 1, number))
    histories = [generator.integers(1, NUM_ITEMS + 1, generator.integers(0, 5)).tolist() for _ in range(number)]
    return scores, targets, histories


def slow_rank(scores, target):
    return 1 + sum(1 for item, score in enumerate(scores, 1) if item != target and not score < scores[target - 1])


def slow_metrics(scores, targets, histories, cutoffs, length):
    rows = list(zip(scores.tolist(), targets.tolist(), histories, strict=True))
    ranks = [slow_rank(row, target) for row, target, _ in rows]

    def gains(chosen, k):
        hits = [ranks[r] for r in chosen if ranks[r] <= k]
        names = {"hr": len(hits), "ndcg": sum(1 / log2(1 + h) for h in hits), "mrr": sum(1 / h for h in hits)}
        return {name: value / len(chosen) for name, value in names.items()}

    found = {f"{name}@{k}": value for k in cutoffs for name, value in gains(range(len(rows)), k).items()}
    shown = [(torch.tensor(row).topk(length).indices + 1).tolist() for row, _, _ in rows]
    distinct = {item for items in shown for item in items}
    cold = {item for item in range(1, NUM_ITEMS + 1) if COUNTS[item] == 0}
    found[f"coverage@{length}"] = len(distinct) / NUM_ITEMS
    found[f"cold_coverage@{length}"] = len(distinct & cold) / len(cold)
    found[f"repeat_share@{length}"] = np.mean(
        [item in h for items, (_, _, h) in zip(shown, rows, strict=True) for item in items]
    )
    slices = {
        name: [r for r, (_, t, _) in enumerate(rows) if low <= COUNTS[t] <= high] for name, low, high in FREQUENCIES
    }
    slices["repeat"] = [r for r, (_, t, h) in enumerate(rows) if t in h]
    slices["explore"] = [r for r, (_, t, h) in enumerate(rows) if t not in h]
    for name, chosen in slices.items():
        if chosen:
            found |= {f"{gain}@{length}_{name}": gains(chosen, length)[gain] for gain in ("hr", "ndcg")}
            found[f"fraction_{name}"] = len(chosen) / len(rows)
    return found


@given(st.integers(1, 30), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_equals_the_slow_way_in_any_batches(number, seed):
    scores, targets, histories = random_sessions(number, seed)
    metrics = RankingMetrics(COUNTS, cutoffs=(1, 4), list_length=3)
    cut = seed % (number + 1)
    for part in (slice(cut), slice(cut, None)):
        metrics.update(scores[part], targets[part], make_bag(histories[part]))
    assert metrics.compute() == pytest.approx(slow_metrics(scores, targets, histories, (1, 4), 3))
    metrics.reset()
    metrics.update(scores, targets)
    assert not any("repeat" in name or "explore" in name for name in metrics.compute())


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf, -torch.inf])
def test_equal_scores_put_every_target_last(value):
    scores = torch.full((4, NUM_ITEMS), value)
    assert ranks_of_targets(scores, torch.tensor([0, 3, 5, 8])).tolist() == [NUM_ITEMS] * 4


def test_one_score_that_is_no_number_counts_against_the_target():
    assert ranks_of_targets(torch.tensor([[3.0, torch.nan, 1.0]]), torch.tensor([0])).tolist() == [2]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_scores_of_a_run_that_has_diverged_are_refused(value):
    metrics = RankingMetrics(COUNTS)
    for worst in (-torch.inf, value):
        scores = torch.zeros(2, NUM_ITEMS)
        scores[1, 4] = worst
        metrics.update(scores, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="the scores of 1 of 4 sessions are NaN or infinite; training has diverged"):
        metrics.compute()


def test_excluded_items_are_not_ranked_and_an_excluded_target_is_last():
    scores = torch.tensor([[5.0, 4.0, 3.0], [5.0, 4.0, 3.0], [5.0, 4.0, 3.0]])
    exclude(scores, make_bag([[1, 1], [], [3]]))
    assert ranks_of_targets(scores, torch.tensor([2, 2, 2])).tolist() == [2, 3, 3]


def test_lists_end_where_nothing_is_left_to_show():
    metrics = RankingMetrics(COUNTS, cutoffs=(1,), list_length=3)
    scores, histories = torch.zeros(1, NUM_ITEMS), [list(range(2, NUM_ITEMS + 1))]
    exclude(scores, make_bag(histories))
    metrics.update(scores, torch.tensor([1]), make_bag(histories))
    found = metrics.compute()
    assert found["repeat_share@3"] == 0
    assert found["coverage@3"] == 1 / NUM_ITEMS


@given(
    st.lists(st.tuples(st.lists(st.integers(1, 5)), st.lists(st.integers(1, 5), min_size=2, max_size=2)), max_size=6)
)
def test_history_is_each_sessions_own(rows):
    histories, items = [history for history, _ in rows], torch.tensor([pair for _, pair in rows]).view(len(rows), 2)
    expected = [[item in history for item in pair] for history, pair in rows]
    assert in_history(items.long(), make_bag(histories), 5).tolist() == expected


SPLITS = ((40, 13), (0, 9))


def _evaluate_parts(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    values = []
    for split in SPLITS:
        scores, targets, histories = random_sessions(sum(split))
        part = slice(sum(split[:rank]), sum(split[: rank + 1]))
        metrics = RankingMetrics(COUNTS)
        if split[rank]:
            metrics.update(scores[part], targets[part], make_bag(histories[part]))
        values.append(metrics.compute())
    torch.save(values, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_with_uneven_sessions_agree_with_one(tmp_path):
    mp.spawn(_evaluate_parts, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        for split, values in zip(SPLITS, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            scores, targets, histories = random_sessions(sum(split))
            metrics = RankingMetrics(COUNTS)
            metrics.update(scores, targets, make_bag(histories))
            assert values == metrics.compute()


def test_without_sessions_nothing_is_known():
    found = RankingMetrics(COUNTS).compute()
    assert np.isnan(found["ndcg@10"])
    assert found["coverage@9"] == 0


def test_examples_in_docstrings():
    assert doctest.testmod(recsys.metrics.next_item).attempted > 0
    assert doctest.testmod(recsys.metrics.next_item).failed == 0
