"""A trained model of sessions as a program: the items of sessions in, scores of all items out."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from recsys.argument_types import typed
from recsys.data import SessionBatch
from recsys.exporting.exportable import Exportable, Interface
from recsys.losses import item_side, query_side
from recsys.models.attention import is_event
from recsys.models.padded import PaddedSessions
from recsys.models.session import SessionModel, read_packed
from recsys.tasks import NextItemTask
from recsys.tasks.equal_items import equal_rows
from recsys.tasks.item_features import ITEM
from recsys.tasks.items import item_matrix
from recsys.tasks.objectives import MaskedItems

_CHUNK_ITEMS = 1 << 16


class SessionProgram(nn.Module):
    """What a NextItemTask computes in evaluation mode, with the vectors of all items as they are now.

    Shape:
        items [B, L] ids, events left-aligned, 0 behind them; lengths [B] in [0, L]; times [B, L] seconds or None ->
        scores [B, V], column c for item c + 1

    Args:
        task: trained; stays as it is.
    """

    @typed
    def __init__(self, task: NextItemTask) -> None:
        super().__init__()
        vectors = item_matrix(task.items, task.collection, task.num_items, _CHUNK_ITEMS, task.device).cpu().float()
        scored = item_side(task.scoring, vectors)
        firsts, places = equal_rows(scored)
        # Equal items tie exactly: what they share is scored once.
        distinct = scored if places is None else scored.index_select(0, firsts)
        self.register_buffer("vectors", F.pad(vectors, (0, 0, 1, 0)))
        self.register_buffer("scored", None if torch.equal(distinct, vectors) else distinct)
        self.register_buffer("places", places)
        self.model = copy.deepcopy(task.model).cpu().eval().requires_grad_(False)
        self.scoring = task.scoring
        self.hides_next = isinstance(task.objective, MaskedItems)

    def forward(self, items: Tensor, lengths: Tensor, times: Tensor | None = None) -> Tensor:
        """Score all items for sessions."""
        self._check(items, lengths)
        ids = items.masked_fill(~is_event(lengths, items.shape[1]), 0)
        masked = None
        if self.hides_next:
            ids, lengths, times, masked = _with_hidden(ids, lengths, times)
        packing = PaddedSessions(lengths.clamp(min=1), ids.shape[1])
        vectors = self.get_buffer("vectors")[ids.flatten()]
        hidden = read_packed(self.model, vectors, packing, None if times is None else times.flatten(), masked)
        return self._scores(query_side(self.scoring, hidden.index_select(0, packing.last)))

    def _scores(self, queries: Tensor) -> Tensor:
        scored, places = self._buffers["scored"], self._buffers["places"]
        scores = queries @ (self.get_buffer("vectors")[1:] if scored is None else scored).t()
        return scores if places is None else scores.index_select(1, places)

    def _check(self, items: Tensor, lengths: Tensor) -> None:
        num_ids = self.get_buffer("vectors").shape[0]
        torch._assert_async(((items >= 0) & (items < num_ids)).all(), "an item id is out of range")
        fits = (lengths >= 0) & (lengths <= items.shape[1])
        torch._assert_async(fits.all(), "lengths must be at least 0 and at most the number of places")


def _with_hidden(ids: Tensor, lengths: Tensor, times: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Sessions with the event to come, hidden, behind their last, whose time it takes.

    Shape:
        ids [B, L], lengths [B], times [B, L] or None -> ids [B, L + 1], lengths [B], times [B, L + 1] or None, and
        whether each place is hidden [B * (L + 1)]
    """
    place = lengths.unsqueeze(1)
    hidden = torch.arange(ids.shape[1] + 1, device=ids.device) == place
    if times is not None:
        times = F.pad(times, (0, 1)).scatter(1, place, times.gather(1, (place - 1).clamp(min=0)))
    return F.pad(ids, (0, 1)), lengths + 1, times, hidden.flatten()


class ExportableSessions(Exportable):
    """See Exportable.

    Args:
        task: trained.

    Raises:
        ValueError: on a model that cannot be written as a program.
    """

    vocabularies = (ITEM,)

    @typed
    def __init__(self, task: NextItemTask) -> None:
        self._task = task.eval()
        with torch.no_grad():
            self.program = SessionProgram(task).eval()
        self._max_length = task.max_length - self.program.hides_next
        # A recurrent layer is written as one step after the other, as many as there are places.
        self._is_unrolled = any(isinstance(module, nn.RNNBase) for module in task.model.modules())
        # A model of somebody's own is given the times that there are, and may read them.
        knows = getattr(task.model, "use_times", not isinstance(task.model, SessionModel))
        self.interface = self._interface(reads_times=bool(knows) and getattr(task.schema, "has_times", True))

    def _interface(self, reads_times: bool) -> Interface:
        rows, width = Dim("batch", min=1), self._max_length if self._is_unrolled else min(2, self._max_length)
        is_fixed = self._is_unrolled or self._max_length == 1
        places = {0: rows} if is_fixed else {0: rows, 1: Dim("length", min=1, max=self._max_length)}
        items = torch.ones(3, width, dtype=torch.int64)
        example = {"items": items, "lengths": torch.tensor([1, 1, 0])}
        shapes: dict[str, Any] = {"items": places, "lengths": {0: rows}}
        if reads_times:
            example["times"], shapes["times"] = torch.zeros_like(items), places
        return Interface(example, shapes, tuple(example), ("scores",))

    def arguments(self, batch: SessionBatch) -> dict[str, Any]:
        """See Exportable; of a session that is too long the last events."""
        items, lengths, times = self._latest(batch)
        every = {"items": items, "lengths": lengths, "times": times}
        return {name: every[name] for name in self.interface.example}

    def _latest(self, batch: SessionBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Items, lengths and times of the last events that the program takes, with places as it wants them."""
        lengths = batch.lengths.clamp(max=self._max_length)
        width = self._max_length if self._is_unrolled else max(1, int(lengths.max()) if len(lengths) else 1)
        places = torch.arange(width)
        sources = (places + (batch.lengths - lengths).unsqueeze(1)).clamp(max=max(0, batch.items.shape[1] - 1))
        known = is_event(lengths, width)

        def latest(values: Tensor) -> Tensor:
            filled = values if values.shape[1] else F.pad(values, (0, 1))
            return filled.gather(1, sources).masked_fill(~known, 0)

        return latest(batch.items), lengths, None if batch.times is None else latest(batch.times)

    @torch.no_grad()
    def expected(self, batch: SessionBatch) -> tuple[Tensor, ...]:
        """See Exportable; without leaving out items that a session has seen."""
        return (self._task._scored_items()(self._task(batch.to(self._task.device))).cpu(),)

    def described(self) -> dict[str, Any]:
        """See Exportable."""
        places = ["batch", self._max_length if self._is_unrolled else "length"]
        found: dict[str, Any] = {
            name: {"dtype": "int64", "shape": ["batch"] if name == "lengths" else places}
            for name in self.interface.example
        }
        found["items"] |= {"num_items": self._task.num_items, "max_length": self._max_length}
        return found
