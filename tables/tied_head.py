"""An output layer that scores with the vectors of an Embedding, without their V x D matrix."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recsys.argument_types import typed
from recsys.tables.embedding import Embedding
from recsys.tables.input_checks import check_whole
from recsys.tables.traced import call_of, is_traced


class TiedHead(nn.Module):
    """Scores of all ids: products of hidden vectors with the vectors that the ids are read with, in chunks of ids.

    Stands where an nn.Linear shared its weight with an nn.Embedding. Vectors of a chunk are computed, used and dropped,
    and computed again in the backward pass. The embedding is not a part of this module: it is where it was, and moves,
    is saved and is trained there.

    Shape:
        hidden [..., D] -> [..., V]

    Args:
        embedding: whose vectors score.
        bias: a parameter [V] to go on with, or None.
        chunk: ids at a time.

    Raises:
        ValueError: if the bias has another length, or chunk is below 1.
    """

    @typed
    def __init__(self, embedding: Embedding, *, bias: nn.Parameter | None = None, chunk: int = 1 << 15) -> None:
        super().__init__()
        self.bias: nn.Parameter | None
        if bias is not None and bias.shape != (embedding.num_embeddings,):
            raise ValueError(f"TiedHead: bias must be [{embedding.num_embeddings}], got {list(bias.shape)}.")
        if chunk < 1:
            raise ValueError(f"TiedHead: chunk must be at least 1, got {chunk}.")
        self._embedding = (embedding,)
        self.chunk = chunk
        self.register_parameter("bias", bias)

    @property
    def embedding(self) -> Embedding:
        """Whose vectors score."""
        return self._embedding[0]

    @property
    def in_features(self) -> int:
        """D."""
        return self.embedding.embedding_dim

    @property
    def out_features(self) -> int:
        """V."""
        return self.embedding.num_embeddings

    @property
    def weight(self) -> Tensor:
        """All vectors [V, D], computed when asked for; see Embedding.weight."""
        return self.embedding.weight

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores of all ids."""
        if is_traced(hidden):
            return call_of(self, hidden)
        self._check(hidden)
        if self.embedding.table.keeps_vectors:
            check_whole(self.embedding.weights, self.embedding.table, hidden)
            return F.linear(hidden, self.embedding.weight, self.bias)
        chunks = torch.arange(self.out_features, device=hidden.device).split(self.chunk)
        scores = [self._scores(hidden, ids, len(chunks) > 1) for ids in chunks]
        found = scores[0] if len(scores) == 1 else torch.cat(scores, dim=-1)
        return found if self.bias is None else found + self.bias

    def _check(self, hidden: Tensor) -> None:
        """Refuse what cannot be multiplied with the vectors."""
        is_fine = isinstance(hidden, Tensor) and hidden.is_floating_point()
        if not is_fine or not (hidden.is_nested or hidden.shape[-1:] == (self.in_features,)):
            got = f"{list(hidden.shape)} of {hidden.dtype}" if isinstance(hidden, Tensor) else type(hidden).__name__
            raise ValueError(f"TiedHead: hidden must be floating-point numbers [..., {self.in_features}], got {got}.")
        where = next(self.embedding.parameters(), hidden).device
        if hidden.is_nested or (hidden.device != where and not torch.compiler.is_compiling()):
            got = "a nested tensor" if hidden.is_nested else f"one on '{hidden.device}'"
            raise ValueError(f"TiedHead: hidden must be an ordinary tensor on '{where}', as the rows are, got {got}.")
        dtype = self.embedding.dtype
        if hidden.dtype != dtype and not (hidden.is_meta or torch.is_autocast_enabled(hidden.device.type)):
            raise ValueError(f"TiedHead: hidden is of {hidden.dtype} and the vectors of {dtype}; convert one of them.")

    def _scores(self, hidden: Tensor, ids: Tensor, again: bool) -> Tensor:
        """Scores of some ids; with gradients, of several chunks, the vectors are computed again."""
        if not (again and torch.is_grad_enabled()):
            return self._product(hidden, ids)
        found: Tensor = checkpoint(self._product, hidden, ids, use_reentrant=False)
        return found

    def _product(self, hidden: Tensor, ids: Tensor) -> Tensor:
        return F.linear(hidden, self.embedding.read(ids))

    def extra_repr(self) -> str:
        """The sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
