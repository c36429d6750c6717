"""Cross-entropy over the whole catalogue, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from recsys.losses.base import Loss, Step, read_once


class _LinearCrossEntropy(torch.autograd.Function):
    """Softmax cross-entropy of queries against all items, a block of queries at a time.

    The loss is a scalar, so its gradients are known up to a factor while a block's logits are still at hand: they are
    made in the forward pass, and no logits outlive their block.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, targets: Tensor, block: int) -> Tensor:
        needs_grad = any(ctx.needs_input_grad)
        total = queries.new_zeros(())
        grad_queries, grad_items = torch.empty_like(queries), torch.zeros_like(items)
        for query, wanted, grad in zip(
            queries.split(block), targets.split(block), grad_queries.split(block), strict=True
        ):
            log_probabilities = torch.log_softmax(query @ items.t(), 1)
            total -= log_probabilities.gather(1, wanted.unsqueeze(1)).sum()
            if needs_grad:
                residual = log_probabilities.exp_()
                residual.scatter_add_(1, wanted.unsqueeze(1), residual.new_full((len(wanted), 1), -1.0))
                torch.mm(residual, items, out=grad)
                grad_items.addmm_(residual.t(), query)
        ctx.save_for_backward(grad_queries, grad_items)
        return total / max(1, len(targets))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_queries, grad_items = ctx.saved_tensors
        scale = grads[0] / max(1, len(grad_queries))
        return grad_queries * scale, grad_items * scale, None, None


class _LogTotals(torch.autograd.Function):
    """Log of the sum of every query's exponentiated scores, a block of queries at a time in both passes."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, block: int) -> Tensor:
        totals = torch.cat([(query @ items.t()).logsumexp(1) for query in queries.split(block)])
        ctx.save_for_backward(queries, items, totals)
        ctx.block = block
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, items, totals = ctx.saved_tensors
        grad_queries, grad_items = torch.empty_like(queries), torch.zeros_like(items)
        parts = (tensor.split(ctx.block) for tensor in (queries, totals, grads[0], grad_queries))
        for query, total, grad, grad_query in zip(*parts, strict=True):
            shares = (query @ items.t()).sub_(total.unsqueeze(1)).exp_().mul_(grad.unsqueeze(1))
            torch.mm(shares, items, out=grad_query)
            grad_items.addmm_(shares.t(), query)
        return grad_queries, grad_items, None


def _block(queries: Tensor, num_items: int) -> int:
    """Queries whose logits are made together: what a CPU's cache holds, and enough to fill a GPU."""
    return max(1, (1 << 18 if queries.device.type == "cpu" else 1 << 26) // max(1, num_items))


def linear_cross_entropy(queries: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean softmax cross-entropy of every query against all items; 0 without queries.

    Logits are made in float32 and dropped block by block, about 1 MB at a time on a CPU.

    Shape:
        queries [P, D], items [V, D], targets [P] in [0, V) -> scalar
    """
    with torch.autocast(queries.device.type, enabled=False):
        block = _block(queries, len(items))
        loss: Tensor = _LinearCrossEntropy.apply(queries.float(), items.float(), targets, block)
    return loss


class FullCrossEntropy(Loss):
    """Softmax cross-entropy over all items, exact.

    A catalogue of up to `chunk_items` is read in one lookup, which also serves the inputs. A larger one is read
    `chunk_items` at a time, and read again in the backward pass: no more item vectors than a chunk's ever exist. That
    needs rows that are not updated in the backward pass, because a later chunk would read what an earlier one has
    changed. Either way logits are made and dropped block by block.

    Args:
        chunk_items: items read at a time.

    Raises:
        ValueError: if chunk_items is below 1; at the first step, if several chunks meet rows updated in the backward
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
        if step.updates_in_backward:
            raise ValueError(
                f"FullCrossEntropy: {step.catalogue.num_items} items in chunks of chunk_items={self.chunk_items} need "
                "table_optimizer: DenseGradient; or raise chunk_items, or use a sampled loss."
            )
        return self._in_chunks(step)

    def _in_one_lookup(self, step: Step) -> Tensor:
        vectors = step.vectors(step.catalogue.ids(step.targets.device))
        hidden = step.encode(vectors.index_select(0, step.inputs - 1))
        return linear_cross_entropy(step.scoring.queries(hidden), step.scoring.items(vectors), step.targets - 1)

    def _in_chunks(self, step: Step) -> Tensor:
        vectors, (inputs, wanted) = read_once(step.vectors, step.inputs, step.targets)
        queries = step.scoring.queries(step.encode(vectors.index_select(0, inputs)))
        target_scores = (queries * step.scoring.items(vectors.index_select(0, wanted))).sum(1)
        chunks = step.catalogue.ids(queries.device).split(self.chunk_items)
        totals = [checkpoint(_log_totals, queries, ids, step, use_reentrant=False) for ids in chunks]
        return (torch.stack(totals).logsumexp(0) - target_scores).sum() / max(1, len(target_scores))


def _log_totals(queries: Tensor, ids: Tensor, step: Step) -> Tensor:
    """Log of the sum of exponentiated scores of some items: queries [P, D], ids [C] -> [P]."""
    items = step.scoring.items(step.vectors(ids))
    with torch.autocast(queries.device.type, enabled=False):
        totals: Tensor = _LogTotals.apply(queries.float(), items.float(), _block(queries, len(ids)))
    return totals
