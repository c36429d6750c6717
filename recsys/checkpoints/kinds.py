"""What the entries of a checkpoint are, before anything is looked up in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS: dict[str, type] = {
    "state_dict": dict,
    "recsys": dict,
    "settings": dict,
    "checksums": dict,
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "dense_optimizers": list,
    "random_states": dict,
    "CTRDataModule": dict,
    "SessionDataModule": dict,
    "epoch": int,
    "global_step": int,
}


def check_kinds(path: object, content: Mapping[str, Any]) -> None:
    """Refuse a checkpoint with an entry of another kind, with steps below 0, or with loops that fit cannot go on from.

    Raises:
        ValueError: naming the file and the entry.
    """
    for name, kind in _KINDS.items():
        value = content.get(name)
        if name in content and not isinstance(value, kind):
            wrong = f"must be of type {kind.__name__}, got {type(value).__name__}"
            raise ValueError(f"checkpoint '{path}' is damaged: its {name} {wrong}.")
        if isinstance(value, int) and value < 0:
            raise ValueError(f"checkpoint '{path}' is damaged: its {name} must be at least 0, got {value}.")
    if "loops" in content and not isinstance(content["loops"].get("fit_loop"), dict):
        raise ValueError(f"checkpoint '{path}' is damaged: its loops do not say how far fit has come.")
