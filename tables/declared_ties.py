"""Weights that a model declares to be one, as models of Hugging Face's transformers do (`_tied_weights_keys`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

from torch import nn

_EXPANDED, _DECLARED = "all_tied_weights_keys", "_tied_weights_keys"


def declared_ties(model: nn.Module) -> dict[str, str]:
    """Names of parameters that the model will make one with others: {one: other}."""
    ties = getattr(model, _EXPANDED, None)
    return dict(ties) if isinstance(ties, Mapping) else {}


def forget_ties(model: nn.Module, names: Set[str]) -> None:
    """Drop declarations, of this model alone, that name parameters which are no more."""
    for path, module in model.named_modules():
        for attribute in (_EXPANDED, _DECLARED):
            ties = getattr(module, attribute, None)
            if isinstance(ties, Mapping):
                own = {name.removeprefix(f"{path}.") if path else name for name in names}
                setattr(module, attribute, {k: v for k, v in ties.items() if not (_names(k, own) or _names(v, own))})


def _names(pattern: str, names: Set[str]) -> bool:
    return pattern in names or any(re.fullmatch(pattern, name) for name in names)
