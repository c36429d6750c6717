"""Users' histories cut into sessions by the time between events."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data import SessionBatch
from recsys.models.actr import Histories


def cut_sessions(batch: SessionBatch, gap: int, horizon: int, max_sessions: int | None = None) -> Histories:
    """Histories of users, cut where two events lie more than `gap` seconds apart.

    Args:
        batch: of users' events in time order.
        gap: seconds.
        horizon: seconds after a user's last event that stand for the time at which its next session begins.
        max_sessions: of a user, the latest; events of earlier ones are left out. None keeps all.

    Raises:
        ValueError: if the events carry no times.
    """
    if batch.times is None:
        raise ValueError("PISATask cuts sessions by time; the data have no times.")
    # A position at least, where a user without events has none.
    items, times = (F.pad(values, (0, 0 if values.shape[1] else 1)) for values in (batch.items, batch.times))
    is_event = items != 0
    starts = torch.zeros_like(is_event)
    starts[:, 1:] = ((times[:, 1:] - times[:, :-1]) > gap) & is_event[:, 1:]
    sessions = starts.long().cumsum(1)
    num_sessions = int(sessions.max()) + 1 if sessions.numel() else 1
    if max_sessions is not None and num_sessions > max_sessions:
        items, times = _latest(items, times, sessions, max_sessions)
        return cut_sessions(SessionBatch(items, (items != 0).sum(1), times), gap, horizon)
    return Histories(items, sessions, times, _references(starts, sessions, times, batch.lengths, num_sessions, horizon))


def _latest(items: Tensor, times: Tensor, sessions: Tensor, max_sessions: int) -> tuple[Tensor, Tensor]:
    """Items and times [B, L] of each user's last sessions, moved to the left."""
    kept = (items != 0) & (sessions > sessions.amax(1, keepdim=True) - max_sessions)
    # A stable sort moves what is kept to the front, in its order.
    order = (~kept).to(torch.int8).sort(dim=1, stable=True).indices
    kept = kept.gather(1, order)
    return items.gather(1, order) * kept, times.gather(1, order) * kept


def _references(
    starts: Tensor, sessions: Tensor, times: Tensor, lengths: Tensor, num_sessions: int, horizon: int
) -> Tensor:
    """When each session's successor begins, `horizon` after the last event where there is none: [B, S]."""
    last = times.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1))
    references = (last + horizon).expand(-1, num_sessions).clone()
    users, places = starts.nonzero(as_tuple=True)
    references[users, sessions[users, places] - 1] = times[users, places]
    return references
