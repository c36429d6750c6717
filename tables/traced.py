"""Modules that torch.fx records as one call, as it does those of torch.nn: checks of ids cannot be traced."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.fx import Proxy


def is_traced(*arguments: object) -> bool:
    """Whether a program is being traced by torch.fx: an argument stands for a value that is not there yet."""
    return any(isinstance(each, Proxy) for each in arguments)


def call_of(module: nn.Module, *arguments: object) -> Any:
    """What stands for a module's result in a traced program, which calls the module itself.

    Args:
        module: a part of the model that is traced.
        arguments: of its forward pass, in order; one of them is traced.

    Raises:
        ValueError: if the module is traced by itself.
    """
    tracer: Any = next(each for each in arguments if isinstance(each, Proxy)).tracer
    if tracer.root is module:
        raise ValueError(
            f"{type(module).__name__} is one call to torch.fx and has no program of its own; trace the model that it "
            "is a part of."
        )
    return tracer.create_proxy("call_module", tracer.path_of_module(module), arguments, {})
