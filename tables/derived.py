"""Modules whose state follows from what their constructor was given, so that it can be derived again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import count
from typing import Any, Self

import torch
from torch import Tensor, nn

from recsys.argument_types import check_types, fits_memory
from recsys.tables.placement import check_dense

_tokens = count(1)


def _by_name(kind: type, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
    """What a constructor was given, by name; one that it does not take is refused with the nearest that it does."""
    taken = inspect.signature(kind)
    try:
        return taken.bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        unknown = next((name for name in kwargs if name not in taken.parameters), "")
        close = get_close_matches(unknown, taken.parameters, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"it takes {', '.join(taken.parameters)}."
        raise TypeError(f"{kind.__name__}: {error}; {hint}") from None


class Derived(nn.Module):
    """Keeps its constructor's arguments, and fills in what a move without values would leave uninitialised."""

    arguments: dict[str, object]
    """What the constructor was given, by name: with it the same module can be built again."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Build on the CPU whatever the default device: constructors look at numbers, which "meta" has not."""
        super().__init_subclass__(**arguments)
        if "__init__" in vars(cls):
            cls.__init__ = _on_cpu(cls.__init__)  # type: ignore[method-assign]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Check and note the arguments; a copy is made without any and takes them over with the rest of its attributes.

        Raises:
            ValueError: if one is of another type than its annotation.
            TypeError: if there is no such argument.
        """
        module = super().__new__(cls)
        given = _by_name(cls, args, kwargs)
        owner = f"{cls.__name__} {given.get('name')!r}"
        check_types(owner, cls, given)
        for argument, value in given.items():
            if isinstance(value, Tensor):
                check_dense(owner, argument, value)
        object.__setattr__(module, "arguments", dict(given))
        return module

    def built_again(self) -> Self:
        """A module of the same arguments on the CPU, with values even where the default device has none."""
        arguments: dict[str, Any] = dict(self.arguments)
        with torch.device("cpu"):
            return type(self)(**arguments)

    def reset_parameters(self) -> None:
        """Start afresh: parameters and buffers as they were when this was built with torch's present seed."""
        self._take_over(dict(self.named_parameters()) | dict(self.named_buffers()))
        if type(self).get_extra_state is not nn.Module.get_extra_state:
            self.set_extra_state(self.built_again().get_extra_state())

    @torch.no_grad()
    def _take_over(self, mine: dict[str, Tensor]) -> None:
        fresh = self.built_again()
        theirs = dict(fresh.named_parameters()) | dict(fresh.named_buffers())
        for name, tensor in mine.items():
            if not tensor.is_meta:
                tensor.copy_(theirs[name])

    def derive_missing(self) -> None:
        """Give values to buffers that have none though others have: a state dict that was assigned leaves out some."""
        missing = {name for name, buffer in self.named_buffers() if buffer.is_meta and name not in self.state_dict()}
        device = next((each.device for each in (*self.parameters(), *self.buffers()) if not each.is_meta), None)
        if missing and device is not None:
            fresh = self.built_again()
            for name in missing:
                self.register_buffer(name, fresh.get_buffer(name).to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert; after `to_empty`, buffers are derived again: ids must never be routed by uninitialised ones.

        Parameters are left as nn.Module leaves them, for `reset_parameters` or a checkpoint to fill. Integers stay
        integers, as `type` would make numbers that ids are no longer routed by.
        """
        super()._apply(lambda tensor: _with_its_kind(fn, tensor), recurse)
        buffers = dict(self.named_buffers())
        if buffers and _loses_values(fn):
            self._take_over(buffers)
        return self


def _on_cpu(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that builds on the CPU; the outermost one then moves what it has built to the default device."""

    @functools.wraps(init)
    def build(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        if "_is_building" in vars(self):
            init(self, *args, **kwargs)
            return
        device = torch.get_default_device()
        object.__setattr__(self, "_is_building", True)
        try:
            with torch.device("cpu"), fits_memory(type(self).__name__):
                init(self, *args, **kwargs)
        finally:
            vars(self).pop("_is_building", None)
        if device.type != "cpu":
            self.to(device)

    return build


def _with_its_kind(fn: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """What moves or converts a tensor makes of it; of integers moved ones, whatever their new dtype would be."""
    found = fn(tensor)
    if tensor.is_floating_point() or not found.is_floating_point():
        return found
    return tensor.to(found.device)


def _loses_values(fn: Callable[[Tensor], Tensor]) -> bool:
    """Whether what moves tensors leaves their values behind; each time tried with another number."""
    token = torch.tensor([next(_tokens)], device="cpu")
    moved = fn(token)
    return not moved.is_meta and not torch.equal(moved.cpu(), token)


class Unchanging:
    """Integers that ids are routed by, and that nothing may write to; looked at again when they were.

    Args:
        name: of whose they are.
        values: as they must be, by name.
    """

    def __init__(self, name: str, values: Mapping[str, object]) -> None:
        self._name = name
        self.values = dict(values)
        self._seen: dict[str, tuple[int, int]] = {}

    def check(self, buffers: nn.Module) -> None:
        """Refuse what was written to them in place.

        Raises:
            RuntimeError: naming what was changed.
        """
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return
        for name, values in self.values.items():
            tensor = buffers.get_buffer(name)
            if type(tensor) is not Tensor or tensor.is_meta or tensor.is_inference():
                continue
            state = (id(tensor), tensor._version)
            if self._seen.get(name) == state or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                continue
            if tensor.tolist() != values:
                what = "one of its buffers" if name.startswith("_") else name
                raise RuntimeError(
                    f"{self._name}: {what}, by which ids are routed, was overwritten, as "
                    "AveragedModel(use_buffers=True) does; average parameters alone."
                )
            self._seen[name] = state
