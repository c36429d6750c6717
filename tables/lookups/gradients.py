"""Gradients of rows on their way from a backward pass to an optimizer step.

Rows are no parameters: their gradients would be dense. What stands for all of them in an optimizer is one number, the
*handle*, an ordinary parameter. Backward passes note which rows they gave which gradients; when an optimizer that holds
the handle has stepped, the rows step once, with the sum of all that was noted. So rows obey whatever comes in between:

- accumulation and several reads: everything noted is one step;
- a step that is skipped, a `zero_grad`, a handle that needs no gradient: rows stay;
- gradients that are scaled and unscaled, or clipped: what happens to the handle's gradient happens to those of the
  rows, and it is not finite when they are not;
- torch's learning-rate schedulers: a rate that moves from its group's `initial_lr`, or without one falls from the
  largest it has been, moves that of the rows alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from recsys.tables.lookups.handles import introduce, owner_of
from recsys.tables.lookups.started import InputDistribution
from recsys.tables.lookups.summed import shared_out

if TYPE_CHECKING:
    from recsys.tables.lookups.store import Store

SENTINEL = 2.0**-60
"""Gradient of the handle for each read: its square vanishes beside any norm, and it survives scaling by a factor."""

_MERGED = 4
"""Reads after which their gradients are added up: accumulation then holds each row once."""

_PATIENCE = 64
"""Backward passes without a step after which a user is warned that no optimizer holds the handle."""


Part = tuple[int, int]
"""A store, and a part of it."""


@dataclass
class Record:
    """What one read of a store was given by a backward pass.

    Args:
        rows: [N * K].
        grad: [N, row_dim].
        distribution: how the rows were sent to where they live; None where they are at hand.
        num_summed: K neighbouring rows whose sum was read.
    """

    rows: Tensor
    grad: Tensor
    distribution: InputDistribution | None = None
    num_summed: int = 1


class RowGradients(nn.Module):
    """The gradients of all rows of a lookup that wait for a step, and the handle that stands for them.

    Args:
        stores: of the lookup.
        device: where they live.
        clip_rows: the handle's gradient is the norm of the gradients of all rows, so that clipping by norm counts them;
            otherwise rows are clipped by the factor that the other parameters get.
    """

    def __init__(self, stores: Sequence[Store], device: torch.device, clip_rows: bool) -> None:
        super().__init__()
        self._stores = [store for store in stores if store.steps]
        self.clip_rows = clip_rows
        self.may_be_scaled = True
        """Whether gradients may be scaled, clipped or refused; where nothing does, they need not be passed over."""
        self._records: dict[Part, list[Record]] = {}
        self._noted: Tensor | None = None
        self._noted_version = 0
        self._pass = -1
        self._num_passes = 0
        self._has_stepped = False
        self._copied_version: int | None = None
        if self._stores:
            self.handle = nn.Parameter(torch.zeros((), device=device, dtype=torch.float32))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to a device; the handle's gradient is a number that float16 does not hold."""
        return super()._apply(lambda tensor: fn(tensor).to(tensor.dtype), recurse)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, which notices when its handle is written to without a step."""
        super().__setstate__(state)
        self._copied_version = self.handle._version if self._stores else None

    def refuse_averages(self) -> None:
        """Refuse to read rows as an average: what stands for them was averaged, they were not.

        Raises:
            RuntimeError: in a copy whose parameters were written to without an optimizer's step.
        """
        if self._copied_version is not None and self.handle._version != self._copied_version:
            raise RuntimeError(
                "the rows of a TableCollection are no parameters, so AveragedModel averages the rest of a model and "
                "not them; average with recsys.tasks.averaging, or give the rows DenseGradient() as optimizer."
            )

    @property
    def is_frozen(self) -> bool:
        """Whether rows are to keep their values: the handle needs no gradient."""
        return not self._stores or not self.handle.requires_grad

    def introduce(self) -> None:
        """Make the handle known to optimizers; a copied module has another one than the module it was copied from."""
        if owner_of(self.handle) is not self:
            self._records.clear()
            introduce(self)

    def note(self, part: Part, record: Record) -> None:
        """Keep what a backward pass gives to the rows of a store."""
        current = torch._C._current_graph_task_id()
        if current != self._pass:
            self._pass = current
            self._begin_pass()
        records = self._records.setdefault(part, [])
        records.append(record)
        if len(records) > _MERGED:
            self._records[part] = [Record(*self._stores[part[0]].merged(*self._apart(part)))]

    def position(self, store: Store) -> int:
        """Which of the stores that step this is."""
        return next(i for i, each in enumerate(self._stores) if each is store)

    def _begin_pass(self) -> None:
        """Before the first gradient of a backward pass: heed what happened to those that wait."""
        if self.handle.grad is None:
            self._records.clear()
        factor = self._factor()
        if factor is not None:
            for record in (record for records in self._records.values() for record in records):
                record.grad = record.grad * factor
        self._num_passes += 1
        if self._num_passes == _PATIENCE and not self._has_stepped:
            warnings.warn(
                f"{_PATIENCE} backward passes have given gradients to table rows, and no optimizer has stepped them; "
                "rows step with an optimizer that holds the collection's parameters(), or by its step().",
                stacklevel=2,
            )

    def end_pass(self) -> None:
        """After a backward pass: note the handle's gradient, to see later what was done to it."""
        grad = self.handle.grad
        if grad is None:
            return
        if self.clip_rows and self._records:
            squares = [self._stores[part[0]].square_norm(*self._apart(part)) for part in sorted(self._records)]
            # Neither 0, which cannot be scaled, nor finite where a gradient is not.
            grad.copy_(torch.stack(squares).sum().sqrt().to(grad).clamp(min=SENTINEL) + 0 * grad)
        self._noted, self._noted_version = grad.clone(), grad._version

    def _factor(self) -> Tensor | None:
        """What the handle's gradient was multiplied by since the last backward pass; None for 1."""
        grad, noted = self.handle.grad, self._noted
        if grad is None or noted is None:
            return None
        if grad.device.type == "cpu":
            return None if float(grad) == float(noted) else grad / noted
        # A GPU is not asked for the number. Torch's scalers change gradients without a new version.
        return grad / noted if self.may_be_scaled or grad._version != self._noted_version else None

    def _joined(self, part: Part) -> Record:
        """All that waits for a part of a store, where its rows live; from now on as one record."""
        records = self._records[part]
        num_summed = {record.num_summed for record in records}
        if len(num_summed) > 1:
            records = [Record(r.rows, shared_out(r.grad, r.num_summed), r.distribution) for r in records]
        found = [self._stores[part[0]].at_home(record) for record in records]
        rows, grads = (list(each) for each in zip(*found, strict=True))
        row_numbers, grad = found[0] if len(found) == 1 else (torch.cat(rows), torch.cat(grads))
        joined = Record(row_numbers, grad, num_summed=records[0].num_summed)
        self._records[part] = [joined]
        return joined

    def _apart(self, part: Part) -> tuple[Tensor, Tensor]:
        """The same as row numbers [N] and the gradient of each."""
        joined = self._joined(part)
        return joined.rows, shared_out(joined.grad, joined.num_summed)

    @torch.no_grad()
    def step(self, learning_rate_factor: float = 1.0, gradient_factor: Tensor | float = 1.0) -> None:
        """One optimizer step of all rows with a gradient that waits.

        Args:
            learning_rate_factor: of every store's own rate.
            gradient_factor: of the gradients, beside what was done to the handle's.
        """
        if self._stores and self.handle.grad is None:
            self._records.clear()
        factor = self._factor() if self._records else None
        for position in sorted({part[0] for part in self._records}):
            self._stores[position].num_steps += 1
        for part in sorted(self._records):
            store = self._stores[part[0]]
            waits, rate = self._joined(part), learning_rate_factor * store.optimizer.learning_rate
            grad = waits.grad
            for each in (factor, gradient_factor):
                grad = grad if each is None or _is_one(each) else grad * each
            if waits.num_summed == 1:
                store.step(waits.rows, grad, rate)
            else:
                store.step_sums(waits.rows, waits.num_summed, grad, rate)
        if self._stores:
            self.handle.zero_()
            self.handle.grad = None
        self._records.clear()
        self._noted, self._has_stepped, self._copied_version = None, True, None

    def _save_to_state_dict(self, *args: Any) -> None:
        """The handle is always 0."""

    def _load_from_state_dict(self, *args: Any) -> None:
        """There is nothing to load."""


def _is_one(factor: Tensor | float) -> bool:
    return not isinstance(factor, Tensor) and factor == 1.0
