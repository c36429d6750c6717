"""Where rows live and as what numbers: devices that are there, and dtypes that rows can be trained in."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""What rows, and the vectors made of them, may be."""


INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
"""What ids, and what is kept of them, may be."""


def checked_device(owner: str, device: torch.device | str | int) -> torch.device:
    """A device that this machine has.

    Raises:
        ValueError: naming the owner and the device.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"{owner}: device must be one that torch knows, such as 'cpu', got {device!r}.") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"{owner}: device '{found}' is not there, torch sees {torch.cuda.device_count()} GPUs; take one that is, "
            "or 'cpu'."
        )
    if found.type not in ("cpu", "cuda", "meta") and not _is_there(found):
        raise ValueError(f"{owner}: device '{found}' is not there; take one that torch can use, such as 'cpu'.")
    return found


def _is_there(device: torch.device) -> bool:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, NotImplementedError, AssertionError, ImportError):
        return False
    return True


def check_floats(owner: str, dtype: torch.dtype) -> None:
    """Refuse rows of anything but real numbers of 16 bits or more.

    Raises:
        ValueError: naming the owner and the dtype.
    """
    if dtype not in FLOATS:
        names = ", ".join(str(each).removeprefix("torch.") for each in FLOATS)
        raise ValueError(f"{owner}: dtype must be of floating-point numbers, one of {names}, got {dtype}.")


def check_same_device(owner: str, argument: str, values: Tensor, device: torch.device) -> None:
    """Refuse what is on another device than the rows that it asks for.

    Raises:
        ValueError: naming both devices.
    """
    if values.device != device and not torch.compiler.is_compiling():
        raise ValueError(f"{owner}: {argument} are on '{values.device}' and rows on '{device}'; move one of them.")


def widened(ids: Tensor) -> Tensor:
    """Integers that row numbers fit and -1 does: narrow ones as int64."""
    return ids if ids.dtype in (torch.int64, torch.int32) else ids.long()


def check_dense(owner: str, argument: str, values: Tensor) -> None:
    """Refuse tensors that hold no real numbers one after another: sparse, nested, quantised, complex, on "meta".

    Raises:
        ValueError: saying which.
    """
    if values.is_meta:
        _refuse(owner, argument, "without values, on 'meta'")
    check_readable(owner, argument, values)


def check_readable(owner: str, argument: str, values: Tensor) -> None:
    """`check_dense` of tensors that may have no values yet.

    Raises:
        ValueError: saying which.
    """
    if values.layout != torch.strided:
        _refuse(owner, argument, "sparse" if values.is_sparse else f"of the layout {values.layout}")
    if values.is_nested:
        _refuse(owner, argument, "nested")
    if values.is_quantized:
        _refuse(owner, argument, "quantised")
    if values.is_complex():
        _refuse(owner, argument, "of complex numbers")
    if values.dtype in (torch.uint16, torch.uint32, torch.uint64):
        _refuse(owner, argument, "of unsigned numbers of 16 bits or more")


def _refuse(owner: str, argument: str, kind: str) -> NoReturn:
    raise ValueError(f"{owner}: {argument} must be an ordinary tensor of real numbers, got one that is {kind}.")
