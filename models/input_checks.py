"""What models are given, checked where a stranger calls: a tensor of another kind or size is refused, not broadcast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def is_program() -> bool:
    """Whether a program is compiled or traced, whose values are not known yet."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def is_ordinary(values: object) -> bool:
    """Whether values lie one after another: not sparse, nested or quantised."""
    if not isinstance(values, Tensor) or values.layout != torch.strided:
        return False
    return not (values.is_nested or values.is_quantized)


def is_cast(values: Tensor) -> bool:
    """Whether autocast brings values to the dtype that an operation takes."""
    return not values.is_meta and torch.is_autocast_enabled(values.device.type)


def described(values: object) -> str:
    """What was given, for a message."""
    if not isinstance(values, Tensor):
        return type(values).__name__
    if not is_ordinary(values):
        kind = "nested" if values.is_nested else "quantised" if values.is_quantized else "sparse"
        return f"a {kind} tensor"
    return f"{list(values.shape)} of {values.dtype} on '{values.device}'"


def check_floats(owner: str, name: str, values: Tensor, leading: Sequence[str], sizes: Sequence[int | None]) -> None:
    """Refuse what is not floating-point numbers of the given sizes, behind those of a batch.

    Args:
        owner: for messages.
        name: of the argument.
        values: what was given.
        leading: letters of the sizes that are free.
        sizes: the others; None for one that is free too.

    Raises:
        ValueError: naming the argument, the shape that it must have and what was given.
    """
    is_fine = is_ordinary(values) and values.is_floating_point() and values.dim() == len(leading) + len(sizes)
    if not is_fine or any(
        size not in (None, own) for size, own in zip(sizes, values.shape[len(leading) :], strict=True)
    ):
        wanted = ", ".join([*leading, *("D" if size is None else str(size) for size in sizes)])
        raise ValueError(f"{owner}: {name} must be floating-point numbers [{wanted}], got {described(values)}.")


def check_fits_parameters(model: nn.Module, name: str, values: Tensor) -> None:
    """Refuse values of another dtype, outside of autocast, or on another device than the model's parameters.

    Raises:
        ValueError: naming both.
    """
    own = next(model.parameters(), None)
    if own is None or is_program():
        return
    if values.device != own.device or (values.dtype != own.dtype and not is_cast(values)):
        raise ValueError(
            f"{type(model).__name__}: {name} must be as its parameters, {own.dtype} on '{own.device}', got "
            f"{values.dtype} on '{values.device}'; convert one of them."
        )


def check_sessions(
    owner: str, vectors: Tensor, lengths: Tensor, times: Tensor | None, masked: Tensor | None, width: int | None
) -> None:
    """Refuse padded sessions whose parts do not go together.

    Args:
        owner: for messages.
        vectors: [B, L, D].
        lengths: [B] integers in [0, L]; a longer one would read the events of the next session.
        times: [B, L] or None.
        masked: bool [B, L] or None.
        width: D, None if the model does not say it.

    Raises:
        ValueError: naming the argument and what was given.
    """
    check_floats(owner, "vectors", vectors, ("B", "L"), (width,))
    num_sessions, num_positions = vectors.shape[:2]
    is_fine = is_ordinary(lengths) and lengths.dtype in _INTEGERS and lengths.shape == (num_sessions,)
    if not is_fine or lengths.is_meta:
        raise ValueError(f"{owner}: lengths must be integers [B={num_sessions}], got {described(lengths)}.")
    if not is_program() and num_sessions:
        low, high = (int(each) for each in lengths.aminmax())
        if low < 0 or high > num_positions:
            wrong = low if low < 0 else high
            raise ValueError(f"{owner}: lengths must be in [0, L={num_positions}], got {wrong}.")
    for name, values in (("times", times), ("masked", masked)):
        if values is None:
            continue
        is_kind = is_ordinary(values) and (values.dtype == torch.bool) == (name == "masked")
        if not is_kind or values.is_complex() or values.shape != vectors.shape[:2] or values.device != vectors.device:
            kind = "bool" if name == "masked" else "real numbers"
            raise ValueError(
                f"{owner}: {name} must be {kind} [B={num_sessions}, L={num_positions}] on '{vectors.device}', got "
                f"{described(values)}."
            )
