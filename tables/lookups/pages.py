"""Large pages of memory, where Linux hands them out when it is asked to.

Rows are read all over a matrix, and where a page lies has to be looked up before a row of it is; and memory that is new
to a process is given to it page by page, each at the cost of an interruption.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any

from torch import Tensor

_LARGE_PAGE_BYTES = 1 << 21


@cache
def _madvise() -> Any:
    """The C library's function, which takes address, bytes and advice; None where there is no such advice."""
    return getattr(ctypes.CDLL(None), "madvise", None) if hasattr(mmap, "MADV_HUGEPAGE") else None


def in_large_pages(values: Tensor) -> Tensor:
    """The same tensor, with the wish that what was not written to yet be given in pages of 2 MB; a refusal is no error.

    Args:
        values: contiguous. Left alone if not on a CPU, or smaller than such a page.
    """
    num_bytes = values.numel() * values.itemsize
    if values.device.type == "cpu" and num_bytes >= _LARGE_PAGE_BYTES and _madvise() is not None:
        # Whole small pages within the tensor: what lies beside them is others'.
        first = -(-values.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (values.data_ptr() + num_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        _madvise()(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_HUGEPAGE)
    return values
