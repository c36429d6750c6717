"""Submodules by the names of features and tables."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


class NamedModules(nn.Module):
    """Modules by any name without a dot, in the given order; a feature may be called 'items' or 'type'."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules.update(modules)
