"""Metrics of next-item prediction over the whole catalogue, exact over all sessions and all processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.argument_types import typed
from recsys.evaluation.ranking import checked_cutoffs, rank_gains, ranking_metrics
from recsys.metrics.next_item_checks import check_counts, check_item_ids, check_scores, check_sessions, check_targets
from recsys.sharding.gathering import gather_rows
from recsys.tables import Bag

FREQUENCIES = (("cold", 0, 0), ("1to5", 1, 5), ("6to20", 6, 20), ("over20", 21, np.iinfo(np.int64).max))
"""Slices of targets by how often they are training events: name, least and most."""
NOTHING = 0
"""Stands in a list for an item that is not to be shown, where fewer than its length are left."""


def ranks_of_targets(scores: Tensor, targets: Tensor) -> Tensor:
    """Rank of each row's target among all columns, from 1; ties and NaN count against it.

    So a model that scores all items alike, or has diverged, puts every target last.

    Shape:
        scores [B, V], targets [B] columns -> [B]
    """
    check_targets(scores, targets)
    own = scores.gather(1, targets.unsqueeze(1))
    # int32, which counts bools five times as fast as int64 does.
    return scores.shape[1] - (scores < own).sum(1, dtype=torch.int32).long()


def exclude(scores: Tensor, items: Bag) -> None:
    """Give items that are not to be recommended the score -inf, in place; column c is item c + 1.

    A target that is among them ranks last: its user would never see it.

    Shape:
        scores [B, V], items of B sessions
    """
    check_scores(scores)
    check_sessions("items", items, len(scores), scores.shape[1], scores.device)
    if scores.is_leaf and scores.requires_grad and torch.is_grad_enabled():
        raise ValueError("scores are a leaf that takes gradients, which nothing may write to; give scores.detach().")
    scores[_sessions_of(items), items.values.long() - 1] = -torch.inf


def in_history(items: Tensor, history: Bag, num_items: int) -> Tensor:
    """Which items the session's history holds: items [B, K] in [0, num_items], 0 no item -> bool [B, K]."""
    check_item_ids("items", items, 2, num_items, first=NOTHING)
    check_sessions("history", history, len(items), num_items, items.device)
    if not len(history.values):
        return torch.zeros_like(items, dtype=torch.bool)
    # One number for a session and an item of it, looked up among those that are there, ascending.
    asked = torch.arange(len(history), device=items.device).unsqueeze(1) * (num_items + 1) + items
    events = (_sessions_of(history) * (num_items + 1) + history.values).sort().values
    places = torch.searchsorted(events, asked).clamp(max=len(events) - 1)
    return events[places] == asked


def _sessions_of(bag: Bag) -> Tensor:
    """Which session each id [N] is of; the number of ids is known, so that no GPU is waited for."""
    sessions = torch.arange(len(bag), device=bag.lengths.device)
    return sessions.repeat_interleave(bag.lengths, output_size=len(bag.values))


class RankingMetrics:
    """Ranks of the targets and lists of the items scored best, gathered batch by batch and evaluated once.

    What is gathered stays on the device of the batches until then: nobody waits for a GPU between batches.

    Example:
        >>> metrics = RankingMetrics(torch.tensor([0, 5, 0]), cutoffs=(1,), list_length=1)
        >>> metrics.update(torch.tensor([[0.1, 0.9], [0.2, 0.1]]), torch.tensor([2, 2]))
        >>> metrics.compute()["hr@1"]
        0.5

    Args:
        item_counts: [V + 1] how often each item is a training event.
        cutoffs: how many items a list shows, for hr, ndcg and mrr.
        list_length: cutoff of slices, coverage and repeats.
    """

    @typed
    def __init__(self, item_counts: Tensor, cutoffs: Sequence[int] = (5, 10, 20), list_length: int = 10) -> None:
        check_counts(item_counts)
        if list_length < 1:
            raise ValueError(f"RankingMetrics: list_length must be at least 1, got {list_length}.")
        checked_cutoffs(cutoffs)
        self._counts = item_counts.cpu().numpy()
        self._cutoffs = tuple(cutoffs)
        self._list_length = min(list_length, len(self._counts) - 1)
        self.reset()

    def reset(self) -> None:
        """Forget all sessions."""
        self._ranks: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._repeated: list[Tensor] = []
        self._shown: Tensor | None = None
        self._shown_repeated: list[Tensor] = []
        self._num_shown: list[Tensor] = []
        self._diverged: list[Tensor] = []

    @typed
    def update(self, scores: Tensor, targets: Tensor, history: Bag | None = None) -> None:
        """Add a batch of sessions, every item scored.

        Shape:
            scores [B, V], column c for item c + 1, -inf where an item is not to be shown; targets [B] item ids;
            history: all earlier items of the B sessions, or None, which leaves out what is said of repeats
        """
        check_targets(scores, targets, first=1)
        num_items = scores.shape[1]
        if num_items != len(self._counts) - 1:
            raise ValueError(f"RankingMetrics: scores must be of {len(self._counts) - 1} items, got {num_items}.")
        if history is not None:
            check_sessions("history", history, len(scores), num_items, scores.device)
        if self._ranks and (history is None) != (not self._repeated):
            raise ValueError("RankingMetrics: history: some batches have it and some do not.")
        best = scores.topk(self._list_length, dim=1)
        shown = (best.indices + 1).masked_fill(best.values == -torch.inf, NOTHING)
        # The first of a list is NaN where any score is, and else infinite where any is.
        self._diverged.append(~(best.values[:, 0] < torch.inf))
        self._ranks.append(ranks_of_targets(scores, targets - 1))
        self._targets.append(targets.clone())
        if self._shown is None:
            self._shown = torch.zeros(len(self._counts), dtype=torch.bool, device=scores.device)
        self._shown.index_fill_(0, shown.flatten(), True)
        if history is not None:
            repeated = in_history(torch.cat([targets.unsqueeze(1), shown], dim=1), history, num_items)
            self._repeated.append(repeated[:, 0].long())
            self._shown_repeated.append(repeated[:, 1:].sum(1))
            self._num_shown.append((shown != NOTHING).sum(1))

    def compute(self) -> dict[str, float]:
        """Every metric over the sessions of all processes; each process must call this, and gets the same values.

        Returns:
            hr@k (with one target also recall@k), ndcg@k and mrr@k at every cutoff; at list_length K: hr@K_SLICE and
            ndcg@K_SLICE for targets by training events (cold, 1to5, 6to20, over20), and for those that the history
            holds (repeat) or not (explore), slices without targets left out; fraction_SLICE, the slice's part of the
            targets; coverage@K, distinct items shown over all items; cold_coverage@K, the same of items never trained
            on; repeat_share@K, the part of the items shown that the history holds. NaN where there is nothing to count.

        Raises:
            ValueError: a score is NaN or infinite.
        """
        self._require_finite()
        ranks, targets, repeated = (_gathered(chunks) for chunks in (self._ranks, self._targets, self._repeated))
        slices = {
            name: (self._counts[targets] >= low) & (self._counts[targets] <= high) for name, low, high in FREQUENCIES
        }
        metrics = ranking_metrics(ranks, self._cutoffs) | self._coverage()
        if len(repeated):
            slices |= {"repeat": repeated == 1, "explore": repeated == 0}
            in_lists, in_all = (int(_gathered(chunks).sum()) for chunks in (self._shown_repeated, self._num_shown))
            metrics[f"repeat_share@{self._list_length}"] = in_lists / in_all if in_all else float("nan")
        for name, chosen in slices.items():
            if chosen.any():
                metrics |= self._slice(name, ranks, chosen)
        return metrics

    def _require_finite(self) -> None:
        diverged = _gathered([rows.long() for rows in self._diverged])
        if diverged.any():
            raise ValueError(
                f"the scores of {diverged.sum():,} of {len(diverged):,} sessions are NaN or infinite; training has "
                "diverged, or a feature is NaN."
            )

    def _slice(self, name: str, ranks: NDArray[np.int64], chosen: NDArray[np.bool_]) -> dict[str, float]:
        gains = rank_gains(ranks[chosen], (self._list_length,))
        shown = [f"{gain}@{self._list_length}" for gain in ("hr", "ndcg")]
        values = {f"{gain}_{name}": _mean(gains[gain]) for gain in shown}
        return {**values, f"fraction_{name}": _mean(chosen.astype(np.float64))}

    def _coverage(self) -> dict[str, float]:
        own = [] if self._shown is None else [self._shown.cpu()[1:].nonzero().squeeze(1) + 1]
        shown = np.unique(_gathered(own))
        is_cold = self._counts == 0
        num_cold = int(is_cold[1:].sum())
        return {
            f"coverage@{self._list_length}": len(shown) / (len(self._counts) - 1),
            f"cold_coverage@{self._list_length}": int(is_cold[shown].sum()) / num_cold if num_cold else float("nan"),
        }


def _gathered(chunks: list[Tensor]) -> NDArray[np.int64]:
    if any(chunk.is_meta for chunk in chunks):
        raise ValueError("RankingMetrics: batches on 'meta' have no values to compute anything of.")
    joined = torch.cat([torch.empty(0, dtype=torch.int64), *(chunk.cpu() for chunk in chunks)])
    gathered: NDArray[np.int64] = gather_rows(joined).numpy()
    return gathered


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
