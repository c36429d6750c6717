"""Checks of constructor arguments, shared by the models."""

from __future__ import annotations

from collections.abc import Sequence


def check_sizes(model: str, num_features: int, embedding_dim: int, num_dense: int) -> None:
    """Check the three sizes every model is given.

    Raises:
        ValueError: a size is too small.
    """
    check_at_least(model, "num_features", num_features, 1)
    check_at_least(model, "embedding_dim", embedding_dim, 1)
    check_at_least(model, "num_dense", num_dense, 0)


def check_at_least(owner: str, name: str, value: int, smallest: int) -> None:
    """Check one count.

    Raises:
        ValueError: the value is below the smallest allowed.
    """
    if value < smallest:
        raise ValueError(f"{owner}: {name} must be at least {smallest}, got {value}.")


def check_dims(owner: str, name: str, dims: Sequence[int]) -> None:
    """Check the widths of a stack of layers.

    Raises:
        ValueError: a width is below 1.
    """
    if any(dim < 1 for dim in dims):
        raise ValueError(f"{owner}: every width in {name} must be at least 1, got {list(dims)}.")
