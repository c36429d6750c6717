"""Numbers as people read them."""

from __future__ import annotations


def human_bytes(num_bytes: float) -> str:
    """Bytes with a decimal unit.

    >>> human_bytes(158_160)
    '158.2 kB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
