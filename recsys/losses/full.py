"""Cross-entropy over the whole catalogue, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from recsys.losses.base import Loss, Step, read_once
from recsys.losses.blocks import BITS_PER_NAT, block_size, scores_in_blocks


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of the softmax cross-entropies of queries against all items, a block of queries at a time.

    The loss is a scalar, so its gradients are known up to a factor while a block's logits are still at hand: they are
    made in the forward pass, and no logits outlive their block.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, targets: Tensor, block: int) -> Tensor:
        wanted = items.index_select(0, targets)
        target_scores = (queries * wanted).sum(1)
        if not any(ctx.needs_input_grad):
            totals = _log_totals(queries, items, block)
        else:
            totals = torch.empty_like(target_scores)
            grad_queries, grad_items = torch.empty_like(queries), torch.zeros_like(items)
            for rows, powers, highest in _powers(queries, items, block):
                sums = powers.sum(0)
                totals[rows] = (highest + sums.log2()) / BITS_PER_NAT
                # What makes powers probabilities divides the D columns of these products, not the V rows of powers.
                torch.mm(powers.t(), items, out=grad_queries[rows]).div_(sums.unsqueeze(1))
                grad_items.addmm_(powers, queries[rows] / sums.unsqueeze(1))
            grad_queries -= wanted
            grad_items.index_add_(0, targets, queries, alpha=-1)
            ctx.save_for_backward(grad_queries, grad_items)
        return (totals - target_scores).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_queries, grad_items = ctx.saved_tensors
        return grad_queries * grads[0], grad_items * grads[0], None, None


class _LogTotals(torch.autograd.Function):
    """Log of the sum of every query's exponentiated scores, a block of queries at a time in both passes."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, block: int) -> Tensor:
        totals = _log_totals(queries, items, block)
        ctx.save_for_backward(queries, items, totals)
        ctx.block = block
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, items, totals = ctx.saved_tensors
        grad_queries, grad_items = torch.empty_like(queries), torch.zeros_like(items)
        for rows, scores in scores_in_blocks(queries, items, ctx.block):
            shares = scores.sub_(totals[rows] * BITS_PER_NAT).exp2_()
            grad = grads[0][rows].unsqueeze(1)
            torch.mm(shares.t(), items, out=grad_queries[rows]).mul_(grad)
            grad_items.addmm_(shares, queries[rows] * grad)
        return grad_queries, grad_items, None


def _log_totals(queries: Tensor, items: Tensor, block: int) -> Tensor:
    """Log of the sum of every query's exponentiated scores: [P, D], [V, D] -> [P]."""
    totals = queries.new_empty(len(queries))
    for rows, powers, highest in _powers(queries, items, block):
        totals[rows] = (highest + powers.sum(0).log2()) / BITS_PER_NAT
    return totals


def _powers(queries: Tensor, items: Tensor, block: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Two to the power of each block's scores less their highest: rows, powers [V, p], highest [p]."""
    for rows, scores in scores_in_blocks(queries, items, block):
        highest = scores.amax(0)
        yield rows, scores.sub_(highest).exp2_(), highest


def linear_cross_entropy(queries: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean softmax cross-entropy of every query against all items; 0 without queries.

    Shape:
        queries [P, D], items [V, D], targets [P] in [0, V) -> scalar
    """
    return total_cross_entropy(queries, items, targets) / max(1, len(targets))


def total_cross_entropy(queries: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Sum of the softmax cross-entropies of every query against all items.

    Logits are made in float32 and dropped block by block: on a CPU about 2 MB at a time, or those of 96 queries.

    Shape:
        queries [P, D], items [V, D], targets [P] in [0, V) -> scalar
    """
    with torch.autocast(queries.device.type, enabled=False):
        block = block_size(queries, len(items))
        loss: Tensor = _LinearCrossEntropy.apply(queries.float(), items.float(), targets, block)
    return loss


def log_totals(queries: Tensor, items: Tensor) -> Tensor:
    """Log of the sum of every query's exponentiated scores of all items, in float32 and block by block.

    Shape:
        queries [P, D], items [V, D] -> [P]
    """
    with torch.autocast(queries.device.type, enabled=False):
        totals: Tensor = _LogTotals.apply(queries.float(), items.float(), block_size(queries, len(items)))
    return totals


class FullCrossEntropy(Loss):
    """Softmax cross-entropy over all items, exact.

    A catalogue of up to `chunk_items` is read in one lookup, which also serves the inputs. A larger one is read
    `chunk_items` at a time, and read again in the backward pass: no more item vectors than a chunk's ever exist. That
    needs rows that are not updated in the backward pass, because a later chunk would read what an earlier one has
    changed. Either way logits are made and dropped block by block.

    Args:
        chunk_items: items read at a time.

    Raises:
        ValueError: if chunk_items is below 1; before training, if several chunks meet rows updated in the backward
            pass.
    """

    def __init__(self, chunk_items: int = 1 << 16) -> None:
        if chunk_items < 1:
            raise ValueError(f"FullCrossEntropy: chunk_items must be at least 1, got {chunk_items}.")
        self.chunk_items = chunk_items

    def __call__(self, step: Step) -> Tensor:
        """See Loss."""
        if step.catalogue.num_items <= self.chunk_items:
            return self._in_one_lookup(step)
        self.check_chunks(step.catalogue.num_items, step.updates_in_backward)
        return self._in_chunks(step)

    def check_chunks(self, num_items: int, updates_in_backward: bool) -> None:
        """Refuse several chunks of rows that are updated in the backward pass.

        Raises:
            ValueError: with both arguments and the ways out.
        """
        if num_items > self.chunk_items and updates_in_backward:
            raise ValueError(
                f"FullCrossEntropy: {num_items} items in chunks of chunk_items={self.chunk_items} need "
                "table_optimizer: DenseGradient; or raise chunk_items, or use a sampled loss."
            )

    def _in_one_lookup(self, step: Step) -> Tensor:
        vectors = step.vectors(step.catalogue.ids(step.targets.device))
        hidden = step.encode(vectors.index_select(0, step.inputs - 1))
        queries, items = step.scoring.queries(hidden), step.scoring.items(vectors)
        return step.mean(total_cross_entropy(queries, items, step.targets - 1))

    def _in_chunks(self, step: Step) -> Tensor:
        vectors, (inputs, wanted) = read_once(step.vectors, step.inputs, step.targets)
        queries = step.scoring.queries(step.encode(vectors.index_select(0, inputs)))
        target_scores = (queries * step.scoring.items(vectors.index_select(0, wanted))).sum(1)
        chunks = step.catalogue.ids(queries.device).split(self.chunk_items)
        totals = [checkpoint(_log_totals_of, queries, ids, step, use_reentrant=False) for ids in chunks]
        return step.mean((torch.stack(totals).logsumexp(0) - target_scores).sum())


def _log_totals_of(queries: Tensor, ids: Tensor, step: Step) -> Tensor:
    """Log of the sum of exponentiated scores of some items: queries [P, D], ids [C] -> [P]."""
    return log_totals(queries, step.scoring.items(step.vectors(ids)))
