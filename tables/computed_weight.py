"""The V x D matrix that a compressed table stands for, computed when it is asked for, and not to be written to."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_SETTERS = {"__setitem__", "__set__"}


class ComputedWeight(Tensor):
    """Values that are computed from a table's rows; gradients flow to the rows, in-place writes raise.

    A write would change the values alone, which nobody reads again. It raises wherever it happens: in `no_grad`, in a
    view, through `.data`, by `nn.init`, in NumPy. Whatever is computed from it is an ordinary tensor.

    Nor is it a leaf, even where no gradient is recorded: an optimizer that is given it refuses, where it would wait for
    a gradient that never comes.
    """

    @property
    def is_leaf(self) -> bool:  # type: ignore[override]
        """False: nothing can train it."""
        return False

    def set_(self, *source: Any) -> Tensor:
        """Refuse other memory, which is set without `__torch_function__`."""
        raise RuntimeError(_SENTENCE.format("set_"))

    def _ordinary(self) -> Tensor:
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """An ordinary tensor, where torch copies one: if it records no gradient."""
        return copy.deepcopy(self._ordinary(), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as an ordinary tensor, which torch.load takes without having heard of this class."""
        return self._ordinary().__reduce_ex__(protocol)

    @classmethod
    def of(cls, values: Tensor) -> ComputedWeight:
        """The same values, protected."""
        return values.as_subclass(cls)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Let everything pass but what writes."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if _writes(name, args, kwargs, cls):
            raise RuntimeError(_SENTENCE.format(name))
        with torch._C.DisableTorchFunctionSubclass():
            protected = [each for each in _tensors((args, kwargs)) if isinstance(each, cls)]
            versions = [_version(each) for each in protected]
            result = func(*args, **kwargs)
            if versions != [_version(each) for each in protected]:
                raise RuntimeError(_SENTENCE.format(name))
            return _protected(result, protected, cls)


_SENTENCE = (
    "{}: the weight of a compressed table is computed from its rows and cannot be written to or trained; leave out "
    "this initialiser, use reset_parameters(), start from vectors with Embedding.from_pretrained(weight, table), or go "
    "on with a copy, weight.detach().clone()."
)


def _writes(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], kind: type) -> bool:
    """Whether a call of this name writes to its first argument, which nn.init names, or says that it writes."""
    if any(isinstance(each, kind) for each in _tensors(kwargs.get("out"))):
        return True
    if kwargs.get("inplace") or kwargs.get("max_norm") is not None:
        return True
    target = args[0] if args else kwargs.get("tensor")
    in_place = name.endswith("_") and not name.endswith("__")
    augmented = name.startswith("__i") and name.endswith("__") and name not in ("__invert__", "__index__", "__int__")
    return any(isinstance(each, kind) for each in _tensors(target)) and (in_place or augmented or name in _SETTERS)


def _tensors(nested: Any) -> Iterator[Tensor]:
    """The tensors of nested lists and mappings."""
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, Mapping):
        yield from _tensors(list(nested.values()))
    elif isinstance(nested, list | tuple):
        for each in nested:
            yield from _tensors(each)


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _protected(result: Any, protected: Sequence[Tensor], kind: type[ComputedWeight]) -> Any:
    """A result that has the memory of a protected tensor is protected too; any other is what it is."""
    if isinstance(result, Tensor):
        if type(result) in (Tensor, kind) and result.layout == torch.strided:
            memory = {each.untyped_storage().data_ptr() for each in protected}
            shares = not result.is_meta and result.untyped_storage().data_ptr() in memory and result.numel() > 0
            return result.as_subclass(kind) if shares else result.as_subclass(Tensor)
        return result
    if isinstance(result, list | tuple) and any(isinstance(each, Tensor) for each in result):
        parts = [_protected(each, protected, kind) for each in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    if type(result).__module__ == "numpy" and hasattr(result, "setflags"):
        result.setflags(write=False)
    return result
