"""Submodules by the names of features and tables."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


class NamedModules(nn.Module):
    """Modules by any name without a dot, in the given order; a feature may be called 'items' or 'type'."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules.update(modules)

    def named(self, name: object) -> nn.Module | None:
        """The module of a name.

        Raises:
            ValueError: if there is none, naming those there are.
        """
        if not isinstance(name, str) or name not in self._modules:
            raise ValueError(f"there is no table {name!r}; there are {', '.join(map(repr, self._modules))}.")
        return self._modules[name]
